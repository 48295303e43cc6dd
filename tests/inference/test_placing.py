import numpy as np

from liftjax.geometry import project
from liftjax.inference import placing

FOCAL, CENTER = 1100.0, np.array([639.5, 359.5])
CAMERA = np.array([[FOCAL, 0, CENTER[0]], [0, FOCAL, CENTER[1]], [0, 0, 1]])


def people(count: int = 50):
    """Poses around their roots, and where these are."""
    rng = np.random.default_rng(0)
    poses = rng.normal(scale=0.4, size=(count, 17, 3))
    return poses, rng.uniform([-2, -1, 2.5], [2, 1, 9], size=(count, 3))


def placed(poses, kpts_px, weights=None):
    count = len(poses)
    weights = np.ones(poses.shape[:2]) if weights is None else weights
    return placing.place_roots(
        poses, kpts_px, weights, np.full(count, FOCAL), np.tile(CENTER, (count, 1))
    )


def test_a_pose_is_found_where_its_projection_comes_from():
    poses, roots = people()
    kpts_px = project(poses + roots[:, None], CAMERA, np.zeros(5))
    np.testing.assert_allclose(placed(poses, kpts_px), roots, rtol=1e-5, atol=1e-5)


def test_keypoints_without_weight_hardly_count():
    poses, roots = people()
    kpts_px = project(poses + roots[:, None], CAMERA, np.zeros(5))
    kpts_px[:, 3] += 100
    weights = np.ones(poses.shape[:2])
    weights[:, 3] = 0
    wrong = np.abs(placed(poses, kpts_px) - roots).max()
    assert np.abs(placed(poses, kpts_px, weights) - roots).max() < 0.02 * wrong


def test_a_mirrored_person_stands_before_the_camera_all_the_same():
    """Keypoints that fit no place before the camera: the size tells the distance."""
    poses, roots = people()
    kpts_px = project(poses * [-1, -1, 1] + roots[:, None], CAMERA, np.zeros(5))
    found = placed(poses, kpts_px)
    assert (found[:, 2] > 0).all()
    np.testing.assert_allclose(found[:, 2], roots[:, 2], rtol=0.3)


def test_keypoints_on_one_spot_are_a_kilometre_away():
    poses, _ = people(2)
    kpts_px = np.tile(CENTER, (2, 17, 1))
    np.testing.assert_allclose(placed(poses, kpts_px)[:, 2], 1000)
    np.testing.assert_allclose(placed(poses, kpts_px + 1e-3 * poses[..., :2])[:, 2], 1000)


def test_the_focal_length_given_or_assumed():
    sizes = np.array([[1000, 500], [300, 400]])
    np.testing.assert_allclose(placing.focal_px(sizes, None), [1150, 460])
    np.testing.assert_allclose(placing.focal_px(sizes, 900), [900, 900])
