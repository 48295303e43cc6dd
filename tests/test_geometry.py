"""Cameras, crops and screen coordinates against OpenCV, the golden arrays and their inverses."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax import geometry
from liftjax.errors import LiftjaxError
from tests.slow import slow

RNG = np.random.default_rng(0)
K = np.array([[1145.0, 0, 512.5], [0, 1143.8, 515.4], [0, 0, 1]])
DISTORTION = np.array([-0.207, 0.248, -0.0014, -0.00098, -0.003])
POINTS = np.stack(
    [RNG.uniform(-1.5, 1.5, 50), RNG.uniform(-1.5, 1.5, 50), RNG.uniform(3, 6, 50)], axis=-1
)


@pytest.fixture(scope="module")
def metrics(golden):
    return golden("metrics")[1]


def test_opencv_model_is_opencvs():
    expected, _ = cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), K, DISTORTION)
    np.testing.assert_allclose(geometry.project(POINTS, K, DISTORTION), expected[:, 0], atol=1e-9)


def test_undistortion_is_opencvs():
    px = RNG.uniform(0, 1000, (40, 2))
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-15)
    expected = cv2.undistortPoints(px, K, DISTORTION, criteria=criteria)
    np.testing.assert_allclose(geometry.pixel_rays(px, K, DISTORTION), expected[:, 0], atol=1e-10)


@pytest.mark.parametrize("model", ["opencv", "human36m"])
def test_pixel_rays_invert_project(model):
    px = geometry.project(POINTS, K, DISTORTION, model)
    rays = geometry.pixel_rays(px, K, DISTORTION, model)
    np.testing.assert_allclose(rays, POINTS[:, :2] / POINTS[:, 2:], atol=1e-12)


def test_pixel_rays_invert_a_skewed_and_strongly_distorted_camera():
    skewed = K + np.array([[0, 3.0, 0], [0, 0, 0], [0, 0, 0]])
    strong = np.array([-0.35, 0.21, 0.02, -0.015, 0.0])
    px = geometry.project(POINTS, skewed, strong)
    rays = geometry.pixel_rays(px, skewed, strong)
    np.testing.assert_allclose(rays, POINTS[:, :2] / POINTS[:, 2:], atol=1e-12)


def test_human36m_camera(metrics):
    R, T = metrics["h36m_R"], metrics["h36m_T"][:, 0]
    t = -R @ T
    cam = geometry.world_to_camera(metrics["world_points"], R, t)
    np.testing.assert_allclose(cam, metrics["h36m_camera_points"], atol=1e-9)
    np.testing.assert_allclose(
        geometry.camera_to_world(cam, R, t), metrics["h36m_back_to_world"], atol=1e-9
    )
    px = geometry.project(cam, metrics["h36m_K"], metrics["h36m_dist"], "human36m")
    np.testing.assert_allclose(px, metrics["h36m_pixels"], atol=1e-9)
    opencv = geometry.project(cam, metrics["h36m_K"], metrics["h36m_dist"])
    assert np.abs(opencv - px).max() > 1e-3


def test_panoptic_camera_is_opencvs_and_not_the_released_one(metrics):
    R, t = metrics["panoptic_R"], metrics["panoptic_t"][:, 0]
    cam = geometry.world_to_camera(metrics["world_points"], R, t)
    px = geometry.project(cam, metrics["panoptic_odd_K"], metrics["panoptic_odd_dist"])
    released = metrics["panoptic_odd_pixels_depth"][:2].T
    assert np.abs(px - released).max() > 0.1
    assert not np.allclose(cam, metrics["panoptic_world_to_camera_given_t"])


def test_unknown_distortion_model_names_the_nearest():
    with pytest.raises(LiftjaxError, match="human36m"):
        geometry.project(POINTS, K, DISTORTION, "human3.6m")


def test_boxes(metrics):
    box = geometry.box_from_joints(metrics["bbox_pose2d"], metrics["bbox_image_wh"])
    np.testing.assert_array_equal(box, metrics["bbox_xyxy"])
    center, size = geometry.crop_region(box, aspect=288 / 384)
    np.testing.assert_allclose(center, metrics["box_center"], rtol=1e-6)
    np.testing.assert_allclose(size, metrics["box_scale"] * 200, rtol=1e-6)


def test_box_counts_visible_joints_only():
    joints = np.array([[10.0, 20], [30, 60], [500, 500]])
    box = geometry.box_from_joints(joints, (100, 100), visible=[1, 1, 0])
    np.testing.assert_array_equal(box, [8, 17, 31, 63])
    everything = geometry.box_from_joints(joints, (100, 100), visible=[0, 0, 0])
    np.testing.assert_array_equal(everything, [0, 0, 100, 100])


def test_affine_maps(metrics):
    center, width = metrics["affine_center"], metrics["affine_scale"][:, 0] * 200
    for i, degrees in enumerate(metrics["affine_rotation_deg"]):
        affine = geometry.region_affine(
            center.astype(np.float64), width, (384, 288), np.deg2rad(degrees)
        )
        inverse = geometry.invert_affine(affine)
        for ours, expected in (
            (affine, metrics["affine_to_crop"][:, i]),
            (inverse, metrics["affine_to_image"][:, i]),
        ):
            # Entries differ by orders of magnitude: compare where corners of the picture go.
            corners = np.array([[0.0, 0], [1000, 0], [0, 1000], [1000, 1000]])
            batch = np.broadcast_to(corners, (len(ours), 4, 2))
            a, b = (geometry.apply_affine(m, batch) for m in (ours, expected))
            assert np.abs(a - b).max() <= 1e-5 * np.sqrt(np.square(b).mean())


def test_heatmap_pixels_times_stride_are_crop_pixels(metrics):
    center = metrics["affine_center"].astype(np.float64)
    affine = geometry.region_affine(center, metrics["affine_scale"][:, 0] * 200, (384, 288))
    image = geometry.apply_affine(geometry.invert_affine(affine), metrics["heatmap_points"] * 4)
    np.testing.assert_allclose(image, metrics["heatmap_points_in_image"], rtol=1e-5)


@pytest.mark.parametrize("box", [[100, 50, 200, 450], [100, 50, 600, 150], [7, 7, 7, 7]])
def test_crop_shows_the_whole_scaled_box(box):
    affine = geometry.crop_affine(np.array(box, np.float64), (384, 288), box_scale=1.25)
    corners = geometry.apply_affine(affine, np.array(box, np.float64).reshape(2, 2))
    assert np.isfinite(affine).all()
    sides = (corners[1] - corners[0]) / [288, 384]
    assert sides.max() <= 1 / 1.25 + 1e-9
    np.testing.assert_allclose(corners.mean(axis=0), [144, 192], atol=1e-9)


def test_rotated_crop_keeps_distances_and_centre():
    box, angle = np.array([100.0, 50, 200, 250]), np.array(0.7)
    upright = geometry.crop_affine(box, (256, 192))
    turned = geometry.crop_affine(box, (256, 192), rotation=angle)
    points = RNG.uniform(0, 300, (6, 2))
    a, b = (geometry.apply_affine(m, points) - [96, 128] for m in (upright, turned))
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(a @ turn.T, b, atol=1e-9)


def test_affines_compose_and_invert():
    outer, inner = RNG.normal(size=(2, 5, 2, 3))
    points = RNG.normal(size=(5, 7, 2))
    np.testing.assert_allclose(
        geometry.apply_affine(geometry.compose_affine(outer, inner), points),
        geometry.apply_affine(outer, geometry.apply_affine(inner, points)),
        atol=1e-12,
    )
    back = geometry.apply_affine(
        geometry.invert_affine(outer), geometry.apply_affine(outer, points)
    )
    np.testing.assert_allclose(back, points, atol=1e-10)


def test_screen_coordinates(metrics):
    px, size = metrics["screen_points"], metrics["screen_wh"]
    screen = geometry.normalize_screen(px, size)
    assert screen.dtype == np.float32
    np.testing.assert_allclose(screen, metrics["screen_normalised"], atol=1e-6)
    np.testing.assert_allclose(geometry.denormalize_screen(screen, size), px, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, slow(np.float64)])
def test_jax_and_numpy_agree_and_keep_the_dtype(dtype):
    points = RNG.uniform(1, 2, (3, 4, 5, 3)).astype(dtype)
    R = np.linalg.qr(RNG.normal(size=(3, 3, 3)))[0]
    t, box = RNG.normal(size=(3, 3)), np.array([[1.0, 2, 30, 40]] * 3, dtype)
    px = points[..., :2] * 100
    calls = [
        lambda xp: geometry.world_to_camera(xp.asarray(points), R, t),
        lambda xp: geometry.camera_to_world(xp.asarray(points), R, t),
        lambda xp: geometry.project(xp.asarray(points), K, DISTORTION),
        lambda xp: geometry.pixel_rays(xp.asarray(px), K, DISTORTION, "human36m"),
        lambda xp: geometry.box_from_joints(xp.asarray(px), np.array([150, 150])),
        lambda xp: geometry.crop_affine(xp.asarray(box), (64, 48), rotation=0.2),
        lambda xp: geometry.invert_affine(geometry.crop_affine(xp.asarray(box), (64, 48))),
        lambda xp: geometry.normalize_screen(xp.asarray(px), np.array([[640, 480]] * 3)),
    ]
    with jax.enable_x64(dtype == np.float64):
        for call in calls:
            ours, expected = jax.jit(lambda call=call: call(jnp))(), call(np)
            assert isinstance(ours, jax.Array)
            assert isinstance(expected, np.ndarray)
            assert ours.dtype == expected.dtype == dtype
            np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=2e-5)


def test_low_precision_points_are_raised_to_float32():
    points = jnp.ones((2, 3), jnp.bfloat16)
    assert geometry.project(points, K, DISTORTION).dtype == jnp.float32


def test_camera_batch_axes_lead():
    R = np.linalg.qr(RNG.normal(size=(2, 3, 3)))[0]
    t, points = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 4, 6, 3))
    batched = geometry.world_to_camera(points, R, t)
    for i in range(2):
        np.testing.assert_allclose(
            batched[i], geometry.world_to_camera(points[i], R[i], t[i]), atol=1e-12
        )
    with pytest.raises(ValueError, match="batch axes"):
        geometry.world_to_camera(points[0, 0, 0], R, t)


def test_points_between_frames_lie_on_straight_lines():
    frames = np.array([2, 3, 7, 20])
    points = np.random.default_rng(0).normal(500, 100, (4, 17, 2)).astype(np.float32)
    wanted = np.arange(30)
    found = geometry.interpolate_frames(frames, points, wanted)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[frames], points)
    for joint, axis in ((0, 0), (16, 1)):
        line = np.interp(wanted, frames, points[:, joint, axis])
        np.testing.assert_allclose(found[:, joint, axis], line, rtol=1e-6)
