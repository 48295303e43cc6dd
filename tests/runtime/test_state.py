import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from liftjax.nn.layers import BatchNorm, Conv
from liftjax.runtime.state import PureModule, flat_arrays


class Toy(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([Conv(3, 4, (3, 3), padding=1, rngs=rngs), None, BatchNorm(4)])

    def __call__(self, x, train=False):
        return self.blocks[2](self.blocks[0](x), train=train)


def images(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(2, 8, 8, 3)), jnp.float32)


def test_split_then_merge_is_the_same_function():
    module = Toy(nnx.Rngs(0))
    pure, params, others = PureModule.split(module)
    assert set(params) == {"blocks.0.kernel", "blocks.0.bias", "blocks.2.scale", "blocks.2.bias"}
    assert set(others) == {"blocks.2.mean", "blocks.2.var"}
    np.testing.assert_array_equal(pure.merge(params, others)(images()), module(images()))


def test_a_traced_call_returns_new_statistics_and_leaves_the_old():
    module = Toy(nnx.Rngs(0))
    pure, params, others = PureModule.split(module)

    @jax.jit
    def run(params, others, x):
        merged = pure.merge(params, others)
        merged(x, train=True)
        return pure.others(merged)

    new = run(params, others, images())
    module(images(), train=True)
    expected = flat_arrays(module, nnx.BatchStat)
    assert set(new) == set(expected)
    for name in new:
        np.testing.assert_allclose(new[name], expected[name], rtol=1e-6, atol=1e-7)
        assert not np.allclose(new[name], others[name])


def test_merged_modules_do_not_share_arrays_with_the_dictionary():
    pure, params, others = PureModule.split(Toy(nnx.Rngs(0)))
    before = {k: np.asarray(v) for k, v in others.items()}
    pure.merge(params, others)(images(), train=True)
    for name, value in others.items():
        np.testing.assert_array_equal(value, before[name])
