"""A dressed body of round cones around the points of a pose.

Everything is vectorised over B people: points (B, 3), lengths (B,). Sizes are metres of an average
adult of 1.75 m, scaled by stature and build. World axes, z up.
"""

import dataclasses
import math

import numpy as np

from data_prep.synthetic.motions import POINTS
from data_prep.synthetic.solids import RoundCones
from data_prep.synthetic.subjects import HEAD_TILT, Subject

_AVERAGE_STATURE_M = 1.75
_AVERAGE_HEAD_M = 0.189  # from the nose joint to the crown


@dataclasses.dataclass(frozen=True)
class Outfit:
    """Looks (LOOK_SIZE,) of what a person wears, and how far it reaches (shares of the limb)."""

    shirt: np.ndarray
    trousers: np.ndarray
    shoes: np.ndarray
    skin: np.ndarray
    face: np.ndarray
    hair: np.ndarray
    sleeves: float
    trouser_legs: float
    long_hair: bool


@dataclasses.dataclass(frozen=True)
class Body:
    """Solids of B people: leaves of `cones` (B, N, ...), sizes (B, N, 3) in metres per local unit,
    looks (B, N, LOOK_SIZE) and folds (B, N), 1 for cloth."""

    cones: RoundCones
    sizes: np.ndarray
    looks: np.ndarray
    folds: np.ndarray


def _unit(v):
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _lerp(a, b, share):
    return a + (b - a) * np.reshape(share, (-1, 1) if np.ndim(share) else ())


def _any_side(axis):
    """Some unit vectors (B, 3) across `axis`."""
    reference = np.where(np.abs(axis[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    return np.cross(axis, reference)


class _Tailor:
    """Collects solids, one (B,) family after the other."""

    def __init__(self, count: int):
        self.count = count
        self.maps, self.shapes, self.sizes, self.looks, self.folds = [], [], [], [], []

    def add(self, start, end, r0, r1, look, *, side=None, squash=(1.0, 1.0, 1.0), folds=False,
            hidden=None):  # fmt: skip
        """A round cone from `start` to `end` (B, 3) with radii r0, r1 in metres.

        Args:
          side: (B, 3) direction of the first cross axis. look: (B, LOOK_SIZE).
          squash: factors on the radii along side, across it, and along the cone.
          hidden: (B,) true where the solid is not there.
        """
        axis = np.asarray(end - start)
        length = np.linalg.norm(axis, axis=-1)
        z = axis / np.maximum(length, 1e-9)[:, None]
        x = _any_side(z) if side is None else side - (side * z).sum(-1, keepdims=True) * z
        x = _unit(x)
        size = np.stack([np.broadcast_to(s, (self.count,)) for s in squash], axis=-1)
        rows = np.stack([x, np.cross(z, x), z], axis=1) / size[:, :, None]
        offset = -np.einsum("bij,bj->bi", rows, start)
        r0, r1 = (np.broadcast_to(np.asarray(r, float), (self.count,)) for r in (r0, r1))
        height = np.maximum(length / size[:, 2], 1.02 * np.abs(r0 - r1) + 1e-4)
        shown = 1.0 if hidden is None else 1.0 - np.asarray(hidden, float)
        self.maps.append(np.concatenate([rows, offset[:, :, None]], axis=2))
        self.shapes.append(np.stack([height, r0 * shown, r1 * shown], axis=-1))
        self.sizes.append(size)
        self.looks.append(look)
        self.folds.append(np.full(self.count, float(folds)))

    def finish(self) -> Body:
        shapes = np.stack(self.shapes, axis=1).astype(np.float32)
        maps = np.stack(self.maps, axis=1).astype(np.float32)
        return Body(
            cones=RoundCones(maps, shapes[..., 0], shapes[..., 1], shapes[..., 2]),
            sizes=np.stack(self.sizes, axis=1).astype(np.float32),
            looks=np.stack(self.looks, axis=1).astype(np.float32),
            folds=np.stack(self.folds, axis=1).astype(np.float32),
        )


class _Frame:
    """Points by name, and body directions (B, 3): left, front and up of trunk and head."""

    def __init__(self, points_m):
        self.points = {name: points_m[:, i] for i, name in enumerate(POINTS)}
        p = self.points
        self.hips_left = _unit(p["left_hip"] - p["right_hip"])
        self.shoulders_left = _unit(p["left_shoulder"] - p["right_shoulder"])
        self.hips_front = _unit(np.cross(self.hips_left, p["spine"] - p["hip"]))
        self.chest_front = _unit(np.cross(self.shoulders_left, p["thorax"] - p["spine"]))
        crown = _unit(p["head_top"] - p["nose"])
        self.head_left = _unit(np.cross(crown, p["face"] - p["nose"]))
        ahead = np.cross(self.head_left, crown)
        # At rest the bone to the crown leans back, the head itself is upright.
        cos, sin = math.cos(HEAD_TILT), math.sin(HEAD_TILT)
        self.head_up = cos * crown + sin * ahead
        self.head_front = cos * ahead - sin * crown


def dress(points_m: np.ndarray, subjects: list[Subject], outfits: list[Outfit]) -> Body:
    """The solids of B people.

    Args:
      points_m: (B, P, 3) world positions in the order of motions.POINTS.
      subjects, outfits: B of each.
    """
    points_m = np.asarray(points_m, float)
    tailor, frame = _Tailor(len(points_m)), _Frame(points_m)
    looks = {
        name: np.stack([getattr(o, name) for o in outfits])
        for name in ("shirt", "trousers", "shoes", "skin", "face", "hair")
    }
    k = np.array([s.stature for s in subjects]) / _AVERAGE_STATURE_M
    trunk = k * np.array([s.torso_build for s in subjects])
    limbs = k * np.array([s.limb_build for s in subjects])
    sleeves = np.array([o.sleeves for o in outfits])
    trouser_legs = np.array([o.trouser_legs for o in outfits])
    long_hair = np.array([o.long_hair for o in outfits])
    _add_trunk(tailor, frame, looks, trunk, k)
    _add_head(tailor, frame, looks, long_hair)
    for side in ("left", "right"):
        _add_arm(tailor, frame, side, looks, limbs, sleeves)
        _add_leg(tailor, frame, side, looks, limbs, trouser_legs)
    return tailor.finish()


def _add_trunk(tailor, frame, looks, w, k):
    p, left, front = frame.points, frame.hips_left, frame.hips_front
    scale = w[:, None]
    up = _unit(p["spine"] - p["hip"])
    for side, sign in (("left", 1), ("right", -1)):
        joint = p[f"{side}_hip"]
        tailor.add(  # half of the pelvis
            p["hip"] + 0.015 * scale * up, _lerp(p["hip"], joint, 0.5), 0.108 * w, 0.098 * w,
            looks["trousers"], side=front, squash=(0.98, 1, 1), folds=True,
        )  # fmt: skip
        seat = _lerp(p["hip"], joint, 0.55) - 0.045 * scale * front - 0.045 * scale * up
        tailor.add(seat, seat + 0.01 * up, 0.088 * w, 0.088 * w, looks["trousers"], folds=True)
        shoulder = p[f"{side}_shoulder"]
        base = p["thorax"] + 0.012 * scale * up
        tailor.add(  # from the neck to the shoulder
            base - 0.01 * scale * frame.chest_front, shoulder, 0.056 * w, 0.056 * w,
            looks["shirt"], folds=True,
        )  # fmt: skip
        breast = _lerp(p["spine"], p["thorax"], 0.58) + scale * (
            0.072 * sign * frame.shoulders_left + 0.045 * frame.chest_front
        )
        tailor.add(
            breast, breast + 0.01 * up, w, w, looks["shirt"], side=frame.shoulders_left,
            squash=(0.082, 0.066, 0.085), folds=True,
        )  # fmt: skip
    tailor.add(  # belly, down over the belt
        p["hip"] + 0.055 * scale * up - 0.012 * scale * front, p["spine"] + 0.006 * scale * front,
        1.04 * w, 0.96 * w, looks["shirt"], side=left, squash=(0.156, 0.118, 0.07), folds=True,
    )  # fmt: skip
    tailor.add(
        p["spine"] + 0.006 * scale * front, _lerp(p["spine"], p["thorax"], 0.68),
        0.92 * w, 1.04 * w,
        looks["shirt"], side=frame.shoulders_left, squash=(0.158, 0.114, 0.09), folds=True,
    )  # fmt: skip
    neck = p["nose"] - p["thorax"]
    tailor.add(p["thorax"], p["thorax"] + 0.85 * neck, 0.058 * k, 0.054 * k, looks["skin"])
    tailor.add(
        p["thorax"] - 0.1 * neck, p["thorax"] + 0.2 * neck, 0.078 * w, 0.064 * w, looks["shirt"],
        folds=True,
    )  # fmt: skip


def _add_head(tailor, frame, looks, long_hair):
    p, left, front, up = frame.points, frame.head_left, frame.head_front, frame.head_up
    k = np.linalg.norm(p["head_top"] - p["nose"], axis=-1) / _AVERAGE_HEAD_M
    scale = k[:, None]

    def at(forward, sideways, upward):
        """A point given in centimetres from the nose tip, of an average head."""
        offset = forward * front + sideways * left + upward * up
        return p["face"] + 0.01 * scale * offset

    skull, chin = at(-10.6, 0, 3.4), at(-5.0, 0, -6.2)
    tailor.add(skull, chin, 0.094 * k, 0.047 * k, looks["face"], side=left, squash=(0.82, 1.0, 1.0))
    crown = at(-11.8, 0, 4.4)
    tailor.add(
        crown, crown - 0.02 * scale * (front + up), 0.098 * k, 0.094 * k, looks["hair"], side=left,
        squash=(0.84, 1.0, 1.0),
    )  # fmt: skip
    tailor.add(
        at(-14.0, 0, 2), at(-15.5, 0, -13), 0.078 * k, 0.05 * k, looks["hair"], side=left,
        squash=(1.0, 0.7, 1.0), hidden=~long_hair,
    )  # fmt: skip
    tailor.add(at(-2.6, 0, 3.2), at(-1.3, 0, 0.2), 0.009 * k, 0.0145 * k, looks["skin"])
    for sign in (1, -1):
        tailor.add(
            at(-10.2, 7.7 * sign, 2.4), at(-9.8, 7.5 * sign, -0.6), 0.019 * k, 0.013 * k,
            looks["skin"], side=left, squash=(0.55, 1, 1),
        )  # fmt: skip


def _add_arm(tailor, frame, side, looks, w, sleeves):
    p = frame.points
    shoulder, elbow = p[f"{side}_shoulder"], p[f"{side}_elbow"]
    wrist, tip = p[f"{side}_wrist"], p[f"{side}_hand"]
    scale = w[:, None]
    tailor.add(shoulder, elbow, 0.050 * w, 0.039 * w, looks["skin"])
    tailor.add(elbow, wrist, 0.041 * w, 0.027 * w, looks["skin"])
    upper = np.clip(2 * sleeves, 0.15, 1)
    lower = np.clip(2 * sleeves - 1, 0, 0.96)
    tailor.add(
        shoulder, _lerp(shoulder, elbow, upper), 0.062 * w, (0.062 - 0.010 * upper) * w,
        looks["shirt"], folds=True,
    )  # fmt: skip
    tailor.add(
        elbow, _lerp(elbow, wrist, lower), 0.052 * w, (0.052 - 0.013 * lower) * w, looks["shirt"],
        folds=True, hidden=lower < 0.1,
    )  # fmt: skip
    # Broad sides of the hand face left and right of the arm's bend; thumbs point ahead.
    axis = _unit(tip - wrist)
    ahead = frame.chest_front + 0.45 * _unit(p["thorax"] - p["spine"])
    ahead = _unit(ahead - (ahead * axis).sum(-1, keepdims=True) * axis)
    length = np.linalg.norm(tip - wrist, axis=-1)
    palm = _lerp(wrist, tip, 0.42)
    tailor.add(
        _lerp(wrist, tip, 0.12), palm, 0.8 * w, w, looks["skin"], side=ahead,
        squash=(0.043, 0.020, 0.035),
    )  # fmt: skip
    tailor.add(
        palm, _lerp(wrist, tip, 0.88), 0.95 * w, 0.62 * w, looks["skin"], side=ahead,
        squash=(0.040, 0.016, 0.022),
    )  # fmt: skip
    base = _lerp(wrist, tip, 0.2) + 0.024 * scale * ahead
    thumb = base + 0.26 * length[:, None] * axis + 0.036 * scale * ahead
    tailor.add(base, thumb, 0.016 * w, 0.011 * w, looks["skin"])


def _add_leg(tailor, frame, side, looks, w, trouser_legs):
    p = frame.points
    knee, ankle = p[f"{side}_knee"], p[f"{side}_ankle"]
    heel, toe = p[f"{side}_heel"], p[f"{side}_toe"]
    hip = _lerp(p[f"{side}_hip"], p["hip"], 0.24)
    scale = w[:, None]
    tailor.add(hip, knee, 0.086 * w, 0.054 * w, looks["skin"])
    tailor.add(knee, ankle, 0.052 * w, 0.035 * w, looks["skin"])
    upper, lower = np.clip(2 * trouser_legs, 0.2, 1), np.clip(2 * trouser_legs - 1, 0, 0.93)
    tailor.add(
        hip, _lerp(hip, knee, upper), 0.094 * w, (0.094 - 0.031 * upper) * w, looks["trousers"],
        folds=True,
    )  # fmt: skip
    tailor.add(
        knee, _lerp(knee, ankle, lower), 0.063 * w, (0.063 - 0.012 * lower) * w, looks["trousers"],
        folds=True, hidden=lower < 0.1,
    )  # fmt: skip
    sole = _unit(toe - heel)
    up = ankle - heel
    up = _unit(up - (up * sole).sum(-1, keepdims=True) * sole)
    calf = _lerp(knee, ankle, 0.3) - 0.016 * scale * sole
    tailor.add(
        calf, _lerp(knee, ankle, 0.42) - 0.014 * scale * sole, 0.052 * w, 0.047 * w, looks["skin"],
        hidden=lower > 0.1,
    )  # fmt: skip
    across = np.cross(up, sole)
    tailor.add(
        heel + scale * (0.042 * sole + 0.032 * up), toe + scale * (-0.036 * sole + 0.026 * up),
        0.036 * w, 0.030 * w, looks["shoes"], side=across, squash=(1.25, 1, 1),
    )  # fmt: skip
    tailor.add(
        ankle - 0.012 * scale * up, _lerp(heel, toe, 0.62) + 0.036 * scale * up,
        0.045 * w, 0.030 * w,
        looks["shoes"], side=across,
    )  # fmt: skip
