"""The fifteen Human3.6M actions as families of postures in time.

An action is a function from an actor to (Posture, Seat or None, seated): postures with axes (M, F),
the chairs of the motions, and an (M, 1) mask of the motions that use theirs.
"""

import dataclasses

import numpy as np

from data_prep.synthetic import hands
from data_prep.synthetic.kinematics import Posture
from data_prep.synthetic.stances import (
    OUT,
    Seat,
    heading_axes,
    mix_postures,
    on_floor,
    seats,
    shoulder_reach,
    sit,
    sit_on_floor,
    stand,
    stand_up,
    triple,
    walk,
)
from data_prep.synthetic.variation import Actor, smooth

Staged = tuple[Posture, Seat | None, np.ndarray | None]


def _look(posture: Posture, turn: np.ndarray, nod: np.ndarray | float = 0.0) -> Posture:
    """The posture with the head turned (rad, left) and nodded (down), and the chest a little."""
    zero = 0.0 * turn
    neck = posture.neck + triple(zero, nod, 0.8 * turn)
    chest = posture.chest + triple(zero, zero, turn / 5)
    return dataclasses.replace(posture, neck=neck, chest=chest)


def _stoop(posture: Posture, angle: np.ndarray, **shares: float) -> None:
    """Leans parts of the body forward, in place, each by a share of `angle` (M, F)."""
    for part, share in shares.items():
        getattr(posture, part)[..., 1] += share * angle


def _aim(a: Actor, posture: Posture, azimuth, elevation, extent) -> hands.Hands:
    """Arms stretched towards directions.

    Args:
      azimuth: outward from ahead, as (M, F, 2) or the range (low, high) to draw it from.
      elevation: upward; the same.
      extent: share of the arm's length; the same.
    """
    azimuth, elevation, extent = (
        a.uniform(*value, 2) if isinstance(value, tuple) else value
        for value in (azimuth, elevation, extent)
    )
    level = np.cos(elevation)
    towards = triple(level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation))
    wrists_m = shoulder_reach(a, posture, extent[..., None] * towards)
    return hands.Hands(wrists_m, np.array([-0.3, 0.5, -1.0]))


def directions(a: Actor) -> Staged:
    """Points the way, with one arm or both, and looks there."""
    posture = hands.idle(a, stand(a), hang=5, hips=1, pockets=1, clasped=1)
    none, one, both = np.moveaxis(a.choice(0.1, 0.65, 0.25), -1, 0)
    share = one[..., None] * a.choice(0.35, 0.65) + both[..., None]
    share = share * (1 - 0.5 * none * a.pulse(0.15, 0.4))[..., None]
    azimuth = a.uniform(-0.7, 1.7, 2) + a.wander(0.05, 2)
    elevation = a.uniform(-0.6, 0.8, 2) + a.wander(0.05, 2)
    turn = (share * azimuth * OUT).sum(axis=-1) / np.maximum(share.sum(axis=-1), 0.5)
    posture = _look(posture, 0.7 * turn)
    aim = _aim(a, posture, azimuth, elevation, (0.75, 1.0))
    return hands.place(posture, aim, share), None, None


def discussion(a: Actor) -> Staged:
    """Talks with the hands, turns to listeners, steps about."""
    posture = stand(a, crouch=0.01)
    posture = _look(posture, a.uniform(-0.6, 0.6) + a.wander(0.12))
    odds = {"gesture": 6, "hang": 1.5, "crossed": 1, "hips": 1, "clasped": 1, "pockets": 0.5}
    return hands.idle(a, posture, **odds), None, None


def _stand_or_sit(a: Actor, chance: float) -> Staged:
    """Motions that stand or, with this chance, sit on a chair."""
    seat, seated = seats(a), a.coin(chance)
    return mix_postures(seated, stand(a), sit(a, seat)), seat, seated


def _idle_by_seat(a: Actor, posture: Posture, seated, standing: dict, sitting: dict) -> Posture:
    """The posture with idle hands, whose odds differ between those who stand and who sit."""
    up, down = (hands.idle(a, posture, **odds) for odds in (standing, sitting))
    return mix_postures(seated, up, down)


def eating(a: Actor) -> Staged:
    """Holds a plate or rests one hand and brings the other to the mouth again and again."""
    posture, seat, seated = _stand_or_sit(a, 0.75)
    posture = _look(posture, a.uniform(-0.2, 0.2), a.uniform(0.0, 0.35))
    up, down = {"clasped": 3, "hang": 1}, {"thighs": 2, "clasped": 1}
    posture = _idle_by_seat(a, posture, seated, up, down)
    plate = hands.clasped(a, posture)
    eats = hands.one_hand(a)
    holds = (1 - eats) * a.choice(0.5, 0.5)[..., :1] + eats
    posture = hands.place(posture, plate, holds)
    bite = a.pulse(0.12, 0.4, 0.5)[..., None] * a.uniform(0.85, 1.0)[..., None]
    return hands.place(posture, hands.at_mouth(a, posture), eats * bite), seat, seated


def greeting(a: Actor) -> Staged:
    """Waves, raises both arms, holds out a hand, or bows."""
    posture = hands.idle(a, stand(a), hang=4, hips=1, clasped=1)
    wave, both, shake, bow = np.moveaxis(a.choice(0.5, 0.2, 0.2, 0.15), -1, 0)
    bend = bow * a.pulse(0.2, 0.4, 0.6) * a.uniform(0.5, 1.0)
    _stoop(posture, bend, pelvis=0.5, lumbar=0.5)
    one = hands.one_hand(a)
    swing = 0.3 * np.sin(2 * np.pi * a.phase(0.8, 2.0))[..., None]
    azimuth = a.uniform(0.2, 1.2, 2) + (wave + both)[..., None] * swing
    high = a.uniform(0.3, 1.3, 2)
    aim = _aim(a, posture, azimuth, high, (0.55, 0.95))
    hello = wave[..., None] * one + both[..., None]
    posture = hands.place(posture, aim, hello)
    azimuth, elevation = a.uniform(-0.3, 0.2, 2), a.uniform(-0.7, -0.2, 2)
    held_out = _aim(a, posture, azimuth, elevation, a.uniform(0.7, 0.95, 2) + 0.04 * swing)
    return hands.place(posture, held_out, shake[..., None] * one), None, None


def phoning(a: Actor) -> Staged:
    """A hand at the ear, standing or sitting; the other one talks along."""
    posture, seat, seated = _stand_or_sit(a, 0.45)
    one = hands.one_hand(a)
    posture.neck[..., 0] += (one * OUT).sum(axis=-1) * a.uniform(-0.25, 0.0)
    posture = _look(posture, a.wander(0.15))
    up = {"hang": 3, "hips": 1.5, "pockets": 1.5, "gesture": 2, "crossed": 1}
    posture = _idle_by_seat(a, posture, seated, up, {"thighs": 4, "gesture": 1.5})
    return hands.place(posture, hands.at_ear(a, posture), one), seat, seated


def photo(a: Actor) -> Staged:
    """Both hands hold a camera before the face; upright, leaning or in a crouch."""
    deep = a.choice(0.6, 0.4)[..., 1] * a.uniform(0.1, 0.42)
    posture = _squat(a, stand(a, width=(0.8, 2.2), stagger=0.2), deep)
    posture = _look(posture, a.uniform(-0.4, 0.4), a.uniform(-0.35, 0.25))
    posture.lumbar[..., 1] += a.uniform(-0.1, 0.35)
    posture = hands.idle(a, posture, hang=3, hips=1, clasped=1)
    aims = a.choice(0.15, 0.85)[..., 1:]
    return hands.place(posture, hands.before_face(a, posture), aims), None, None


def _squat(a: Actor, posture: Posture, deep: np.ndarray) -> Posture:
    """The standing posture with knees bent by `deep` (M, F) leg lengths.

    The hips go back and the trunk leans forward to balance them. Hands move along with the root.
    """
    back = -0.32 * deep * a.subject.leg
    moved = dataclasses.replace(
        posture,
        root_m=posture.root_m.copy(),
        pelvis=posture.pelvis + triple(0 * deep, 0.7 * deep, 0 * deep),
        lumbar=posture.lumbar + triple(0 * deep, 0.5 * deep, 0 * deep),
        knees=posture.knees + np.array([0.0, 0.6, 0.0]) * deep[..., None, None],
    )
    moved.root_m[..., :2] += back[..., None] * heading_axes(posture.pelvis[..., 2])[0]
    moved.root_m = stand_up(a, moved).root_m
    lowest = a.subject.ankle + 0.25 * a.subject.leg
    moved.root_m[..., 2] = np.maximum(moved.root_m[..., 2] - deep * a.subject.leg, lowest)
    shift = (moved.root_m - posture.root_m)[..., None, :]
    return dataclasses.replace(moved, wrists_m=posture.wrists_m + shift)


def posing(a: Actor) -> Staged:
    """Odd postures for a picture: lunges, twists, a raised leg, arms anywhere."""
    deep = a.choice(0.6, 0.4)[..., 1] * a.uniform(0.0, 0.35)
    posture = _squat(a, stand(a, width=(0.4, 3.2), stagger=0.35), deep)
    posture.pelvis[..., :2] += a.uniform([-0.2, -0.25], [0.2, 0.35], 2)
    for part in (posture.lumbar, posture.chest):
        part += a.uniform([-0.25, -0.15, -0.4], [0.25, 0.4, 0.4], 3)
    posture = _look(posture, a.uniform(-1.0, 1.0), a.uniform(-0.4, 0.3))
    posture = _raise_leg(a, posture, a.choice(0.65, 0.18, 0.17)[..., 1:])
    odds = {"hang": 1, "hips": 1, "head": 1, "crossed": 0.5, "chin": 0.5, "back": 0.5}
    posture = hands.idle(a, posture, **odds)
    anywhere = _aim(a, posture, (-0.8, 2.2), (-1.2, 1.5), (0.45, 1.0))
    elbows = a.uniform([-1.0, 0.0, -1.0], [0.2, 1.0, 0.5], 2, 3)
    free = np.stack([a.choice(0.4, 0.6)[..., 1] for _ in range(2)], axis=-1)
    return hands.place(posture, hands.Hands(anywhere.wrists_m, elbows), free), None, None


def _raise_leg(a: Actor, posture: Posture, share: np.ndarray) -> Posture:
    """Lifts a foot off the floor by a share (M, F, 2)."""
    out = a.uniform([-0.5, 0.0, 0.25], [0.75, 0.5, 0.75], 2, 3) * a.subject.leg
    out[..., 1] += a.subject.pelvis
    target = on_floor(posture.root_m[..., :2], posture.pelvis[..., 2], out)
    w = share[..., None]
    supporting = posture.ankles_m[..., ::-1, :2]
    over = posture.root_m.copy()
    over[..., :2] += 0.8 * (w * (supporting - over[..., None, :2])).sum(axis=-2)
    return dataclasses.replace(
        posture,
        root_m=over,
        ankles_m=(1 - w) * posture.ankles_m + w * target,
        foot_free=share,
    )


def purchases(a: Actor) -> Staged:
    """Stoops to a low shelf or a bag, reaches up to a high one, carries something."""
    low, high, carry = np.moveaxis(a.choice(0.45, 0.25, 0.3), -1, 0)
    down = low * (0.35 + 0.65 * a.pulse(0.15, 0.35, 0.6))
    posture = stand(a, width=(0.6, 1.9), stagger=0.25)
    posture = _squat(a, posture, down * a.uniform(0.05, 0.45))
    stoop = down * a.uniform(0.3, 1.0)
    _stoop(posture, stoop, pelvis=0.7, lumbar=0.6, chest=0.3)
    posture = _look(posture, a.uniform(-0.5, 0.5), -0.3 * high + 0.2 * low)
    posture = hands.idle(a, posture, hang=4, hips=1, thighs=0.5)
    one = hands.one_hand(a)
    share = np.maximum(one, a.choice(0.5, 0.5)[..., 1:])
    ahead, aside = a.uniform(0.3, 0.6, 2), a.uniform(-0.1, 0.35, 2)
    ground = triple(ahead, aside, a.uniform(0.1, 0.6, 2))
    yaw = posture.pelvis[..., 2]
    reach = hands.Hands(on_floor(posture.root_m[..., :2], yaw, ground), np.array([-0.4, 0.6, -0.6]))
    posture = hands.place(posture, reach, share * down[..., None])
    shelf = _aim(a, posture, (-0.4, 0.8), (0.1, 1.3), (0.7, 1.0))
    posture = hands.place(posture, shelf, share * high[..., None])
    bag = hands.clasped(a, posture)
    return hands.place(posture, bag, share * carry[..., None]), None, None


def sitting(a: Actor) -> Staged:
    """Sits on a chair and changes position."""
    seat = seats(a)
    posture = sit(a, seat)
    _stoop(posture, a.uniform(-0.1, 0.4), lumbar=1.0, chest=0.4)
    odds = {"thighs": 5, "clasped": 1, "crossed": 1, "head": 1, "chin": 1, "gesture": 1, "hang": 1}
    return hands.idle(a, posture, **odds), seat, a.coin(2.0)


def sitting_down(a: Actor) -> Staged:
    """Sits down and gets up: on a chair, or on the floor, cross-legged or otherwise."""
    seat, on_chair = seats(a), a.coin(0.45)
    cycle = a.phase(0.08, 0.14) % 1.0
    down = smooth((cycle - 0.12) / 0.2) * smooth((0.97 - cycle) / 0.2)
    chair = hands.idle(a, sit(a, seat), thighs=4, crossed=1, gesture=1)
    floor = hands.idle(a, sit_on_floor(a), thighs=3, floor=2, clasped=1, gesture=1)
    seated = mix_postures(on_chair, floor, chair)
    upright = stand_up(a, _upright_over(a, seated))
    upright = hands.idle(a, upright, hang=1)
    posture = mix_postures(down, upright, seated)
    # The body goes down with the hips behind, the trunk leaning forward against it.
    bend = 4 * down * (1 - down)
    _stoop(posture, bend, pelvis=0.45, lumbar=0.3)
    feet_up = bend * (1 - on_chair)
    posture.ankles_m[..., 2] += 0.05 * feet_up[..., None]
    posture = hands.place(posture, _forward(a, posture), 0.6 * bend[..., None] * np.ones(2))
    return posture, seat, on_chair


def _upright_over(a: Actor, seated: Posture) -> Posture:
    """A standing posture from which the seated one could have begun, with flat feet."""
    s = a.subject
    offset = triple(0.85 * s.thigh, a.uniform(0.6, 1.5, 2) * s.pelvis, s.ankle)
    ankles_m = on_floor(seated.root_m[..., :2], seated.pelvis[..., 2], offset)
    return dataclasses.replace(
        seated,
        root_m=ankles_m.mean(axis=-2),
        pelvis=seated.pelvis * np.array([0.3, 0.3, 1.0]),
        lumbar=0.4 * seated.lumbar,
        ankles_m=ankles_m,
        knees=np.broadcast_to([1.0, 0.15, 0.1], seated.knees.shape),
        foot_free=0 * seated.foot_free,
        foot_pitch=0 * seated.foot_pitch,
    )


def _forward(a: Actor, posture: Posture) -> hands.Hands:
    shape = posture.wrists_m.shape
    offset = np.broadcast_to([0.55, 0.1, -0.55], shape)
    return hands.Hands(shoulder_reach(a, posture, offset), np.array([-0.3, 0.5, -1.0]))


def smoking(a: Actor) -> Staged:
    """Brings a cigarette to the mouth, slowly, and lets the hand sink again."""
    posture, seat, seated = _stand_or_sit(a, 0.4)
    up = {"hang": 2, "pockets": 2, "crossed": 2, "hips": 1}
    posture = _idle_by_seat(a, posture, seated, up, {"thighs": 5, "crossed": 1})
    one = hands.one_hand(a)
    ready = _aim(a, posture, (0.0, 0.8), (-0.9, -0.2), (0.45, 0.7))
    posture = hands.place(posture, ready, one * a.uniform(0, 1)[..., None])
    draw = a.pulse(0.1, 0.25, 0.4)[..., None]
    posture = _look(posture, a.uniform(-0.4, 0.4), a.uniform(-0.15, 0.15))
    return hands.place(posture, hands.at_mouth(a, posture), one * draw), seat, seated


def waiting(a: Actor) -> Staged:
    """Shifts weight, folds arms, looks around."""
    posture = stand(a, width=(0.5, 1.8), stagger=0.15)
    sway = a.uniform(-0.13, 0.13)
    posture.pelvis[..., 0] += sway
    posture.lumbar[..., 0] -= sway
    posture = _look(posture, a.uniform(-0.9, 0.9) + a.wander(0.15), a.uniform(-0.1, 0.35))
    odds = {"crossed": 3, "hips": 2, "pockets": 2, "hang": 2, "back": 1, "clasped": 1, "chin": 0.7}
    return hands.idle(a, posture, **odds), None, None


def walk_dog(a: Actor) -> Staged:
    """Walks, one arm held forward and down by a leash that tugs; bends down to the dog."""
    posture = walk(a, speed=(0.6, 1.4))
    one = hands.one_hand(a)
    tug = a.wander(0.12, 2)
    azimuth, elevation = a.uniform(-0.3, 0.6, 2) + tug, a.uniform(-1.0, -0.3, 2) + 0.7 * tug
    leash = _aim(a, posture, azimuth, elevation, (0.75, 1.0))
    stoop = a.choice(0.7, 0.3)[..., 1] * a.uniform(0.3, 1.0)
    _stoop(posture, stoop, lumbar=0.45, pelvis=0.25, neck=0.2)
    posture = stand_up(a, posture, 0.01 + 0.03 * stoop)
    return hands.place(posture, leash, one), None, None


def walking(a: Actor) -> Staged:
    """Walks round the room."""
    posture = walk(a)
    hold = a.choice(0.85, 0.15)[..., 1:] * np.ones(2)
    resting = hands.idle(a, posture, pockets=1, back=1, crossed=0.5)
    return hands.place(posture, resting, hold), None, None


def walk_together(a: Actor) -> Staged:
    """Strolls beside somebody: slower, the head turned to that side, a hand talking or held."""
    posture = walk(a, speed=(0.5, 1.1))
    beside = hands.one_hand(a, right=0.5)
    side = (beside * OUT).sum(axis=-1)
    posture = _look(posture, side * a.uniform(0.0, 1.0), a.uniform(-0.1, 0.15))
    _, talk, held = np.moveaxis(a.choice(0.35, 0.35, 0.3), -1, 0)
    talking = hands.gesturing(a, posture, 0.7)
    posture = hands.place(posture, talking, talk[..., None] * (1 - 0.6 * beside))
    arm = _aim(a, posture, (0.5, 1.6), (-1.1, 0.1), (0.7, 0.95))
    return hands.place(posture, arm, held[..., None] * beside), None, None


ACTION_FUNCTIONS = {
    "Directions": directions, "Discussion": discussion, "Eating": eating, "Greeting": greeting,
    "Phoning": phoning, "Photo": photo, "Posing": posing, "Purchases": purchases,
    "Sitting": sitting, "SittingDown": sitting_down, "Smoking": smoking, "Waiting": waiting,
    "WalkDog": walk_dog, "Walking": walking, "WalkTogether": walk_together,
}  # fmt: skip
