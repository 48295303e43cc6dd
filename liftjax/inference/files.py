"""Which files are pictures and which are videos, and what to say of those that are not there."""

import difflib
import re
from pathlib import Path

from liftjax.errors import LiftjaxError

# fmt: off
PICTURES = {
    ".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm",
}
VIDEOS = {
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts",
    ".wmv", ".flv", ".3gp", ".ogv", ".gif",
}
_UNREAD = {".heic", ".heif", ".avif", ".dng", ".cr2", ".nef", ".arw", ".svg", ".pdf", ".jp2"}
# fmt: on


def is_picture(path) -> bool:
    return Path(path).suffix.lower() in PICTURES


def is_video(path) -> bool:
    return Path(path).suffix.lower() in VIDEOS


def unknown_kind(path) -> LiftjaxError:
    """The error for a file that is neither."""
    suffix = Path(path).suffix.lower()
    if suffix in _UNREAD:
        return LiftjaxError(f"{path}: {suffix[1:]} is not read here; save it as JPEG or PNG.")
    return LiftjaxError(
        f"{path}: neither a picture nor a video by its ending; pictures end in "
        f"{', '.join(sorted(PICTURES))}, videos in {', '.join(sorted(VIDEOS))}."
    )


def check_exists(path, what: str) -> None:
    """Raises the error for a file or folder that is missing, with the nearest name there is."""
    path = Path(path)
    if not path.exists():
        raise LiftjaxError(f"The {what} is missing: {path} does not exist{_hint(path)}")


def check_file(path, what: str) -> None:
    """Raises also where a folder stands instead of the file."""
    check_exists(path, what)
    if Path(path).is_dir():
        raise LiftjaxError(f"{path}: a folder, where the {what} is expected.")


def natural_key(path) -> tuple:
    """Sorts numbers in names by value: frame 2 before frame 10."""
    path = Path(path)
    return [_split_numbers(part) for part in (*path.parent.parts, path.stem)], path.suffix


def _split_numbers(text: str) -> list:
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), part) if i % 2 else part.casefold() for i, part in enumerate(parts)]


def _hint(path: Path) -> str:
    """What is there instead: the nearest name, or else the folder that was looked in."""
    folder = path.parent
    if not folder.is_dir():
        while not folder.parent.is_dir():
            folder = folder.parent
        return f", nor does the folder {folder}{_hint(folder)}"
    near = difflib.get_close_matches(path.name, sorted(p.name for p in folder.iterdir()), n=1)
    return f"; did you mean {folder / near[0]}?" if near else f" (looked in {folder.resolve()})."
