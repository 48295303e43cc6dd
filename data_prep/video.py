"""Frames of a video file, by their numbers."""

import collections
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from liftjax.errors import LiftjaxError

if TYPE_CHECKING:  # it needs PyAV, which data sets of pictures do without
    from liftjax.data.video import Film

_DOUBTFUL = 4  # frames before a fault, where decoders may give later frames too early


def check_readable() -> None:
    """Raises if PyAV is missing, which no file is to blame for."""
    import liftjax.data.video  # noqa: F401


def frame_size(path) -> tuple[int, int]:
    """(width, height) of the video's pictures, upright."""
    film = _open(path)
    for frame in film.frames():
        height, width = film.bgr(frame).shape[:2]
        return width, height
    return film.size


def frame_count(path) -> int:
    """How many frames the file says it shows; if it gives only an estimate, all are decoded.

    A broken file has fewer.
    """
    film = _open(path)
    return film.count if film.counted else sum(1 for _ in film.frames(until_damage=True))


def frame_rate(path) -> float:
    """Frames a second; 0 if the file does not say."""
    return _open(path).fps


def check_not_mirrored(path) -> None:
    """Raises if players mirror the video, because labels may have been made with or without it."""
    from liftjax.data.video import is_mirrored

    if any(map(is_mirrored, itertools.islice(_open(path).frames(), 1))):
        raise LiftjaxError(
            f"{path}: its display matrix mirrors the pictures, which only some programs follow; "
            "write the video anew (ffmpeg -i IN OUT) and make detections and calibration from that."
        )


def frames_at(path, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray | None]]:
    """The frames of these numbers (from 0), in increasing order: (H, W, 3) uint8 BGR.

    Frames after the end of the file are None. If the file is cut or broken, so are the last few
    frames before the fault, because decoders give wrong pixels and numbers there. The file is read
    from its start, because seeking misses by some frames in files of many encoders.
    """
    wanted = sorted(set(numbers))
    if wanted and wanted[0] < 0:
        raise ValueError(f"frame numbers start at 0, got {wanted[0]}")
    film = _open(path)
    frames = enumerate(_trusted(film))
    for number in wanted:
        frame = next((frame for at, frame in frames if at == number), None)
        yield number, None if frame is None else film.bgr(frame)


def _trusted(film: "Film") -> Iterator:
    """All frames except the last few before a fault."""
    held = collections.deque()
    for frame in film.frames(until_damage=True):
        held.append(frame)
        if len(held) > _DOUBTFUL:
            yield held.popleft()
    if not film.damaged:
        yield from held


def _open(path) -> "Film":
    from liftjax.data.video import Film

    if not Path(path).exists():
        raise LiftjaxError(f"The video is missing: expected {path}.")
    return Film(path)
