"""The files of a run directory that allow anyone to repeat the run.

config.json holds the recipe; versions.json holds the versions of packages, and every start of the
run.
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
from liftjax.ops import onednn_build
from liftjax.writing import write_text

_PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy",
    "opencv-python-headless", "tensorflow-datasets",
)  # fmt: skip
_SOURCES = ("liftjax", "configs")  # of a source tree: what a run depends on


def record_start(workdir: epath.Path, recipe: dict, step: int, changes: Sequence[str] = ()) -> None:
    """Writes config.json, and adds a start to versions.json.

    Args:
      workdir: the run directory.
      recipe: the whole recipe.
      step: the step that the run continues from.
      changes: sentences that say what has changed in the data and networks that the run reads.
    """
    write_text(workdir / "config.json", json.dumps(recipe, indent=2))
    path = workdir / "versions.json"
    earlier = read_json(path).get("starts", [])
    now, source = versions(), source_revision()
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    start = {"step": step, "time": time, "jax": now["jax"]}
    start |= {key: now[key] for key in ("machine", "devices", "processes", "onednn")} | source
    start |= {"changes": list(changes)} if changes else {}
    document = now | source | {"seed": recipe.get("seed"), "starts": [*earlier, start]}
    write_text(path, json.dumps(document, indent=2))


def read_json(path: epath.Path) -> dict:
    """The object in a JSON file of a run; {} if there is no file.

    Raises:
      LiftjaxError: the file does not hold a JSON object.
    """
    try:
        document = json.loads(path.read_text()) if path.exists() else {}
    except (ValueError, RecursionError) as error:
        raise LiftjaxError(
            f"{path} is damaged ({first_line(error)}); move it away to continue."
        ) from None
    if not isinstance(document, dict):
        raise LiftjaxError(f"{path} is damaged (no object); move it away to continue.")
    return document


def versions() -> dict[str, Any]:
    """The versions and devices that a run uses."""
    return {
        "liftjax": liftjax.__version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "devices": [str(device) for device in jax.devices()],
        "processes": jax.process_count(),
        "onednn": onednn_build.describe() if jax.default_backend() == "cpu" else "no: not a CPU",
        **{package: version(package) for package in _PACKAGES},
    }


def source_revision(root: Path | None = None) -> dict[str, Any]:
    """{"revision", "dirty"} of the git tree that liftjax runs from; {} outside of one.

    "dirty" says whether files of the packages have changed since that revision.
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
