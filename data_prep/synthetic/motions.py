"""Motions and poses of synthetic people, the fifteen Human3.6M actions.

World axes: metres, z up, the floor at z = 0, the room's middle at the origin. The same generator
state gives the same motion, bit for bit.
"""

import dataclasses

import numpy as np

from data_prep.synthetic.actions import ACTION_FUNCTIONS
from data_prep.synthetic.kinematics import POINTS, solve
from data_prep.synthetic.subjects import Subject
from data_prep.synthetic.variation import Variation
from liftjax.errors import LiftjaxError, unknown_name

__all__ = ["ACTIONS", "POINTS", "Chair", "Motion", "Poses", "sample_motion", "sample_poses"]

ACTIONS = tuple(ACTION_FUNCTIONS)

_BATCH = 4096  # motions handled at once: small enough for the processor's cache
_SPAN_S = 20.0  # single poses are drawn from motions this long


@dataclasses.dataclass(frozen=True)
class Chair:
    """A chair that the person sits on, all through a motion.

    Attributes:
      position: (3,) world point on the floor under the middle of the seat.
      yaw: direction that the sitter faces, counter-clockwise from world x (rad).
      seat_height: height of the seat's surface (m); hip joints rest `Subject.seat_clearance`
        above it.
    """

    position: np.ndarray
    yaw: float
    seat_height: float


@dataclasses.dataclass(frozen=True)
class Motion:
    """points_m: (F, P, 3) float64 world positions of `POINTS`; prop: the chair, if one is used."""

    points_m: np.ndarray
    prop: Chair | None
    fps: float


@dataclasses.dataclass(frozen=True)
class Poses:
    """Independent single poses. points_m: (N, P, 3) float64 world; props: N chairs or None."""

    points_m: np.ndarray
    props: tuple[Chair | None, ...]


def _act(subject: Subject, action: str, rng, times: np.ndarray, floor_half_size: float):
    """Points (M, F, P, 3) and chairs of M motions at times (M, F)."""
    if action not in ACTION_FUNCTIONS:
        raise unknown_name("action", action, ACTIONS)
    if not floor_half_size > 0.5:
        raise LiftjaxError(
            f"floor_half_size is {floor_half_size}; a person needs a room of more than 0.5 m "
            "to each side of its middle."
        )
    v = Variation(rng, times)
    posture, seat, seated = ACTION_FUNCTIONS[action](subject, v, floor_half_size)
    chairs: list[Chair | None] = [None] * len(times)
    if seat is not None:
        for i in np.flatnonzero(seated):
            position = np.append(seat.xy[i, 0], 0.0)
            chairs[i] = Chair(position, float(seat.yaw[i, 0]), float(seat.height[i, 0]))
    return solve(subject, posture), chairs


def sample_motion(
    subject: Subject,
    action: str,
    rng: np.random.Generator,
    num_frames: int,
    fps: float = 50.0,
    floor_half_size: float = 1.5,
) -> Motion:
    """One smooth motion of `num_frames` frames.

    Args:
      action: one of `ACTIONS`.
      floor_half_size: the pelvis stays within this distance (m) of the room's middle, along x and
        along y.

    Raises:
      LiftjaxError: for an unknown action or a room without space.
    """
    times = np.arange(num_frames)[None] / fps
    points_m, chairs = _act(subject, action, rng, times, floor_half_size)
    return Motion(points_m[0], chairs[0], fps)


def sample_poses(
    subject: Subject,
    action: str,
    rng: np.random.Generator,
    count: int,
    floor_half_size: float = 1.5,
) -> Poses:
    """`count` independent poses, each a random moment of a random motion; vectorised."""
    points_m, props = [], []
    for start in range(0, count, _BATCH):
        times = rng.uniform(0, _SPAN_S, (min(_BATCH, count - start), 1))
        points, chairs = _act(subject, action, rng, times, floor_half_size)
        points_m.append(points[:, 0])
        props += chairs
    return Poses(np.concatenate(points_m), tuple(props))
