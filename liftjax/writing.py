"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator

from etils import epath

from liftjax.errors import LiftjaxError


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[epath.Path]:
    """Gives a path beside `path` to write to, which becomes `path` when the block ends.

    If the block raises, a file that was at `path` stays as it was and nothing is left beside it.
    The path to write to has the suffix of `path`, because some libraries tell the format by it.
    """
    path = epath.Path(path)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            partial.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file and ends it with a newline; a reader finds the old text or the new one."""
    with whole_file(path) as partial:
        partial.write_text(text + "\n")


@contextlib.contextmanager
def output_file(path: str | os.PathLike) -> Iterator[epath.Path]:
    """As :func:`whole_file`, for a file that the user has asked for; makes its folder.

    Raises:
      LiftjaxError: the system refuses, for example because the disk is full.
    """
    try:
        epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            yield partial
    except OSError as error:
        raise could_not_write(path, error) from error


def could_not_write(path: str | os.PathLike, error: OSError) -> LiftjaxError:
    """The error that names the output and the system's reason."""
    return LiftjaxError(f"Could not write {path}: {error.strerror or error}; choose another --out.")
