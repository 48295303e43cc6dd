"""What the user typed, as pictures, videos and cameras to read."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from liftjax.errors import LiftjaxError
from liftjax.inference.files import check_exists, is_picture, is_video, natural_key, unknown_kind
from liftjax.inference.footage import Camera, Video
from liftjax.inference.pictures import read_picture
from liftjax.inference.results import Frame, Source
from liftjax.names import readable

__all__ = ["Camera", "Pictures", "Video", "open_sources"]

_SLOWEST, _FASTEST = 0.001, 1e5  # frames a second that video files can say


class Pictures:
    """Picture files, or the frames of a video as such, as a Source.

    Attributes:
      paths: of the pictures. names: what they are called, all different.
    """

    def __init__(self, paths: Sequence, name: str, given: str, fps: float | None = None):
        """
        Args:
          paths: in the order wanted. name, given: as for Source.
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
        """All pictures that can be read, at their places; the others are named on stderr.

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
    """Pictures, videos and cameras behind the inputs, each source with a name of its own.

    All single pictures make one source together, each folder of pictures makes one, each video (in
    a folder or named) makes one; digits that are no file are a camera's number. Pictures are sorted
    by name, 2 before 10. Patterns such as `*.jpg` are understood, for shells that leave them.

    Args:
      given: one input or several.
      fps: makes pictures the frames of a video; stands instead of a video file's own rate.
      record_to: folder, or MP4 file, for what a camera records.

    Raises:
      LiftjaxError: for what is missing, neither picture nor video, or a folder without any.
    """
    if fps is not None and not _SLOWEST <= fps <= _FASTEST:
        raise LiftjaxError(
            f"{fps} frames a second; a number from {_SLOWEST:g} to {_FASTEST:g} is expected."
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
            sources.append(Camera(int(text), record_to))
        elif is_picture(path):
            check_exists(path, "picture")
            single.append(path)
        else:
            check_exists(path, "input")
            sources.append(_open_video(path, fps))
    if single:
        sources.insert(0, _open_pictures(single, _typed(given), fps))
    if sum(isinstance(source, Camera) for source in sources) > 1:
        raise LiftjaxError("One camera at a time: it is recorded until Ctrl-C.")
    return _distinct(sources)


def _matches(text: str) -> list[str]:
    """The files of a pattern; the text itself if it is none, or is a file's name as it stands."""
    if not glob.has_magic(text) or Path(text).exists():
        return [text]
    found = sorted(glob.glob(text), key=natural_key)
    if not found:
        raise LiftjaxError(f"{text}: no file has a name of this pattern.")
    return found


def _open_pictures(paths: list[Path], given: str, fps: float | None) -> Pictures:
    paths = sorted(dict.fromkeys(paths), key=natural_key)
    return Pictures(paths, paths[0].stem if len(paths) == 1 else "pictures", given, fps)


def _open_folder(folder: Path, given: str, fps: float | None) -> list[Source]:
    """The folder's pictures as one source, each of its videos as another."""
    # macOS leaves a hidden ._NAME beside each file on foreign disks
    files = sorted((p for p in folder.iterdir() if p.name[0] != "."), key=natural_key)
    pictures = [path for path in files if is_picture(path) and path.is_file()]
    videos = [path for path in files if is_video(path) and path.is_file()]
    if not pictures and not videos:
        folders = [path.name for path in files if path.is_dir()]
        hint = f"; its folders are {', '.join(folders[:5])}" if folders else ""
        raise LiftjaxError(f"{folder}: no pictures or videos in this folder{hint}.")
    name = folder.resolve().name or "pictures"
    sources = [Pictures(pictures, name, given, fps)] if pictures else []
    return sources + [_open_video(path, None if pictures else fps) for path in videos]


def _open_video(path: Path, fps: float | None) -> Video:
    if not is_video(path):
        raise unknown_kind(path)
    return Video(path, fps)


def _typed(given: str | Sequence[str]) -> str:
    return str(given) if isinstance(given, (str, os.PathLike)) else " ".join(map(str, given))


def _picture_names(paths: list[Path]) -> tuple[str, ...]:
    """File names; with the folders in which they differ, where two files have the same name."""
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        common = os.path.commonpath([path.resolve().parent for path in paths])
        names = ["_".join(path.resolve().relative_to(common).parts) for path in paths]
    return tuple(names)


def _distinct(sources: list[Source]) -> list[Source]:
    """The same sources; a name that an earlier one has already gets _2, _3 and so on."""
    taken = set()
    for source in sources:
        name, number = source.name, 1
        while source.name.casefold() in taken:
            number += 1
            source.name = f"{name}_{number}"
        taken.add(source.name.casefold())
    return sources
