"""Heatmap and SimCC targets: golden maps, the paper's formulas, and joints at the border."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax.losses.detection import gaussian_heatmaps, simcc_labels
from liftjax.ops.soft_argmax import soft_argmax_1d, soft_argmax_2d


def test_golden_heatmaps(golden):
    _, arrays = golden("metrics")
    maps_BHWK, weight_BK = jax.jit(gaussian_heatmaps, static_argnums=(2, 3, 4))(
        jnp.asarray(arrays["target_joints"], jnp.float32),
        jnp.asarray(arrays["target_visible"], jnp.float32),
        (96, 72), 4, 3,
    )  # fmt: skip
    np.testing.assert_allclose(maps_BHWK, arrays["target_maps"].transpose(0, 2, 3, 1), atol=1e-6)
    np.testing.assert_array_equal(weight_BK, arrays["target_weight"][..., 0])


def test_heatmap_by_hand():
    joints = jnp.asarray([[[9.9, 18.2]]])
    maps, weight = gaussian_heatmaps(joints, jnp.ones((1, 1)), (12, 16), stride=4, sigma=1)
    rows, columns = np.mgrid[:12, :16]
    expected = np.exp(-((columns - 2) ** 2 + (rows - 5) ** 2) / 2)
    expected[(abs(columns - 2) > 3) | (abs(rows - 5) > 3)] = 0
    np.testing.assert_allclose(maps[0, :, :, 0], expected, atol=1e-6)
    assert weight.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("x", "weight"), [(-4.0, 1), (-5.0, 0), (18.0, 1), (19.0, 0), (8.0, 1), (np.nan, 0)]
)
def test_joint_whose_square_misses_the_map_has_no_weight(x, weight):
    joints = jnp.asarray([[[x, 5.0]]]) - 0.4
    maps, found = gaussian_heatmaps(joints, jnp.ones((1, 1)), (12, 16), stride=1, sigma=1)
    assert found.tolist() == [[weight]]
    assert bool(maps.any()) == bool(weight)
    assert np.isfinite(maps).all()


def test_invisible_joints_have_empty_targets():
    joints, visible = jnp.full((1, 2, 2), 20.0), jnp.asarray([[0, 1]], bool)
    maps, weight = gaussian_heatmaps(joints, visible, (16, 12), 4, 2)
    assert weight.tolist() == [[0, 1]]
    assert not maps[..., 0].any()
    assert float(maps[..., 1].max()) == 1
    x, y, weight = simcc_labels(joints, visible, (64, 48), 2.0, (4.9, 5.66))
    assert weight.tolist() == [[0, 1]]
    assert not x[0, 0].any()
    assert float(y[0, 1].max()) == 1


def test_simcc_labels_by_hand():
    joints = jnp.asarray([[[10.3, 50.0], [47.9, 0.1]]])
    x, y, weight = simcc_labels(joints, jnp.ones((1, 2)), (64, 48), 2.0, (4.9, 5.66))
    assert (x.shape, y.shape) == ((1, 2, 96), (1, 2, 128))
    assert weight.tolist() == [[1, 1]]
    bins = np.arange(96)
    for joint, centre in enumerate((21, 96)):
        expected = np.exp(-((bins - centre) ** 2) / (2 * 4.9**2))
        np.testing.assert_allclose(x[0, joint], expected, atol=1e-6)
    assert int(y[0, 0].argmax()) == 100


def test_decoding_targets_gives_the_joints_back():
    joints = jnp.asarray(np.random.default_rng(0).uniform(40, 150, (2, 17, 2)), jnp.float32)
    visible = jnp.ones((2, 17))

    @jax.jit
    def decoded(joints):
        maps, _ = gaussian_heatmaps(joints, visible, (64, 48), stride=4, sigma=2)
        x, y, _ = simcc_labels(joints, visible, (256, 192), 2.0, (4.9, 5.66))
        along = [soft_argmax_1d(x, 500.0), soft_argmax_1d(y, 500.0)]
        return soft_argmax_2d(maps, 100.0) * 4, jnp.stack(along, axis=-1) / 2

    of_maps, of_vectors = decoded(joints)
    assert np.abs(of_maps - joints).max() <= 2 + 1e-3
    assert np.abs(of_vectors - joints).max() <= 0.25 + 1e-3


def test_low_precision_joints_are_raised():
    joints = jnp.full((1, 1, 2), 20.0, jnp.bfloat16)
    maps, weight = gaussian_heatmaps(joints, jnp.ones((1, 1)), (16, 12), 4, 2)
    assert maps.dtype == weight.dtype == jnp.float32
