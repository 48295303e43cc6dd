"""Which detection in which camera is the person we want: the one whose rays meet.

Legend: C cameras, F frames, J joints, M candidate combinations of one frame.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from data_prep.multicam.calibration import Camera
from data_prep.multicam.triangulate import reprojection_error, triangulate

MIN_CONFIDENCE = 0.2  # a joint below this counts as not seen
_MAX_ERROR_PX = 40.0  # median over joints; other people's rays miss each other by far more
_MAX_SPEED_M = 0.15  # median joint travel in one frame


def follow_person(
    people: Sequence[Mapping[int, np.ndarray]], cameras: Sequence[Camera]
) -> dict[int, np.ndarray]:
    """The detections of one person, frame by frame.

    In every frame each choice of one detection a camera is triangulated. The choice with the
    least reprojection error of all frames starts the track; it is continued both ways with the
    best choice that is near the pose before.

    Args:
      people: for each camera, frame number -> (P, J, 3) as :func:`detections.read_openpose` gives.

    Returns:
      frame number -> (C, J, 3), confidence 0 in a camera that does not see the person; frames
      without an acceptable choice are left out.
    """
    numbers = sorted(set.intersection(*(set(frames) for frames in people)))
    candidates = [
        _candidates([frames[number] for frames in people], cameras)
        for number in tqdm(numbers, desc="matching people", unit="frames", delay=1)
    ]
    start = int(np.argmin([errors.min(initial=np.inf) for errors, _, _ in candidates]))
    track: dict[int, np.ndarray] = {}
    _continue(track, candidates, range(start, len(numbers)))
    _continue(track, candidates, range(start, -1, -1))
    return {numbers[i]: track[i] for i in sorted(track)}


def _candidates(people: Sequence[np.ndarray], cameras: Sequence[Camera]):
    """errors (M,) px, world poses (M, J, 3) and detections (M, C, J, 3) of one frame's choices."""
    joints = people[0].shape[1]
    nobody = np.zeros((1, joints, 3))
    options = [p if len(p) else nobody for p in people]
    choices = np.array(list(itertools.product(*options)))
    px, confidence = np.moveaxis(choices[..., :2], 1, 0), np.moveaxis(choices[..., 2], 1, 0)
    weights = np.where(confidence >= MIN_CONFIDENCE, confidence, 0)
    world = triangulate(px, weights, cameras)
    errors = reprojection_error(world, px, cameras)
    seen = (weights > 0) & np.isfinite(errors)
    medians = [
        np.median(errors[:, m][seen[:, m]]) if seen[:, m].any() else np.inf
        for m in range(len(choices))
    ]
    return np.array(medians), world, choices


def _continue(track: dict[int, np.ndarray], candidates, order) -> None:
    """Adds the frames of `order` to the track, the first of which starts it."""
    last, last_frame = None, order[0]
    for i in order:
        errors, world, choices = candidates[i]
        allowed = errors < _MAX_ERROR_PX
        if last is not None:
            travel = np.array([_median_distance(pose, last) for pose in world])
            allowed &= travel < _MAX_SPEED_M * abs(i - last_frame)
        if not allowed.any():
            continue
        best = int(np.argmin(np.where(allowed, errors, np.inf)))
        track[i] = choices[best]
        last, last_frame = world[best], i


def _median_distance(a: np.ndarray, b: np.ndarray) -> float:
    distances = np.linalg.norm(a - b, axis=-1)
    known = np.isfinite(distances)
    return float(np.median(distances[known])) if known.any() else np.inf
