import jax.numpy as jnp
import numpy as np
import pytest

from liftjax import geometry
from liftjax.lifters.mirror import mirror_2d, mirror_3d
from liftjax.skeletons import get_skeleton


@pytest.mark.parametrize("skeleton", ["human36m", "panoptic"])
def test_mirrored_twice_is_the_pose_itself(skeleton):
    rng = np.random.default_rng(0)
    joints = get_skeleton(skeleton).num_joints
    px = jnp.asarray(rng.integers(0, 999, (2, 3, joints, 2)), jnp.float32)
    pose, size = jnp.asarray(rng.normal(size=(2, 3, joints, 3))), jnp.array([[1000.0, 1002.0]] * 2)
    twice = mirror_2d(mirror_2d(px, size, skeleton), size, skeleton)
    np.testing.assert_array_equal(twice, px)
    np.testing.assert_array_equal(mirror_3d(mirror_3d(pose, skeleton), skeleton), pose)


def test_the_mirror_stands_where_the_screen_is_zero_and_sides_change():
    """As VideoPose3D, which negates normalised x."""
    rng = np.random.default_rng(1)
    px = jnp.asarray(rng.uniform(0, 999, (1, 1, 17, 2)), jnp.float32)
    size = jnp.array([[1000.0, 1002.0]])
    left, right = [4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]
    expected = np.array(geometry.normalize_screen(px, size))
    expected[..., 0] *= -1
    expected[:, :, left + right] = expected[:, :, right + left]
    mirrored = geometry.normalize_screen(mirror_2d(px, size, "human36m"), size)
    np.testing.assert_allclose(mirrored, expected, atol=1e-6)


def test_2d_and_3d_are_mirrored_alike():
    """A centred camera without distortion projects the mirrored pose to the mirrored pixels."""
    rng = np.random.default_rng(2)
    pose = jnp.asarray(rng.normal(size=(1, 1, 17, 3)) * 0.4, jnp.float32)
    K = np.array([[1000.0, 0, 500], [0, 1000, 500], [0, 0, 1]])

    def project(pose):
        return geometry.project(pose + jnp.array([0, 0, 5.0]).reshape(1, 1, 1, 3), K, np.zeros(5))

    size = jnp.array([[1000.0, 1000.0]])
    np.testing.assert_allclose(
        project(mirror_3d(pose, "human36m")),
        mirror_2d(project(pose), size, "human36m"),
        atol=1e-3,
    )
