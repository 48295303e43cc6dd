"""What a run reads besides its recipe: data sets, and the networks that guide or teach it.

A checkpoint keeps fingerprints of their content, so that a resumed run can say what has changed.
Paths do not count: a copy of a data set is the same data set.
"""

import hashlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from liftjax.data import integrity
from liftjax.data.records import read_metadata, split_directories

_DATA = {"data.dir": "split", "data.eval_split": "eval_split"}  # the key of the split's name
EVALUATED = ("data.eval_split", "data.eval_subjects", "data.eval_stride")


def fingerprints(config: ConfigDict, frozen: Any) -> dict[str, Any]:
    """Fingerprints (JSON) of the data sets and networks that a run reads, by recipe key.

    Evaluation data are included if they select the best checkpoint. Data sets without checksums are
    left out.

    Args:
      config: the recipe.
      frozen: the arrays that the training step reads and never changes (see `training.task.Task`).
    """
    found = {"data.dir": _data(config.data.dir, config.data.split)}
    if config.keep_best:
        found["data.eval_split"] = _data(config.data.dir, config.data.eval_split)
        found["data.eval_subjects"] = sorted(config.data.eval_subjects)
        found["data.eval_stride"] = config.data.eval_stride
    known = {key: value for key, value in found.items() if value is not None}
    return known | {key: _digest(arrays) for key, arrays in _networks(config, frozen).items()}


def _data(directories: str, split: str) -> list[dict] | None:
    directories = split_directories(directories)
    sets = [integrity.fingerprint(one, read_metadata(one), split) for one in directories]
    return None if None in sets else sets


def _networks(config: ConfigDict, frozen: Any) -> dict[str, Any]:
    """The frozen arrays by the recipe key that names the run they come from."""
    if config.task == "detector":  # as many as the method of guidance takes
        names = list(config.lifters.to_dict())[: len(frozen)]
        return {f"lifters.{n}": one for n, one in zip(names, frozen, strict=True)}
    if config.task == "distill":
        teacher = config.distill.stage == "student"
        return {"distill.teacher" if teacher else "detector.checkpoint": frozen}
    return {}


def _digest(arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in map(np.asarray, jax.tree.leaves(arrays)):
        digest.update(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()


def shared(saved: dict, now: dict) -> set[str]:
    """The keys that have a fingerprint both in a checkpoint's meta and in a run's."""
    return saved.get("inputs", {}).keys() & now.get("inputs", {}).keys()


def changes(saved: dict, now: dict) -> dict[str, str]:
    """What has changed in the data and networks since a checkpoint: sentences by recipe key.

    Old checkpoints without fingerprints have no changes.

    Args:
      saved: the meta of the checkpoint.
      now: the meta of the run.
    """
    keys = sorted(k for k in shared(saved, now) if saved["inputs"][k] != now["inputs"][k])
    return {k: _words(k, saved["inputs"][k], now["inputs"][k], now["recipe"]["data"]) for k in keys}


def _words(key: str, before: Any, after: Any, data: dict) -> str:
    if key in _DATA:
        return _data_words(before, after, data["dir"], data[_DATA[key]])
    if key in EVALUATED:
        return f"{key} is {after or 'empty'}, was {before or 'empty'}"
    return f"{key} holds other weights"


def _data_words(before: list[dict], after: list[dict], directories: str, split: str) -> str:
    if len(before) != len(after):
        return f"{len(after)} data sets are named, {len(before)} were"
    said = []
    for one, old, new in zip(split_directories(directories), before, after, strict=True):
        if old != new:
            same = old["records"] == new["records"]
            then = "as before, but not the same" if same else f"instead of {old['records']}"
            said.append(f"split {split} of {one} has {new['records']} records {then}")
    return "; ".join(said)
