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

_DOUBTFUL = 4  # frames before a fault: decoders hand out those that lie behind a lost one too soon


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
    """How many frames are shown, by the file's own account where it has one of frames.

    A broken file has fewer. Where the account is an estimate, all frames are decoded.
    """
    film = _open(path)
    return film.count if film.counted else sum(1 for _ in film.frames(until_damage=True))


def frame_rate(path) -> float:
    """Frames a second; 0 if the file does not say."""
    return _open(path).fps


def check_not_mirrored(path) -> None:
    """Raises if players show the video as in a mirror: who knows what the labels were made on."""
    from liftjax.data.video import is_mirrored

    if any(map(is_mirrored, itertools.islice(_open(path).frames(), 1))):
        raise LiftjaxError(
            f"{path}: its display matrix mirrors the pictures, which some programs heed and others "
            "do not; write it anew without (ffmpeg -i IN OUT), and the detections and the "
            "calibration from that."
        )


def frames_at(path, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray | None]]:
    """The frames of these numbers (from 0), in increasing order: (H, W, 3) uint8 BGR.

    A frame is None from where the file ends, and from a few frames before it is cut or breaks:
    their numbers, and the decoder's guesses at their pixels, are not to be trusted. Frames between
    are passed over without being converted; they are not sought, since seeking misses by some
    frames in files of many encoders.
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
    """The frames but for the last few before a fault."""
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
