"""A dressed body of round cones around the points of a pose.

Everything is vectorised over B people: points (B, 3), lengths (B,). Sizes are metres of an average
adult of 1.75 m, scaled by stature and build. World axes, z up.
"""

import dataclasses
import math

import numpy as np

from data_prep.synthetic.kinematics import POINTS, unit
from data_prep.synthetic.solids import RoundCones
from data_prep.synthetic.subjects import HEAD_TILT, Subject

_AVERAGE_STATURE_M = 1.75
_AVERAGE_HEAD_M = 0.189  # from the nose joint to the crown
_CLOTH = ("shirt", "trousers")  # has folds


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
    """N solids of each of B people, named as in render.Scene.

    Attributes:
      cones: leaves (B, N, ...).
      cone_size: (B, N, 3) metres per local unit.
      cone_looks: (B, N, LOOK_SIZE).
      cone_folds: (B, N) 1 for cloth, else 0.
    """

    cones: RoundCones
    cone_size: np.ndarray
    cone_looks: np.ndarray
    cone_folds: np.ndarray


def _lerp(a, b, share):
    return a + (b - a) * np.reshape(share, (-1, 1) if np.ndim(share) else ())


def _any_side(axis):
    """Some unit vectors (B, 3) across `axis`."""
    reference = np.where(np.abs(axis[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    return np.cross(axis, reference)


class _Tailor:
    """Collects solids of B people, one after the other."""

    def __init__(self, outfits: list[Outfit]):
        self.outfits = outfits
        self.maps, self.shapes, self.sizes, self.looks, self.folds = [], [], [], [], []

    def add(self, look, start, end, r0, r1, scale, *, side=None, squash=(1, 1, 1), hidden=None):
        """A round cone from `start` to `end` (B, 3) with radii `scale` times r0 and r1, metres.

        Args:
          look: which one of the outfits.
          side: (B, 3) direction of the first cross axis.
          squash: factors on the radii along side, across it, and along the cone.
          hidden: (B,) true where the solid is not there.
        """
        axis, count = np.asarray(end - start), len(start)
        length = np.linalg.norm(axis, axis=-1)
        z = axis / np.maximum(length, 1e-9)[:, None]
        x = _any_side(z) if side is None else side - (side * z).sum(-1, keepdims=True) * z
        x = unit(x)
        size = np.tile(np.asarray(squash, float), (count, 1))
        rows = np.stack([x, np.cross(z, x), z], axis=1) / size[:, :, None]
        offset = -np.einsum("bij,bj->bi", rows, start)
        r0, r1 = r0 * scale, r1 * scale
        height = np.maximum(length / size[:, 2], 1.02 * np.abs(r0 - r1) + 1e-4)
        shown = 1.0 if hidden is None else 1.0 - np.asarray(hidden, float)
        self.maps.append(np.concatenate([rows, offset[:, :, None]], axis=2))
        self.shapes.append(np.stack([height, r0 * shown, r1 * shown], axis=-1))
        self.sizes.append(size)
        self.looks.append(np.stack([getattr(outfit, look) for outfit in self.outfits]))
        self.folds.append(np.full(count, float(look in _CLOTH)))

    def finish(self) -> Body:
        maps, shapes, *others = (
            np.stack(arrays, axis=1).astype(np.float32)
            for arrays in (self.maps, self.shapes, self.sizes, self.looks, self.folds)
        )
        return Body(RoundCones(maps, *np.moveaxis(shapes, -1, 0)), *others)


class _Frame:
    """Points (B, 3) by name, and the directions left, front and up of trunk and head."""

    def __init__(self, points_m):
        self.points = {name: points_m[:, i] for i, name in enumerate(POINTS)}
        p = self.points
        self.hips_left = unit(p["left_hip"] - p["right_hip"])
        self.shoulders_left = unit(p["left_shoulder"] - p["right_shoulder"])
        self.hips_front = unit(np.cross(self.hips_left, p["spine"] - p["hip"]))
        self.chest_front = unit(np.cross(self.shoulders_left, p["thorax"] - p["spine"]))
        crown = unit(p["head_top"] - p["nose"])
        self.head_left = unit(np.cross(crown, p["face"] - p["nose"]))
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
    tailor, frame = _Tailor(outfits), _Frame(np.asarray(points_m, float))
    k = np.array([s.stature for s in subjects]) / _AVERAGE_STATURE_M
    trunk = k * np.array([s.torso_build for s in subjects])
    limbs = k * np.array([s.limb_build for s in subjects])
    _add_trunk(tailor, frame, trunk, k)
    _add_head(tailor, frame, np.array([o.long_hair for o in outfits]))
    for side in ("left", "right"):
        _add_arm(tailor, frame, side, limbs, np.array([o.sleeves for o in outfits]))
        _add_leg(tailor, frame, side, limbs, np.array([o.trouser_legs for o in outfits]))
    return tailor.finish()


def _add_trunk(tailor, frame, w, k):
    add, p, front, chest_front = tailor.add, frame.points, frame.hips_front, frame.chest_front
    hip, spine, thorax = p["hip"], p["spine"], p["thorax"]
    scale, up, across = w[:, None], unit(spine - hip), frame.shoulders_left
    for side, sign in (("left", 1), ("right", -1)):
        joint = p[f"{side}_hip"]
        half, middle = hip + 0.015 * scale * up, _lerp(hip, joint, 0.5)
        add("trousers", half, middle, 0.108, 0.098, w, side=front, squash=(0.98, 1, 1))  # pelvis
        seat = _lerp(hip, joint, 0.55) - 0.045 * scale * front - 0.045 * scale * up
        add("trousers", seat, seat + 0.01 * up, 0.088, 0.088, w)
        base = thorax + 0.012 * scale * up - 0.01 * scale * chest_front
        add("shirt", base, p[f"{side}_shoulder"], 0.056, 0.056, w)
        offset = 0.072 * sign * frame.shoulders_left + 0.045 * chest_front
        breast, squash = _lerp(spine, thorax, 0.58) + scale * offset, (0.082, 0.066, 0.085)
        add("shirt", breast, breast + 0.01 * up, 1, 1, w, side=across, squash=squash)
    belt = hip + 0.055 * scale * up - 0.012 * scale * front
    waist = spine + 0.006 * scale * front
    squash = (0.156, 0.118, 0.07)
    add("shirt", belt, waist, 1.04, 0.96, w, side=frame.hips_left, squash=squash)  # belly
    chest, squash = _lerp(spine, thorax, 0.68), (0.158, 0.114, 0.09)
    add("shirt", waist, chest, 0.92, 1.04, w, side=across, squash=squash)
    neck = p["nose"] - thorax
    add("skin", thorax, thorax + 0.85 * neck, 0.058, 0.054, k)
    add("shirt", thorax - 0.1 * neck, thorax + 0.2 * neck, 0.078, 0.064, w)  # collar


def _add_head(tailor, frame, long_hair):
    add, p = tailor.add, frame.points
    left, front, up = frame.head_left, frame.head_front, frame.head_up
    k = np.linalg.norm(p["head_top"] - p["nose"], axis=-1) / _AVERAGE_HEAD_M
    scale = k[:, None]

    def at(forward, sideways, upward):
        """A point given in centimetres from the nose tip, of an average head."""
        offset = forward * front + sideways * left + upward * up
        return p["face"] + 0.01 * scale * offset

    skull, chin, crown = at(-10.6, 0, 3.4), at(-5.0, 0, -6.2), at(-11.8, 0, 4.4)
    hair, tips = crown - 0.02 * scale * (front + up), (at(-14.0, 0, 2), at(-15.5, 0, -13))
    add("face", skull, chin, 0.094, 0.047, k, side=left, squash=(0.82, 1, 1))
    add("hair", crown, hair, 0.098, 0.094, k, side=left, squash=(0.84, 1, 1))
    add("hair", *tips, 0.078, 0.05, k, side=left, squash=(1, 0.7, 1), hidden=~long_hair)
    add("skin", at(-2.6, 0, 3.2), at(-1.3, 0, 0.2), 0.009, 0.0145, k)  # nose
    for sign in (1, -1):
        ear = at(-10.2, 7.7 * sign, 2.4), at(-9.8, 7.5 * sign, -0.6)
        add("skin", *ear, 0.019, 0.013, k, side=left, squash=(0.55, 1, 1))


def _add_arm(tailor, frame, side, w, sleeves):
    add, p, scale = tailor.add, frame.points, w[:, None]
    shoulder, elbow, wrist, tip = (p[f"{side}_{j}"] for j in ("shoulder", "elbow", "wrist", "hand"))
    add("skin", shoulder, elbow, 0.050, 0.039, w)
    add("skin", elbow, wrist, 0.041, 0.027, w)
    upper, lower = np.clip(2 * sleeves, 0.15, 1), np.clip(2 * sleeves - 1, 0, 0.96)
    add("shirt", shoulder, _lerp(shoulder, elbow, upper), 0.062, 0.062 - 0.010 * upper, w)
    end = _lerp(elbow, wrist, lower)
    add("shirt", elbow, end, 0.052, 0.052 - 0.013 * lower, w, hidden=lower < 0.1)
    # Broad sides of the hand face left and right of the arm's bend; thumbs point ahead.
    axis = unit(tip - wrist)
    ahead = frame.chest_front + 0.45 * unit(p["thorax"] - p["spine"])
    ahead = unit(ahead - (ahead * axis).sum(-1, keepdims=True) * axis)
    length = np.linalg.norm(tip - wrist, axis=-1)
    heel, palm, knuckles = (_lerp(wrist, tip, share) for share in (0.12, 0.42, 0.88))
    add("skin", heel, palm, 0.8, 1, w, side=ahead, squash=(0.043, 0.020, 0.035))
    add("skin", palm, knuckles, 0.95, 0.62, w, side=ahead, squash=(0.040, 0.016, 0.022))
    base = _lerp(wrist, tip, 0.2) + 0.024 * scale * ahead
    thumb = base + 0.26 * length[:, None] * axis + 0.036 * scale * ahead
    add("skin", base, thumb, 0.016, 0.011, w)


def _add_leg(tailor, frame, side, w, trouser_legs):
    add, p, scale = tailor.add, frame.points, w[:, None]
    knee, ankle, heel, toe = (p[f"{side}_{j}"] for j in ("knee", "ankle", "heel", "toe"))
    hip = _lerp(p[f"{side}_hip"], p["hip"], 0.24)
    add("skin", hip, knee, 0.086, 0.054, w)
    add("skin", knee, ankle, 0.052, 0.035, w)
    upper, lower = np.clip(2 * trouser_legs, 0.2, 1), np.clip(2 * trouser_legs - 1, 0, 0.93)
    add("trousers", hip, _lerp(hip, knee, upper), 0.094, 0.094 - 0.031 * upper, w)
    end = _lerp(knee, ankle, lower)
    add("trousers", knee, end, 0.063, 0.063 - 0.012 * lower, w, hidden=lower < 0.1)
    sole = unit(toe - heel)
    up = ankle - heel
    up = unit(up - (up * sole).sum(-1, keepdims=True) * sole)
    calf = _lerp(knee, ankle, 0.3) - 0.016 * scale * sole
    end = _lerp(knee, ankle, 0.42) - 0.014 * scale * sole
    add("skin", calf, end, 0.052, 0.047, w, hidden=lower > 0.1)
    across = np.cross(up, sole)
    back = heel + scale * (0.042 * sole + 0.032 * up)
    front = toe + scale * (-0.036 * sole + 0.026 * up)
    add("shoes", back, front, 0.036, 0.030, w, side=across, squash=(1.25, 1, 1))
    instep = _lerp(heel, toe, 0.62) + 0.036 * scale * up
    add("shoes", ankle - 0.012 * scale * up, instep, 0.045, 0.030, w, side=across)
