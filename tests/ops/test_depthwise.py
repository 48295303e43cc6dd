"""The depthwise convolution and its hand-written derivative against XLA's own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax.ops import depthwise
from liftjax.ops.depthwise import depthwise_conv, depthwise_conv_plain
from tests.slow import one_in, slow

pytestmark = pytest.mark.usefixtures("computed_by")


def _random(seed, *shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def _value_and_gradients(function, x, kernel, weights):
    def run(x, kernel):
        y, vjp = jax.vjp(function, x, kernel)
        return (y, *vjp(jnp.resize(weights, y.shape).astype(y.dtype)))

    return jax.jit(run)(x, kernel)


def _both(x, kernel, padding):
    weights = _random(2, 1009)
    return (
        _value_and_gradients(lambda x, k, f=f: f(x, k, padding), x, kernel, weights)
        for f in (depthwise_conv, depthwise_conv_plain)
    )


def _assert_close(got, want, tolerance=2e-5):
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        a, b = (np.asarray(v, np.float64) for v in (a, b))
        np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max(initial=0), rtol=0)


@pytest.mark.parametrize("batch", one_in(2, [3, 1]))
@pytest.mark.parametrize(("size", "same"), one_in(3, itertools.product((3, 5, 7), (False, True))))
def test_equals_xla(size, same, batch):
    padding = (size // 2 if same else 0,) * 2
    _assert_close(*_both(_random(0, batch, 18, 9, 4), _random(1, size, size, 1, 4), padding))


@pytest.mark.parametrize(
    ("height", "width", "kernel", "padding"),
    [
        (2, 3, (5, 5), (2, 2)),  # smaller than the kernel
        (1, 1, (7, 7), (3, 3)),
        (40, 7, (5, 5), (2, 2)),  # more rows than one block
        slow(9, 6, (3, 5), (1, 2)),
        slow(9, 6, (5, 1), (0, 0)),
        (8, 5, (4, 2), (1, 0)),  # even sizes
        (6, 5, (3, 3), (4, 3)),  # a border that no pixel reaches
        (2, 9, (5, 5), (1, 1)),  # no output at all
    ],
)
def test_equals_xla_on_other_geometries(height, width, kernel, padding):
    _assert_close(*_both(_random(0, 2, height, width, 3), _random(1, *kernel, 1, 3), padding))


@pytest.mark.parametrize("padding", [(2, 2), (1, 0)])
def test_the_dense_form_for_tpus_equals_xla(padding):
    x, kernel = _random(0, 2, 8, 6, 5), _random(1, 5, 3, 1, 5)
    dy = _random(2, *depthwise_conv_plain(x, kernel, padding).shape)

    def run(conv):
        return conv(x, kernel, padding), *depthwise._gradients(conv, x, kernel, dy, padding)

    _assert_close(run(depthwise._dense_conv), run(depthwise_conv_plain))


def test_one_channel():
    _assert_close(*_both(_random(0, 2, 8, 6, 1), _random(1, 5, 5, 1, 1), (2, 2)))


def test_float64_to_the_last_digits():
    with jax.enable_x64(True):
        x, kernel = (
            _random(s, *n, dtype=jnp.float64) for s, n in ((0, (2, 20, 9, 5)), (1, (5, 5, 1, 5)))
        )
        got, want = _both(x, kernel, (2, 2))
        assert [v.dtype for v in got] == [jnp.float64] * 3
        _assert_close(got, want, 1e-13)


def test_bfloat16_is_rounded_once():
    arrays = _random(0, 2, 20, 9, 4), _random(1, 5, 5, 1, 4)
    x, kernel = (v.astype(jnp.bfloat16) for v in arrays)
    weights = _random(2, 1009).astype(jnp.bfloat16)

    def run(x, kernel, weights):
        return _value_and_gradients(lambda x, k: depthwise_conv(x, k, (2, 2)), x, kernel, weights)

    got = run(x, kernel, weights)
    assert [v.dtype for v in got] == [jnp.bfloat16] * 3
    exact = run(*(v.astype(jnp.float32) for v in (x, kernel, weights)))
    for a, b in zip(got, exact, strict=True):
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=2**-8, atol=1e-5)


def test_the_gradient_of_a_channel_stays_in_it():
    x, kernel = _random(0, 2, 8, 6, 5), _random(1, 5, 5, 1, 5)

    @jax.jit
    def gradients(channel):
        def loss(x, kernel):
            y = jnp.square(depthwise_conv(x, kernel, (2, 2)))
            return jnp.take(y, channel, axis=-1).sum()

        return jax.grad(loss, (0, 1))(x, kernel)

    for channel in range(5):
        for gradient in gradients(channel):
            touched = np.flatnonzero(np.abs(gradient).max((0, 1, 2)))
            assert touched.tolist() == [channel]


def test_equals_xla_under_vmap():
    x, kernel = _random(0, 3, 2, 8, 6, 4), _random(1, 3, 5, 5, 1, 4)

    def run(function, kernel, axis):
        def loss(x, kernel):
            return jnp.sin(function(x, kernel, (2, 2))).sum()

        return jax.jit(jax.vmap(jax.value_and_grad(loss, (0, 1)), (0, axis)))(x, kernel)

    for k, axis in ((kernel, 0), (kernel[0], None)):
        got, want = (
            jax.tree.leaves(run(f, k, axis)) for f in (depthwise_conv, depthwise_conv_plain)
        )
        _assert_close(got, want)


def test_equals_xla_inside_a_loop():
    x, kernels = _random(0, 2, 8, 6, 4), 0.2 * _random(1, 3, 5, 5, 1, 4)

    def chain(function):
        def loss(x, kernels):
            def step(x, k):
                return jnp.tanh(function(x, k, (2, 2))), None

            return jax.lax.scan(step, x, kernels)[0].sum()

        return jax.jit(jax.grad(loss, (0, 1)))(x, kernels)

    _assert_close(chain(depthwise_conv), chain(depthwise_conv_plain))


def test_a_cpu_program_has_no_convolution_left():
    x, kernel = jnp.ones((1, 8, 6, 4)), jnp.ones((5, 5, 1, 4))

    def text(function):
        gradients = jax.grad(lambda *a: jnp.square(function(*a, (2, 2))).sum(), (0, 1))
        return jax.jit(gradients).trace(x, kernel).lower(lowering_platforms=("cpu",)).as_text()

    assert "stablehlo.convolution" not in text(depthwise_conv)
    assert "stablehlo.convolution" in text(depthwise_conv_plain)
