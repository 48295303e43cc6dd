"""What a run leaves beside its checkpoints and metrics, so that anyone can repeat it.

config.json has the recipe; versions.json what it was made with, and every start of the run.
"""

import datetime
import json
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from etils import epath

import liftjax
from liftjax.errors import LiftjaxError, first_line
from liftjax.writing import write_text

_PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy",
    "opencv-python-headless", "tensorflow-datasets",
)  # fmt: skip
_SOURCES = ("liftjax", "configs")  # of a source tree: what a run depends on


def record_start(workdir: epath.Path, recipe: dict, step: int, changes: Sequence[str] = ()) -> None:
    """Writes config.json, and versions.json with one more start, from `step` on.

    Args:
      workdir: the run directory.
      recipe: the whole recipe.
      step: the step that the run goes on from.
      changes: sentences that say what has changed in the data and networks that the run reads.
    """
    write_text(workdir / "config.json", json.dumps(recipe, indent=2))
    path = workdir / "versions.json"
    earlier = read_json(path).get("starts", [])
    now, source = versions(), source_revision()
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    start = {"step": step, "time": time, "jax": now["jax"]}
    start |= {key: now[key] for key in ("machine", "devices", "processes")} | source
    start |= {"changes": list(changes)} if changes else {}
    document = now | source | {"seed": recipe.get("seed"), "starts": [*earlier, start]}
    write_text(path, json.dumps(document, indent=2))


def read_json(path: epath.Path) -> dict:
    """The object in a JSON file of a run; {} where there is none.

    Raises:
      LiftjaxError: somebody has changed it to something else.
    """
    try:
        document = json.loads(path.read_text()) if path.exists() else {}
    except (ValueError, RecursionError) as error:
        raise LiftjaxError(
            f"{path} is damaged ({first_line(error)}); move it away to go on."
        ) from None
    if not isinstance(document, dict):
        raise LiftjaxError(f"{path} is damaged (no object); move it away to go on.")
    return document


def versions() -> dict[str, Any]:
    """What a run is made with."""
    return {
        "liftjax": liftjax.__version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "devices": [str(device) for device in jax.devices()],
        "processes": jax.process_count(),
        **{package: version(package) for package in _PACKAGES},
    }


def source_revision(root: Path | None = None) -> dict[str, Any]:
    """{"revision", "dirty"} of the git tree that liftjax is run from; {} where there is none.

    Dirty: files of the packages have changed since that revision.
    """
    root = root or Path(liftjax.__file__).parents[1]
    if not (root / ".git").exists():  # an installed package may lie in somebody else's tree
        return {}
    try:
        revision = _git(root, "rev-parse", "HEAD")
        return {"revision": revision, "dirty": bool(_git(root, "status", "--porcelain", *_SOURCES))}
    except (OSError, subprocess.CalledProcessError):
        return {}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
