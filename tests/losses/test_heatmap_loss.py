"""The heatmap loss without stored Gaussians, against its twin with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax import losses
from liftjax.losses import detection as targets
from liftjax.losses.detection import (
    gaussian_heatmap_loss_per_joint,
    soft_argmax_and_heatmap_loss,
)

SIGMA = 2.0


def problem(dtype=jnp.float32, shape=(3, 24, 18, 6), seed=0):
    """Maps, joints in crop pixels (stride 4) inside, at the border and beyond, and visibility."""
    rng = np.random.default_rng(seed)
    B, H, W, K = shape
    heat = jnp.asarray(rng.normal(0.1, 0.3, shape), dtype)
    joints = rng.uniform(-40, 4 * max(H, W) + 40, (B, K, 2))
    joints[0, 0], joints[0, 1] = np.nan, (0, 4 * H - 1)
    visible = rng.choice([0.0, 0.3, 0.7, 1.0], (B, K))
    visible[0, :2] = 1
    wide = jnp.promote_types(dtype, jnp.float32)
    return heat, jnp.asarray(joints, wide), jnp.asarray(visible, wide)


def ours(heat, joints, visible):
    place = (joints, visible, heat.shape[1:3], 4, SIGMA)
    center, weight = targets.gaussian_centers(*place)
    return gaussian_heatmap_loss_per_joint(heat, center, weight, SIGMA)


def twin(heat, joints, visible):
    maps, weight = targets.gaussian_heatmaps(joints, visible, heat.shape[1:3], 4, SIGMA)
    return losses.heatmap_loss_per_joint(heat, maps, weight)


def value_and_gradients(loss, heat, joints, visible):
    """(B, K) losses, and the derivatives of a weighted sum of them by the maps and the weights."""
    value, pull = jax.vjp(lambda heat, visible: loss(heat, joints, visible), heat, visible)
    factor = jnp.asarray(np.random.default_rng(1).normal(size=value.shape), value.dtype)
    return value, *pull(factor)


@pytest.mark.parametrize("shape", [(3, 24, 18, 6), (1, 96, 72, 17), (2, 5, 7, 1)])
def test_equals_the_twin_that_stores_gaussians(shape):
    """In float32 to rounding: the sums may be taken in another order, all else is the same."""
    arguments = problem(shape=shape) if shape[-1] > 1 else problem(shape=(2, 5, 7, 2))
    compiled = [jax.jit(lambda *a, f=f: value_and_gradients(f, *a)) for f in (ours, twin)]
    for a, b in zip(*(run(*arguments) for run in compiled), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6 * float(np.abs(b).max()))


def test_equals_the_twin_in_float64():
    with jax.enable_x64(True):
        arguments = problem(jnp.float64)
        pairs = zip(*(value_and_gradients(f, *arguments) for f in (ours, twin)), strict=True)
        for a, b in pairs:
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_bfloat16_maps_are_raised():
    heat, joints, visible = problem(jnp.bfloat16)
    value, grad, _ = value_and_gradients(ours, heat, joints, visible)
    wide, wide_grad, _ = value_and_gradients(ours, heat.astype(jnp.float32), joints, visible)
    assert (value.dtype, grad.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_array_equal(value, wide)
    np.testing.assert_array_equal(grad, wide_grad.astype(jnp.bfloat16))


def test_by_hand():
    heat = jnp.zeros((1, 9, 9, 2)).at[0, 4, 3, 1].set(1.0)
    center, weight = jnp.asarray([[[3.0, 4.0], [3.0, 4.0]]]), jnp.asarray([[1.0, 0.6]])
    rows, columns = np.mgrid[:9, :9]
    gaussian = np.exp(-((columns - 3) ** 2 + (rows - 4) ** 2) / 2)
    gaussian[(abs(columns - 3) > 3) | (abs(rows - 4) > 3)] = 0
    expected = 0.5 * np.square(gaussian).mean(), 0.18 * (np.square(gaussian).sum() - 1) / 81
    np.testing.assert_allclose(
        gaussian_heatmap_loss_per_joint(heat, center, weight, 1.0), [expected], rtol=1e-5
    )


def test_nothing_flows_to_the_labels_centre():
    heat, _, _ = problem()
    center, weight = jnp.full((3, 6, 2), 8.0), jnp.ones((3, 6))
    grad = jax.grad(lambda c: gaussian_heatmap_loss_per_joint(heat, c, weight, SIGMA).sum())(center)
    assert not np.asarray(grad).any()


@pytest.mark.parametrize("loss", [gaussian_heatmap_loss_per_joint, soft_argmax_and_heatmap_loss])
def test_derivative_keeps_the_map_and_a_few_numbers_a_joint(loss):
    heat = problem(jnp.bfloat16)[0]
    center, weight = jnp.full((3, 6, 2), 8.0), jnp.ones((3, 6))
    _, pull = jax.vjp(lambda heat: loss(heat, center, weight, SIGMA), heat)
    kept = [leaf for leaf in jax.tree.leaves(pull) if hasattr(leaf, "shape")]
    large = [leaf for leaf in kept if leaf.size >= heat.size]
    assert [leaf.dtype for leaf in large] == [heat.dtype]


def test_bad_shapes():
    with pytest.raises(ValueError, match="centres"):
        gaussian_heatmap_loss_per_joint(
            jnp.zeros((2, 4, 4, 3)), jnp.zeros((2, 4, 2)), jnp.ones((2, 3)), 1
        )
    with pytest.raises(ValueError, match=r"\(B, H, W, K\)"):
        gaussian_heatmap_loss_per_joint(
            jnp.zeros((4, 4, 3)), jnp.zeros((2, 3, 2)), jnp.ones((2, 3)), 1
        )
