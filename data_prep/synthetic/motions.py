"""Motions and poses of synthetic people, the fifteen Human3.6M actions.

World axes: metres, z up, the floor at z = 0, the room's middle at the origin. The same state of the
generator gives the same motion, bit for bit.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from data_prep.synthetic.actions import ACTION_FUNCTIONS
from data_prep.synthetic.kinematics import solve
from data_prep.synthetic.subjects import Subject
from data_prep.synthetic.variation import Actor
from liftjax.errors import LiftjaxError, check_name

ACTIONS = tuple(ACTION_FUNCTIONS)
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


class SampledMotion(NamedTuple):
    """Points (F, P, 3) of one motion, float64 world, and the chair if one is used."""

    points_m: np.ndarray
    chair: Chair | None


class SampledPoses(NamedTuple):
    """Points (N, P, 3) of independent poses, float64 world, and their N chairs or None."""

    points_m: np.ndarray
    chairs: list[Chair | None]


def _act(subject: Subject, action: str, rng, times: np.ndarray, floor_half_size: float):
    """Points (M, F, P, 3) and chairs of M motions at times (M, F)."""
    check_name("action", action, ACTION_FUNCTIONS)
    if not floor_half_size > 0.5:
        raise LiftjaxError(
            f"floor_half_size is {floor_half_size}; a person needs a room of more than 0.5 m "
            "to each side of its middle."
        )
    actor = Actor(subject, floor_half_size, rng, times)
    posture, seat, seated = ACTION_FUNCTIONS[action](actor)
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
) -> SampledMotion:
    """One smooth motion of `num_frames` frames.

    Args:
      action: one of `ACTIONS`.
      floor_half_size: distance (m) from the room's middle that the pelvis keeps along x and y.

    Raises:
      LiftjaxError: the action is unknown, or the room is too small.
    """
    times = np.arange(num_frames)[None] / fps
    points_m, chairs = _act(subject, action, rng, times, floor_half_size)
    return SampledMotion(points_m[0], chairs[0])


def sample_poses(
    subject: Subject,
    action: str,
    rng: np.random.Generator,
    count: int,
    floor_half_size: float = 1.5,
) -> SampledPoses:
    """`count` independent poses, each a random moment of a random motion."""
    times = rng.uniform(0, _SPAN_S, (count, 1))
    points_m, chairs = _act(subject, action, rng, times, floor_half_size)
    return SampledPoses(points_m[:, 0], chairs)
