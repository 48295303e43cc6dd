"""Properties of HRNet, on a small one: same code, fewer and narrower layers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax.detectors import hrnet
from liftjax.detectors.hrnet import HRNet
from liftjax.detectors.spec import HeatmapOutput
from liftjax.errors import LiftjaxError
from liftjax.nn.layers import compile_for

SMALL = {"width": 4, "stem_width": 4, "stem_blocks": 3, "modules": (1, 1, 1), "blocks": 2}


def _hrnet(image_size=(64, 32), seed=0, **options):
    return HRNet(5, image_size, **(SMALL | options), rngs=nnx.Rngs(seed))


def _wake(module, seed=1):
    """Random weights of ordinary size; the initial ones leave some layers without signal."""
    rng = np.random.default_rng(seed)
    for path, variable in nnx.to_flat_state(nnx.state(module, nnx.Param)):
        centre = 1.0 if path[-1] == "scale" else 0.0
        variable[...] = jnp.asarray(rng.normal(centre, 0.3, variable.shape), variable.dtype)
    return module


def _images(batch=4, image_size=(64, 32)):
    return jnp.asarray(np.random.default_rng(0).normal(size=(batch, *image_size, 3)), jnp.float32)


@jax.jit(static_argnums=0)
def _train_step(graph, params, statistics, images):
    """Heatmaps, gradients of their mean square, and new running statistics."""

    def loss(params):
        module = nnx.merge(graph, params, statistics, copy=True)
        heat = module(images, train=True).heatmaps
        after = nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))
        return jnp.square(heat - 1).mean(), (heat, after)

    gradients, (heat, after) = jax.grad(loss, has_aux=True)(params)
    return heat, gradients, after


def _run_step(module):
    """In float64, so that two orders of summation differ by next to nothing."""
    graph, params, statistics = nnx.split(module, nnx.Param, nnx.BatchStat)
    with jax.enable_x64(True):
        params, statistics, images = jax.tree.map(
            lambda a: jnp.asarray(a, jnp.float64),
            (nnx.to_pure_dict(params), nnx.to_pure_dict(statistics), _images()),
        )
        return _train_step(graph, params, statistics, images)


@pytest.fixture(scope="module")
def scanned_step():
    return _run_step(_wake(_hrnet(scan_blocks=True)))


@pytest.mark.slow
def test_the_forms_for_accelerators_give_what_those_for_a_cpu_give(scanned_step):
    """Blocks one by one instead of in loops, and products folded into their batch norms."""
    module = _wake(_hrnet())
    compile_for(module, "tpu")
    for got, want in zip(*map(jax.tree.leaves, (_run_step(module), scanned_step)), strict=True):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-9 * np.abs(want).max())


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("factor", [2, 4])
def test_enlargement_as_a_convolution_copies(factor, dtype):
    """Exactly; its derivative adds as many numbers, in another order."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3, 5)), dtype)
    forms = (hrnet._upsample_as_convolution, hrnet._upsample_as_copies)
    (y, pull), (expected, pull_expected) = (jax.vjp(partial(f, factor=factor), x) for f in forms)
    np.testing.assert_array_equal(y, expected)
    dy = jnp.asarray(np.random.default_rng(1).normal(size=y.shape), dtype)
    tolerance = factor**2 * jnp.finfo(dtype).eps
    (ours,), (theirs,) = (np.asarray(f(dy)[0], np.float32)[None] for f in (pull, pull_expected))
    np.testing.assert_allclose(ours, theirs, atol=float(tolerance * np.abs(theirs).max()))


@pytest.mark.slow
def test_training_mode_moves_every_running_statistic(scanned_step):
    _, _, after = scanned_step
    before = nnx.to_pure_dict(nnx.state(_hrnet(), nnx.BatchStat))
    moved = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(), after, before)
    assert min(jax.tree.leaves(moved)) > 0


def test_evaluation_changes_nothing_and_repeats():
    module = _wake(_hrnet())
    before = nnx.to_pure_dict(nnx.state(module))
    forward = nnx.jit(lambda m, x: m(x).heatmaps)
    first, second = forward(module, _images()), forward(module, _images())
    np.testing.assert_array_equal(first, second)
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(module)), before)


@pytest.mark.parametrize("image_size", [(32, 32), (96, 32), (64, 160)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_heatmaps_are_a_quarter_of_the_image_and_never_below_float32(image_size, dtype):
    module = _hrnet(image_size)
    images = jax.ShapeDtypeStruct((2, *image_size, 3), dtype)
    heat = nnx.eval_shape(lambda m, x: m(x).heatmaps, module, images)
    assert heat.shape == (2, image_size[0] // 4, image_size[1] // 4, 5)
    assert heat.dtype == jnp.float32
    assert module.spec.output_size == heat.shape[1:3]


@pytest.mark.parametrize("image_size", [(100, 96), (128, 72), (0, 32)])
def test_refuses_image_sizes_that_the_branches_cannot_halve(image_size):
    with pytest.raises(LiftjaxError, match=r"multiples of 32"):
        _hrnet(image_size)


def test_decode_gives_the_peak_in_crop_pixels():
    module = _hrnet()
    heat = np.zeros((1, 16, 8, 5), np.float32)
    heat[0, 11, 3, 2] = 1
    out = HeatmapOutput(jnp.asarray(heat))
    np.testing.assert_allclose(module.decode(out)[0, 2], [4 * 3, 4 * 11], atol=1e-3)


def test_normalize_centres_the_colours():
    spec = _hrnet().spec
    grey = np.array(spec.mean).reshape(1, 1, 1, 3) * 255
    np.testing.assert_allclose(spec.normalize(jnp.asarray(grey)), 0, atol=1e-6)
