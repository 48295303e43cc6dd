"""Lifts the keypoints of people, each lifter in windows of as many frames as it takes.

A track is one person's rows in a video. Lifters that look around a frame need every frame, so the
keypoints in a track's gaps are interpolated; only frames in which the person was found get a pose.

Legend: N rows (a person in a frame), F frames of a stretch, L lifters, K keypoints of the
detector, J joints of the lifters.
"""

import collections
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flax import nnx

from liftjax.data.windows import Clips
from liftjax.errors import LiftjaxError
from liftjax.geometry import interpolate_frames
from liftjax.lifters.spec import Lifter
from liftjax.prediction import ClipLifter, sliding_form
from liftjax.runtime.checkpoints import load_model
from liftjax.skeletons import (
    Skeleton,
    conversion_matrix,
    convert,
    get_skeleton,
    lowest,
    partial_matrix,
)

_STRETCH = 4096  # frames lifted at a time; bounds memory, however long the video


class Lifting:
    """Several lifters, each compiled once.

    Attributes:
      names: of the lifters.
      skeleton: joint set of their poses; without lifters that of the keypoints. The lifters' 2D
        input may have others.

    Args:
      lifters: by name.
      keypoints: joint set of the detector.
      options: of :class:`ClipLifter`.

    Raises:
      LiftjaxError: the lifters have different joint sets, or one that the keypoints do not give.
    """

    def __init__(self, lifters: Mapping[str, nnx.Module], keypoints: Skeleton, **options):
        sets = {lifter.spec.skeleton for lifter in lifters.values()}
        inputs = [lifter.spec.skeleton_2d for lifter in lifters.values()]
        if len(sets) > 1:
            named = ", ".join(f"{n}: {lifter.spec.skeleton}" for n, lifter in lifters.items())
            raise LiftjaxError(f"The lifters have different joint sets ({named}); take one set.")
        self.names = tuple(lifters)
        self.skeleton = get_skeleton(sets.pop()) if sets else keypoints
        self._keypoints = keypoints
        for skeleton in inputs:
            conversion_matrix(keypoints.name, skeleton)  # raises where joints are missing
        lifts = [ClipLifter(lifter, **options) for lifter in lifters.values()]
        self._lifters = list(zip(inputs, lifts, strict=True))

    def joints(
        self, kpts_px_NK2: np.ndarray, scores_NK: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The poses' joints in the picture, as far as the keypoints give them.

        Returns:
          Their positions (S,) in a pose, their keypoints (N, S, 2) and scores (N, S). A joint
          between others has the lowest score of these.
        """
        places, matrix_SK = partial_matrix(self._keypoints.name, self.skeleton.name)
        return places, matrix_SK @ kpts_px_NK2, lowest(scores_NK, matrix_SK)

    def people(self, kpts_px_NK2: np.ndarray, size_N2: np.ndarray) -> np.ndarray:
        """Poses (N, L, J, 3) of people in pictures of these sizes, each person alone."""
        return self._lift(kpts_px_NK2, size_N2, np.ones(len(kpts_px_NK2), int))

    def video(
        self, rows: np.ndarray, size_F2: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Poses of everybody in a video.

        Args:
          rows: see :func:`results.row_dtype`.
          size_F2: (width, height) of every frame.

        Yields:
          (positions (N,) of rows, their poses (N, L, J, 3)), until all rows are done.
        """
        margin = max((lift.margin for _, lift in self._lifters), default=0)
        for group in _groups(_stretches(rows, margin)):
            lengths = np.array([len(part.kpts_px) for part in group])
            # The size of a frame that was read; unreadable frames have none.
            seen = rows["frame"][[part.rows[0] for part in group]]
            size_N2 = np.repeat(size_F2[seen], lengths, axis=0)
            poses = self._lift(np.concatenate([part.kpts_px for part in group]), size_N2, lengths)
            starts = np.cumsum(lengths) - lengths
            wanted = [start + part.place for start, part in zip(starts, group, strict=True)]
            yield np.concatenate([part.rows for part in group]), poses[np.concatenate(wanted)]

    def _lift(self, kpts_px_NK2, size_N2, lengths) -> np.ndarray:
        """Poses (N, L, J, 3) of clips of these lengths, one after the other."""
        joints = self.skeleton.num_joints
        if not len(kpts_px_NK2) or not self._lifters:
            return np.empty((len(kpts_px_NK2), len(self._lifters), joints, 3), np.float32)
        ends = np.cumsum(lengths)
        clips = Clips(np.arange(len(kpts_px_NK2)), ends - lengths, ends - 1, step=1)
        poses = [
            lift(clips, convert(kpts_px_NK2, self._keypoints.name, skeleton), size_N2)
            for skeleton, lift in self._lifters
        ]
        return np.stack(poses, axis=1)


def load_lifters(
    lifters: Sequence[str | Path | nnx.Module] | Mapping[str, str | Path | nnx.Module],
) -> dict[str, nnx.Module]:
    """Lifters by name: the names of a mapping, else those of their networks.

    A second lifter of one network is called NETWORK-2, a third NETWORK-3.
    """
    if isinstance(lifters, Mapping):
        return {name: _load_lifter(lifter)[0] for name, lifter in lifters.items()}
    if isinstance(lifters, (str, Path, nnx.Module)):
        lifters = [lifters]
    loaded, counts = {}, collections.Counter()
    for given in lifters:
        lifter, name = _load_lifter(given)
        counts[name] += 1
        loaded[f"{name}-{counts[name]}" if counts[name] > 1 else name] = lifter
    return loaded


def _load_lifter(lifter: str | Path | nnx.Module) -> tuple[nnx.Module, str]:
    """The lifter and the name of its network."""
    if isinstance(lifter, Lifter):
        return lifter, type(lifter).__name__
    if not isinstance(lifter, (str, os.PathLike)):
        raise LiftjaxError(
            f"A lifter is a {type(lifter).__name__}; give a run directory or a lifter module."
        )
    lifter, meta = load_model(lifter, "lifter", sliding_form)
    return lifter, meta["model"]["name"]


class _Stretch(NamedTuple):
    """Part of a track, with the frames around it that lifters look at.

    Attributes:
      rows: (N,) positions of its rows.
      kpts_px: (F, K, 2) keypoints of every frame, gaps filled.
      place: (N,) index among these frames of each row.
    """

    rows: np.ndarray
    kpts_px: np.ndarray
    place: np.ndarray


def _stretches(rows: np.ndarray, margin: int) -> Iterator[_Stretch]:
    """The tracks in rows, cut into parts of at most _STRETCH frames."""
    if not len(rows):
        return
    order = np.argsort(rows["track"], kind="stable")  # rows are by frame already
    ends = np.flatnonzero(np.diff(rows["track"][order])) + 1
    for of_track in np.split(order, ends):
        frames = rows["frame"][of_track]
        for start in range(frames[0], frames[-1] + 1, _STRETCH):
            own = slice(*np.searchsorted(frames, [start, start + _STRETCH]))
            if own.start == own.stop:
                continue
            low = max(frames[own.start] - margin, frames[0])
            high = min(frames[own.stop - 1] + margin, frames[-1])
            around = slice(
                np.searchsorted(frames, low, side="right") - 1, np.searchsorted(frames, high) + 1
            )
            kpts_px = rows["kpts_px"][of_track[around]]
            filled = interpolate_frames(frames[around], kpts_px, np.arange(low, high + 1))
            yield _Stretch(of_track[own], filled, frames[own] - low)


def _groups(stretches: Iterable[_Stretch]) -> Iterator[list[_Stretch]]:
    """Joins short stretches, so that batches are full."""
    group, frames = [], 0
    for stretch in stretches:
        group.append(stretch)
        frames += len(stretch.kpts_px)
        if frames >= _STRETCH:
            yield group
            group, frames = [], 0
    if group:
        yield group
