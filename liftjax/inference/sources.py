"""Opens what the user typed: pictures, videos and cameras."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from liftjax.errors import LiftjaxError
from liftjax.inference.files import (
    check_exists,
    different_names,
    is_picture,
    is_video,
    natural_key,
    unknown_kind,
)
from liftjax.inference.footage import CameraSource, VideoSource
from liftjax.inference.pictures import read_picture
from liftjax.inference.results import Frame, Source
from liftjax.names import readable

_SLOWEST, _FASTEST = 0.001, 1e5  # frames a second that video files can state


class PictureSource:
    """A source of picture files, which may be the frames of a video.

    Attributes:
      paths: of the pictures.
      names: their file names, made different where two are the same.
    """

    def __init__(self, paths: Sequence, name: str, given: str, fps: float | None = None):
        """
        Args:
          paths: of the pictures, in order.
          name, given: as for Source.
          fps: frames a second, if the pictures are frames of one video.
        """
        self.paths = [Path(path) for path in paths]
        self.names = _picture_names(self.paths)
        self.name, self.given = readable(name), readable(given)
        self.is_video, self.fps = bool(fps), float(fps or 0)
        self._broken: set[Path] = set()

    def __len__(self) -> int:
        return len(self.paths)

    def frames(self) -> Iterator[Frame]:
        """All pictures that can be read; the others are named on stderr.

        Raises:
          LiftjaxError: none can be read.
        """
        error = None
        for index, (path, name) in enumerate(zip(self.paths, self.names, strict=True)):
            try:
                image = read_picture(path)
            except LiftjaxError as broken:
                error = broken
                self._warn(path, broken)
                continue
            yield Frame(index, readable(name), image)
        if error is not None and len(self._broken) == len(self.paths):
            raise error

    def _warn(self, path: Path, error: LiftjaxError) -> None:
        if len(self.paths) > 1 and path not in self._broken:
            print(f"left out: {error}", file=sys.stderr)
        self._broken.add(path)


def open_sources(
    given: str | Sequence[str], fps: float | None = None, record_to=None
) -> list[Source]:
    """The sources that the inputs name, each with a name of its own.

    All single pictures make one source together; each folder of pictures and each video make one.
    Digits that are not a file are a camera's number. Pictures are sorted by name, 2 before 10.
    Patterns such as `*.jpg` are expanded, because some shells do not.

    Args:
      given: one input or several.
      fps: makes pictures the frames of a video; overrides a video file's own rate.
      record_to: folder or MP4 file for a camera's recording.

    Raises:
      LiftjaxError: an input is missing, neither a picture nor a video, or an empty folder.
    """
    if fps is not None and not _SLOWEST <= fps <= _FASTEST:
        raise LiftjaxError(
            f"{fps} frames a second; give a number from {_SLOWEST:g} to {_FASTEST:g}."
        )
    typed = [given] if isinstance(given, (str, os.PathLike)) else list(given)
    if not typed:
        raise LiftjaxError("No input: name pictures, a folder, a video or a camera's number.")
    single, sources = [], []
    for text in (part for each in typed for part in _matches(str(each))):
        path = Path(text)
        if path.is_dir():
            sources += _open_folder(path, text, fps)
        elif text.isdecimal() and not path.exists():
            sources.append(CameraSource(int(text), record_to))
        elif is_picture(path):
            check_exists(path, "picture")
            single.append(path)
        else:
            check_exists(path, "input")
            sources.append(_open_video(path, fps))
    if single:
        sources.insert(0, _open_pictures(single, _typed(given), fps))
    if sum(isinstance(source, CameraSource) for source in sources) > 1:
        raise LiftjaxError("Several cameras; give one, which is recorded until Ctrl-C.")
    names = different_names(source.name for source in sources)
    for source, name in zip(sources, names, strict=True):
        source.name = name
    return sources


def _matches(text: str) -> list[str]:
    """The files of a pattern; the text itself if it is a file or not a pattern."""
    if not glob.has_magic(text) or Path(text).exists():
        return [text]
    found = sorted(glob.glob(text), key=natural_key)
    if not found:
        raise LiftjaxError(f"{text}: no file matches this pattern.")
    return found


def _open_pictures(paths: list[Path], given: str, fps: float | None) -> PictureSource:
    paths = sorted(dict.fromkeys(paths), key=natural_key)
    return PictureSource(paths, paths[0].stem if len(paths) == 1 else "pictures", given, fps)


def _open_folder(folder: Path, given: str, fps: float | None) -> list[Source]:
    """The folder's pictures as one source, each of its videos as another."""
    # macOS leaves a hidden ._NAME beside each file on disks of other systems.
    files = sorted((p for p in folder.iterdir() if p.name[0] != "."), key=natural_key)
    pictures = [path for path in files if is_picture(path) and path.is_file()]
    videos = [path for path in files if is_video(path) and path.is_file()]
    if not pictures and not videos:
        folders = [path.name for path in files if path.is_dir()]
        hint = f"; its folders are {', '.join(folders[:5])}" if folders else ""
        raise LiftjaxError(f"{folder}: no pictures or videos in this folder{hint}.")
    name = folder.resolve().name or "pictures"
    sources = [PictureSource(pictures, name, given, fps)] if pictures else []
    return sources + [_open_video(path, None if pictures else fps) for path in videos]


def _open_video(path: Path, fps: float | None) -> VideoSource:
    if not is_video(path):
        raise unknown_kind(path)
    return VideoSource(path, fps)


def _typed(given: str | Sequence[str]) -> str:
    return str(given) if isinstance(given, (str, os.PathLike)) else " ".join(map(str, given))


def _picture_names(paths: list[Path]) -> tuple[str, ...]:
    """File names; where two are the same, with the folders in which their paths differ."""
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        common = os.path.commonpath([path.resolve().parent for path in paths])
        names = ["_".join(path.resolve().relative_to(common).parts) for path in paths]
    return tuple(names)
