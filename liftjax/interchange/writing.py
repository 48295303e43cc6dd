"""New files, whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from liftjax.errors import LiftjaxError


def local_path(out: str | Path) -> Path:
    """`out` as a path of this machine; a LiftjaxError for an address."""
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
    partials = [target.with_name(f".{target.name}.partial") for target in targets]
    try:
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        yield partials
        for partial, target in zip(partials, targets, strict=True):
            os.replace(partial, target)
    except OSError as error:
        raise LiftjaxError(
            f"Could not write {targets[0]}: {error.strerror or error}; choose another --out."
        ) from error
    finally:
        for partial in partials:
            with contextlib.suppress(OSError):  # the first error is the one to hear of
                partial.unlink()


def beside(out: Path, ending: str) -> Path:
    """The file of that ending that belongs to `out`: net.onnx and net.onnx.json."""
    return out.with_name(out.name + ending)
