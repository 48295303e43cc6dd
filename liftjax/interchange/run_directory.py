"""A network as a run directory: what a training run leaves, without the training."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import nnx

from liftjax.errors import LiftjaxError
from liftjax.interchange.writing import local_path
from liftjax.runtime.checkpoints import FOLDER, Checkpoints, read_meta
from liftjax.runtime.state import flat_arrays
from liftjax.writing import could_not_write

_ORIGIN = "origin"  # a key in meta that no training run has


def write_run_directory(
    out: str,
    module: nnx.Module,
    spec: dict,
    origin: dict[str, Any],
    recipe: Mapping[str, Any] | None = None,
    check: Callable[[Path], object] = lambda partial: None,
) -> Path:
    """Writes `module` as step 0 of the run directory `out`, whole or not at all.

    Args:
      out: where to write.
      module: the network.
      spec: what `checkpoints.build_model` rebuilds it from.
      origin: where it came from.
      recipe: what it was trained with, as far as it is known.
      check: looks at the directory before it gets its name; if it raises, nothing is left.

    Raises:
      LiftjaxError: `out` holds other things than an earlier import or export.
    """
    target = local_path(out).absolute()
    check_free(target)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        checkpoints = Checkpoints(partial)
        try:
            meta = {"model": spec, "recipe": dict(recipe or {}), _ORIGIN: origin}
            nothing = {"steps": jnp.zeros((), jnp.int32)}  # the format has no empty dictionary
            checkpoints.save(0, flat_arrays(module), nothing, meta)
        finally:
            checkpoints.close()
        check(partial)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except OSError as error:
        raise could_not_write(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def check_free(out: str | Path) -> None:
    """Raises unless `out` is new, empty or from :func:`write_run_directory`."""
    target = local_path(out)
    if target.is_file():
        raise LiftjaxError(f"{target} is a file; choose a directory.")
    if not target.exists() or not any(target.iterdir()):
        return
    if {path.name for path in target.iterdir()} == {FOLDER} and _ORIGIN in read_meta(target):
        return
    raise LiftjaxError(
        f"{target} holds other files, perhaps a training run; choose a new directory."
    )
