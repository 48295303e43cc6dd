"""Ways to take the sums of a map: each gives what the plain twin gives, and lowers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from liftjax.errors import LiftjaxError
from liftjax.losses import detection
from liftjax.ops import soft_argmax
from tests.ops.test_soft_argmax import heatmaps
from tests.slow import slow

IMPLEMENTATIONS = pytest.mark.parametrize("name", ["xla", "pallas"])
NORMALIZERS = pytest.mark.parametrize("normalizer", soft_argmax.NORMALIZERS)


def both(name, values, beta, normalizer):
    """Value and gradients of an implementation; and of the plain twin, in float64."""
    table = soft_argmax.IMPLEMENTATIONS if values.ndim == 4 else soft_argmax.IMPLEMENTATIONS_1D
    run = jax.jit(value_and_gradients, static_argnums=(0, 3))
    ours = run(table[name], values, beta, normalizer)
    with jax.enable_x64(True):
        return ours, run(table["plain"], values.astype(jnp.float64), beta, normalizer)


def value_and_gradients(decode, values, beta, normalizer):
    coordinates, pull = jax.vjp(lambda v, b: decode(v, b, normalizer), values, beta)
    factor = np.random.default_rng(0).normal(size=coordinates.shape)
    return coordinates, *pull(jnp.asarray(factor, coordinates.dtype))


# Rounding of a coordinate, in units of the last place of the map's extent: sums over the map lose a
# few bits of 24.
UNITS = 16


def check_close(ours, exact, extent, beta):
    """In float32; a derivative has the rounding of its coordinate, times beta."""
    atol = UNITS * 2**-24 * extent
    np.testing.assert_allclose(ours[0], exact[0], rtol=0, atol=atol)
    for a, b in zip(ours[1:], exact[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=5e-5 * np.abs(b).max() + beta * atol)


@IMPLEMENTATIONS
@NORMALIZERS
@pytest.mark.parametrize(
    "shape",
    [
        slow((1, 96, 72, 17)),
        (2, 24, 18, 5),
        slow((1, 7, 5, 1)),
        (2, 17, 576),
        slow((3, 7)),
        slow((2, 5000)),
    ],
)
def test_equals_the_plain_twin(name, normalizer, shape):
    beta, rng = 20.0, np.random.default_rng(1)
    values = heatmaps(1, shape) if len(shape) == 4 else rng.normal(size=shape).astype(np.float32)
    check_close(*both(name, jnp.asarray(values), beta, normalizer), max(shape), beta)


@IMPLEMENTATIONS
@NORMALIZERS
def test_equals_the_plain_twin_in_float64(name, normalizer):
    with jax.enable_x64(True):
        values = jnp.asarray(heatmaps(2), jnp.float64)
        for a, b in zip(*both(name, values, 100.0, normalizer), strict=True):
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@IMPLEMENTATIONS
@NORMALIZERS
def test_masked_entries_and_empty_maps(name, normalizer):
    values = heatmaps(3, (1, 9, 10, 4))
    values[0, ::2, :, 0] = -np.inf
    values[0, :, :, 1] = -np.inf
    values[0, :, :, 2], values[0, 3, 4, 2] = -3e38, 3e38
    ours, exact = both(name, jnp.asarray(values), 50.0, normalizer)
    np.testing.assert_array_equal(ours[0][0, 1], [4.5, 4.0])
    np.testing.assert_allclose(ours[0][0, 2], [4.0, 3.0], atol=1e-6)
    assert all(np.isfinite(a).all() for a in ours)
    check_close(ours, exact, 10, 50.0)


@IMPLEMENTATIONS
@NORMALIZERS
@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("shape", [(1, 96, 72, 3), (3, 576)])
def test_nan_and_overflow_stay_in_their_map_and_show(name, normalizer, broken, shape):
    values = np.random.default_rng(4).normal(size=shape).astype(np.float32)
    first = (0, 40, 20, 0) if len(shape) == 4 else (0, 300)
    values[first] = broken
    (coordinates, *_), _ = both(name, jnp.asarray(values), 10.0, normalizer)
    maps = coordinates.reshape(3, -1)
    assert np.isnan(maps[0]).all()
    assert np.isfinite(maps[1:]).all()


@IMPLEMENTATIONS
@pytest.mark.parametrize("shape", [(2, 24, 18, 5), (2, 3, 40)])
def test_low_precision_is_raised_to_float32(name, shape):
    narrow = jnp.asarray(np.random.default_rng(5).normal(size=shape), jnp.bfloat16)
    ours, _ = both(name, narrow, 10.0, "softmax")
    wide, _ = both(name, narrow.astype(jnp.float32), 10.0, "softmax")
    assert (ours[0].dtype, ours[1].dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_array_equal(ours[0], wide[0])
    np.testing.assert_array_equal(ours[1], wide[1].astype(jnp.bfloat16))


@IMPLEMENTATIONS
@NORMALIZERS
def test_soft_argmax_and_heatmap_loss_together(name, normalizer):
    """Both values and both gradients in one, as of the two functions apart."""
    rng = np.random.default_rng(6)
    heat = jnp.asarray(heatmaps(6))
    B, W, _, K = heat.shape  # the larger one
    center = jnp.asarray(rng.integers(-2, W + 2, (B, K, 2)), jnp.float32)
    weight = jnp.asarray(rng.integers(0, 2, (B, K)), jnp.float32)
    grads = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((B, K, 2), (B, K))]
    grads[1] = 1e3 * grads[1]  # a mean over the map has small derivatives

    def run(function):
        out, pull = jax.vjp(function, heat, weight, jnp.float32(20.0))
        return (*out, *pull(tuple(grads)))

    def apart(heat, weight, beta):
        points = soft_argmax.soft_argmax_2d(heat, beta, normalizer)
        return points, detection.gaussian_heatmap_loss_per_joint(heat, center, weight, 2.0)

    def together(heat, weight, beta):
        function = detection.IMPLEMENTATIONS[name]
        return function(heat, center, weight, 2.0, beta, normalizer)

    (points, loss, *ours), (points_apart, loss_apart, *exact) = run(together), run(apart)
    np.testing.assert_allclose(loss, loss_apart, rtol=1e-5)
    check_close([points, *ours], [points_apart, *exact], W, 20.0)


# Newer versions of JAX point to another kernel language, which older ones do not have.
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_kernel_lowers_for_gpus_as_one_call(dtype):
    def loss(heat, logits, center, weight, beta):
        points, loss_BK = together(heat, center, weight, 3.0, beta)
        return points.sum() + loss_BK.sum() + along(logits, beta).sum()

    together = detection.IMPLEMENTATIONS["pallas"]
    along = soft_argmax.IMPLEMENTATIONS_1D["pallas"]
    narrow = [jax.ShapeDtypeStruct(shape, dtype) for shape in ((2, 96, 72, 17), (2, 17, 576))]
    wide = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 17, 2), (2, 17), ())]
    unstable = [jax.export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")]
    graded = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    export = jax.export.export(graded, platforms=("cuda",), disabled_checks=unstable)
    gpu = AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=gpu)):
        text = export(*narrow, *wide).mlir_module()
    assert text.count("custom_call @__gpu$xla.gpu.triton") == 2


def test_by_default_the_kernel_runs_on_gpus_alone(monkeypatch):
    """Where NVIDIA's plugin is installed; the choice among platforms is made while lowering."""
    monkeypatch.setattr(soft_argmax, "_kernel_can_run", lambda: True)
    function = jax.jit(lambda heat: soft_argmax.soft_argmax_2d(heat, 10.0))
    heat = jax.ShapeDtypeStruct((2, 8, 6, 3), jnp.float32)
    on_cpu = function.trace(heat).lower(lowering_platforms=("cpu",)).as_text()
    assert "triton" not in on_cpu
    on_gpu = function.trace(heat).lower(lowering_platforms=("cuda",)).as_text()
    assert on_gpu.count("custom_call @__gpu$xla.gpu.triton") == 1


def test_names():
    assert set(soft_argmax.names("gpu")) == soft_argmax.IMPLEMENTATIONS.keys() - {"auto"}
    assert "pallas" not in soft_argmax.names("tpu")
    assert set(soft_argmax.IMPLEMENTATIONS) == set(detection.IMPLEMENTATIONS)
    with pytest.raises(LiftjaxError, match="pallas"):
        soft_argmax.soft_argmax_2d(jnp.zeros((1, 2, 2, 1)), implementation="palas")
