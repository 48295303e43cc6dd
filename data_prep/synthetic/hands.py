"""Where hands go: named places around the body, and mixtures of them.

A place is a target for the wrist in world axes, with a hint where the elbow points (chest axes).
Offsets are metres for a person of 1.75 m and scale with stature: x ahead, y outward, z up.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from data_prep.synthetic.kinematics import Posture, pair_to_world, solve_trunk
from data_prep.synthetic.stances import hanging, on_floor, shoulder_reach, triple
from data_prep.synthetic.variation import Actor


@dataclasses.dataclass(frozen=True)
class Hands:
    """Targets of both wrists (M, F, 2, 3), world metres, and elbow hints that broadcast to it."""

    wrists_m: np.ndarray
    elbows: np.ndarray


def place(posture: Posture, hands: Hands | Posture, share: np.ndarray | float = 1.0) -> Posture:
    """The posture with its hands moved towards `hands` by a share (M, F, 2), 0 to 1."""
    w = np.asarray(share, np.float64)
    w = w[..., None] if w.ndim else w
    return dataclasses.replace(
        posture,
        wrists_m=(1 - w) * posture.wrists_m + w * hands.wrists_m,
        elbows=(1 - w) * posture.elbows + w * hands.elbows,
    )


def _about(a: Actor, posture: Posture, part: str, offset, elbow) -> Hands:
    """Hands at an offset (..., 2, 3) from the hip joints' centre, the thorax or the nose joint."""
    trunk = solve_trunk(a.subject, posture)
    joint, frame = {
        "pelvis": ("hip", trunk.pelvis),
        "chest": ("thorax", trunk.chest),
        "head": ("nose", trunk.head),
    }[part]
    offset = np.asarray(offset) * (a.subject.stature / 1.75)
    world = pair_to_world(frame, np.broadcast_to(offset, (*frame.shape[:-2], 2, 3)))
    return Hands(trunk.points[joint][..., None, :] + world, np.array(elbow))


def _place(part: str, low, high, elbow, wander: float = 0.0) -> Callable[[Actor, Posture], Hands]:
    """A place for hands: between two offsets (3,) from a part of the body."""

    def hands(a: Actor, posture: Posture) -> Hands:
        offset = a.uniform(low, high, 2, 3)
        if wander:
            offset = offset + a.wander(wander, 2, 3)
        return _about(a, posture, part, offset, elbow)

    return hands


on_hips = _place("pelvis", [-0.04, 0.2, 0.06], [0.06, 0.25, 0.16], elbow=(-0.5, 1.0, 0.0))
in_pockets = _place("pelvis", [0.0, 0.19, -0.06], [0.1, 0.23, 0.02], elbow=(-1.0, 0.6, -0.1))
crossed = _place("chest", [0.18, -0.14, -0.34], [0.24, -0.02, -0.2], elbow=(0.1, 0.6, -1.0))
behind_back = _place("pelvis", [-0.24, 0.0, 0.0], [-0.2, 0.1, 0.12], elbow=(-0.7, 1.0, 0.0))
behind_head = _place("head", [-0.12, 0.1, 0.0], [-0.04, 0.16, 0.1], elbow=(0.2, 1.0, 0.3))
at_chin = _place("head", [0.1, 0.02, -0.2], [0.16, 0.1, -0.1], elbow=(0.2, 0.3, -1.0))
at_mouth = _place("head", [0.15, 0.04, -0.16], [0.2, 0.12, -0.08], elbow=(-0.1, 0.7, -1.0))
# The wrist is ahead of the ear, because an elbow cannot close further.
at_ear = _place("head", [0.07, 0.14, -0.07], [0.12, 0.18, 0.0], (0.4, 0.9, -0.8), wander=0.006)


def hang(a: Actor, posture: Posture) -> Hands:
    """Beside the body."""
    return Hands(shoulder_reach(a, posture, hanging(a)), np.array([-1.0, 0.35, -0.5]))


def clasped(a: Actor, posture: Posture) -> Hands:
    """Together before the belly."""
    offset = triple(a.uniform(0.2, 0.32, 1), a.uniform(0.0, 0.1, 2), a.uniform(-0.05, 0.2, 1))
    return _about(a, posture, "pelvis", offset, (-0.3, 0.9, -1.0))


def before_face(a: Actor, posture: Posture) -> Hands:
    """Both hands hold something at eye height, as a camera."""
    ahead, up = a.uniform(0.2, 0.36, 1), a.uniform(-0.08, 0.06, 1)
    offset = triple(ahead + a.uniform(0, 0.03, 2), a.uniform(0.05, 0.12, 2), up)
    offset = offset + a.wander(0.006, 2, 3)
    return _about(a, posture, "head", offset, (0.0, 0.55, -1.0))


def gesturing(a: Actor, posture: Posture, lively: float = 1.0) -> Hands:
    """In the air before the chest, moving as one talks."""
    offset = a.uniform([0.3, -0.25, -0.6], [0.7, 0.45, 0.05], 2, 3)
    beat = a.pulse(0.3, 0.8, 0.6)[..., None, None] * a.uniform(-0.15, 0.15, 2, 3)
    offset = offset + lively * (beat + a.wander(0.05, 2, 3, pace=0.5))
    return Hands(shoulder_reach(a, posture, offset), np.array([-0.3, 0.6, -1.0]))


def on_thighs(a: Actor, posture: Posture) -> Hands:
    """On the lap, thighs or knees of somebody who sits."""
    ahead = a.uniform(0.35, 0.95, 1) * a.uniform(0.9, 1.1, 2) * a.subject.thigh
    aside = a.uniform(0.0, 1.4, 2) * a.subject.pelvis
    up = 0.08 + posture.root_m[..., 2][..., None] + a.uniform(0.0, 0.05, 2)
    up, ahead, aside = np.broadcast_arrays(up, ahead, aside)
    wrists_m = on_floor(posture.root_m[..., :2], posture.pelvis[..., 2], triple(ahead, aside, up))
    return Hands(wrists_m, np.array([-0.6, 1.0, -0.4]))


def on_floor_behind(a: Actor, posture: Posture) -> Hands:
    """Propped on the floor behind somebody who sits there."""
    offset = triple(a.uniform(-0.45, -0.25, 2), a.uniform(0.15, 0.4, 2), 0.07)
    wrists_m = on_floor(posture.root_m[..., :2], posture.pelvis[..., 2], offset)
    return Hands(wrists_m, np.array([-1.0, 0.3, 0.0]))


PLACES = {
    "hang": hang, "hips": on_hips, "pockets": in_pockets, "crossed": crossed,
    "back": behind_back, "clasped": clasped, "head": behind_head, "chin": at_chin,
    "gesture": gesturing, "thighs": on_thighs, "floor": on_floor_behind,
}  # fmt: skip


def idle(a: Actor, posture: Posture, **odds: float) -> Posture:
    """The posture with each hand at one of `PLACES`, by these odds; mostly both at the same."""
    first, second = a.choice(*odds.values()), a.choice(*odds.values())
    alike = a.choice(0.65, 0.35)[..., :1]
    shares = np.stack([first, alike * first + (1 - alike) * second], axis=-2)
    places = [PLACES[name](a, posture) for name in odds]
    return dataclasses.replace(
        posture,
        wrists_m=sum(shares[..., i, None] * p.wrists_m for i, p in enumerate(places)),
        elbows=sum(shares[..., i, None] * p.elbows for i, p in enumerate(places)),
    )


def one_hand(a: Actor, right: float = 0.7) -> np.ndarray:
    """(M, 1, 2) 1 for the one hand that a motion uses, 0 for the other."""
    is_right = a.coin(right)
    return np.stack([~is_right, is_right], axis=-1).astype(np.float64)
