"""Whether a tree of pictures has the frames that a stride asks for, and what to do if not.

The stock script of h36m-fetch keeps every 64th frame of the test subjects and, of the others,
frames in which something moves; MMPose's fps10 keeps every fifth. Strides count original frames,
so such a tree lacks most of the frames that another stride asks for. That differs from a frame or
two that are lost.
"""

import math
from collections.abc import Mapping

import numpy as np

from data_prep.building import Problem

_LOST = 0.4  # a larger share of missing frames is no accident; h36m-fetch leaves out 0.6

Held = Mapping[str, tuple[np.ndarray, np.ndarray]]  # unit -> frames with labels, with pictures


def fitting_options(held: Held, split: str, stride: int) -> tuple[str, ...] | None:
    """None if the frames of the stride are there; else the options that fit what is there.

    A tree without any labelled picture has no such options: ().
    """
    there = {unit: np.intersect1d(*frames) for unit, frames in held.items()}

    def lacks_few(stride: int) -> bool:
        wanted = {unit: _wanted(labelled, stride) for unit, (labelled, _) in held.items()}
        missing = sum(len(np.setdiff1d(wanted[unit], there[unit])) for unit in held)
        return missing <= _LOST * sum(map(len, wanted.values()))

    step = math.gcd(*(int(np.gcd.reduce(frames)) for frames in there.values()))
    if lacks_few(stride) and not (step > 1 and stride % step):
        return None
    if not any(map(len, there.values())):
        return ()
    if step > 1 and lacks_few(fitting := max(stride // step, 1) * step):
        return (f"--{split}-stride {fitting}",)
    return "--frames present", f"--{split}-stride 1"


def first_missing(held: Held, stride: int) -> tuple[str, int] | None:
    """Unit and number of the first frame of the stride that lacks its label or picture."""
    for unit, (labelled, pictured) in held.items():
        missing = np.setdiff1d(_wanted(labelled, stride), np.intersect1d(labelled, pictured))
        if len(missing):
            return unit, int(missing[0])
    return None


def missing_frames(held: Held, files: Mapping[str, str], stride: int) -> list[Problem]:
    """Frames of the stride that have neither label nor picture, though later ones have.

    Args:
      files: unit -> the name of its annotation.
    """
    return [
        Problem("missing frame", files[unit], int(frame), unit)
        for unit, (labelled, pictured) in held.items()
        for frame in np.setdiff1d(_wanted(labelled, stride), np.union1d(labelled, pictured))
    ]


def _wanted(labelled: np.ndarray, stride: int) -> np.ndarray:
    return np.arange(0, labelled.max(initial=-1) + 1, stride)
