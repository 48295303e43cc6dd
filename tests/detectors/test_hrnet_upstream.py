"""HRNet-W32 against the original program: evaluation, training mode, four training steps.

Compiling the network costs more than all else here, so one module is built, and one function
compiled, for all the tests of a precision.
"""

import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from liftjax import torch_weights
from liftjax.detectors.hrnet import HRNet
from liftjax.losses import heatmap_loss
from tests.goldens.weights import fill_state_dict, fingerprint, input_arrays

STEPS = 4
LEARNING_RATE = 1e-3
ADAM = optax.adam(LEARNING_RATE, b1=0.9, b2=0.999, eps=1e-8)


@pytest.fixture(scope="module")
def hrnet():
    """Its weights are whatever the test before has left."""
    return HRNet(17, (384, 288), rngs=nnx.Rngs(0))


def _off(got, want, scale=None):
    """Largest difference, over `scale` or the root mean square of `want`."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return np.abs(got - want).max() / (np.sqrt(np.square(want).mean()) if scale is None else scale)


def _heat_BKHW(heat_BHWK):
    return np.moveaxis(np.asarray(heat_BHWK), -1, 1)


@jax.jit(static_argnums=0)
def _forward(graph, state, images_BHWC):
    return nnx.merge(graph, state, copy=True)(images_BHWC).heatmaps


@jax.jit(static_argnums=0)
def _loss_and_gradients(graph, params, statistics, images_BHWC, target_BHWK, weight_BK):
    """(loss, heatmaps, running statistics afterwards), gradients."""

    def loss(params):
        detector = nnx.merge(graph, params, statistics, copy=True)
        heat_BHWK = detector(images_BHWC, train=True).heatmaps
        after = nnx.to_pure_dict(nnx.state(detector, nnx.BatchStat))
        value = heatmap_loss(heat_BHWK, target_BHWK, weight_BK)
        return value, (value, heat_BHWK, after)

    gradients, aux = jax.grad(loss, has_aux=True)(params)
    return aux, gradients


@jax.jit
def _adam(gradients, opt_state, params):
    updates, opt_state = ADAM.update(gradients, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def _split(hrnet, dtype=jnp.float32):
    graph, params, statistics = nnx.split(hrnet, nnx.Param, nnx.BatchStat)
    cast = partial(jax.tree.map, lambda a: a.astype(dtype))
    return graph, cast(nnx.to_pure_dict(params)), cast(nnx.to_pure_dict(statistics))


def _upstream_names(graph, params, statistics):
    return torch_weights.dump(nnx.merge(graph, params, statistics))


def _batch(arrays, images, step, dtype):
    target_BKHW = arrays["in_target"][step]
    return (
        jnp.asarray(images[step], dtype),
        jnp.asarray(np.moveaxis(target_BKHW, 1, -1), dtype),
        jnp.asarray(arrays["in_target_weight"][step][..., 0], dtype),
    )


def _train(hrnet, manifest, arrays, dtype):
    """Four steps; everything by upstream's names."""
    torch_weights.load(hrnet, fill_state_dict(manifest))
    graph, params, statistics = _split(hrnet, dtype)
    images = list(input_arrays(manifest).values())
    opt_state = ADAM.init(params)
    run = types.SimpleNamespace(losses=[], gradients=None, heat=None, values=[])
    for step in range(STEPS):
        batch = _batch(arrays, images, step, dtype)
        (loss, heat, statistics_after), gradients = _loss_and_gradients(
            graph, params, statistics, *batch
        )
        if step == 0:
            run.heat = _heat_BKHW(heat)
            run.gradients = _upstream_names(graph, gradients, statistics)
        statistics = statistics_after
        params, opt_state = _adam(gradients, opt_state, params)
        run.losses.append(float(loss))
        run.values.append(_upstream_names(graph, params, statistics))
    return run


@pytest.fixture(scope="module")
def trained(hrnet, golden):
    manifest, arrays = golden("train_steps_ft2d")
    return _train(hrnet, manifest, arrays, jnp.float32)


@pytest.fixture(scope="module")
def trained64(hrnet, golden):
    manifest, arrays = golden("train_steps_ft2d")
    with jax.enable_x64(True):
        return _train(hrnet, manifest, arrays, jnp.float64)


def _entries(array, want):
    return np.asarray(array).reshape(-1)[: want.shape[-1]]


@pytest.mark.slow
def test_weights_go_in_and_out_unchanged(hrnet, golden):
    manifest, _ = golden("hrnet_w32_384x288")
    torch_weights.load(hrnet, fill_state_dict(manifest))
    assert fingerprint(torch_weights.dump(hrnet)) == manifest["state_fingerprint"]


def test_heatmaps(hrnet, golden):
    manifest, arrays = golden("hrnet_w32_384x288")
    torch_weights.load(hrnet, fill_state_dict(manifest))
    (images,) = input_arrays(manifest).values()
    graph, state = nnx.split(hrnet)
    heat = _forward(graph, nnx.to_pure_dict(state), jnp.asarray(images))
    assert _off(_heat_BKHW(heat), arrays["heatmap"]) < 5e-5


@pytest.mark.slow
def test_training_mode_and_running_statistics(hrnet, golden):
    manifest, arrays = golden("train_batchnorm")
    part = manifest["parts"]["hrnet_w32"]
    torch_weights.load(hrnet, fill_state_dict(part))
    (images,) = input_arrays(part).values()
    graph, params, statistics = _split(hrnet)
    targets = jnp.zeros((2, 32, 24, 17)), jnp.zeros((2, 17))
    (_, heat, after), _ = _loss_and_gradients(
        graph, params, statistics, jnp.asarray(images), *targets
    )
    assert _off(_heat_BKHW(heat), arrays["hrnet_w32/heatmap"]) < 5e-5
    got = _upstream_names(graph, params, after)
    for layer in part["stored_layers"]:
        for name in (f"{layer}.running_mean", f"{layer}.running_var"):
            assert _off(got[name], arrays[f"hrnet_w32/after/{name}"]) < 2e-5, name


@pytest.mark.slow
def test_losses(trained, golden):
    manifest, arrays = golden("train_steps_ft2d")
    tolerance = manifest["suggested_tolerance"]["float32"]["loss"]["relative_per_step"]
    relative = np.abs(np.array(trained.losses) / arrays["loss"] - 1)
    assert (relative < tolerance).all(), relative


@pytest.mark.slow
def test_first_step(trained, golden):
    manifest, arrays = golden("train_steps_ft2d")
    tolerance = manifest["suggested_tolerance"]["float32"]
    assert _off(trained.heat, arrays["heatmap_step1"]) < 6e-5
    norms = [np.linalg.norm(trained.gradients[name]) for name in manifest["parameters"]]
    relative = np.abs(np.array(norms) / arrays["grad_norm_step1"] - 1)
    assert relative.max() < tolerance["grad_norm_step1"]["relative"]
    assert np.median(relative) < tolerance["grad_norm_step1"]["median_relative"]
    for name in manifest["chosen"]:
        want = arrays[f"grad/{name}"][0]
        limit = tolerance["grad_step1"][name]["max_abs_over_rms"]
        assert _off(_entries(trained.gradients[name], want), want) < limit, name
        use = arrays[f"use/{name}"]
        want = arrays[f"value/{name}"][0]
        got = _entries(trained.values[0][name], want)
        assert _off(got[use], want[use], LEARNING_RATE) < 9e-3, name


@pytest.mark.slow
def test_last_step(trained, golden):
    manifest, arrays = golden("train_steps_ft2d")
    tolerance = manifest["suggested_tolerance"]["float32"]
    for name, limit in tolerance["value_step4"].items():
        want = arrays[f"value/{name}"][-1]
        off = np.abs(_entries(trained.values[-1][name], want) - want)[arrays[f"use/{name}"]]
        assert np.median(off) / LEARNING_RATE < limit["median_over_lr"], name
        assert np.quantile(off, 0.95) / LEARNING_RATE < limit["p95_over_lr"], name
    for name, limit in tolerance["after"].items():
        assert _off(trained.values[-1][name], arrays[f"after/{name}"]) < limit, name


@pytest.mark.slow
def test_float64(trained64, golden):
    manifest, arrays = golden("train_steps_ft2d")
    assert trained64.heat.dtype == np.float64
    assert {a.dtype for a in trained64.values[-1].values()} == {np.dtype("f8"), np.dtype("i8")}
    np.testing.assert_allclose(trained64.losses, arrays["loss_float64"], rtol=1e-8)
    norms = [np.linalg.norm(trained64.gradients[name]) for name in manifest["parameters"]]
    np.testing.assert_allclose(norms, arrays["grad_norm_step1_float64"], rtol=1e-7)
    for name in manifest["chosen"]:
        want = arrays[f"grad_float64/{name}"][0]
        assert _off(_entries(trained64.gradients[name], want), want) < 1e-7, name
        want = arrays[f"value_float64/{name}"][-1]
        got = _entries(trained64.values[-1][name], want)
        assert _off(got, want, LEARNING_RATE) < 1e-6, name
    for name in manifest["batch_norm_after_step4"]:
        for key in (f"{name}.running_mean", f"{name}.running_var"):
            assert _off(trained64.values[-1][key], arrays[f"after_float64/{key}"]) < 1e-8, key


def test_optimizer_alone(golden):
    manifest, arrays = golden("train_steps_ft2d")
    initial = fill_state_dict(manifest)
    params = {
        name: jnp.asarray(_entries(initial[name], arrays[f"value/{name}"]))
        for name in manifest["chosen"]
    }
    opt_state = ADAM.init(params)
    for step in range(STEPS):
        gradients = {name: jnp.asarray(arrays[f"grad/{name}"][step]) for name in params}
        params, opt_state = _adam(gradients, opt_state, params)
        for name, value in params.items():
            assert _off(value, arrays[f"value/{name}"][step], LEARNING_RATE) < 1e-3, name
