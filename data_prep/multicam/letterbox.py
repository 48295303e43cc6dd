"""Frames of a video file, and where they sit in the calibrated picture."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from liftjax.errors import LiftjaxError

# The decoder's own words on a broken file would come before ours, and many times.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
import cv2


def frame_size(path) -> tuple[int, int]:
    """(width, height) of the video."""
    capture = _open(path)
    size = (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    capture.release()
    return int(size[0]), int(size[1])


def read_frames(path, count: int) -> Iterator[np.ndarray]:
    """The first `count` frames: (H, W, 3) uint8 BGR. Raises if the file ends before."""
    capture = _open(path)
    try:
        for number in range(count):
            ok, frame = capture.read()
            if not ok:
                raise LiftjaxError(
                    f"{path}: only {number} of {count} frames can be read; the file is cut short "
                    "or broken, copy it again."
                )
            yield frame
    finally:
        capture.release()


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


def letterbox_affine(image_size: tuple[int, int], video_size: tuple[int, int]) -> np.ndarray:
    """(2, 3) affine from image pixels to the pixels of a video scaled to fit and centred.

    Video software that changes the picture's shape keeps the aspect and adds black bars. Pixel
    centres are integers, hence the halves.
    """
    image, video = np.asarray(image_size, float), np.asarray(video_size, float)
    scale = (video / image).min()
    shift = (video - scale * image) / 2 + (scale - 1) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
