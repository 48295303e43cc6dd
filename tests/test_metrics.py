"""Measures: golden errors, values by hand, and what alignment must not change."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftjax import metrics
from liftjax.errors import LiftjaxError
from liftjax.skeletons import get_skeleton

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**16)


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("metrics")[1]


def poses(seed, batch=4):
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 0.4, (batch, 17, 3))
    return true + rng.normal(0, 0.05, true.shape), true


def rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def test_golden_errors(arrays):
    pred, true = arrays["pose3d_pred"], arrays["pose3d_true"]
    distance = metrics.joint_distances(pred, true)
    np.testing.assert_allclose(distance, arrays["joint_distance"], atol=1e-9)
    aligned = metrics.procrustes_align(pred, true)
    np.testing.assert_allclose(aligned, arrays["pose3d_aligned"], atol=1e-9)
    np.testing.assert_allclose(
        metrics.joint_distances(aligned, true), arrays["joint_distance_aligned"], atol=1e-9
    )
    np.testing.assert_allclose(metrics.mpjpe(pred, true), arrays["joint_distance"].mean(axis=1))
    np.testing.assert_allclose(
        metrics.p_mpjpe(pred, true), arrays["joint_distance_aligned"].mean(axis=1)
    )


@pytest.mark.parametrize("to", [np.float32, jnp.float32])
def test_golden_errors_in_float32(arrays, to):
    pred, true = (to(arrays[f"pose3d_{name}"]) for name in ("pred", "true"))
    for ours, name in (
        (metrics.joint_distances(pred, true), "joint_distance"),
        (metrics.joint_distances(metrics.procrustes_align(pred, true), true),
         "joint_distance_aligned"),
    ):  # fmt: skip
        assert ours.dtype == np.float32
        assert np.abs(ours - arrays[name]).max() <= 1e-5 * np.sqrt(np.square(arrays[name]).mean())


@PROPERTY
@given(seed=SEEDS, scale=st.floats(0.2, 5), shift=st.floats(-3, 3))
def test_p_mpjpe_ignores_similarity(seed, scale, shift):
    pred, true = poses(seed)
    moved = scale * pred @ rotation(seed) + shift
    np.testing.assert_allclose(metrics.p_mpjpe(moved, true), metrics.p_mpjpe(pred, true), rtol=1e-8)
    np.testing.assert_allclose(metrics.p_mpjpe(moved, pred), 0, atol=1e-9)


@PROPERTY
@given(seed=SEEDS)
def test_alignment_is_the_best_in_least_squares(seed):
    pred, true = poses(seed)
    aligned = metrics.procrustes_align(pred, true)
    best = np.square(aligned - true).sum(axis=(1, 2))
    assert (best <= np.square(pred - true).sum(axis=(1, 2)) + 1e-12).all()
    for nudged in (1.01 * aligned, aligned + 0.01, aligned @ _small_rotation()):
        assert (best <= np.square(nudged - true).sum(axis=(1, 2)) + 1e-12).all()


def _small_rotation():
    c, s = np.cos(0.05), np.sin(0.05)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def test_alignment_never_reflects():
    _, true = poses(1)
    mirrored = true * [-1, 1, 1]
    assert (metrics.p_mpjpe(mirrored, true) > 0.05).all()
    # A flat pose mirrored in its own plane is a rotation of it.
    flat = true * [1, 1, 0]
    np.testing.assert_allclose(metrics.p_mpjpe(flat * [-1, 1, 1], flat), 0, atol=1e-12)


def test_collapsed_prediction_is_finite():
    _, true = poses(2)
    spread = np.linalg.norm(true - true.mean(axis=1, keepdims=True), axis=-1).mean(axis=1)
    np.testing.assert_allclose(metrics.p_mpjpe(np.zeros_like(true), true), spread)


@pytest.mark.parametrize("to", [np.asarray, jnp.asarray])
def test_a_pose_that_is_not_finite_spoils_no_other(to):
    pred, true = poses(3)
    broken = pred.copy()
    broken[1, 4, 2] = np.nan
    errors = metrics.p_mpjpe(to(broken), to(true))
    expected = np.array(metrics.p_mpjpe(to(pred), to(true)))
    expected[1] = np.nan
    np.testing.assert_allclose(errors, expected, rtol=1e-5)


def test_shape_mismatch_raises():
    with pytest.raises(ValueError, match=r"\(4, 17, 3\)"):
        metrics.mpjpe(np.zeros((4, 17, 3)), np.zeros((17, 3)))


def test_golden_pdj(arrays):
    pred, true = arrays["pose2d_pred"], arrays["pose2d_true"]
    found = metrics.correct_by_torso(pred, true, "human36m")
    np.testing.assert_array_equal(found, arrays["pdj_h36m"])
    np.testing.assert_allclose(metrics.pdj(pred, true, "human36m"), arrays["pdj_h36m"].mean(axis=1))
    np.testing.assert_array_equal(
        metrics.correct_by_torso(pred[:, :15], true[:, :15], "panoptic"), arrays["pdj_panoptic"]
    )
    with pytest.raises(LiftjaxError, match="17 joints"):
        metrics.pdj(pred, true, "panoptic")


@pytest.mark.parametrize("to", [np.asarray, jnp.asarray])
def test_pdj_is_of_people_with_a_torso(to):
    """Of the first person all is known, of the second no right hip, of the third no torso."""
    joints = get_skeleton("human36m")
    shoulder, hip = joints.index("left_shoulder"), joints.index("right_hip")
    true = np.full((3, 17, 2), 50, np.float32)
    true[:2, shoulder] = (50, 100)  # 50 px from the hip: 10 px are the limit
    pred = true + np.float32([3, 0])
    pred[0, 0] += 30
    visible = np.ones((3, 17), bool)
    visible[1, hip] = visible[2, [shoulder, hip]] = False
    pred, true, visible = to(pred), to(true), to(visible)
    pdj = metrics.pdj(pred, true, "human36m", visible)
    np.testing.assert_allclose(pdj, [16 / 17, np.nan, np.nan], rtol=1e-6)
    np.testing.assert_allclose(metrics.pdj(true, true, "human36m", visible), [1, np.nan, np.nan])
    counted = metrics.counted_by_torso(true, "human36m", visible)
    np.testing.assert_array_equal(counted.sum(axis=-1), [17, 0, 0])
    # A place that is known though it is not seen, such as outside the picture, is a measure.
    pdj = metrics.pdj(pred, true, "human36m", visible, known=to(np.ones((3, 17), bool)))
    np.testing.assert_allclose(pdj, [16 / 17, 1, np.nan], rtol=1e-6)
    # Without flags a torso is missing where it has no length, or is NaN.
    np.testing.assert_allclose(metrics.pdj(pred, true, "human36m"), pdj, rtol=1e-6)
    gone = np.array(true)
    gone[0, hip] = np.nan
    assert np.isnan(metrics.pdj(to(np.array(pred)), to(gone), "human36m")[0])


def test_pck_by_hand():
    true = np.zeros((2, 4, 2))
    pred = np.array([[19.9, 0], [20, 0], [12, 16], [0, -3]])[None].repeat(2, axis=0)
    box = np.array([[0, 0, 50, 100], [10, 10, 20, 30]])
    # Thresholds are 20 and 4 pixels, and reaching one is not enough.
    np.testing.assert_array_equal(
        metrics.correct_by_box(pred, true, box), [[1, 0, 0, 1], [0, 0, 0, 1]]
    )
    np.testing.assert_allclose(metrics.pck(pred, true, box), [0.5, 0.25])
    np.testing.assert_allclose(metrics.pck(pred, true, box, threshold=0.21), [1, 0.25])


@pytest.mark.parametrize("to", [np.asarray, jnp.asarray])
def test_invisible_and_missing_joints(to):
    true, pred = np.zeros((3, 4, 2), np.float32), np.ones((3, 4, 2), np.float32)
    true[0, 0] = np.nan
    pred[:, 1] = np.nan
    visible = to(np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]))
    box = to(np.array([[0, 0, 10, 10]] * 3))
    pck = metrics.pck(to(pred), to(true), box, visible)
    np.testing.assert_allclose(pck, [2 / 3, 1, np.nan], rtol=1e-6)
    correct = metrics.correct_by_box(to(pred), to(true), box, visible)
    assert float(metrics.share(correct, visible, axis=None)) == pytest.approx(4 / 5)
    assert float(metrics.share(correct, axis=None)) == pytest.approx(4 / 12)


def test_per_action_averages_over_frames():
    table = metrics.per_action([10.0, 20, 60], ["Walking", "Walking", "Eating"])
    assert table == {"Eating": 60, "Walking": 15, "average": 30}
    assert list(table) == ["Eating", "Walking", "average"]
    with pytest.raises(ValueError, match="3"):
        metrics.per_action([1.0, 2], ["a", "b", "c"])
