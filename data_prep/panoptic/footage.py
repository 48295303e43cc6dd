"""Finds a camera's pictures: hdImgs/00_03/00_03_00000168.jpg or hdVideos/hd_00_03.mp4.

The studio's extraction script numbers pictures from 0 in the order of the video, and pose files
have the same numbers.
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
      image_size: (width, height) that sound pictures have.
      frames: numbers, increasing.
      video: the file, or "".
      files: one for each of `frames`, if there is no video.
    """

    image_size: tuple[int, int]
    frames: tuple[int, ...]
    video: str = ""
    files: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.video,) if self.video else self.files

    def part(self, start: int, stop: int) -> "Footage":
        """The footage of some of the frames."""
        frames, files = self.frames[start:stop], self.files[start:stop]
        return dataclasses.replace(self, frames=frames, files=files)

    def pictures(self, numbers: Sequence[int]) -> Iterator[np.ndarray | Problem]:
        """The frames of these increasing numbers: (H, W, 3) uint8 BGR, or a problem.

        A problem has the full path of its file.
        """
        for number, file, picture in self._read(numbers):
            kind, detail = "missing frame", "the video ends or breaks before it"
            if picture is not None or not self.video:
                expected = self.image_size, "calibration"
                kind, detail = pictures.picture_fault(picture, file, *expected)
            yield Problem(kind, file, number, detail) if kind else picture

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, str, np.ndarray | None]]:
        if self.video:
            for number, picture in video.frames_at(self.video, numbers):
                yield number, self.video, picture
        else:
            files = dict(zip(self.frames, self.files, strict=True))
            for number in numbers:
                yield number, files[number], pictures.read_jpeg(files[number])


def find_footage(
    sequence: Path, camera: str, frames: Sequence[int], image_size: tuple[int, int]
) -> Footage | Problem:
    """The camera's pictures of these frames, or a problem that drops all of them.

    The video is used if there are not pictures of all frames.

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
        detail = pictures.sizes_differ(size, image_size, "calibration")
        return lost("wrong picture size", first, detail)
    return footage


def picture_files(folder: Path, camera: str) -> dict[int, str]:
    """The pictures of a folder by frame number, in order; a .jpg rather than a .png."""
    pattern = re.compile(rf"{camera}_(\d+)\.(?:jpg|png)$")
    names = sorted(os.listdir(folder), reverse=True) if folder.is_dir() else ()
    matches = [match for name in names if (match := pattern.match(name))]
    found = {int(match[1]): f"{folder}/{match[0]}" for match in matches}
    return dict(sorted(found.items()))


def check_thinned(folder: Path, numbers: Sequence[int], frames: Sequence[int]) -> None:
    """Raises if `folder` has only every n-th frame (n > 1) and not all of `frames`."""
    step = int(np.gcd.reduce(np.diff(numbers))) if len(numbers) > 1 else 1
    others = [n for n in frames if (n - numbers[0]) % step]
    if not others:
        return
    stride = frames[1] - frames[0] if len(frames) > 1 else 1
    same_start = (frames[0] - numbers[0]) % step == 0
    cure = f"ask for --stride {np.lcm(step, stride)}" if same_start else "extract all of them"
    raise LiftjaxError(
        f"{folder} has only one frame in {step} from {numbers[0]} on, and so not frame "
        f"{others[0]}; {cure}."
    )
