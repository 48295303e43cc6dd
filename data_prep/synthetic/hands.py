"""Where hands go: named places about the body, and the blending of several of them.

Places are wrist targets in world axes with a hint where the elbow points (chest axes); offsets are
in metres for a person of 1.75 m and scale with stature, x ahead, y outward, z up.
"""

import dataclasses

import numpy as np

from data_prep.synthetic.kinematics import Posture, Trunk, pair_to_world, solve_trunk
from data_prep.synthetic.stances import hanging, on_floor, shoulder_reach, triple
from data_prep.synthetic.subjects import Subject
from data_prep.synthetic.variation import Variation


@dataclasses.dataclass(frozen=True)
class Hands:
    """Targets of both wrists (M, F, 2, 3), world metres, and elbow hints that broadcast to it."""

    wrists_m: np.ndarray
    elbows: np.ndarray


def place(posture: Posture, hands: Hands, share: np.ndarray | float = 1.0) -> Posture:
    """The posture with its hands moved to `hands` by a share (M, F, 2), 0 to 1."""
    w = np.asarray(share, np.float64)
    w = w[..., None] if w.ndim else w
    return dataclasses.replace(
        posture,
        wrists_m=(1 - w) * posture.wrists_m + w * hands.wrists_m,
        elbows=(1 - w) * posture.elbows + w * hands.elbows,
    )


def _about(
    subject: Subject, trunk: Trunk, part: str, offset, elbow: tuple[float, float, float]
) -> Hands:
    """Hands at an offset (..., 2, 3) from the hip joints' centre, the thorax or the nose joint."""
    joint, frame = {
        "pelvis": ("hip", trunk.pelvis),
        "chest": ("thorax", trunk.chest),
        "head": ("nose", trunk.head),
    }[part]
    scale = subject.stature / 1.75
    offset = np.asarray(offset) * scale
    shape = (*frame.shape[:-2], 2, 3)
    world = pair_to_world(frame, np.broadcast_to(offset, shape))
    return Hands(trunk.points[joint][..., None, :] + world, np.array(elbow))


def hang(subject: Subject, v: Variation, posture: Posture) -> Hands:
    """Beside the body."""
    return Hands(shoulder_reach(subject, posture, hanging(v)), np.array([-1.0, 0.35, -0.5]))


def on_hips(subject: Subject, v: Variation, posture: Posture) -> Hands:
    offset = v.uniform([-0.04, 0.2, 0.06], [0.06, 0.25, 0.16], 2, 3)
    return _about(subject, solve_trunk(subject, posture), "pelvis", offset, (-0.5, 1.0, 0.0))


def in_pockets(subject: Subject, v: Variation, posture: Posture) -> Hands:
    offset = v.uniform([0.0, 0.19, -0.06], [0.1, 0.23, 0.02], 2, 3)
    return _about(subject, solve_trunk(subject, posture), "pelvis", offset, (-1.0, 0.6, -0.1))


def crossed(subject: Subject, v: Variation, posture: Posture) -> Hands:
    """Arms crossed before the chest."""
    offset = v.uniform([0.18, -0.14, -0.34], [0.24, -0.02, -0.2], 2, 3)
    return _about(subject, solve_trunk(subject, posture), "chest", offset, (0.1, 0.6, -1.0))


def behind_back(subject: Subject, v: Variation, posture: Posture) -> Hands:
    offset = v.uniform([-0.24, 0.0, 0.0], [-0.2, 0.1, 0.12], 2, 3)
    return _about(subject, solve_trunk(subject, posture), "pelvis", offset, (-0.7, 1.0, 0.0))


def clasped(subject: Subject, v: Variation, posture: Posture) -> Hands:
    """Together before the belly."""
    offset = triple(v.uniform(0.2, 0.32, 1), v.uniform(0.0, 0.1, 2), v.uniform(-0.05, 0.2, 1))
    return _about(subject, solve_trunk(subject, posture), "pelvis", offset, (-0.3, 0.9, -1.0))


def behind_head(subject: Subject, v: Variation, posture: Posture) -> Hands:
    offset = v.uniform([-0.12, 0.1, 0.0], [-0.04, 0.16, 0.1], 2, 3)
    return _about(subject, solve_trunk(subject, posture), "head", offset, (0.2, 1.0, 0.3))


def at_chin(subject: Subject, v: Variation, posture: Posture) -> Hands:
    offset = v.uniform([0.1, 0.02, -0.2], [0.16, 0.1, -0.1], 2, 3)
    return _about(subject, solve_trunk(subject, posture), "head", offset, (0.2, 0.3, -1.0))


def at_ear(subject: Subject, v: Variation, posture: Posture) -> Hands:
    # The wrist is ahead of the ear: an elbow cannot close further.
    offset = v.uniform([0.07, 0.14, -0.07], [0.12, 0.18, 0.0], 2, 3) + v.wander(0.006, 2, 3)
    return _about(subject, solve_trunk(subject, posture), "head", offset, (0.4, 0.9, -0.8))


def at_mouth(subject: Subject, v: Variation, posture: Posture) -> Hands:
    offset = v.uniform([0.15, 0.04, -0.16], [0.2, 0.12, -0.08], 2, 3)
    return _about(subject, solve_trunk(subject, posture), "head", offset, (-0.1, 0.7, -1.0))


def before_face(subject: Subject, v: Variation, posture: Posture) -> Hands:
    """Both hands hold something at eye height, as a camera."""
    ahead, up = v.uniform(0.2, 0.36, 1), v.uniform(-0.08, 0.06, 1)
    offset = triple(ahead + v.uniform(0, 0.03, 2), v.uniform(0.05, 0.12, 2), up)
    offset = offset + v.wander(0.006, 2, 3)
    return _about(subject, solve_trunk(subject, posture), "head", offset, (0.0, 0.55, -1.0))


def gesturing(subject: Subject, v: Variation, posture: Posture, lively: float = 1.0) -> Hands:
    """In the air before the chest, moving as one talks."""
    offset = v.uniform([0.3, -0.25, -0.6], [0.7, 0.45, 0.05], 2, 3)
    beat = v.pulse(0.3, 0.8, 0.6)[..., None, None] * v.uniform(-0.15, 0.15, 2, 3)
    offset = offset + lively * (beat + v.wander(0.05, 2, 3, pace=0.5))
    return Hands(shoulder_reach(subject, posture, offset), np.array([-0.3, 0.6, -1.0]))


def on_thighs(subject: Subject, v: Variation, posture: Posture) -> Hands:
    """On the lap, thighs or knees of somebody who sits."""
    ahead = v.uniform(0.35, 0.95, 1) * v.uniform(0.9, 1.1, 2) * subject.thigh
    aside = v.uniform(0.0, 1.4, 2) * subject.pelvis
    up = 0.08 + posture.root_m[..., 2][..., None] + v.uniform(0.0, 0.05, 2)
    up, ahead, aside = np.broadcast_arrays(up, ahead, aside)
    wrists_m = on_floor(posture.root_m[..., :2], posture.pelvis[..., 2], triple(ahead, aside, up))
    return Hands(wrists_m, np.array([-0.6, 1.0, -0.4]))


def on_floor_behind(subject: Subject, v: Variation, posture: Posture) -> Hands:
    """Propped on the floor behind somebody who sits there."""
    offset = triple(v.uniform(-0.45, -0.25, 2), v.uniform(0.15, 0.4, 2), 0.07)
    wrists_m = on_floor(posture.root_m[..., :2], posture.pelvis[..., 2], offset)
    return Hands(wrists_m, np.array([-1.0, 0.3, 0.0]))


PLACES = {
    "hang": hang, "hips": on_hips, "pockets": in_pockets, "crossed": crossed,
    "back": behind_back, "clasped": clasped, "head": behind_head, "chin": at_chin,
    "gesture": gesturing, "thighs": on_thighs, "floor": on_floor_behind,
}  # fmt: skip


def idle(subject: Subject, v: Variation, posture: Posture, **odds: float) -> Posture:
    """The posture with each hand at one of `PLACES`, by these odds; mostly both at the same."""
    first, second = v.choice(*odds.values()), v.choice(*odds.values())
    alike = v.choice(0.65, 0.35)[..., :1]
    shares = np.stack([first, alike * first + (1 - alike) * second], axis=-2)
    places = [PLACES[name](subject, v, posture) for name in odds]
    return dataclasses.replace(
        posture,
        wrists_m=sum(shares[..., i, None] * p.wrists_m for i, p in enumerate(places)),
        elbows=sum(shares[..., i, None] * p.elbows for i, p in enumerate(places)),
    )


def one_hand(v: Variation, right: float = 0.7) -> np.ndarray:
    """(M, 1, 2) 1 for the one hand that a motion uses, 0 for the other."""
    is_right = v.coin(right)
    return np.stack([~is_right, is_right], axis=-1).astype(np.float64)
