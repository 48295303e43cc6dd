"""The fifteen Human3.6M actions as families of postures in time.

An action is a function (subject, v, half_size) -> (Posture, Seat or None, seated): postures with
axes (M, F), the chairs of the motions, and an (M, 1) mask of the motions that use theirs.
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
from data_prep.synthetic.subjects import Subject
from data_prep.synthetic.variation import Variation, smooth

Staged = tuple[Posture, Seat | None, np.ndarray | None]


def _look(posture: Posture, turn: np.ndarray, nod: np.ndarray | float = 0.0) -> Posture:
    """The posture with the head, and a little the chest, turned (rad, left) and nodded (down)."""
    zero = 0.0 * turn
    neck = posture.neck + triple(zero, nod, 0.8 * turn)
    return dataclasses.replace(
        posture, neck=neck, chest=posture.chest + triple(zero, zero, turn / 5)
    )


def _aim(subject: Subject, posture: Posture, azimuth, elevation, extent) -> hands.Hands:
    """Arms stretched towards directions (M, F, 2): azimuth outward from ahead, elevation up."""
    level = np.cos(elevation)
    towards = triple(level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation))
    wrists_m = shoulder_reach(subject, posture, extent[..., None] * towards)
    return hands.Hands(wrists_m, np.array([-0.3, 0.5, -1.0]))


def directions(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Points the way, with one arm or both, and looks there."""
    posture = stand(subject, v, half_size)
    posture = hands.idle(subject, v, posture, hang=5, hips=1, pockets=1, clasped=1)
    none, one, both = np.moveaxis(v.choice(0.1, 0.65, 0.25), -1, 0)
    share = one[..., None] * v.choice(0.35, 0.65) + both[..., None]
    share = share * (1 - 0.5 * none * v.pulse(0.15, 0.4))[..., None]
    azimuth = v.uniform(-0.7, 1.7, 2) + v.wander(0.05, 2)
    elevation = v.uniform(-0.6, 0.8, 2) + v.wander(0.05, 2)
    turn = (share * azimuth * OUT).sum(axis=-1) / np.maximum(share.sum(axis=-1), 0.5)
    posture = _look(posture, 0.7 * turn)
    aim = _aim(subject, posture, azimuth, elevation, v.uniform(0.75, 1.0, 2))
    return hands.place(posture, aim, share), None, None


def discussion(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Talks with the hands, turns to listeners, steps about."""
    posture = stand(subject, v, half_size, crouch=0.01)
    posture = _look(posture, v.uniform(-0.6, 0.6) + v.wander(0.12))
    odds = {"gesture": 6, "hang": 1.5, "crossed": 1, "hips": 1, "clasped": 1, "pockets": 0.5}
    return hands.idle(subject, v, posture, **odds), None, None


def _stand_or_sit(subject, v, half_size, chance: float, **standing):
    """Postures of motions that stand or, with this chance, sit on a chair."""
    seat, seated = seats(subject, v, half_size), v.coin(chance)
    posture = mix_postures(seated, stand(subject, v, half_size, **standing), sit(subject, v, seat))
    return posture, seat, seated


def _idle_by_seat(subject, v, posture: Posture, seated, standing: dict, sitting: dict) -> Posture:
    up = hands.idle(subject, v, posture, **standing)
    down = hands.idle(subject, v, posture, **sitting)
    return mix_postures(seated, up, down)


def eating(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Holds a plate or rests one hand and brings the other to the mouth again and again."""
    posture, seat, seated = _stand_or_sit(subject, v, half_size, 0.75)
    posture = _look(posture, v.uniform(-0.2, 0.2), v.uniform(0.0, 0.35))
    posture = _idle_by_seat(
        subject, v, posture, seated, {"clasped": 3, "hang": 1}, {"thighs": 2, "clasped": 1}
    )
    plate = hands.clasped(subject, v, posture)
    eats = hands.one_hand(v)
    holds = (1 - eats) * v.choice(0.5, 0.5)[..., :1] + eats
    posture = hands.place(posture, plate, holds)
    bite = v.pulse(0.12, 0.4, 0.5)[..., None] * v.uniform(0.85, 1.0)[..., None]
    return hands.place(posture, hands.at_mouth(subject, v, posture), eats * bite), seat, seated


def greeting(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Waves, raises both arms, holds out a hand, or bows."""
    posture = stand(subject, v, half_size)
    posture = hands.idle(subject, v, posture, hang=4, hips=1, clasped=1)
    wave, both, shake, bow = np.moveaxis(v.choice(0.5, 0.2, 0.2, 0.15), -1, 0)
    bend = bow * v.pulse(0.2, 0.4, 0.6) * v.uniform(0.5, 1.0)
    posture.pelvis[..., 1] += 0.5 * bend
    posture.lumbar[..., 1] += 0.5 * bend
    one = hands.one_hand(v)
    swing = 0.3 * np.sin(2 * np.pi * v.phase(0.8, 2.0))[..., None]
    azimuth = v.uniform(0.2, 1.2, 2) + (wave + both)[..., None] * swing
    high = v.uniform(0.3, 1.3, 2)
    aim = _aim(subject, posture, azimuth, high, v.uniform(0.55, 0.95, 2))
    hello = wave[..., None] * one + both[..., None]
    posture = hands.place(posture, aim, hello)
    held_out = _aim(
        subject, posture, v.uniform(-0.3, 0.2, 2), v.uniform(-0.7, -0.2, 2),
        v.uniform(0.7, 0.95, 2) + 0.04 * swing,
    )  # fmt: skip
    return hands.place(posture, held_out, shake[..., None] * one), None, None


def phoning(subject: Subject, v: Variation, half_size: float) -> Staged:
    """A hand at the ear, standing or sitting; the other one talks along."""
    posture, seat, seated = _stand_or_sit(subject, v, half_size, 0.45)
    one = hands.one_hand(v)
    tilt = (one * OUT).sum(axis=-1) * v.uniform(-0.25, 0.0)
    posture.neck[..., 0] += tilt
    posture = _look(posture, v.wander(0.15))
    up = {"hang": 3, "hips": 1.5, "pockets": 1.5, "gesture": 2, "crossed": 1}
    posture = _idle_by_seat(subject, v, posture, seated, up, {"thighs": 4, "gesture": 1.5})
    return hands.place(posture, hands.at_ear(subject, v, posture), one), seat, seated


def photo(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Both hands hold a camera before the face; upright, leaning or in a crouch."""
    deep = v.choice(0.6, 0.4)[..., 1] * v.uniform(0.1, 0.42)
    posture = _squat(subject, stand(subject, v, half_size, width=(0.8, 2.2), stagger=0.2), deep)
    posture = _look(posture, v.uniform(-0.4, 0.4), v.uniform(-0.35, 0.25))
    posture.lumbar[..., 1] += v.uniform(-0.1, 0.35)
    posture = hands.idle(subject, v, posture, hang=3, hips=1, clasped=1)
    aims = v.choice(0.15, 0.85)[..., 1:]
    return hands.place(posture, hands.before_face(subject, v, posture), aims), None, None


def _squat(subject: Subject, posture: Posture, deep: np.ndarray) -> Posture:
    """The standing posture with knees bent by `deep` (M, F) leg lengths, the hips behind the feet
    and the trunk forward to balance them; hands keep their place relative to the root."""
    back = -0.32 * deep * subject.leg
    moved = dataclasses.replace(
        posture,
        root_m=posture.root_m.copy(),
        pelvis=posture.pelvis + triple(0 * deep, 0.7 * deep, 0 * deep),
        lumbar=posture.lumbar + triple(0 * deep, 0.5 * deep, 0 * deep),
        knees=posture.knees + np.array([0.0, 0.6, 0.0]) * deep[..., None, None],
    )
    moved.root_m[..., :2] += back[..., None] * heading_axes(posture.pelvis[..., 2])[0]
    moved.root_m = stand_up(subject, moved).root_m
    lowest = subject.ankle + 0.25 * subject.leg
    moved.root_m[..., 2] = np.maximum(moved.root_m[..., 2] - deep * subject.leg, lowest)
    shift = (moved.root_m - posture.root_m)[..., None, :]
    return dataclasses.replace(moved, wrists_m=posture.wrists_m + shift)


def posing(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Odd postures for a picture: lunges, twists, a raised leg, arms anywhere."""
    deep = v.choice(0.6, 0.4)[..., 1] * v.uniform(0.0, 0.35)
    posture = stand(subject, v, half_size, width=(0.4, 3.2), stagger=0.35)
    posture = _squat(subject, posture, deep)
    posture.pelvis[..., :2] += v.uniform([-0.2, -0.25], [0.2, 0.35], 2)
    for part in (posture.lumbar, posture.chest):
        part += v.uniform([-0.25, -0.15, -0.4], [0.25, 0.4, 0.4], 3)
    posture = _look(posture, v.uniform(-1.0, 1.0), v.uniform(-0.4, 0.3))
    posture = _raise_leg(subject, v, posture, v.choice(0.65, 0.18, 0.17)[..., 1:])
    odds = {"hang": 1, "hips": 1, "head": 1, "crossed": 0.5, "chin": 0.5, "back": 0.5}
    posture = hands.idle(subject, v, posture, **odds)
    anywhere = _aim(
        subject, posture, v.uniform(-0.8, 2.2, 2), v.uniform(-1.2, 1.5, 2), v.uniform(0.45, 1.0, 2)
    )
    elbows = v.uniform([-1.0, 0.0, -1.0], [0.2, 1.0, 0.5], 2, 3)
    free = np.stack([v.choice(0.4, 0.6)[..., 1] for _ in range(2)], axis=-1)
    return hands.place(posture, hands.Hands(anywhere.wrists_m, elbows), free), None, None


def _raise_leg(subject: Subject, v: Variation, posture: Posture, share: np.ndarray) -> Posture:
    """Lifts a foot off the floor by a share (M, F, 2)."""
    out = v.uniform([-0.5, 0.0, 0.25], [0.75, 0.5, 0.75], 2, 3) * subject.leg
    out[..., 1] += subject.pelvis
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


def purchases(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Stoops to a low shelf or a bag, reaches up to a high one, carries something."""
    low, high, carry = np.moveaxis(v.choice(0.45, 0.25, 0.3), -1, 0)
    down = low * (0.35 + 0.65 * v.pulse(0.15, 0.35, 0.6))
    posture = stand(subject, v, half_size, width=(0.6, 1.9), stagger=0.25)
    posture = _squat(subject, posture, down * v.uniform(0.05, 0.45))
    stoop = down * v.uniform(0.3, 1.0)
    posture.pelvis[..., 1] += 0.7 * stoop
    posture.lumbar[..., 1] += 0.6 * stoop
    posture.chest[..., 1] += 0.3 * stoop
    posture = _look(posture, v.uniform(-0.5, 0.5), -0.3 * high + 0.2 * low)
    posture = hands.idle(subject, v, posture, hang=4, hips=1, thighs=0.5)
    one = hands.one_hand(v)
    share = np.maximum(one, v.choice(0.5, 0.5)[..., 1:])
    ahead, aside = v.uniform(0.3, 0.6, 2), v.uniform(-0.1, 0.35, 2)
    ground = triple(ahead, aside, v.uniform(0.1, 0.6, 2))
    yaw = posture.pelvis[..., 2]
    reach = hands.Hands(on_floor(posture.root_m[..., :2], yaw, ground), np.array([-0.4, 0.6, -0.6]))
    posture = hands.place(posture, reach, share * down[..., None])
    shelf = _aim(
        subject, posture, v.uniform(-0.4, 0.8, 2), v.uniform(0.1, 1.3, 2), v.uniform(0.7, 1.0, 2)
    )
    posture = hands.place(posture, shelf, share * high[..., None])
    bag = hands.clasped(subject, v, posture)
    return hands.place(posture, bag, share * carry[..., None]), None, None


def sitting(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Sits on a chair and changes position."""
    seat = seats(subject, v, half_size)
    posture = sit(subject, v, seat)
    lean = v.uniform(-0.1, 0.4)
    posture.lumbar[..., 1] += lean
    posture.chest[..., 1] += 0.4 * lean
    odds = {"thighs": 5, "clasped": 1, "crossed": 1, "head": 1, "chin": 1, "gesture": 1, "hang": 1}
    return hands.idle(subject, v, posture, **odds), seat, v.coin(2.0)


def sitting_down(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Sits down and gets up: on a chair, or on the floor, cross-legged or otherwise."""
    seat, on_chair = seats(subject, v, half_size), v.coin(0.45)
    cycle = v.phase(0.08, 0.14) % 1.0
    down = smooth((cycle - 0.12) / 0.2) * smooth((0.97 - cycle) / 0.2)
    chair = sit(subject, v, seat)
    chair = hands.idle(subject, v, chair, thighs=4, crossed=1, gesture=1)
    floor = sit_on_floor(subject, v, half_size)
    floor = hands.idle(subject, v, floor, thighs=3, floor=2, clasped=1, gesture=1)
    seated = mix_postures(on_chair, floor, chair)
    upright = stand_up(subject, _upright_over(subject, v, seated))
    upright = hands.idle(subject, v, upright, hang=1)
    posture = mix_postures(down, upright, seated)
    # The body goes down with the hips behind, the trunk leaning forward against it.
    bend = 4 * down * (1 - down)
    posture.pelvis[..., 1] += 0.45 * bend
    posture.lumbar[..., 1] += 0.3 * bend
    feet_up = bend * (1 - on_chair)
    posture.ankles_m[..., 2] += 0.05 * feet_up[..., None]
    posture = hands.place(posture, _forward(subject, posture), 0.6 * bend[..., None] * np.ones(2))
    return posture, seat, on_chair


def _upright_over(subject: Subject, v: Variation, seated: Posture) -> Posture:
    """Standing where the seated posture could have come from: the feet flat near the shins."""
    yaw = seated.pelvis[..., 2]
    offset = triple(0.85 * subject.thigh, v.uniform(0.6, 1.5, 2) * subject.pelvis, subject.ankle)
    ankles_m = on_floor(seated.root_m[..., :2], yaw, offset)
    root_m = ankles_m.mean(axis=-2)
    return dataclasses.replace(
        seated,
        root_m=root_m,
        pelvis=seated.pelvis * np.array([0.3, 0.3, 1.0]),
        lumbar=0.4 * seated.lumbar,
        ankles_m=ankles_m,
        knees=np.broadcast_to([1.0, 0.15, 0.1], seated.knees.shape),
        foot_free=0 * seated.foot_free,
        foot_pitch=0 * seated.foot_pitch,
    )


def _forward(subject: Subject, posture: Posture) -> hands.Hands:
    shape = posture.wrists_m.shape
    offset = np.broadcast_to([0.55, 0.1, -0.55], shape)
    return hands.Hands(shoulder_reach(subject, posture, offset), np.array([-0.3, 0.5, -1.0]))


def smoking(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Brings a cigarette to the mouth, slowly, and lets the hand sink again."""
    posture, seat, seated = _stand_or_sit(subject, v, half_size, 0.4)
    up = {"hang": 2, "pockets": 2, "crossed": 2, "hips": 1}
    posture = _idle_by_seat(subject, v, posture, seated, up, {"thighs": 5, "crossed": 1})
    one = hands.one_hand(v)
    ready = _aim(
        subject, posture, v.uniform(0.0, 0.8, 2), v.uniform(-0.9, -0.2, 2), v.uniform(0.45, 0.7, 2)
    )
    posture = hands.place(posture, ready, one * v.uniform(0, 1)[..., None])
    draw = v.pulse(0.1, 0.25, 0.4)[..., None]
    posture = _look(posture, v.uniform(-0.4, 0.4), v.uniform(-0.15, 0.15))
    return hands.place(posture, hands.at_mouth(subject, v, posture), one * draw), seat, seated


def waiting(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Shifts weight, folds arms, looks around."""
    posture = stand(subject, v, half_size, width=(0.5, 1.8), stagger=0.15)
    sway = v.uniform(-0.13, 0.13)
    posture.pelvis[..., 0] += sway
    posture.lumbar[..., 0] -= sway
    posture = _look(posture, v.uniform(-0.9, 0.9) + v.wander(0.15), v.uniform(-0.1, 0.35))
    odds = {"crossed": 3, "hips": 2, "pockets": 2, "hang": 2, "back": 1, "clasped": 1, "chin": 0.7}
    return hands.idle(subject, v, posture, **odds), None, None


def walk_dog(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Walks, one arm held forward and down by a leash that tugs; bends down to the dog."""
    posture = walk(subject, v, half_size, speed=(0.6, 1.4))
    one = hands.one_hand(v)
    tug = v.wander(0.12, 2)
    leash = _aim(
        subject, posture, v.uniform(-0.3, 0.6, 2) + tug, v.uniform(-1.0, -0.3, 2) + 0.7 * tug,
        v.uniform(0.75, 1.0, 2),
    )  # fmt: skip
    stoop = v.choice(0.7, 0.3)[..., 1] * v.uniform(0.3, 1.0)
    posture.lumbar[..., 1] += 0.45 * stoop
    posture.pelvis[..., 1] += 0.25 * stoop
    posture.neck[..., 1] += 0.2 * stoop
    posture = stand_up(subject, posture, 0.01 + 0.03 * stoop)
    return hands.place(posture, leash, one), None, None


def walking(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Walks round the room."""
    posture = walk(subject, v, half_size)
    hold = v.choice(0.85, 0.15)[..., 1:] * np.ones(2)
    resting = hands.idle(subject, v, posture, pockets=1, back=1, crossed=0.5)
    return hands.place(posture, hands.Hands(resting.wrists_m, resting.elbows), hold), None, None


def walk_together(subject: Subject, v: Variation, half_size: float) -> Staged:
    """Strolls beside somebody: slower, the head turned to that side, a hand talking or held."""
    posture = walk(subject, v, half_size, speed=(0.5, 1.1))
    beside = hands.one_hand(v, right=0.5)
    side = (beside * OUT).sum(axis=-1)
    posture = _look(posture, side * v.uniform(0.0, 1.0), v.uniform(-0.1, 0.15))
    _, talk, held = np.moveaxis(v.choice(0.35, 0.35, 0.3), -1, 0)
    talking = hands.gesturing(subject, v, posture, 0.7)
    posture = hands.place(posture, talking, talk[..., None] * (1 - 0.6 * beside))
    arm = _aim(
        subject, posture, v.uniform(0.5, 1.6, 2), v.uniform(-1.1, 0.1, 2), v.uniform(0.7, 0.95, 2)
    )
    return hands.place(posture, arm, held[..., None] * beside), None, None


ACTION_FUNCTIONS = {
    "Directions": directions, "Discussion": discussion, "Eating": eating, "Greeting": greeting,
    "Phoning": phoning, "Photo": photo, "Posing": posing, "Purchases": purchases,
    "Sitting": sitting, "SittingDown": sitting_down, "Smoking": smoking, "Waiting": waiting,
    "WalkDog": walk_dog, "Walking": walking, "WalkTogether": walk_together,
}  # fmt: skip
