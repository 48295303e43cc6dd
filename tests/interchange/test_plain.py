"""Rewritten functions: the same numbers, from operations that ONNX has."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax.interchange.plain import inlined
from liftjax.nn.layers import BatchNorm, Conv, run_blocks
from liftjax.ops.conv import conv
from liftjax.ops.soft_argmax import soft_argmax_1d, soft_argmax_2d

BATCH, H, W, C = 2, 6, 4, 3


def arrays(*shapes):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]


def rewritten(function, weights, *inputs):
    """The function on the inputs, and the operations that are left at any batch, counted."""
    (size,) = jax.export.symbolic_shape("B")
    free = [jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype) for x in inputs]
    traced = jax.make_jaxpr(inlined(function, weights, free))(*free)
    left = collections.Counter(e.primitive.name for e in traced.jaxpr.eqns)
    fixed = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]
    return inlined(function, weights, fixed)(*inputs), left


def check(function, weights, *inputs):
    found, left = rewritten(function, weights, *inputs)
    wanted = function(weights, *inputs)
    for a, b in zip(wanted, found, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    calls = {"scan", "cond", "while", "jit", "pjit", "custom_vjp_call", "custom_jvp_call"}
    assert not calls & set(left)
    return left


@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (3, 1), (3, 2), (5, 1)])
def test_convolutions_of_a_chain_lie_channels_first(kernel, stride):
    """One transposition on the way in and one on the way out; wide kernels have branches."""
    first, second = arrays((kernel, kernel, C, 5), (1, 1, 5, 4))
    (x,) = arrays((BATCH, H, W, C))

    def function(weights, x):
        around = (kernel // 2,) * 2
        x = conv(x, weights["first"], (stride, stride), around, (1, 1))
        x = jax.nn.relu(x * weights["gain"].reshape(1, 1, 1, -1) + 1)
        return (conv(x, weights["second"], (1, 1), (0, 0), (1, 1)),)

    weights = {"first": first, "second": second, "gain": arrays((5,))[0]}
    left = check(function, weights, x)
    assert left["conv_general_dilated"] == 2
    assert left["transpose"] == 2
    assert not left["dot_general"]


def test_depthwise_convolution_is_one():
    layer = Conv(4, 4, (5, 5), padding=2, groups=4, rngs=nnx.Rngs(0))
    left = check(lambda weights, x: (layer(x),), {}, *arrays((BATCH, H, W, 4)))
    assert left["conv_general_dilated"] == 1


def test_loop_over_blocks_is_written_out():
    class Block(nnx.Module):
        def __init__(self, rngs):
            self.conv = Conv(C, C, (3, 3), padding=1, rngs=rngs)
            self.bn = BatchNorm(C)

        def __call__(self, x, train):
            return x + self.bn(self.conv(x), train=train)

    blocks = [Block(nnx.Rngs(i)) for i in range(3)]
    (x,) = arrays((BATCH, H, W, C))
    left = check(lambda weights, x: (run_blocks(blocks, x, False, scan=True),), {}, x)
    assert left["conv_general_dilated"] == 3
    assert left["rsqrt"] == 0  # the gains of batch norm are constants


def test_loop_keeps_order_and_stacks():
    def function(weights, x):
        def step(carry, row):
            return carry + row[None], carry * 2

        carry, rows = jax.lax.scan(step, x, weights["rows"], reverse=True)
        return carry, rows.swapaxes(0, 1)

    check(function, {"rows": arrays((3, 5))[0]}, jnp.ones((1, 5)))


def test_maps_pool_join_part_and_grow():
    (kernel,) = arrays((3, 3, C, 4))

    def function(weights, x):
        x = conv(x, weights["kernel"], (1, 1), (1, 1), (1, 1))
        pooled = nnx.max_pool(x, (3, 3), (1, 1), "SAME")
        b, h, w, c = x.shape
        grown = jnp.broadcast_to(x.reshape(b, h, 1, w, 1, c), (b, h, 2, w, 2, c))
        joined = jnp.concatenate([x, pooled], axis=-1)
        mean = x.mean((1, 2), keepdims=True)
        return (
            grown.reshape(b, 2 * h, 2 * w, c),
            joined[:, 1:, :, 2:] * 2,
            jnp.pad(x - mean, ((0, 0), (1, 0), (0, 0), (0, 0))),
            x.reshape(b, -1, c).swapaxes(1, 2),
            x.max((1, 2)),
            x.sum(-1),
        )

    check(function, {"kernel": kernel}, *arrays((BATCH, H, W, C)))


@pytest.mark.parametrize("normalizer", ["softmax", "relu"])
def test_soft_argmax(normalizer):
    """Behind a convolution, where maps lie channels first, and by itself."""
    (kernel,) = arrays((1, 1, C, 2))

    def function(weights, x, logits):
        maps = conv(x, weights["kernel"], (1, 1), (0, 0), (1, 1))
        return soft_argmax_2d(maps, 3.0, normalizer), soft_argmax_1d(logits, 3.0, normalizer)

    check(function, {"kernel": kernel}, *arrays((BATCH, H, W, C), (BATCH, 4, 9)))


def test_matrices_alone_stay_products():
    (matrix,) = arrays((5, 4))
    left = check(lambda weights, x: (x @ weights["m"],), {"m": matrix}, *arrays((BATCH, 5)))
    assert left == {"dot_general": 1}
