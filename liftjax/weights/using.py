"""Published weights where a run directory or a file is asked for: by their names."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

from ml_collections import ConfigDict

from liftjax import hosts
from liftjax.errors import LiftjaxError, needs
from liftjax.runtime.checkpoints import NAMED
from liftjax.skeletons import get_skeleton
from liftjax.weights.fetching import fetch, folder, locked, record_of, unwritable
from liftjax.weights.published import PUBLISHED, PublishedWeights, find_weights, in_words

_VERSION = "1"  # raised when the list or the importer changes what a run directory holds


def run_directory(
    name: str,
    *,
    skeleton: str | None = None,
    image_size: tuple[int, int] | None = None,
    offline: bool = False,
) -> Path:
    """The run directory of a published detector, backbone or lifter.

    The first call fetches the file and imports it; later calls find the directory.

    Args:
      name: a key of PUBLISHED.
      skeleton: joint set to which a detector's last layer is converted, or that of the layer which
        a backbone gets. None: the published one.
      image_size: (height, width) of the crops of the detector that is made of a backbone.
      offline: take what is there and ask nobody.

    Raises:
      LiftjaxError: there are no such weights, or their file cannot be had or read.
    """
    weights = find_weights(name)
    if skeleton:
        get_skeleton(skeleton)
    if weights.kind == "person_detector":
        raise LiftjaxError(f"{name} finds people, not joints; leave out --skeleton.")
    if weights.kind == "backbone" and not skeleton:
        raise LiftjaxError(f"{name} is a backbone without joints; name their set (--skeleton).")
    skeleton = None if skeleton == weights.skeleton else skeleton
    if weights.kind == "lifter" and skeleton:
        raise LiftjaxError(f"{name} is a lifter, which cannot be converted to other joints.")
    if weights.kind == "backbone":
        size = tuple(image_size) if image_size else weights.image_size
        weights = dataclasses.replace(weights, image_size=size)
    out = run_path(weights, skeleton)
    if out.exists():  # it appears whole
        return out
    if hosts.started():
        _import_apart(weights, skeleton, offline)
        return out
    with locked(out, f"is importing {name}"):
        if not out.exists():
            _import(weights, out, skeleton, offline)
    return out


def run_path(weights: PublishedWeights, skeleton: str | None = None) -> Path:
    """Where the run directory is, once it is made."""
    name = weights.name + (f"_as_{skeleton}" if skeleton else "")
    if weights.kind == "backbone" and weights.image_size:
        name += "_{}x{}".format(*weights.image_size)
    return folder() / "runs" / _VERSION / name


def _import(weights: PublishedWeights, out: Path, skeleton: str | None, offline: bool) -> None:
    if weights.file.endswith((".pth", ".bin")):
        with needs(f"Reading {weights.file}", "PyTorch", "torch"):
            import torch  # noqa: F401  (missing, it shall be told before a download)
    path, sha256 = fetch(weights, offline=offline)
    from liftjax.interchange.importing import import_weights  # it takes seconds

    about = {
        "name": weights.name,
        "address": weights.address or weights.page,
        "sha256": sha256,
        "licence": weights.terms,
        "paper": weights.paper,
    }
    settings = {
        "model": weights.network,
        "skeleton": weights.skeleton if weights.kind == "lifter" else skeleton,
        "source_skeleton": weights.skeleton_2d or weights.skeleton,
        "stats": str(weights.stats) if weights.stats else None,
        "overrides": [f"image_size={weights.image_size}"] if weights.image_size else [],
    }
    try:
        import_weights(str(path), str(out), **settings, about=about)
    except LiftjaxError as error:
        if not weights.sha256:  # the file may be replaced by a better one
            record_of(path).unlink(missing_ok=True)
        if isinstance(error.__cause__, OSError):  # it proposes another --out, which is not ours
            raise unwritable(out.parent, error.__cause__) from None
        raise


def _import_apart(weights: PublishedWeights, skeleton: str | None, offline: bool) -> None:
    """Imports in a process of its own, because a checkpoint is written by all that have joined."""
    command = [sys.executable, "-m", "liftjax", "weights", weights.name]
    command += ["--skeleton", skeleton] if skeleton else []
    if weights.kind == "backbone" and weights.image_size:
        command += ["--image-size", *map(str, weights.image_size)]
    command += ["--offline"] if offline else []
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}  # accelerators belong to this process
    if subprocess.run(command, env=environment).returncode:
        raise LiftjaxError(f"{weights.name} could not be fetched and imported; see above.")


def file(name: str, *, offline: bool = False) -> Path:
    """The file of published weights as it was published; the first call fetches it.

    Args:
      name: a key of PUBLISHED.
      offline: take what is there and ask nobody.

    Raises:
      LiftjaxError: there are no such weights, or their file cannot be had.
    """
    return fetch(find_weights(name), offline=offline).path


def resolve(given, *kinds: str, offline: bool = False, **form):
    """What `given` stands for: published weights' run directory (or file), otherwise itself.

    Args:
      given: a name, a path or an object. What exists as a path is not taken for a name.
      *kinds: the kinds of weights that may be named here.
      offline: take what is there and ask nobody.
      **form: `skeleton` and `image_size`, see :func:`run_directory`.

    Raises:
      LiftjaxError: it names weights of another kind, or weights that cannot be had, or is nearly a
        name.
    """
    if not isinstance(given, str) or Path(given).exists():
        return given
    if given not in PUBLISHED:
        network, slash, rest = given.partition("/")
        if slash and "/" not in rest and network in {w.network for w in PUBLISHED.values()}:
            find_weights(given)
        return given
    kind = PUBLISHED[given].kind
    if kind not in kinds:
        wanted = " or ".join(f"a {in_words(one)}" for one in kinds)
        raise LiftjaxError(f"{given} is a {in_words(kind)}, not {wanted}.")
    if kind == "person_detector":
        return str(file(given, offline=offline))
    return str(run_directory(given, **form, offline=offline))


def resolve_lifters(config: ConfigDict, offline: bool = False) -> None:
    """Fetches the published lifters that a recipe names; from then on their names are found."""
    for given in config.lifters.to_dict().values():
        _name(given, resolve(given, "lifter", offline=offline))


def resolve_recipe(config: ConfigDict, offline: bool = False) -> None:
    """Fetches all published weights that a recipe names; from then on their names are found.

    The recipe keeps the names, so that it holds on other machines too. The detector to start from
    is converted to the joint set of the recipe's data.
    """
    from liftjax.data.records import PoseDataset

    resolve_lifters(config, offline)
    for given, kind in ((config.distill.teacher, "detector"), (config.lifter.checkpoint, "lifter")):
        _name(given, resolve(given, kind, offline=offline))
    start, form = config.detector.checkpoint, {}
    if start in PUBLISHED:
        data = PoseDataset.open(config.data.dir, config.data.split)
        form = {"skeleton": data.skeleton.name, "image_size": config.detector.image_size}
    _name(start, resolve(start, "detector", "backbone", **form, offline=offline))


def _name(given: str, found: str) -> None:
    if found != given:
        NAMED[given] = found
