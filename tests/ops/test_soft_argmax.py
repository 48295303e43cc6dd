"""Soft-argmax: golden coordinates, its plain twin, and what must hold for any map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftjax.errors import LiftjaxError
from liftjax.ops.soft_argmax import (
    soft_argmax_1d,
    soft_argmax_1d_plain,
    soft_argmax_2d,
    soft_argmax_2d_plain,
)
from tests.slow import slow

BOTH_2D = pytest.mark.parametrize("decode", [soft_argmax_2d, soft_argmax_2d_plain])
BOTH_1D = pytest.mark.parametrize("decode", [soft_argmax_1d, soft_argmax_1d_plain])
NORMALIZERS = pytest.mark.parametrize("normalizer", ["softmax", "relu"])


def heatmaps(seed, shape=(2, 24, 18, 5), sigma=1.5, noise=0.02):
    """Gaussian peaks of random place and height on noise: (B, H, W, K)."""
    rng = np.random.default_rng(seed)
    B, H, W, K = shape
    x, y = rng.uniform(0, W - 1, (B, 1, 1, K)), rng.uniform(0, H - 1, (B, 1, 1, K))
    height = rng.uniform(0.3, 1.2, (B, 1, 1, K))
    rows, columns = np.arange(H).reshape(1, H, 1, 1), np.arange(W).reshape(1, 1, W, 1)
    peaks = height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return (peaks + rng.normal(0, noise, shape)).astype(np.float32)


def value_and_gradients(decode, values, beta, normalizer):
    """Coordinates, and the derivatives of a random functional by the map and by beta."""
    return [np.asarray(array) for array in _value_and_gradients(decode, values, beta, normalizer)]


@jax.jit(static_argnums=(0, 3))
def _value_and_gradients(decode, values, beta, normalizer):
    coords, pull = jax.vjp(lambda v, b: decode(v, b, normalizer), values, beta)
    weights = np.random.default_rng(0).normal(size=coords.shape)
    return coords, *pull(jnp.asarray(weights, coords.dtype))


@BOTH_2D
def test_golden_coordinates(golden, decode):
    _, arrays = golden("losses_single_sb")
    heat_BHWK = jnp.asarray(arrays["in_heatmap"].transpose(0, 2, 3, 1))
    assert np.abs(decode(heat_BHWK, beta=100) - arrays["coords_heatmap"]).max() <= 1e-3


@NORMALIZERS
@pytest.mark.parametrize("beta", [slow(1.0), 10.0, slow(100.0), 500.0])
def test_hand_written_derivative_is_the_plain_ones(beta, normalizer):
    with jax.enable_x64(True):
        values = jnp.asarray(heatmaps(1), jnp.float64)
        ours = value_and_gradients(soft_argmax_2d, values, beta, normalizer)
        plain = value_and_gradients(soft_argmax_2d_plain, values, beta, normalizer)
        for a, b in zip(ours, plain, strict=True):
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@NORMALIZERS
@pytest.mark.parametrize("beta", [slow(1.0), 100.0, slow(500.0)])
def test_float32_is_close_to_float64(beta, normalizer):
    values = heatmaps(2)
    ours = value_and_gradients(soft_argmax_2d, jnp.asarray(values), beta, normalizer)
    with jax.enable_x64(True):
        wide = jnp.asarray(values, jnp.float64)
        exact = value_and_gradients(soft_argmax_2d, wide, beta, normalizer)
    # Measured: coordinates 3e-6 px. The rounding of a coordinate, times beta, is in derivatives.
    assert np.abs(ours[0] - exact[0]).max() < 3e-5
    for a, b in zip(ours[1:], exact[1:], strict=True):
        assert np.abs(a - b).max() <= 5e-5 * np.abs(b).max() + 5e-6 * beta


@NORMALIZERS
@pytest.mark.parametrize("beta", [slow(1.0), 100.0, slow(500.0)])
def test_1d_agrees_with_plain_and_with_2d(beta, normalizer):
    with jax.enable_x64(True):
        logits = jnp.asarray(heatmaps(3, (3, 40, 1, 4)), jnp.float64)
        ours = value_and_gradients(soft_argmax_2d, logits, beta, normalizer)
        rows = logits[:, :, 0].swapaxes(1, 2)
        coords = soft_argmax_1d(rows, beta, normalizer)
        np.testing.assert_allclose(coords, ours[0][..., 1], atol=1e-12)
        for a, b in zip(
            value_and_gradients(soft_argmax_1d, rows, beta, normalizer),
            value_and_gradients(soft_argmax_1d_plain, rows, beta, normalizer),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", [(7,), (2, 7), (2, 3, 4, 7)])
@BOTH_1D
def test_1d_takes_any_batch_axes(decode, shape):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    probability = np.asarray(jax.nn.softmax(3 * logits, axis=-1))
    coords = jax.jit(decode)(logits, 3.0)
    assert coords.shape == shape[:-1]
    np.testing.assert_allclose(coords, probability @ np.arange(7), rtol=1e-5)


@NORMALIZERS
@BOTH_2D
def test_derivatives_by_finite_differences(decode, normalizer):
    with jax.enable_x64(True):
        values = jnp.asarray(heatmaps(4, (1, 5, 4, 2)), jnp.float64) + 0.2
        beta, step = 20.0, 1e-6

        @jax.jit
        def functional(values, beta):
            return jnp.sin(decode(values, beta, normalizer)).sum()

        by_values, by_beta = jax.jit(jax.grad(functional, argnums=(0, 1)))(values, beta)
        direction = np.random.default_rng(5).normal(size=values.shape)
        for ahead, back, slope in (
            ((values + step * direction, beta), (values - step * direction, beta),
             (by_values * direction).sum()),
            ((values, beta + step), (values, beta - step), by_beta),
        ):  # fmt: skip
            numeric = (functional(*ahead) - functional(*back)) / (2 * step)
            np.testing.assert_allclose(slope, numeric, rtol=1e-6, atol=1e-8)


@BOTH_2D
def test_relu_map_without_positive_entries_gives_its_centre_and_no_gradient(decode):
    values = np.full((1, 6, 9, 2), -1.0, np.float32)
    values[0, 2, 3, 1] = 0.7
    coords, gradient, _ = value_and_gradients(decode, values, 100.0, "relu")
    np.testing.assert_array_equal(coords[0], [[4.0, 2.5], [3.0, 2.0]])
    assert not np.asarray(gradient[..., 0]).any()
    assert np.isfinite(gradient).all()


@NORMALIZERS
@BOTH_2D
def test_extreme_logits(decode, normalizer):
    values = np.zeros((1, 4, 5, 4), np.float32)
    values[0, 1, 2, 0] = 3e38
    values[0, :, :, 0][values[0, :, :, 0] == 0] = -3e38
    values[0, 3, 4, 1], values[0, 0, 0, 1] = 1e-30, -1e30
    values[..., 2] = -np.inf
    values[0, :, :, 3], values[0, 2, 1, 3] = -np.inf, 5.0
    coords, *gradients = value_and_gradients(decode, jnp.asarray(values), 500.0, normalizer)
    np.testing.assert_allclose(coords[0, [0, 2, 3]], [[2, 1], [2, 1.5], [1, 2]], atol=1e-6)
    assert np.isfinite(coords).all()
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@BOTH_2D
def test_nan_and_overflow_are_not_hidden(decode, broken):
    values = np.zeros((1, 4, 5, 2), np.float32)
    values[0, 1, 1, 0] = broken
    for normalizer in ("softmax", "relu"):
        coords = jax.jit(decode, static_argnums=2)(values, 100.0, normalizer)
        assert np.isnan(coords[0, 0]).all()
        assert np.isfinite(coords[0, 1]).all()


@pytest.mark.parametrize(
    ("decode", "shape"), [(soft_argmax_2d, (2, 24, 18, 3)), (soft_argmax_1d, (2, 3, 40))]
)
def test_low_precision_is_raised_to_float32(decode, shape):
    values = jnp.asarray(np.random.default_rng(6).normal(size=shape), jnp.bfloat16)
    coords, gradient, _ = value_and_gradients(decode, values, 10.0, "softmax")
    assert coords.dtype == jnp.float32
    assert gradient.dtype == jnp.bfloat16
    # One program beside one for each operation; measured, with XLA's optimisations: 1e-7.
    np.testing.assert_allclose(coords, decode(values.astype(jnp.float32), 10.0), rtol=1e-6)


def test_traced_beta_compiles_once():
    traces = []

    @jax.jit
    def decode(values, beta):
        traces.append(1)
        return soft_argmax_2d(values, beta)

    for beta in (1.0, 50.0, 500.0):
        decode(jnp.asarray(heatmaps(7)), beta)
    assert len(traces) == 1


def test_derivative_keeps_no_probabilities():
    values = jnp.asarray(heatmaps(8))
    _, pullback = jax.vjp(soft_argmax_2d, values)
    kept = [leaf for leaf in jax.tree.leaves(pullback) if hasattr(leaf, "shape")]
    assert sum(leaf.size for leaf in kept if leaf.size >= values.size) <= values.size


def test_bad_arguments():
    with pytest.raises(LiftjaxError, match="softmax"):
        soft_argmax_2d(jnp.zeros((1, 4, 4, 2)), normalizer="sofmax")
    with pytest.raises(ValueError, match=r"\(B, H, W, K\)"):
        soft_argmax_2d(jnp.zeros((4, 4, 2)))
    with pytest.raises(TypeError, match="floating"):
        soft_argmax_1d(jnp.zeros((4, 4), jnp.int32))


BETAS = st.sampled_from([1.0, 10.0, 100.0, 500.0])
SEEDS = st.integers(0, 2**16)
PROPERTY = settings(max_examples=15, deadline=None, derandomize=True)


@PROPERTY
@given(seed=SEEDS, beta=BETAS, offset=st.floats(-5, 5, width=32))
def test_softmax_ignores_a_constant(seed, beta, offset):
    values = heatmaps(seed)
    coords, shifted = (
        soft_argmax_2d(jnp.asarray(values), beta),
        soft_argmax_2d(jnp.asarray(values + np.float32(offset)), beta),
    )
    # The sum rounds the logits themselves, by up to 2.4e-7 times beta in the exponent.
    np.testing.assert_allclose(coords, shifted, atol=1e-5 * beta + 1e-4)


@PROPERTY
@given(seed=SEEDS, factor=st.floats(0.125, 1000))
def test_relu_ignores_a_factor(seed, factor):
    values = jnp.asarray(heatmaps(seed))
    np.testing.assert_allclose(
        soft_argmax_2d(values, normalizer="relu"),
        soft_argmax_2d(values * factor, normalizer="relu"),
        atol=1e-4,
    )


@PROPERTY
@given(seed=SEEDS, dx=st.integers(-4, 4), dy=st.integers(-4, 4))
@NORMALIZERS
def test_coordinates_follow_the_peak(normalizer, seed, dx, dy):
    canvas = np.zeros((1, 24, 24, 2), np.float32)
    canvas[:, 8:16, 8:16] = np.abs(heatmaps(seed, (1, 8, 8, 2))) + 0.5
    moved = np.roll(canvas, (dy, dx), axis=(1, 2))
    shift = soft_argmax_2d(jnp.asarray(moved), 100.0, normalizer) - soft_argmax_2d(
        jnp.asarray(canvas), 100.0, normalizer
    )
    np.testing.assert_allclose(shift, np.broadcast_to([dx, dy], shift.shape), atol=1e-4)


@PROPERTY
@given(seed=SEEDS, beta=BETAS)
@NORMALIZERS
def test_maps_are_independent_and_mirror(normalizer, seed, beta):
    values = heatmaps(seed)
    order = np.random.default_rng(seed).permutation(values.shape[-1])
    coords = np.asarray(soft_argmax_2d(jnp.asarray(values), beta, normalizer))
    permuted = soft_argmax_2d(jnp.asarray(values[::-1, ..., order]), beta, normalizer)
    np.testing.assert_allclose(permuted, coords[::-1][:, order], atol=1e-5)
    mirrored = soft_argmax_2d(jnp.asarray(values[:, :, ::-1]), beta, normalizer)
    np.testing.assert_allclose(mirrored[..., 0], values.shape[2] - 1 - coords[..., 0], atol=1e-4)
    turned = soft_argmax_2d(jnp.asarray(values.swapaxes(1, 2)), beta, normalizer)
    np.testing.assert_allclose(turned, coords[..., ::-1], atol=1e-4)
