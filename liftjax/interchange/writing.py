"""Writes new files: all of them, or none."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from liftjax.errors import LiftjaxError
from liftjax.writing import output_file


def local_path(out: str | Path) -> Path:
    """`out` as a local path. Raises a LiftjaxError for an address such as gs://..."""
    if "://" in str(out):
        raise LiftjaxError(f"{out}: write to a path of this machine, and copy it there afterwards.")
    return Path(out).expanduser()


@contextlib.contextmanager
def new_files(*targets: Path) -> Iterator[list[Path]]:
    """Paths to write to; they become `targets` when the block ends without an error.

    Raises:
      LiftjaxError: one of the targets exists, or cannot be written.
    """
    for target in targets:
        if target.exists():
            raise LiftjaxError(f"{target} exists and is not overwritten; choose another --out.")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(output_file(target)) for target in targets]


def beside(out: Path, ending: str) -> Path:
    """The file next to `out` with a further ending: net.onnx.json for net.onnx and .json."""
    return out.with_name(out.name + ending)
