"""The convolution and its hand-written derivative against XLA's own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax.ops.conv import conv, conv_plain, wide_product
from tests.equations import equations
from tests.slow import one_in, slow

pytestmark = pytest.mark.usefixtures("computed_by")


def _random(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _value_and_gradients(function, x, kernel, weights):
    def run(x, kernel):
        y, vjp = jax.vjp(function, x, kernel)
        return (y, *vjp(jnp.resize(weights, y.shape).astype(y.dtype)))

    return jax.jit(run)(x, kernel)


def _assert_same(x, kernel, strides, padding, dilation, groups=1):
    weights = _random(2, 1009)
    got, want = (
        _value_and_gradients(
            lambda x, k, f=f: f(x, k, strides, padding, dilation, groups), x, kernel, weights
        )
        for f in (conv, conv_plain)
    )
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=2e-5 * float(jnp.abs(b).max()), rtol=0)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation"),
    one_in(
        7,
        [
            case
            for case in itertools.product((1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2))
            if not (case[0] == 1 and case[3] > 1)
        ],
    ),
)
def test_equals_xla_on_an_uneven_map(size, stride, padding, dilation):
    x, kernel = _random(0, 2, 9, 6, 3), _random(1, size, size, 3, 4)
    _assert_same(x, kernel, (stride,) * 2, (padding,) * 2, (dilation,) * 2)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_equals_xla_with_another_geometry_on_each_axis(axes):
    x, kernel = _random(0, 2, *(11, 8, 7)[:axes], 3), _random(1, *(3, 2, 4)[:axes], 3, 5)
    _assert_same(x, kernel, (2, 1, 3)[:axes], (0, 1, 2)[:axes], (1, 3, 2)[:axes])


@pytest.mark.parametrize("groups", [2, 4])
def test_equals_xla_with_groups(groups):
    x, kernel = _random(0, 2, 8, 6, 4), _random(1, 3, 3, 4 // groups, 8)
    _assert_same(x, kernel, (1, 1), (1, 1), (1, 1), groups)


def test_equals_xla_inside_a_loop():
    x, kernels = _random(0, 2, 8, 6, 4), 0.2 * _random(1, 3, 3, 3, 4, 4)

    def chain(function):
        def loss(x, kernels):
            def step(x, k):
                return jnp.tanh(function(x, k, (1, 1), (1, 1), (1, 1))), None

            return jax.lax.scan(step, x, kernels)[0].sum()

        return jax.jit(jax.grad(loss, (0, 1)))(x, kernels)

    for a, b in zip(chain(conv), chain(conv_plain), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * float(jnp.abs(b).max()))


def test_keeps_float64():
    with jax.enable_x64(True):
        x = jnp.asarray(np.ones((1, 5, 5, 2)), jnp.float64)
        kernel = jnp.asarray(np.ones((3, 3, 2, 2)), jnp.float64)
        gradients = jax.grad(lambda *a: conv(*a, (1, 1), (1, 1), (1, 1)).sum(), (0, 1))(x, kernel)
        assert [g.dtype for g in gradients] == [jnp.float64] * 2


@pytest.mark.parametrize(
    ("map_size", "kernel_size", "padding"),
    [((8, 6), (7, 7), (3, 3)), ((4, 3), (7, 5), (3, 2)), ((9, 12), (5, 6), (0, 1))],
)
def test_equals_xla_with_a_wide_kernel_on_a_small_map(map_size, kernel_size, padding):
    x, kernel = _random(0, 2, *map_size, 16), _random(1, *kernel_size, 16, 3)
    _assert_same(x, kernel, (1, 1), padding, (1, 1))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a choice made for CPUs alone")
def test_a_wide_kernel_on_a_small_map_is_no_convolution_on_a_cpu():
    x, kernel = _random(0, 2, 8, 6, 16), _random(1, 7, 7, 16, 3)

    def loss(x, kernel):
        return jnp.square(conv(x, kernel, (1, 1), (3, 3), (1, 1))).sum()

    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(x, kernel).compile()
    assert " convolution(" not in compiled.as_text()


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_equals_xla_on_a_large_map(stride, dilation):
    x, kernel = _random(0, 2, 128, 100, 3), _random(1, 3, 3, 3, 4)
    _assert_same(x, kernel, (stride,) * 2, (1, 1), (dilation,) * 2)


def _relative(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize(
    ("map_size", "size", "stride", "c_in", "c_out"),
    [
        ((9, 6), 1, 1, 8, 16),  # a product
        slow((16, 12), 3, 1, 8, 8),
        slow((16, 12), 3, 2, 8, 16),
        ((64, 48), 3, 1, 4, 4),  # a product of shifted copies
        ((8, 6), 7, 1, 16, 5),  # all taps in one product
    ],
)
def test_bfloat16_is_rounded_and_no_worse(map_size, size, stride, c_in, c_out):
    """Measured: values and gradients within 0.2 to 0.5 % of float32's."""
    x, kernel = _random(0, 3, *map_size, c_in), _random(1, size, size, c_in, c_out)
    weights = _random(2, 1009)

    def run(x, kernel):
        geometry = (stride,) * 2, (size // 2,) * 2, (1, 1)
        return _value_and_gradients(lambda x, k: conv(x, k, *geometry), x, kernel, weights)

    narrow = [v.astype(jnp.bfloat16) for v in (x, kernel)]
    for got, want in zip(run(*narrow), run(x, kernel), strict=True):
        assert got.dtype == jnp.bfloat16
        assert _relative(got, want) < 0.01


def test_wide_product_rounds_operands_and_no_sums():
    x, kernel = _random(0, 40, 32).astype(jnp.bfloat16), _random(1, 32, 5).astype(jnp.bfloat16)
    y, pull = jax.vjp(wide_product, x, kernel)
    exact = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)
    dy = _random(2, 40, 5)
    dx, dk = pull(dy)
    assert {dx.dtype, dk.dtype} == {jnp.dtype(jnp.bfloat16)}
    assert _relative(dx, dy @ kernel.astype(np.float32).T) < 0.01
    assert _relative(dk, x.astype(np.float32).T @ dy) < 0.01


def test_precision_of_the_call_is_that_of_its_derivative():
    x, kernel = _random(0, 1, 5, 5, 2), _random(1, 3, 3, 2, 2)

    def precise(x, kernel):
        with jax.default_matmul_precision("highest"):
            y = conv(x, kernel, (1, 1), (1, 1), (1, 1))
            return wide_product(y.reshape(-1, 2), kernel[0, 0])

    y, pull = jax.vjp(precise, x, kernel)  # the context has ended before the way back is traced
    jaxpr = jax.make_jaxpr(pull)(y).jaxpr
    used = [
        e.params["precision"]
        for e in equations(jaxpr, "tpu")
        if e.primitive.name in ("dot_general", "conv_general_dilated")
    ]
    assert len(used) >= 4
    assert set(used) == {(jax.lax.Precision.HIGHEST,) * 2}
