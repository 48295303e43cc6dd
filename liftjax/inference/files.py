"""Which files are pictures and videos, what to say of missing ones, and names of outputs."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from liftjax.errors import LiftjaxError
from liftjax.names import readable

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
        return LiftjaxError(f"{path}: cannot read {suffix[1:]} files; save it as JPEG or PNG.")
    return LiftjaxError(
        f"{path}: by its ending neither a picture nor a video; pictures end in "
        f"{', '.join(sorted(PICTURES))}, videos in {', '.join(sorted(VIDEOS))}."
    )


def check_exists(path, what: str) -> None:
    """Raises a LiftjaxError if a file or folder is missing; it names the nearest one."""
    path = Path(path)
    if not path.exists():
        raise LiftjaxError(f"The {what} is missing: {path} does not exist{_hint(path)}")


def check_file(path, what: str) -> None:
    """Raises a LiftjaxError if the file is missing or a folder."""
    check_exists(path, what)
    if Path(path).is_dir():
        raise LiftjaxError(f"{path}: is a folder; name the {what} instead.")


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


# Names of outputs


def with_ending(stem: Path, ending: str) -> Path:
    """The stem with more at its end; unlike with_suffix, the stem may have dots."""
    return stem.with_name(stem.name + ending)


def plain_name(text: str) -> str:
    """`text` as a part of a file's name on any system."""
    return re.sub(r"[^\w.+-]+", "_", text).strip("_") or "_"


def picture_stems(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """What each picture's outputs are called: its name without the ending, no two alike.

    Folders become part of the name.

    Args:
      names: of the pictures.
      taken: names that others have already.
    """
    stems = ["_".join(Path(readable(name)).with_suffix("").parts) for name in names]
    return different_names(stems, taken)


def different_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The names; one that is taken, or comes again, gets _2, _3 and so on at its end.

    Capital letters make no difference, as on some systems.
    """
    taken, found = {name.casefold() for name in taken}, []
    for wanted in names:
        name, number = wanted, 2
        while name.casefold() in taken:
            name, number = f"{wanted}_{number}", number + 1
        taken.add(name.casefold())
        found.append(name)
    return found
