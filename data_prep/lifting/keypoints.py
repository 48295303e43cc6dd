"""Where the 2D joints of a sequence come from: the projected poses, or a data_2d file."""

from pathlib import Path

import numpy as np

from data_prep.building import Problem
from data_prep.human36m.names import parse_sequence
from liftjax.data.videopose3d import CAMERAS, read_keypoints
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M, conversion_matrix, convert, derived_joints

_LEAST_SHARE = 0.9  # of a sequence's frames that the 2D must have; fewer are of another frame rate

CameraKeypoints = dict[str, np.ndarray | None]  # camera -> (F, 17, 2) pixels; None: to be projected


class ProjectedKeypoints:
    """2D joints that are the projected 3D joints."""

    name, inputs = "projection of the 3D poses", ()

    def views(
        self, subject: str, sequence: str, frames: int, stride: int
    ) -> tuple[CameraKeypoints, list[Problem]]:
        """The 2D joints of a sequence whose poses have `frames` frames, and what was wrong."""
        return dict.fromkeys(CAMERAS), []


class FileKeypoints:
    """2D joints from a data_2d file, cut to the length of the 3D ones."""

    def __init__(self, path: Path):
        self.inputs = (str(path.absolute()),)
        self._positions, self._skeleton = read_keypoints(path)
        self._path, self._file = path, path.name
        try:
            conversion_matrix(self._skeleton, HUMAN36M.name)
        except LiftjaxError as error:
            raise LiftjaxError(f"{path}: {error}") from None
        derived = derived_joints(self._skeleton, HUMAN36M.name)
        of = f" ({self._skeleton}; {', '.join(derived)} derived)" if derived else ""
        self.name = f"{path.name}{of}"

    def views(
        self, subject: str, sequence: str, frames: int, stride: int
    ) -> tuple[CameraKeypoints, list[Problem]]:
        """As for :class:`ProjectedKeypoints`."""
        where, lost = f"{subject}/{sequence}", -(-frames // stride)
        there = self._positions.get(subject, {})
        spellings = [s for s in there if parse_sequence(s) == parse_sequence(sequence)]
        views = there.get(sequence, there.get(next(iter(spellings), None)))
        if views is None:
            count = lost * len(CAMERAS)
            return {}, [Problem("sequence without keypoints", self._file, None, where, count)]
        found, problems = {}, []
        for camera, px in zip(CAMERAS, views, strict=True):
            name = f"{where}/{camera}"
            if px is None:
                problems.append(Problem("missing camera", self._file, None, name, lost))
                continue
            problems += self._check_length(name, len(px), frames, stride)
            found[camera] = convert(px[:frames], self._skeleton, HUMAN36M.name)
        return found, problems

    def _check_length(self, name: str, has: int, frames: int, stride: int) -> list[Problem]:
        if has < _LEAST_SHARE * frames:
            raise LiftjaxError(
                f"{self._path}: {name} has {has} frames, the 3D {frames}; row n must be frame n at "
                "50 Hz in both, so this file does not belong to these poses."
            )
        detail = f"{name}: 2D of {has} frames, 3D of {frames}; cut to the shorter"
        if has > frames:  # some videos are longer than the motion capture
            return [Problem("more keypoints than poses", self._file, frames, detail, 0)]
        if has < frames:
            lost = len(range(-(-has // stride) * stride, frames, stride))
            return [Problem("fewer keypoints than poses", self._file, has, detail, lost)]
        return []
