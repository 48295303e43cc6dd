"""Files that are written whole or not at all, and what they are called."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from liftjax.errors import LiftjaxError
from liftjax.names import readable


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a name beside `path` to write to; what is there in the end takes the place of `path`.

    Whatever goes wrong, a file that was at `path` stays as it was and nothing is left beside it.

    Raises:
      LiftjaxError: the system refused, as when the disk is full.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")  # the ending names the format
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise LiftjaxError(
            f"Could not write {path}: {error.strerror or error}; choose another --out."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def with_ending(stem: Path, ending: str) -> Path:
    """The stem with more at its end; unlike with_suffix, the stem may have dots."""
    return stem.with_name(stem.name + ending)


def plain_name(text: str) -> str:
    """`text` as a part of a file's name on any system."""
    return re.sub(r"[^\w.+-]+", "_", text).strip("_") or "_"


def picture_stems(names: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """What each picture's outputs are called: its name without the ending, no two alike.

    Folders become part of the name. Capital letters make no difference, as on some systems.

    Args:
      taken: names that others have already.
    """
    taken, stems = {name.casefold() for name in taken}, []
    for name in names:
        wanted = "_".join(Path(readable(name)).with_suffix("").parts)
        stem, number = wanted, 2
        while stem.casefold() in taken:
            stem, number = f"{wanted}_{number}", number + 1
        taken.add(stem.casefold())
        stems.append(stem)
    return stems
