"""What every motion of every synthetic person must be: sound, on the floor, and as named."""

import numpy as np
import pytest

from data_prep.synthetic.kinematics import POINTS
from data_prep.synthetic.motions import ACTIONS, sample_motion, sample_poses
from data_prep.synthetic.subjects import SUBJECTS, TEST_SUBJECTS, TRAIN_SUBJECTS
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M
from tests.data_prep.synthetic.bones import bone_lengths

WALKS = ("WalkDog", "Walking", "WalkTogether")


def rng(seed=0):
    return np.random.default_rng(seed)


def at(points_m, *names):
    """The named points (..., len(names), 3)."""
    return points_m[..., [POINTS.index(name) for name in names], :]


def body_axes(points_m):
    """Points (N, P, 3) relative to the hip, turned so that the person faces +x; z untouched."""
    across = at(points_m, "left_hip")[..., 0, :] - at(points_m, "right_hip")[..., 0, :]
    yaw = np.arctan2(-across[:, 0], across[:, 1])
    c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    x, y, z = np.moveaxis(points_m - points_m[:, :1] * [1, 1, 0], -1, 0)
    return np.stack([c * x + s * y, c * y - s * x, z], axis=-1)


def test_points_begin_with_the_human36m_joints():
    assert POINTS[:17] == HUMAN36M.joints
    assert len(POINTS) == len(set(POINTS)) == 24


def test_subjects_differ_and_are_split():
    assert set(TRAIN_SUBJECTS) | set(TEST_SUBJECTS) == set(SUBJECTS)
    assert not set(TRAIN_SUBJECTS) & set(TEST_SUBJECTS)
    statures = sorted(s.stature for s in SUBJECTS.values())
    assert statures[0] == pytest.approx(1.55)
    assert statures[-1] == pytest.approx(1.92)
    assert np.diff(statures).min() > 0.01


@pytest.mark.parametrize("action", ACTIONS)
def test_motions_of_everybody_are_sound(action):
    for seed, subject in enumerate(SUBJECTS.values()):
        motion = sample_motion(subject, action, rng(seed), 150, fps=10.0)
        points_m = motion.points_m
        assert points_m.shape == (150, len(POINTS), 3)
        assert points_m.dtype == np.float64
        assert np.isfinite(points_m).all()
        assert points_m[..., 2].min() > -0.01
        assert np.abs(points_m[:, 0, :2]).max() <= 1.5
        for (a, b), length in bone_lengths(subject).items():
            bone = np.diff(at(points_m, a, b), axis=-2)[..., 0, :]
            np.testing.assert_allclose(np.linalg.norm(bone, axis=-1), length, atol=1e-9)


@pytest.mark.parametrize("action", ACTIONS)
def test_motions_are_smooth_and_move(action):
    points_m = sample_motion(SUBJECTS["S9"], action, rng(3), 1000).points_m
    speed = 50.0 * np.linalg.norm(np.diff(points_m, axis=0), axis=-1)
    assert np.quantile(speed, 0.9995) < 5.0
    assert speed.max() < 40.0  # a hand that swaps sides of a joint; never a jump of the body
    assert at(speed[..., None], "hip", "thorax", "left_knee", "right_knee").max() < 5.0
    assert speed.mean() > 0.01


@pytest.mark.parametrize("action", ACTIONS)
def test_the_same_seed_gives_the_same_motion(action):
    subject = SUBJECTS["S5"]
    first, second, other = (sample_motion(subject, action, rng(s), 20) for s in (7, 7, 8))
    assert np.array_equal(first.points_m, second.points_m)
    assert not np.array_equal(first.points_m, other.points_m)
    assert np.array_equal(
        sample_poses(subject, action, rng(7), 30).points_m,
        sample_poses(subject, action, rng(7), 30).points_m,
    )


@pytest.mark.parametrize("action", ACTIONS)
def test_single_poses_are_on_the_floor_and_face_everywhere(action):
    subject = SUBJECTS["S8"]
    poses = sample_poses(subject, action, rng(), 5000)
    assert len(poses.chairs) == len(poses.points_m) == 5000
    lowest = poses.points_m[..., 2].min(axis=-1)
    assert lowest.min() > -0.01
    assert np.quantile(lowest, 0.9) < 0.04  # feet may hover where somebody gets down
    left = np.diff(at(poses.points_m, "right_hip", "left_hip"), axis=-2)[:, 0, :2]
    quadrants = np.histogram(np.arctan2(*left.T), bins=4, range=(-np.pi, np.pi))[0]
    assert quadrants.min() > 800


@pytest.mark.parametrize("action", ["Sitting", "Eating", "Phoning", "Smoking"])
def test_sitters_rest_on_their_chairs(action):
    subject = SUBJECTS["S11"]
    poses = sample_poses(subject, action, rng(), 500)
    seated = [i for i, chair in enumerate(poses.chairs) if chair is not None]
    assert len(seated) == 500 if action == "Sitting" else 100 < len(seated) < 480
    for i in seated:
        chair, points_m = poses.chairs[i], poses.points_m[i]
        assert points_m[0, 2] == pytest.approx(chair.seat_height + subject.seat_clearance, abs=1e-6)
        np.testing.assert_allclose(points_m[0, :2], chair.position[:2], atol=1e-9)
    thighs = at(poses.points_m[seated], "left_knee", "right_knee") - at(
        poses.points_m[seated], "left_hip", "right_hip"
    )
    rise = np.abs(thighs[..., 2]) / subject.thigh
    assert np.median(rise) < 0.25
    forward = np.array([[np.cos(poses.chairs[i].yaw), np.sin(poses.chairs[i].yaw)] for i in seated])
    assert ((thighs[..., :2] * forward[:, None]).sum(-1).mean(axis=1) > 0).all()


def test_sitting_down_passes_from_standing_to_sitting():
    subject = SUBJECTS["S7"]
    heights = np.array(
        [
            sample_motion(subject, "SittingDown", rng(s), 140, fps=10.0).points_m[:, 0, 2]
            for s in range(20)
        ]
    )
    assert (heights.max(axis=1) > 0.9 * subject.leg).all()
    assert (heights.min(axis=1) < 0.65).all()
    assert (heights.min(axis=1) < 0.2).any()  # on the floor


@pytest.mark.parametrize("action", WALKS)
def test_a_standing_foot_does_not_slide(action):
    for seed, subject in enumerate(SUBJECTS.values()):
        points_m = sample_motion(subject, action, rng(seed), 400).points_m
        velocity = 50.0 * np.diff(points_m, axis=0)
        # Whatever touches the floor, heel or toe of either foot, rests.
        contacts = at(points_m, "left_heel", "right_heel", "left_toe", "right_toe")[:-1, :, 2]
        ground_speed = np.linalg.norm(
            at(velocity, "left_heel", "right_heel", "left_toe", "right_toe")[..., :2], axis=-1
        )
        resting = ground_speed[np.arange(len(contacts)), contacts.argmin(axis=1)]
        assert np.median(resting) < 0.02
        assert np.quantile(resting, 0.9) < 0.15
        assert np.linalg.norm(velocity[:, 0, :2], axis=-1).mean() > 0.4


def test_arms_swing_against_the_legs():
    points_m = body_axes(sample_motion(SUBJECTS["S9"], "Walking", rng(2), 400).points_m)
    leg = np.diff(at(points_m, "left_ankle", "right_ankle"), axis=-2)[:, 0, 0]
    arm = np.diff(at(points_m, "left_wrist", "right_wrist"), axis=-2)[:, 0, 0]
    assert np.corrcoef(leg, arm)[0, 1] < -0.5


def test_hands_are_where_the_action_says():
    subject = SUBJECTS["S9"]
    head = {}
    for action in ACTIONS:
        points_m = sample_poses(subject, action, rng(), 2000).points_m
        centre = at(points_m, "nose", "head_top").mean(axis=-2, keepdims=True)
        gap = np.linalg.norm(at(points_m, "left_hand", "right_hand") - centre, axis=-1)
        head[action] = gap.min(axis=-1), gap.max(axis=-1)
    assert np.quantile(head["Phoning"][0], 0.9) < 0.25
    assert np.median(head["Photo"][1]) < 0.45
    assert np.quantile(head["Smoking"][0], 0.25) < 0.3
    assert np.quantile(head["Eating"][0], 0.25) < 0.3
    assert np.median(head["Walking"][0]) > 0.6


def test_the_actions_are_different_families():
    subject = SUBJECTS["S9"]
    means, spread = [], []
    for action in ACTIONS:
        local = body_axes(sample_poses(subject, action, rng(), 2000).points_m)[:, :17]
        means.append(np.concatenate([local.mean(axis=0), local.std(axis=0)]))
        spread.append(local.std(axis=0).mean())
    means = np.array(means)
    gap = np.abs(means[:, None] - means[None]).mean(axis=(-1, -2)) + np.eye(len(ACTIONS))
    assert gap.min() > 0.008
    assert min(spread) > 0.04


def test_hands_stay_out_of_the_torso():
    subject = SUBJECTS["S9"]
    for action in ACTIONS:
        points_m = sample_poses(subject, action, rng(), 2000).points_m
        start, end = at(points_m, "hip"), at(points_m, "thorax")
        axis = end - start
        hands = at(points_m, "left_wrist", "right_wrist")
        share = np.clip(((hands - start) * axis).sum(-1) / (axis**2).sum(-1), 0, 1)
        gap = np.linalg.norm(hands - start - share[..., None] * axis, axis=-1)
        assert (gap < 0.08).mean() < 0.02, action


def test_wrong_names_are_told():
    with pytest.raises(LiftjaxError, match="did you mean 'Walking'"):
        sample_motion(SUBJECTS["S1"], "walking", rng(), 5)
    with pytest.raises(LiftjaxError, match="floor_half_size"):
        sample_motion(SUBJECTS["S1"], "Walking", rng(), 5, floor_half_size=0.2)
