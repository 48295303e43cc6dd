"""From a posture to points: kinematics of the human body within the limits of its joints.

Local frames have x forward, y left, z up. Angles are in radians. Arrays may have any leading axes
``...`` (motions, frames). Arms and legs have a side axis of size 2, left then right. All are
handled as left limbs: a right limb is mirrored (y changes sign) before and after.

A limb bends in a hinge (elbow, knee) and hangs on a ball joint (shoulder, hip). The ball joint has
a swing, the rotation vector (2,) from the rest direction to the direction of the limb, and a twist
about the limb's axis.

Hands and feet are placed by two-bone inverse kinematics. Its joint angles are clipped to their
limits before points are computed, so no target can break a joint.
"""

import dataclasses
import math

import numpy as np

from data_prep.synthetic.subjects import CLAVICLE_DROP, HEAD_TILT, NECK_TILT, Subject
from liftjax.skeletons import HUMAN36M

POINTS = (
    *HUMAN36M.joints, "face", "left_hand", "right_hand",
    "left_heel", "right_heel", "left_toe", "right_toe",
)  # fmt: skip

MIRROR = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
"""(2, 3) factors that turn local vectors of a (left, right) pair into left ones, and back."""

_FACE_TILT = math.radians(50)  # from the nose joint to the nose tip, from upright forward


@dataclasses.dataclass(frozen=True)
class Limb:
    """Axes and limits of an arm or a leg, as of a left limb.

    Attributes:
      axes: (3, 3) rows a, b, c in body axes: the rest direction, the direction in which the hinge
        bends at a twist of 0, and the one at a twist of 90 degrees, c = a x b.
      swing: (2, 2) least and largest swing towards b and towards c.
      twist: least and largest angle.
      hinge: least and largest angle; 0 is straight.
    """

    axes: np.ndarray
    swing: np.ndarray
    twist: tuple[float, float]
    hinge: tuple[float, float]


def _limb(axes, swing, twist, hinge) -> Limb:
    return Limb(
        np.asarray(axes, np.float64), np.radians(swing), tuple(np.radians(twist)),
        tuple(np.radians(hinge)),
    )  # fmt: skip


ARM = _limb(  # rests sideways; swings forward and down; twists inward
    axes=[[0, 1, 0], [1, 0, 0], [0, 0, -1]],
    swing=[[-50, 130], [-105, 105]], twist=(-100, 95), hinge=(4, 148),
)  # fmt: skip
LEG = _limb(  # rests downward; swings back and outward; twists inward
    axes=[[0, 0, -1], [-1, 0, 0], [0, 1, 0]],
    swing=[[-125, 30], [-35, 75]], twist=(-75, 50), hinge=(3, 152),
)  # fmt: skip

SPINE_LIMITS = np.radians([20.0, 40.0, 25.0])
"""Each of the two spine joints: side bend, bend forward (half of it backward), turn."""
NECK_LIMITS = np.radians([30.0, 45.0, 70.0])
PLANTAR_FLEXION, DORSAL_FLEXION = math.radians(60), math.radians(40)
FLOOR_TOLERANCE = 0.005
"""Depth (m) to which a body is lifted if its lowest point is deeper in the floor."""
_TORSO_RADII = np.array([0.135, 0.165])  # depth, width (m) of an average torso and a wrist


@dataclasses.dataclass
class Posture:
    """What the body should do; `solve` computes the points.

    Rotations (..., 3) are angles about x (lean to the right), y (lean forward), z (turn to the
    left), relative to the parent.

    Attributes:
      root_m: (..., 3) hip joint centre, world.
      pelvis: (..., 3) rotation of the pelvis, world.
      lumbar, chest, neck: (..., 3) rotations, each relative to the one before.
      shrug: (..., 2) raise of the shoulders.
      wrists_m, ankles_m: (..., 2, 3) targets, world.
      elbows, knees: (..., 2, 3) directions in which elbows and knees should point, in chest and
        pelvis axes, as of a left limb.
      wrist_bend: (..., 2, 2) bend of the hand in the plane of the elbow and across it.
      foot_yaw, foot_pitch: (..., 2) directions of the toes, world (pitch: toes up).
      foot_free: (..., 2) 1 for a foot that hangs at right angles to the shin, 0 for a foot that
        obeys `foot_yaw` and `foot_pitch`.
      grounded: (...,) 1 if the body stands on its feet; it is then moved vertically until the
        lowest point of the feet touches the floor.
    """

    root_m: np.ndarray
    pelvis: np.ndarray
    lumbar: np.ndarray
    chest: np.ndarray
    neck: np.ndarray
    shrug: np.ndarray
    wrists_m: np.ndarray
    elbows: np.ndarray
    wrist_bend: np.ndarray
    ankles_m: np.ndarray
    knees: np.ndarray
    foot_yaw: np.ndarray
    foot_pitch: np.ndarray
    foot_free: np.ndarray
    grounded: np.ndarray


@dataclasses.dataclass(frozen=True)
class BodyTrunk:
    """The solved trunk: rotations (..., 3, 3) local to world, joints (..., 3) in world metres."""

    pelvis: np.ndarray
    chest: np.ndarray
    head: np.ndarray
    points: dict[str, np.ndarray]
    hips_m: np.ndarray
    shoulders_m: np.ndarray


def rotation(angles: np.ndarray) -> np.ndarray:
    """(..., 3) angles about x, y, z as matrices (..., 3, 3), turning about x first, z last."""
    (cx, cy, cz), (sx, sy, sz) = (np.moveaxis(f(angles), -1, 0) for f in (np.cos, np.sin))
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def rotate(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """matrix (..., 3, 3) times vector (..., 3)."""
    return (matrix @ vector[..., None])[..., 0]


def pair_to_world(matrix: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """Left-convention vectors (..., 2, 3) of a local frame (..., 3, 3) in world axes."""
    return np.swapaxes(matrix @ np.swapaxes(pair * MIRROR, -1, -2), -1, -2)


def pair_to_local(matrix: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """World vectors (..., 2, 3) as left-convention vectors of a local frame (..., 3, 3)."""
    return (pair @ matrix) * MIRROR


def unit(vector: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) scaled to length 1."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-12)


def _bend(angles: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Rotation of a spine or neck joint, clipped; backward bends have half the forward range."""
    return rotation(np.clip(angles, -limits * np.array([1.0, 0.5, 1.0]), limits))


def _tilted(angle: float) -> np.ndarray:
    return np.array([math.sin(angle), 0.0, math.cos(angle)])


def solve_trunk(subject: Subject, posture: Posture) -> BodyTrunk:
    """Places pelvis, spine, shoulders and head; both ends of the neck rotate by half its angle."""
    s = subject
    pelvis = rotation(posture.pelvis)
    waist = pelvis @ _bend(posture.lumbar, SPINE_LIMITS)
    chest = waist @ _bend(posture.chest, SPINE_LIMITS)
    half = rotation(np.clip(posture.neck, -NECK_LIMITS, NECK_LIMITS) / 2)
    neck = chest @ half
    head = neck @ half
    points = {"hip": posture.root_m}
    points["spine"] = points["hip"] + s.spine * waist[..., 2]
    points["thorax"] = points["spine"] + s.chest * chest[..., 2]
    points["nose"] = points["thorax"] + rotate(neck, s.neck * _tilted(NECK_TILT))
    points["head_top"] = points["nose"] + rotate(head, s.head * _tilted(-HEAD_TILT))
    points["face"] = points["nose"] + rotate(head, s.face * _tilted(_FACE_TILT))
    drop = np.clip(posture.shrug, -0.15, 0.6) - CLAVICLE_DROP
    clavicle = np.stack([0 * drop, np.cos(drop), np.sin(drop)], axis=-1) * s.clavicle
    hips = np.broadcast_to([0.0, s.pelvis, 0.0], clavicle.shape)
    return BodyTrunk(
        pelvis=pelvis,
        chest=chest,
        head=head,
        points=points,
        hips_m=posture.root_m[..., None, :] + pair_to_world(pelvis, hips),
        shoulders_m=points["thorax"][..., None, :] + pair_to_world(chest, clavicle),
    )


def _swung(vector: np.ndarray, swing: np.ndarray, sign: float = 1.0) -> np.ndarray:
    """Turns limb-axis vectors (..., 3) by swing (..., 2), or back if sign is -1."""
    angle = np.linalg.norm(swing, axis=-1)
    towards = swing / np.maximum(angle, 1e-9)[..., None]
    c, s = np.cos(angle), sign * np.sin(angle)
    along, across = vector[..., 0], (vector[..., 1:] * towards).sum(axis=-1)
    turned_across = along * s + across * c
    rest = vector[..., 1:] + (turned_across - across)[..., None] * towards
    return np.concatenate([(along * c - across * s)[..., None], rest], axis=-1)


def _hinged(hinge: np.ndarray, twist: np.ndarray) -> np.ndarray:
    """Direction (..., 3), in unswung limb axes, of a bone bent by `hinge` with `twist`."""
    bent = np.sin(hinge)
    return np.stack([np.cos(hinge), bent * np.cos(twist), bent * np.sin(twist)], axis=-1)


def _reach(limb: Limb, lengths: tuple[float, float], target: np.ndarray, hint: np.ndarray):
    """Joint angles (swing, twist, hinge) within limits that bring a limb's end to `target`.

    Args:
      lengths: of the upper and the lower bone.
      target: (..., 3) in limb axes with the limb's root at the origin; one that is out of reach is
        approached along its direction.
      hint: (..., 3) where the hinge should point, in the same axes.
    """
    upper, lower = lengths
    cos_hinge = ((target**2).sum(axis=-1) - upper**2 - lower**2) / (2 * upper * lower)
    hinge = np.clip(np.arccos(np.clip(cos_hinge, -1, 1)), *limb.hinge)
    distance = np.sqrt(upper**2 + lower**2 + 2 * upper * lower * np.cos(hinge))
    ahead = unit(target)
    aside = unit(hint - (hint * ahead).sum(axis=-1, keepdims=True) * ahead)
    cos_root = (upper + lower * np.cos(hinge)) / distance
    sin_root = lower * np.sin(hinge) / distance
    upper_dir = cos_root[..., None] * ahead + sin_root[..., None] * aside
    lower_dir = (distance[..., None] * ahead - upper * upper_dir) / lower
    sideways = np.linalg.norm(upper_dir[..., 1:], axis=-1)
    angle = np.arctan2(sideways, upper_dir[..., 0])
    swing = upper_dir[..., 1:] * (angle / np.maximum(sideways, 1e-9))[..., None]
    unswung = _swung(lower_dir, swing, sign=-1.0)
    twist = np.arctan2(unswung[..., 2], unswung[..., 1])
    return np.clip(swing, *limb.swing.T), np.clip(twist, *limb.twist), hinge


def _limb_points(limb: Limb, lengths, frame, root, target, hint, end=None):
    """World positions (..., 2, 3) of the hinges and ends of a pair of limbs.

    The third result is the world direction of the bones at the ends, if `end` has their bends
    (..., 2, 2) in and across the plane of the hinge.
    """
    to_limb = limb.axes.T
    local = pair_to_local(frame, target - root) @ to_limb
    swing, twist, hinge = _reach(limb, lengths, local, hint @ to_limb)
    upper = _swung(np.broadcast_to([1.0, 0.0, 0.0], local.shape), swing)
    lower = _swung(_hinged(hinge, twist), swing)
    middle = root + lengths[0] * pair_to_world(frame, upper @ limb.axes)
    tip = middle + lengths[1] * pair_to_world(frame, lower @ limb.axes)
    if end is None:
        return middle, tip, None
    across = np.stack([0 * twist, -np.sin(twist), np.cos(twist)], axis=-1)
    bend, tilt = end[..., 0], end[..., 1][..., None]
    hand = np.cos(tilt) * _hinged(hinge + bend, twist) + np.sin(tilt) * across
    return middle, tip, pair_to_world(frame, _swung(hand, swing) @ limb.axes)


def _clear_of_body(subject: Subject, trunk: BodyTrunk, wrists: np.ndarray) -> np.ndarray:
    """Wrists (..., 2, 3) moved out of the torso, an elliptic column here, and off the floor."""
    local = pair_to_local(trunk.chest, wrists - trunk.points["thorax"][..., None, :])
    radii = _TORSO_RADII * subject.torso_build
    depth = np.sqrt(((local[..., :2] / radii) ** 2).sum(axis=-1))
    level = (local[..., 2] < 0) & (local[..., 2] > -1.15 * (subject.spine + subject.chest))
    push = np.where(level & (depth < 1), 1 / np.maximum(depth, 0.05), 1.0)[..., None]
    local = np.concatenate([local[..., :2] * push, local[..., 2:]], axis=-1)
    moved = trunk.points["thorax"][..., None, :] + pair_to_world(trunk.chest, local)
    moved[..., 2] = np.maximum(moved[..., 2], 0.06)
    return moved


def _solve_arms(subject: Subject, posture: Posture, trunk: BodyTrunk):
    """Elbows, wrists and fingertips (..., 2, 3), with the hands kept out of torso and floor."""
    lengths = (subject.upper_arm, subject.forearm)
    root, frame = trunk.shoulders_m, trunk.chest
    elbow, wrist, _ = _limb_points(ARM, lengths, frame, root, posture.wrists_m, posture.elbows)
    hint = pair_to_local(frame, elbow - (root + wrist) / 2)
    elbow, wrist, hand = _limb_points(
        ARM, lengths, frame, root, _clear_of_body(subject, trunk, wrist), hint, posture.wrist_bend
    )
    # A hand that would be below the floor lies flat on it.
    lowest = np.clip((0.015 - wrist[..., 2]) / subject.hand, -0.999, 0.999)
    rise = np.maximum(hand[..., 2], lowest)
    flat = unit(hand[..., :2] + 1e-9) * np.sqrt(1 - rise**2)[..., None]
    hand = np.concatenate([flat, rise[..., None]], axis=-1)
    return elbow, wrist, wrist + subject.hand * hand


def _solve_feet(subject: Subject, posture: Posture, knee: np.ndarray, ankle: np.ndarray, trunk):
    """Heels and toes (..., 2, 3). The foot turns about the ankle within its limits."""
    shin_up = unit(knee - ankle)
    free = posture.foot_free[..., None]
    thigh = trunk.hips_m - knee
    forward = trunk.pelvis[..., None, :, 0]
    # Seen along the shin, a hanging foot points away from the thigh, as the knee does.
    knee_front = unit(-(thigh - (thigh * shin_up).sum(-1, keepdims=True) * shin_up))
    hanging = unit(knee_front + 0.1 * forward - 0.35 * shin_up)
    yaw, pitch = posture.foot_yaw, posture.foot_pitch
    flat = np.cos(pitch)
    wanted = np.stack([flat * np.cos(yaw), flat * np.sin(yaw), np.sin(pitch)], axis=-1)
    toes = unit(free * hanging + (1 - free) * wanted)
    along = (toes * shin_up).sum(axis=-1, keepdims=True)
    side = unit(toes - along * shin_up)
    along = np.clip(along, -math.sin(PLANTAR_FLEXION), math.sin(DORSAL_FLEXION))
    toes = along * shin_up + np.sqrt(1 - along**2) * side
    up = unit(free * shin_up + (1 - free) * np.array([0.0, 0.0, 1.0]) + 1e-6 * shin_up)
    up = unit(up - (up * toes).sum(axis=-1, keepdims=True) * toes)
    sole = ankle - subject.ankle * up
    return sole - subject.heel * toes, sole + subject.toe * toes


def solve(subject: Subject, posture: Posture) -> np.ndarray:
    """World positions (..., P, 3) in metres of `POINTS` for a posture."""
    trunk = solve_trunk(subject, posture)
    knee, ankle, _ = _limb_points(
        LEG, (subject.thigh, subject.shin), trunk.pelvis, trunk.hips_m, posture.ankles_m,
        posture.knees,
    )  # fmt: skip
    heel, toe = _solve_feet(subject, posture, knee, ankle, trunk)
    elbow, wrist, hand = _solve_arms(subject, posture, trunk)
    points = dict(trunk.points)
    pairs = {
        "hip": trunk.hips_m, "knee": knee, "ankle": ankle, "heel": heel, "toe": toe,
        "shoulder": trunk.shoulders_m, "elbow": elbow, "wrist": wrist, "hand": hand,
    }  # fmt: skip
    for name, pair in pairs.items():
        points[f"left_{name}"], points[f"right_{name}"] = pair[..., 0, :], pair[..., 1, :]
    points_m = np.stack([points[name] for name in POINTS], axis=-2)
    feet = np.minimum(heel[..., 2], toe[..., 2]).min(axis=-1)
    points_m[..., 2] -= (posture.grounded * feet)[..., None]
    sunk = np.minimum(points_m[..., 2].min(axis=-1) + FLOOR_TOLERANCE, 0.0)
    points_m[..., 2] -= sunk[..., None]
    return points_m
