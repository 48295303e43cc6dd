"""Numbered pictures in folders, as h36m-fetch and MMPose extract them."""

import dataclasses
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep import pictures
from data_prep.building import Problem
from data_prep.human36m.names import known_cause
from data_prep.human36m.sequences import Seen, SequenceUnit, SubjectSequences

_NUMBERED = re.compile(r"(?:.*\D)?(\d+)\.(?:jpe?g|png)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, eq=False)
class FolderUnit(SequenceUnit):
    """A sequence with its pictures in a folder.

    Attributes:
      annotation: the file with the labels.
      pictures: the folder.
    """

    annotation: str
    pictures: str

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.annotation, self.pictures

    def read_pictures(self, frames) -> Iterator[Seen]:
        files = numbered_files(self.pictures)
        for frame in frames:
            if frame not in files:
                problem = Problem("missing picture", self.relative(self.pictures), frame)
                yield frame, None, None if self.options.present else problem
                continue
            picture = pictures.read_jpeg(Path(self.pictures, files[frame]))
            problem = Problem("broken picture", self.picture_file(frame), frame)
            yield frame, picture, problem if picture is None else None

    def unlabelled(self, frames: np.ndarray) -> list[Problem]:
        labelled = set(frames.tolist())
        return [
            Problem("frame without annotation", self.picture_file(frame), frame)
            for frame in numbered_files(self.pictures)
            if frame >= 0 and frame % self.options.stride == 0 and frame not in labelled
        ]

    def count_pictures(self) -> int:
        return count_strided(pictured_frames(self.pictures), self.options.stride)

    def picture_file(self, frame: int) -> str:
        return self.relative(Path(self.pictures, numbered_files(self.pictures)[frame]))


def add_unit(found: SubjectSequences, unit: FolderUnit, frames: np.ndarray) -> None:
    """Adds a unit with labels of these frames, or the problem that its pictures are missing."""
    if Path(unit.pictures).is_dir():
        found.units.append(unit)
        found.held[unit.name] = frames, pictured_frames(unit.pictures)
        return
    cause = known_cause(unit.subject, unit.action, unit.trial, unit.camera)
    lost = count_strided(frames, unit.options.stride)
    folder = unit.relative(unit.pictures)
    found.problems.append(Problem("missing camera", folder, None, cause, lost))


def first_picture_number(folder) -> int:
    """The number of the recording's first picture: 0 if there is such a file, else 1."""
    return _listing(folder)[0]


def numbered_files(folder) -> dict[int, str]:
    """Frame number (from 0) -> file name of the pictures in a folder, by frame number."""
    return _listing(folder)[1]


def pictured_frames(folder) -> np.ndarray:
    """The frame numbers of the pictures in a folder, increasing."""
    return np.array(list(numbered_files(folder)), int)


def count_strided(frames: np.ndarray, stride: int) -> int:
    """How many frame numbers are multiples of the stride."""
    return int((frames % stride == 0).sum())


def _listing(folder) -> tuple[int, dict[int, str]]:
    """The number of the first picture, and the numbered files."""
    try:
        return _cached_listing(str(folder), os.stat(folder).st_mtime_ns)
    except OSError:
        return 1, {}  # there is no folder


@functools.lru_cache(maxsize=8)
def _cached_listing(folder: str, changed: int) -> tuple[int, dict[int, str]]:
    found = {}
    for name in sorted(os.listdir(folder)):
        match = _NUMBERED.fullmatch(name)
        if match and not name.startswith("."):
            found.setdefault(int(match[1]), name)
    first = 0 if 0 in found else 1
    return first, {number - first: found[number] for number in sorted(found)}
