import numpy as np
import pytest

from liftjax import geometry
from liftjax.data.augment import Augment, color_matrix, draw_changes, transform_view
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M

PERMUTATION = HUMAN36M.flip_permutation
N = 6


def rotations(rng, count):
    Q, _ = np.linalg.qr(rng.normal(size=(count, 3, 3)))
    return Q * np.sign(np.linalg.det(Q))[:, None, None]


@pytest.fixture
def labels():
    """Stacked fields of people 4 to 6 m before lenses of strong, skewed distortion."""
    rng = np.random.default_rng(0)
    K = np.zeros((N, 3, 3))
    K[:, 0, 0], K[:, 1, 1] = rng.uniform(1000, 1300, (2, N))
    K[:, 0, 1] = rng.uniform(-5, 5, N)
    K[:, :2, 2] = rng.uniform(450, 550, (N, 2))
    K[:, 2, 2] = 1
    scale = np.array([[0.2, 0.2, 0.005, 0.005, 0.05]])
    root = rng.uniform([-0.5, -0.5, 4], [0.5, 0.5, 6], (N, 3))
    pose = rng.normal(0, 0.4, (N, 17, 3))
    pose[:, 0] = 0
    R, t = rotations(rng, N), rng.normal(size=(N, 3))
    return {
        "pose_m": pose,
        "root_m": root,
        "camera_K": K,
        "camera_R": R,
        "camera_t": t,
        "camera_distortion": rng.normal(size=(N, 5)) * scale,
        "image_size": np.tile([1000, 1002], (N, 1)).astype(np.int32),
        "joint_visible": rng.random((N, 17)) > 0.3,
        "box_xyxy": np.tile([100.0, 200, 300, 700], (N, 1)),
        "stored_to_image": np.tile([[1.5, 0, 90], [0, 1.5, 150]], (N, 1, 1)),
        "subject": np.array(["S1"] * N),
    }


def project(labels, model):
    points = labels["pose_m"] + labels["root_m"][:, None]
    return geometry.project(points, labels["camera_K"], labels["camera_distortion"], model)


VIEWS = {
    "flip": (np.ones(N, bool), np.zeros(N)),
    "turn": (np.zeros(N, bool), np.linspace(-1, 1, N)),
    "both": (np.arange(N) % 2 == 0, np.linspace(-3, 3, N)),
}


@pytest.mark.parametrize("model", ["opencv", "human36m"])
@pytest.mark.parametrize("view", VIEWS)
def test_the_augmented_camera_projects_the_augmented_pose_to_the_augmented_2d(labels, view, model):
    labels["joints_px"] = project(labels, model)
    changed = transform_view(labels, *VIEWS[view], PERMUTATION)
    assert np.abs(changed["joints_px"] - labels["joints_px"]).max() > 50
    np.testing.assert_allclose(project(changed, model), changed["joints_px"], atol=1e-6)
    rays = geometry.pixel_rays(
        labels["joints_px"], labels["camera_K"], labels["camera_distortion"], model
    )
    assert np.isfinite(rays).all()


@pytest.mark.parametrize("view", VIEWS)
def test_cameras_stay_right_handed_and_see_the_mirrored_world(labels, view):
    reflect, angle = VIEWS[view]
    changed = transform_view(labels, reflect, angle, PERMUTATION)
    R = changed["camera_R"]
    np.testing.assert_allclose(R @ R.swapaxes(1, 2), np.tile(np.eye(3), (N, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(R), 1)
    before = geometry.camera_to_world(
        labels["pose_m"] + labels["root_m"][:, None], labels["camera_R"], labels["camera_t"]
    )
    after = geometry.camera_to_world(
        changed["pose_m"] + changed["root_m"][:, None], R, changed["camera_t"]
    )
    mirrored = np.where(reflect[:, None, None], before[:, PERMUTATION] * [-1, 1, 1], before)
    np.testing.assert_allclose(after, mirrored, atol=1e-12)


def test_a_flip_is_the_mirror_image_with_left_and_right_exchanged(labels):
    labels["joints_px"] = project(labels, "opencv")
    flipped = transform_view(labels, np.ones(N, bool), np.zeros(N), PERMUTATION)
    x, y = np.moveaxis(labels["joints_px"][:, PERMUTATION], -1, 0)
    np.testing.assert_allclose(flipped["joints_px"], np.stack([999 - x, y], -1))
    np.testing.assert_array_equal(flipped["joint_visible"], labels["joint_visible"][:, PERMUTATION])
    np.testing.assert_allclose(flipped["box_xyxy"][0], [699, 200, 899, 700])
    np.testing.assert_allclose(flipped["stored_to_image"][0] @ [2, 4, 1], [999 - 93, 156])
    assert flipped["subject"] is labels["subject"]
    assert all(flipped[key].dtype == labels[key].dtype for key in labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flipping_twice_is_the_identity(labels, dtype):
    labels["joints_px"] = project(labels, "opencv")
    labels = {k: v.astype(dtype) if v.dtype == np.float64 else v for k, v in labels.items()}
    once = transform_view(labels, np.ones(N, bool), np.zeros(N), PERMUTATION)
    twice = transform_view(once, np.ones(N, bool), np.zeros(N), PERMUTATION)
    tolerance = 1e-10 if dtype is np.float64 else 1e-4
    for key, value in labels.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(twice[key], value, atol=tolerance)
        else:
            np.testing.assert_array_equal(twice[key], value)


def test_a_quarter_turn_carries_the_box_along(labels):
    turned = transform_view(labels, np.zeros(N, bool), np.full(N, np.pi / 2), PERMUTATION)
    # About (499.5, 500.5), x towards y: (x, y) goes to (499.5 + 500.5 - y, 500.5 - 499.5 + x).
    np.testing.assert_allclose(turned["box_xyxy"][0], [300, 101, 800, 301], atol=1e-9)


def test_samples_without_3d_flip_in_2d_and_keep_zeros(labels):
    empty = {"pose_m": np.zeros((N, 17, 3), np.float32), "root_m": np.zeros((N, 3), np.float32)}
    labels |= empty | {"camera_K": np.tile(np.eye(3), (N, 1, 1)), "joints_px": np.ones((N, 17, 2))}
    changed = transform_view(labels, np.ones(N, bool), np.full(N, 0.3), PERMUTATION)
    for key in empty:
        assert not changed[key].any()
    assert all(np.isfinite(v).all() for v in changed.values() if v.dtype.kind == "f")
    assert (changed["joints_px"] != labels["joints_px"]).all()


def test_draws_depend_on_seed_step_and_row_alone():
    amounts = Augment(flip=0.5, rotation=30, scale=0.25, color=0.4, roll=10)
    whole = draw_changes(amounts, 3, 7, slice(0, 8), 8)
    part = draw_changes(amounts, 3, 7, slice(2, 5), 8)
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[2:5], b)
    for seed, step in ((4, 7), (3, 8)):
        assert (draw_changes(amounts, seed, step, slice(0, 8), 8).rotation != whole.rotation).all()


def test_draws_stay_within_what_is_asked_for_and_fill_it():
    amounts = Augment(flip=0.25, rotation=30, scale=0.25, roll=10)
    many = draw_changes(amounts, 0, 0, slice(0, 4000), 4000)
    assert 0.22 < many.reflect.mean() < 0.28
    for values, low, high in (
        (np.degrees(many.rotation), -30, 30),
        (np.degrees(many.roll), -10, 10),
        (many.scale, 0.75, 1.25),
    ):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high >= values.max() > high - 0.01 * (high - low)
    assert many.color is None


def test_colour_maps():
    none, bright, flat, grey = color_matrix([0, 0.5, 0, 0], [0, 0, -1, 0], [0, 0, 0, -1])
    color = np.array([10.0, 100, 200, 1])
    np.testing.assert_allclose(none @ color, color[:3])
    np.testing.assert_allclose(bright @ color, color[:3] + 64)
    np.testing.assert_allclose(flat @ color, [128] * 3)
    np.testing.assert_allclose(grey @ color, [10 * 0.299 + 100 * 0.587 + 200 * 0.114] * 3)


def test_amounts_that_make_no_sense_are_named():
    assert not Augment()
    assert not Augment.of(None)
    assert Augment.of({"flip": 0.5})
    with pytest.raises(LiftjaxError, match=r"augment.flip is 2; choose a number from 0 to 1"):
        Augment(flip=2)
    with pytest.raises(LiftjaxError, match=r"did you mean 'rotation'"):
        Augment.of({"rotatoin": 3})
