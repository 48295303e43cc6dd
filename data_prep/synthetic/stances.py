"""What feet and pelvis do: standing, walking, sitting on a chair or on the floor.

Each function returns a whole `Posture` with a quiet upper body and hanging arms. Arrays have axes
(M, F): motions and frames; see `Actor`.
"""

import dataclasses

import numpy as np

from data_prep.synthetic.kinematics import Posture, pair_to_world, rotation, solve_trunk
from data_prep.synthetic.variation import Actor, smooth

OUT = np.array([1.0, -1.0])
"""(2,) factors on angles about z and x that turn left and right outward alike."""


def heading_axes(yaw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (..., 2) ahead and to the left of a heading (...)."""
    ahead = np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
    return ahead, np.stack([-ahead[..., 1], ahead[..., 0]], axis=-1)


def on_floor(origin: np.ndarray, yaw: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """World (..., 2, 3) of left-convention offsets (..., 2, 3) from a floor point (..., 2)."""
    turn = np.stack([0 * yaw, 0 * yaw, yaw], axis=-1)
    world = pair_to_world(rotation(turn), offset)
    return world + np.concatenate([origin, 0 * origin[..., :1]], axis=-1)[..., None, :]


def triple(x, y, z) -> np.ndarray:
    """Arrays that broadcast to one shape (...) as (..., 3)."""
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1)


def mix(weight: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a where weight (M, F or 1) is 0, b where it is 1; a and b may have further axes."""
    w = np.asarray(weight, np.float64)
    w = w.reshape(w.shape + (1,) * (np.ndim(a) - w.ndim))
    return (1 - w) * a + w * b


def mix_postures(weight: np.ndarray, a: Posture, b: Posture) -> Posture:
    """Every field of two postures mixed by weight (M, F or 1)."""
    fields = (f.name for f in dataclasses.fields(Posture))
    return Posture(**{f: mix(weight, getattr(a, f), getattr(b, f)) for f in fields})


def shoulder_reach(a: Actor, posture: Posture, offset: np.ndarray) -> np.ndarray:
    """Wrist targets (M, F, 2, 3) in the world at offsets from each shoulder.

    Args:
      offset: (M, F, 2, 3) chest axes, as of a left arm, in arm lengths.
    """
    trunk = solve_trunk(a.subject, posture)
    length = a.subject.upper_arm + a.subject.forearm
    return trunk.shoulders_m + pair_to_world(trunk.chest, offset * length)


def hanging(a: Actor) -> np.ndarray:
    """Offsets for `shoulder_reach` of arms that hang loosely."""
    ahead, out = a.uniform(-0.1, 0.35, 2), a.uniform(0.02, 0.3, 2)
    offset = triple(ahead, out, -a.uniform(0.86, 1.0, 2))
    return offset + a.wander(0.015, 2, 3)


def _quiet(a: Actor, root_m, yaw, ankles_m, foot_yaw, foot_pitch, grounded=1.0) -> Posture:
    """A posture with a gently moving spine and head; the wrists are still to be placed."""
    shape = (a.num_motions, a.num_frames)
    lean = a.uniform([-0.06, -0.1, -0.12], [0.06, 0.12, 0.12], 3) + a.wander(0.015, 3)
    pelvis = a.uniform([-0.05, -0.06, 0.0], [0.05, 0.1, 0.0], 3)
    pelvis[..., 2] += yaw
    neck = a.uniform([-0.15, -0.3, -0.7], [0.15, 0.4, 0.7], 3) + a.wander(0.05, 3)
    return Posture(
        root_m=root_m,
        pelvis=pelvis,
        lumbar=lean,
        chest=0.7 * lean + a.uniform([-0.06, 0.0, -0.06], [0.06, 0.12, 0.06], 3),
        neck=neck,
        shrug=a.uniform(-0.03, 0.1, 2),
        wrists_m=np.zeros((*shape, 2, 3)),
        elbows=a.uniform([-1.0, 0.1, -1.0], [-0.4, 0.7, -0.6], 2, 3),
        wrist_bend=a.uniform(-0.3, 0.4, 2, 2) + a.wander(0.06, 2, 2),
        ankles_m=ankles_m,
        knees=triple(np.ones((*shape, 2)), a.uniform(-0.05, 0.3, 2), a.uniform(-0.1, 0.3, 2)),
        foot_yaw=foot_yaw,
        foot_pitch=foot_pitch,
        foot_free=np.zeros((*shape, 2)),
        grounded=np.broadcast_to(float(grounded), shape),
    )


def _relaxed(a: Actor, posture: Posture) -> Posture:
    wrists_m = shoulder_reach(a, posture, hanging(a))
    return dataclasses.replace(posture, wrists_m=wrists_m)


def hip_height(a: Actor, posture: Posture) -> np.ndarray:
    """Greatest height (M, F) of the hip joint centre at which both legs reach their ankles.

    A softened minimum keeps the height smooth where the other leg becomes the limit.
    """
    centre = np.concatenate([posture.root_m[..., :2], 0 * posture.root_m[..., :1]], axis=-1)
    hips = solve_trunk(a.subject, dataclasses.replace(posture, root_m=centre)).hips_m
    gap = posture.ankles_m - hips
    limit = 0.995 * a.subject.leg
    rise = np.sqrt(np.maximum(limit**2 - (gap[..., :2] ** 2).sum(axis=-1), (0.3 * limit) ** 2))
    reach, sharp = gap[..., 2] + rise, 120.0
    least = reach.min(axis=-1)
    return least - np.log(np.exp(-sharp * (reach - least[..., None])).sum(axis=-1)) / sharp


def stand_up(a: Actor, posture: Posture, crouch: np.ndarray | float = 0.0) -> Posture:
    """Sets the pelvis as high as the legs allow, less `crouch` (M, F), in leg lengths."""
    root_m = posture.root_m.copy()
    root_m[..., 2] = hip_height(a, posture) - crouch * a.subject.leg
    return dataclasses.replace(posture, root_m=root_m)


def places(a: Actor, roam: float = 0.2):
    """Positions (M, E, 2) in the room and headings (M, E) of the episodes of each motion."""
    inner = max(a.half_size - 0.5, 0.1)
    start = a.rng.uniform(-inner, inner, (a.num_motions, 1, 2))
    steps = np.cumsum(a.rng.normal(0, roam, (a.num_motions, a.num_episodes, 2)), axis=1)
    turns = np.cumsum(a.rng.normal(0, 0.45, (a.num_motions, a.num_episodes)), axis=1)
    yaw = a.rng.uniform(-np.pi, np.pi, (a.num_motions, 1)) + turns
    return np.clip(start + np.clip(steps, -0.3, 0.3), -inner, inner), yaw


def stand(
    a: Actor,
    *,
    width: tuple[float, float] = (0.5, 1.7),
    stagger: float = 0.1,
    crouch: np.ndarray | float = 0.0,
) -> Posture:
    """Stands on both feet, shifts weight, and now and then steps to a new place and heading.

    Args:
      width: range of the distance between the feet, in hip widths.
      stagger: how far (m) one foot may be ahead of the middle.
      crouch: (M, F) how deep the knees bend, in leg lengths.
    """
    xy, yaw = places(a)
    stagger_ME = a.knots(-stagger, stagger)
    aside = a.knots(*width) * a.subject.pelvis
    ahead = triple(stagger_ME, -stagger_ME, 0.0)[..., :2]
    offset = triple(ahead, aside[..., None], a.subject.ankle)
    ankles = on_floor(xy, yaw, offset)
    toe_out = yaw[..., None] + OUT * a.knots(0.0, 0.5, 2)
    steps = [a.blend(ankles[:, :, i], 0.5 * i, 0.5 + 0.5 * i) for i in (0, 1)]
    lift = np.stack([0.28 * done * (1 - done) for _, done in steps], axis=-1)
    ankles_m = np.stack([step for step, _ in steps], axis=-2)
    ankles_m[..., 2] += lift
    turns = [a.blend(toe_out[:, :, i], 0.5 * i, 0.5 + 0.5 * i)[0] for i in (0, 1)]
    foot_yaw = np.stack(turns, axis=-1)
    heading = a.blend(yaw)[0]
    middle, across = ankles_m.mean(axis=-2), (ankles_m[..., 0, :] - ankles_m[..., 1, :]) / 2
    shift = 0.8 * a.uniform(-1, 1) + a.wander(0.08)
    root_m = middle + shift[..., None] * across * 0.7
    posture = _quiet(a, root_m, heading, ankles_m, foot_yaw, 0 * foot_yaw)
    # The hip of the leg that carries the weight is the higher one.
    posture.pelvis[..., 0] += 0.1 * shift
    posture.lumbar[..., 0] -= 0.1 * shift
    return _relaxed(a, stand_up(a, posture, crouch))


def _oval(s: np.ndarray, straight: np.ndarray, radius: np.ndarray):
    """Point (..., 2) and heading (...) at arc length s of two straights joined by half circles."""
    bend = np.pi * radius
    half = straight + bend
    lap, u = np.floor(s / half), s % half
    turned = np.clip(u - straight, 0, None) / radius
    x = np.minimum(u, straight) - straight / 2 + radius * np.sin(turned)
    y = -radius * np.cos(turned)
    flip = np.where(lap % 2 == 0, 1.0, -1.0)
    return np.stack([flip * x, flip * y], axis=-1), turned + np.pi * lap


def _path(a: Actor):
    """A function from arc length (M, ...) to point and heading on an oval inside the room."""
    half_size = a.half_size - 0.1  # the body sways
    radius = a.fixed(0.4, 0.8) * half_size
    straight = a.fixed(0, 2) * (half_size - radius)
    slack = half_size - straight / 2 - radius
    centre = a.fixed(-1, 1, 2) * slack[..., None]
    turn, side = a.fixed(-np.pi, np.pi), np.where(a.coin(0.5), 1.0, -1.0)

    def at(s):
        point, yaw = _oval(s, straight, radius)
        point = point * np.stack([np.ones_like(side), side], axis=-1)
        ahead, left = heading_axes(turn)
        return centre + point[..., :1] * ahead + point[..., 1:] * left, turn + side * yaw

    return at


def _pivot(a: Actor, pitch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far (m) the ankle moves ahead and up when a flat foot pitches.

    Above 0 the toes go up and the foot turns about the heel, below 0 the heel goes up.
    """
    arm = np.where(pitch > 0, a.subject.heel, -a.subject.toe)
    ahead = arm * np.cos(pitch) - a.subject.ankle * np.sin(pitch)
    return ahead - arm, arm * np.sin(pitch) + a.subject.ankle * (np.cos(pitch) - 1)


STANCE = 0.62
"""Share of a step cycle in which a foot is on the floor."""


def walk(a: Actor, speed=(0.8, 1.5)) -> Posture:
    """Walks round an oval; the arms swing against the legs.

    A foot stays where it was set down and rolls from heel to toes.

    Args:
      speed: range in m/s.
    """
    pace = a.fixed(*speed)
    stride = a.fixed(0.95, 1.1) * a.subject.leg * 1.45 * (pace / 1.3) ** 0.5
    step_width = a.fixed(0.35, 0.9) * a.subject.pelvis
    toe_out, lift = a.fixed(0.0, 0.25), a.fixed(0.03, 0.07)
    at = _path(a)
    travelled = pace * a.times + a.fixed(0, 20)
    root_xy, yaw = at(travelled)

    ankles, yaws, pitches, phases = [], [], [], []
    for half_cycle, out in ((0.0, 1.0), (0.5, -1.0)):
        phase = travelled / stride - half_cycle
        count, u = np.floor(phase), phase % 1.0
        swing = np.clip((u - STANCE) / (1 - STANCE), 0, 1)
        # Each footprint lies under the body in the middle of the stance.
        prints = [at((count + i + STANCE / 2 + half_cycle) * stride) for i in (0, 1)]
        ends = [p + out * step_width[..., None] * heading_axes(y)[1] for p, y in prints]
        w = smooth(swing)
        foot = (1 - w)[..., None] * ends[0] + w[..., None] * ends[1]
        foot_yaw = (1 - w) * prints[0][1] + w * prints[1][1] + out * toe_out
        # Heel strike with the toes up, flat, heel off, and through the air.
        pitch = 0.3 * (1 - smooth(u / 0.13)) - 0.75 * smooth((u - 0.36) / (STANCE - 0.36))
        pitch = np.where(u < STANCE, pitch, -0.75 + 1.05 * smooth(swing))
        ahead, up = _pivot(a, pitch)
        height = a.subject.ankle + up + lift * np.sin(np.pi * swing) ** 2
        foot = foot + ahead[..., None] * heading_axes(foot_yaw)[0]
        ankles.append(np.concatenate([foot, height[..., None]], axis=-1))
        yaws.append(foot_yaw)
        pitches.append(pitch)
        phases.append(2 * np.pi * phase)
    left, _ = phases
    root_m = np.concatenate([root_xy, 0 * root_xy[..., :1]], axis=-1)
    sway = 0.3 * step_width * np.cos(left - np.pi * STANCE)
    root_m[..., :2] += sway[..., None] * heading_axes(yaw)[1]
    feet = np.stack(ankles, -2), np.stack(yaws, -1), np.stack(pitches, -1)
    posture = _quiet(a, root_m, yaw, *feet)
    turn = a.fixed(0.04, 0.12) * np.cos(left)
    posture.pelvis[..., 2] -= turn
    posture.pelvis[..., 0] += 0.05 * np.cos(left - np.pi * STANCE)
    posture.lumbar[..., 2] += turn
    posture.chest[..., 2] += turn
    posture = stand_up(a, posture, 0.01)
    return dataclasses.replace(posture, wrists_m=shoulder_reach(a, posture, _swinging(a, left)))


def _swinging(a: Actor, left: np.ndarray) -> np.ndarray:
    """Offsets for `shoulder_reach` of arms that swing against legs at phase `left` (rad)."""
    cos = np.cos(left)[..., None] * OUT
    angle = a.fixed(0.0, 0.25, 2) - a.fixed(0.15, 0.65, 1) * cos
    length = a.fixed(0.9, 0.985, 2) - 0.05 * np.maximum(angle, 0)
    return triple(length * np.sin(angle), a.fixed(0.03, 0.25, 2), -length * np.cos(angle))


def sit(a: Actor, seat: "Seat") -> Posture:
    """Sits on a chair, the feet on the floor or one leg over the other."""
    s = a.subject
    shape = (a.num_motions, a.num_frames)
    yaw = seat.yaw + a.uniform(-0.15, 0.15)
    height = seat.height + s.seat_clearance
    root_m = np.concatenate([seat.xy, height[..., None]], axis=-1) + np.zeros((*shape, 1))
    drop = height - s.ankle
    # From feet tucked under the knees to legs stretched out, as far as the legs allow.
    far = np.sqrt((0.97 * s.leg) ** 2 - drop**2)
    near = 0.68 * s.thigh
    stretch = a.uniform(0, 1, 1) ** 1.5 + a.uniform(-0.3, 0.3, 2)
    ahead = near + np.clip(stretch, 0, 1) * (far - near)[..., None]
    aside = s.pelvis * a.uniform(0.3, 2.6, 1) * a.uniform(0.7, 1.3, 2)
    ankles_m = on_floor(root_m[..., :2], yaw, triple(ahead, aside, s.ankle))
    foot_yaw = yaw[..., None] + OUT * a.uniform(-0.1, 0.5, 2)
    posture = _quiet(a, root_m, yaw, ankles_m, foot_yaw, np.zeros((*shape, 2)), grounded=0.0)
    posture.pelvis[..., 1] += a.uniform(-0.35, 0.15)
    posture.lumbar[..., 1] += a.uniform(-0.1, 0.35)
    posture.knees[..., 2] = 1.0
    posture.knees[..., 1] = a.uniform(-0.1, 0.6, 2)
    _cross_legs(a, posture, yaw)
    return _relaxed(a, posture)


def _cross_legs(a: Actor, posture: Posture, yaw: np.ndarray) -> None:
    """Now and then lays one ankle over the other knee, in place."""
    over = a.choice(0.7, 0.15, 0.15)[..., 1:]
    ahead, aside = a.uniform(0.9, 1.15), a.uniform(-0.9, -0.5)
    across = triple(ahead * a.subject.thigh, aside * a.subject.pelvis, posture.root_m[..., 2] + 0.1)
    target = on_floor(posture.root_m[..., :2], yaw, np.stack([across] * 2, axis=-2))
    posture.ankles_m = over[..., None] * target + (1 - over[..., None]) * posture.ankles_m
    posture.foot_free = over
    posture.knees[..., 1] += 1.2 * over


def sit_on_floor(a: Actor) -> Posture:
    """Sits on the floor: cross-legged, legs stretched out, or knees drawn up."""
    s = a.subject
    shape = (a.num_motions, a.num_frames)
    xy, yaws = places(a, roam=0.0)
    xy, yaw = np.broadcast_to(xy[:, :1, :], (*shape, 2)), yaws[:, :1] + np.zeros(shape)
    height = np.full(shape, 0.8 * s.seat_clearance + 0.03)
    root_m = np.concatenate([xy, height[..., None]], axis=-1)
    crossed = triple(a.uniform(0.30, 0.4, 2), a.uniform(-0.9, -0.5, 2) * s.pelvis, s.ankle + 0.05)
    crossed[..., 0] *= 2 * s.thigh * 0.9
    out = a.uniform(0.6, 2.4, 1) * s.pelvis
    stretched = triple(a.uniform(0.93, 0.985, 2) * s.leg, out, s.ankle)
    drawn = triple(a.uniform(0.45, 0.8, 1) * s.leg * a.uniform(0.9, 1.1, 2), out, s.ankle)
    style = a.choice(0.45, 0.25, 0.3)[..., None, None]
    offset = style[..., 0, :, :] * crossed + style[..., 1, :, :] * stretched
    offset = offset + style[..., 2, :, :] * drawn
    ankles_m = on_floor(xy, yaw, offset)
    foot_yaw = yaw[..., None] + OUT * 0.2
    posture = _quiet(a, root_m, yaw, ankles_m, foot_yaw, np.zeros((*shape, 2)), grounded=0.0)
    crossing, straight = style[..., 0, 0, 0][..., None], style[..., 1, 0, 0][..., None]
    posture.knees[..., 1] = 1.4 * crossing + a.uniform(0.0, 0.4, 2)
    posture.knees[..., 2] = 1.0
    posture.foot_free = np.zeros((*shape, 2)) + 0.4 * crossing
    posture.foot_pitch = 1.2 * straight + np.zeros((*shape, 2))
    posture.pelvis[..., 1] += a.uniform(-0.35, 0.05)
    posture.lumbar[..., 1] += a.uniform(0.0, 0.5)
    return _relaxed(a, posture)


@dataclasses.dataclass(frozen=True)
class Seat:
    """Chairs of M motions: xy (M, 1, 2), yaw (M, 1) that sitters face, height (M, 1)."""

    xy: np.ndarray
    yaw: np.ndarray
    height: np.ndarray


def seats(a: Actor) -> Seat:
    """A chair somewhere in the room for each motion, of a height that lets the feet down."""
    inner = max(a.half_size - 0.4, 0.1)
    knee = a.subject.shin + a.subject.ankle
    return Seat(
        xy=a.fixed(-inner, inner, 2),
        yaw=a.fixed(-np.pi, np.pi),
        height=np.clip(a.fixed(0.8, 1.0) * knee, 0.36, 0.52) - 0.02,
    )
