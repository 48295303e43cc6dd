"""Joint limits and bone lengths hold for any posture, even a senseless one."""

import dataclasses

import numpy as np
import pytest

from data_prep.synthetic import kinematics
from data_prep.synthetic.actions import ACTION_FUNCTIONS
from data_prep.synthetic.kinematics import ARM, LEG, POINTS, Posture, solve, solve_trunk
from data_prep.synthetic.subjects import SUBJECTS
from data_prep.synthetic.variation import Actor
from tests.data_prep.synthetic.bones import bone_lengths

SLACK = 1e-6


def wild_posture(rng, count: int) -> Posture:
    """A posture with every field drawn far beyond what a body can do."""
    pairs = {"shrug": (), "foot_yaw": (), "foot_pitch": (), "foot_free": (), "wrist_bend": (2,)}
    fields = {}
    for field in dataclasses.fields(Posture):
        if field.name == "grounded":
            shape = ()
        elif field.name in pairs:
            shape = (2, *pairs[field.name])
        else:
            shape = (2, 3) if field.name in ("wrists_m", "elbows", "ankles_m", "knees") else (3,)
        fields[field.name] = rng.uniform(-1.5, 1.5, (count, *shape))
    fields["foot_free"] = rng.uniform(0, 1, (count, 2))
    fields["grounded"] = np.zeros(count)
    fields["root_m"] = rng.uniform(1.0, 2.0, (count, 3))
    return Posture(**fields)


def turn_onto(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Smallest rotations (N, 3, 3) that take unit vector start (3,) to end (N, 3)."""
    axis = np.cross(start, end)
    c = end @ start
    zero = 0 * c
    x, y, z = np.moveaxis(axis, -1, 0)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    return np.eye(3) + skew + skew @ skew / (1 + c)[:, None, None]


def joint_angles(limb, frame, root, hinge, tip):
    """Swing (N, 2), twist and hinge angle (N,), read back from positions (N, 3) of a left limb."""
    a, b, c = limb.axes
    upper, lower = (
        (frame.mT @ (q - p)[..., None])[..., 0] for p, q in ((root, hinge), (hinge, tip))
    )
    upper /= np.linalg.norm(upper, axis=-1, keepdims=True)
    lower /= np.linalg.norm(lower, axis=-1, keepdims=True)
    angle = np.arccos(np.clip(upper @ a, -1, 1))
    swing = np.stack([upper @ b, upper @ c], axis=-1)
    swing *= (angle / np.linalg.norm(swing, axis=-1))[:, None]
    rested = (turn_onto(a, upper).mT @ lower[..., None])[..., 0]
    return swing, np.arctan2(rested @ c, rested @ b), np.arccos(np.clip(rested @ a, -1, 1))


def assert_within_limits(subject, posture: Posture, points_m: np.ndarray) -> None:
    trunk = solve_trunk(subject, posture)
    flip = np.diag([1.0, -1.0, 1.0])
    chains = (
        (ARM, trunk.chest, ("shoulder", "elbow", "wrist")),
        (LEG, trunk.pelvis, ("hip", "knee", "ankle")),
    )
    for limb, frame, chain in chains:
        for side in ("left", "right"):
            joints = [points_m[:, POINTS.index(f"{side}_{j}")] for j in chain]
            local = frame if side == "left" else frame @ flip  # mirrored: a left limb again
            swing, twist, hinge = joint_angles(limb, local, *joints)
            assert (hinge >= limb.hinge[0] - SLACK).all()
            assert (hinge <= limb.hinge[1] + SLACK).all()
            assert (swing >= limb.swing[:, 0] - SLACK).all()
            assert (swing <= limb.swing[:, 1] + SLACK).all()
            # A twist within these limits, at a positive hinge angle: the one way it bends.
            assert (twist >= limb.twist[0] - SLACK).all()
            assert (twist <= limb.twist[1] + SLACK).all()


@pytest.mark.parametrize("name", SUBJECTS)
def test_wild_postures_keep_lengths_and_limits(name):
    subject = SUBJECTS[name]
    posture = wild_posture(np.random.default_rng(0), 500)
    points_m = solve(subject, posture)
    for (a, b), length in bone_lengths(subject).items():
        bone = points_m[:, POINTS.index(a)] - points_m[:, POINTS.index(b)]
        np.testing.assert_allclose(np.linalg.norm(bone, axis=-1), length, atol=1e-9)
    assert_within_limits(subject, posture, points_m)


@pytest.mark.parametrize("action", ACTION_FUNCTIONS)
def test_actions_stay_within_limits(action):
    subject = SUBJECTS["S6"]
    times = np.random.default_rng(2).uniform(0, 20, (400, 1))
    actor = Actor(subject, 1.5, np.random.default_rng(1), times)
    posture, _, _ = ACTION_FUNCTIONS[action](actor)
    flat = Posture(
        **{
            f.name: np.broadcast_to(
                getattr(posture, f.name), (400, 1, *np.shape(getattr(posture, f.name))[2:])
            )[:, 0]
            for f in dataclasses.fields(Posture)
        }
    )
    assert_within_limits(subject, flat, solve(subject, flat))


def test_reachable_targets_are_reached():
    subject = SUBJECTS["S1"]
    actor = Actor(subject, 1.5, np.random.default_rng(0), np.zeros((50, 1)))
    posture, _, _ = ACTION_FUNCTIONS["Waiting"](actor)
    points_m = solve(subject, posture)
    ankles = points_m[..., [POINTS.index("left_ankle"), POINTS.index("right_ankle")], :]
    np.testing.assert_allclose(ankles, posture.ankles_m, atol=0.02)


def test_rotation_is_proper():
    matrix = kinematics.rotation(np.random.default_rng(0).normal(size=(20, 3)))
    np.testing.assert_allclose(
        matrix @ matrix.mT, np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrix), 1.0)


def test_positive_angles_lean_right_forward_and_turn_left():
    quarter = np.pi / 2
    np.testing.assert_allclose(
        kinematics.rotation(np.array([quarter, 0, 0]))[:, 2], [0, -1, 0], atol=1e-12
    )
    np.testing.assert_allclose(
        kinematics.rotation(np.array([0, quarter, 0]))[:, 2], [1, 0, 0], atol=1e-12
    )
    np.testing.assert_allclose(
        kinematics.rotation(np.array([0, 0, quarter]))[:, 0], [0, 1, 0], atol=1e-12
    )
