"""Frames of a video file."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from liftjax.errors import LiftjaxError

# The decoder's own words on a broken file would come before ours, and many times.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
import cv2

_DOUBTFUL = 4  # frames before a cut: the last one decoded and those that borrow from it


def frame_size(path) -> tuple[int, int]:
    """(width, height) of the video."""
    capture = _open(path)
    size = (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    capture.release()
    return int(size[0]), int(size[1])


def frame_count(path) -> int:
    """How many frames the file says it has; a broken one has fewer."""
    capture = _open(path)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return count


def frame_rate(path) -> float:
    """Frames a second; 0 if the file does not say."""
    capture = _open(path)
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return rate


def frames_at(path, numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray | None]]:
    """The frames of these numbers (from 0), in increasing order: (H, W, 3) uint8 BGR.

    A frame is None from where the file ends or breaks, and in an MP4 file that was cut from a few
    frames before: the decoder makes up what it does not find. Frames between are passed over
    without being converted or copied; they are not sought, since seeking misses by some frames in
    files of many encoders.
    """
    wanted = sorted(set(numbers))
    if wanted and wanted[0] < 0:
        raise ValueError(f"frame numbers start at 0, got {wanted[0]}")
    capture = _open(path)
    try:
        end = max(_decodable(path) - _DOUBTFUL, 0) if _is_cut(path) else None
        position, whole = 0, True
        for number in wanted:
            whole = whole and (end is None or number < end)
            while whole and position <= number:
                whole = capture.grab()
                position += 1
            ok, frame = capture.retrieve() if whole else (False, None)
            yield number, frame if ok else None
    finally:
        capture.release()


def _is_cut(path) -> bool:
    """Whether an MP4 file ends before its last box does, as after a download that broke off."""
    size, position = os.path.getsize(path), 0
    with open(path, "rb") as stream:
        while position + 8 <= size:
            stream.seek(position)
            head = stream.read(16)
            if position == 0 and head[4:8] != b"ftyp":
                return False
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            if length < 8:  # 0: up to the end of the file, however long
                return False
            position += length
    return position > size


def _decodable(path) -> int:
    """How many frames the decoder gives."""
    capture, count = _open(path), 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def _open(path) -> cv2.VideoCapture:
    if not Path(path).exists():
        raise LiftjaxError(f"The video is missing: expected {path}.")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise LiftjaxError(
            f"{path}: cannot be read as a video, 0 frames; the file is cut short or broken, copy "
            "it again."
        )
    return capture
