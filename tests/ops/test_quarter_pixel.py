import jax
import jax.numpy as jnp
import numpy as np

from liftjax import geometry
from liftjax.ops.quarter_pixel import quarter_pixel_shift
from liftjax.ops.soft_argmax import soft_argmax_2d


def test_golden_coordinates_after_the_shift(golden):
    manifest, arrays = golden("losses_single_sb")
    heat_BHWK = jnp.asarray(arrays["in_heatmap"].transpose(0, 2, 3, 1))
    shifted = quarter_pixel_shift(soft_argmax_2d(heat_BHWK, manifest["beta"]), heat_BHWK)
    _, height, width, _ = heat_BHWK.shape
    size_px = arrays["in_scale"][:, :1] * 200
    to_heat = geometry.region_affine(arrays["in_center"], size_px[:, 0], (height, width))
    pixels = geometry.apply_affine(geometry.invert_affine(to_heat), np.asarray(shifted))
    np.testing.assert_allclose(pixels, arrays["coords_image_postprocess"], atol=5e-3)


def test_it_moves_towards_the_higher_neighbour_and_stays_at_the_border():
    heat = jnp.zeros((1, 8, 8, 2)).at[0, 4, 5, 0].set(1.0).at[0, 3, 4, 0].set(1.0)
    kpts = jnp.array([[[4.0, 4.0], [1.0, 4.0]]])
    np.testing.assert_allclose(quarter_pixel_shift(kpts, heat), [[[4.25, 3.75], [1.0, 4.0]]])


def test_the_shift_has_no_gradient():
    heat = jnp.asarray(np.random.default_rng(0).normal(size=(1, 8, 8, 3)), jnp.float32)
    kpts = jnp.full((1, 3, 2), 4.0)
    by_heat = jax.grad(lambda h: quarter_pixel_shift(kpts, h).sum())(heat)
    by_kpts = jax.grad(lambda k: quarter_pixel_shift(k, heat).sum())(kpts)
    np.testing.assert_array_equal(by_heat, 0)
    np.testing.assert_array_equal(by_kpts, 1)
