"""Numbered pictures in folders, as h36m-fetch and MMPose extract them."""

import functools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_prep import pictures
from data_prep.building import Problem
from data_prep.human36m.sequences import Seen

_NUMBERED = re.compile(r"(?:.*\D)?(\d+)\.(?:jpe?g|png)", re.IGNORECASE)


def first_number(folder) -> int:
    """The number in the name of the recording's first picture: 1, or 0 if there is such a file."""
    return 0 if any(number == 0 for number, _ in _listing(folder)) else 1


def numbered(folder) -> dict[int, str]:
    """Frame number (from 0) -> file name of the pictures in a folder."""
    first = first_number(folder)
    return {number - first: name for number, name in _listing(folder)}


def numbers(folder) -> np.ndarray:
    """The frame numbers of the pictures in a folder, increasing."""
    return np.array(list(numbered(folder)), int)


def _listing(folder) -> tuple[tuple[int, str], ...]:
    """(number, name) of the pictures in a folder, by number; () if there is no folder."""
    try:
        return _numbered(str(folder), os.stat(folder).st_mtime_ns)
    except OSError:
        return ()


@functools.lru_cache(maxsize=8)
def _numbered(folder: str, changed: int) -> tuple[tuple[int, str], ...]:
    found = {}
    for name in sorted(os.listdir(folder)):
        match = _NUMBERED.fullmatch(name)
        if match and not name.startswith("."):
            found.setdefault(int(match[1]), name)
    return tuple(sorted(found.items()))


def read(folder, source, frames: Sequence[int], present: bool) -> Iterator[Seen]:
    """(frame, BGR picture or None, what is wrong) of each frame.

    Args:
      present: a frame without a file is no problem.
    """
    files = numbered(folder)
    for frame in frames:
        if frame not in files:
            problem = (
                None
                if present
                else Problem("missing picture", os.path.relpath(folder, source), frame)
            )
            yield frame, None, problem
            continue
        path = Path(folder, files[frame])
        picture = pictures.read_jpeg(path)
        if picture is None:
            yield frame, None, Problem("broken picture", os.path.relpath(path, source), frame)
        else:
            yield frame, picture, None


def unlabelled(folder, source, frames: np.ndarray, stride: int) -> list[Problem]:
    """Pictures whose number is a multiple of the stride but not among `frames`."""
    labelled = set(frames.tolist())
    return [
        Problem("frame without annotation", os.path.relpath(Path(folder, name), source), frame)
        for frame, name in numbered(folder).items()
        if frame >= 0 and frame % stride == 0 and frame not in labelled
    ]
