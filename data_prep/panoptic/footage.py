"""Where a camera's pictures are: hdImgs/00_03/00_03_00000168.jpg or hdVideos/hd_00_03.mp4.

The studio's extraction script numbers pictures from 0 in the order of the video, and pose files
carry the same numbers: to the pose of frame 168 belongs picture 168, or the video's frame 168
counted from 0.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_prep import pictures, video
from data_prep.building import Problem
from liftjax.errors import LiftjaxError


@dataclasses.dataclass(frozen=True)
class Footage:
    """A camera's pictures of some frames: a video, or a file for each frame, which may be missing.

    Attributes:
      image_size: (width, height) that they have, if nothing is wrong.
      frames: their numbers, increasing.
      video: the file, or "". files: if there is no video, one for each of `frames`.
    """

    image_size: tuple[int, int]
    frames: tuple[int, ...]
    video: str = ""
    files: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.video,) if self.video else self.files

    def part(self, start: int, stop: int) -> "Footage":
        """The same of some of the frames."""
        return dataclasses.replace(
            self, frames=self.frames[start:stop], files=self.files[start:stop]
        )

    def pictures(self, numbers: Sequence[int]) -> Iterator[np.ndarray | Problem]:
        """Frames of these numbers, increasing: (H, W, 3) uint8 BGR, or why there is none.

        The Problem names its file in full.
        """
        for number, file, picture in self._read(numbers):
            if picture is not None:
                kind, detail = self._fault(picture)
                yield Problem(kind, file, number, detail) if kind else picture
            elif self.video:
                yield Problem("missing frame", file, number, "the video ends or breaks before it")
            elif Path(file).exists():
                yield Problem("broken picture", file, number, "unreadable or cut short")
            else:
                yield Problem("missing picture", file, number)

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, str, np.ndarray | None]]:
        if self.video:
            for number, picture in video.frames_at(self.video, numbers):
                yield number, self.video, picture
        else:
            files = dict(zip(self.frames, self.files, strict=True))
            for number in numbers:
                yield number, files[number], pictures.read_jpeg(files[number])

    def _fault(self, picture: np.ndarray) -> tuple[str, str]:
        """Kind and detail of what is wrong with the picture; kind "" if nothing is."""
        size = picture.shape[1::-1]
        if size != self.image_size:
            return "wrong picture size", _size_difference(size, self.image_size)
        return ("black picture" if pictures.is_black(picture) else ""), ""


def find_footage(
    sequence: Path, camera: str, frames: Sequence[int], image_size: tuple[int, int]
) -> Footage | Problem:
    """The camera's pictures of these frames; a Problem that drops all of them if there are none.

    The video serves where there are no pictures, or not of all frames.

    Raises:
      LiftjaxError: only every n-th picture was kept, and the frames are not among them.
    """
    folder, file = sequence / "hdImgs" / camera, sequence / "hdVideos" / f"hd_{camera}.mp4"
    found = picture_files(folder, camera)
    footage = Footage(image_size, tuple(frames))

    def lost(kind: str, path: str | Path, detail: str) -> Problem:
        return Problem(kind, str(path), None, detail, len(frames))

    if file.exists() and not found.keys() >= set(frames):
        footage = dataclasses.replace(footage, video=str(file))
        first = file
        video.check_readable()
        try:
            size = video.frame_size(file)
        except LiftjaxError:
            return lost("broken video", file, "cannot be opened: cut short or broken")
    elif found:
        check_thinned(folder, list(found), frames)
        files = (found.get(n, f"{folder}/{camera}_{n:08d}.jpg") for n in frames)
        footage = dataclasses.replace(footage, files=tuple(files))
        first = next((found[n] for n in frames if n in found), folder)
        picture = pictures.read_jpeg(first)
        size = image_size if picture is None else picture.shape[1::-1]
    else:
        detail = f"neither pictures in hdImgs/{camera} nor hdVideos/hd_{camera}.mp4"
        return lost("missing camera", sequence, detail)
    if tuple(size) != image_size:
        return lost("wrong picture size", first, _size_difference(size, image_size))
    return footage


def _size_difference(found: Sequence[int], calibrated: Sequence[int]) -> str:
    return "{}x{}, but {}x{} in the calibration".format(*found, *calibrated)


def picture_files(folder: Path, camera: str) -> dict[int, str]:
    """The pictures of a folder by frame number, in order; a .jpg rather than a .png."""
    pattern = re.compile(rf"{camera}_(\d+)\.(?:jpg|png)$")
    names = sorted(os.listdir(folder), reverse=True) if folder.is_dir() else ()
    matches = [match for name in names if (match := pattern.match(name))]
    found = {int(match[1]): f"{folder}/{match[0]}" for match in matches}
    return dict(sorted(found.items()))


def check_thinned(folder: Path, numbers: Sequence[int], frames: Sequence[int]) -> None:
    """Raises if `folder` holds every n-th frame only (n > 1), and `frames` are others."""
    step = int(np.gcd.reduce(np.diff(numbers))) if len(numbers) > 1 else 1
    others = [n for n in frames if (n - numbers[0]) % step]
    if not others:
        return
    stride = frames[1] - frames[0] if len(frames) > 1 else 1
    same_start = (frames[0] - numbers[0]) % step == 0
    cure = f"ask for --stride {np.lcm(step, stride)}" if same_start else "extract all of them"
    raise LiftjaxError(
        f"{folder} holds one frame in {step} only, from {numbers[0]} on, and so not frame "
        f"{others[0]}; {cure}."
    )
