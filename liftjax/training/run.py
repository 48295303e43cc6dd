"""The command `train`: makes the task that a recipe describes and runs the loop on it."""

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from liftjax import hosts
from liftjax.data.records import described, split_directories
from liftjax.detectors.spec import DETECTOR_PRECISIONS, LARGEST_BETA
from liftjax.errors import LiftjaxError, check_name, needs
from liftjax.lifters.spec import LIFTER_PRECISIONS
from liftjax.ops.soft_argmax import NORMALIZERS
from liftjax.runtime import inputs
from liftjax.runtime.checkpoints import find_checkpoint, licence_of, read_meta
from liftjax.runtime.replicas import WAYS
from liftjax.runtime.scores import Scores
from liftjax.training.detector_task import make_detector_task
from liftjax.training.distill_task import make_distill_task
from liftjax.training.lifter_task import make_lifter_task
from liftjax.training.loop import RunPlan, train_task
from liftjax.training.optim import check_optim
from liftjax.training.task import model_arrays
from liftjax.training.validation import make_keypoint_score, make_validation

TASKS = {
    "detector": make_detector_task,
    "distill": make_distill_task,
    "lifter": make_lifter_task,
}


def train(config: ConfigDict, workdir: str, accept_changes: bool = False) -> dict:
    """Trains the recipe in `workdir`, or resumes it; returns the final state as NumPy arrays.

    Args:
      config: the recipe.
      workdir: the run directory.
      accept_changes: resume even if the data, or a network that guides or teaches, has changed.
    """
    check_recipe(config)
    _check_workdir(workdir)
    hosts.check_same("recipe", json.dumps(config.to_dict(), sort_keys=True))
    task = TASKS[config.task](config)
    hosts.check_same("data", json.dumps(task.samples(0)))
    read = inputs.fingerprints(config, task.frozen)
    hosts.check_same("content of data sets or networks", json.dumps(read, sort_keys=True))
    task = dataclasses.replace(task, meta=task.meta | {"inputs": read} | _heritage(config))
    validated = make_validation(config, task)
    measure = None if validated else make_keypoint_score(config, task)
    state = train_task(task, RunPlan.of(config), workdir, validated, accept_changes)
    if measure:
        _add_keypoint_score(workdir, lambda: measure(model_arrays(state)))
    return state


def _heritage(config: ConfigDict) -> dict[str, Any]:
    """The data sets of a run, in words, and the licence of the weights that it starts from.

    The data sets of the network that it starts from are among them.
    """
    data = [described(directory) for directory in split_directories(config.data.dir)]
    start = config["lifter" if config.task == "lifter" else "detector"].checkpoint
    if not start:
        return {"trained_on": list(dict.fromkeys(data))}
    before = read_meta(start)
    data += before.get("trained_on", ["the data of the weights that it started from"])
    licence = licence_of(before)
    return {"trained_on": list(dict.fromkeys(data))} | ({"licence": licence} if licence else {})


def _add_keypoint_score(workdir: str, measure: Callable[[], float]) -> None:
    """Stores what `measure` finds of the last checkpoint, unless an earlier start has done it."""
    scores, step = Scores(workdir), int(find_checkpoint(workdir).name)
    known = step in scores.keypoints
    hosts.check_same("file scores.json", f"{known}")
    if known:
        return
    try:
        scores.add(step, keypoints=measure())
    except LiftjaxError as error:
        if hosts.started():  # the others wait for this process
            raise
        print(
            f"The training is complete, but its keypoints have no score: {error}", file=sys.stderr
        )


def _check_workdir(workdir: str) -> None:
    store = str(workdir).partition("://")[0]
    package = {"s3": "s3fs", "az": "adlfs"}.get(store, "gcsfs")
    install = "liftjax[gcs]" if package == "gcsfs" else package
    with needs(f"--workdir {workdir}", package, install):
        is_file = epath.Path(workdir).is_file()
    if is_file:
        raise LiftjaxError(f"--workdir {workdir} is a file; give a directory.")


def check_recipe(config: ConfigDict) -> None:
    """Raises a LiftjaxError that names the first key with an invalid value."""
    check_name("config.task", config.task, TASKS)
    whole = {"steps": config.steps, "batch_size": config.batch_size, "log_every": config.log_every}
    whole |= {"checkpoint_every": config.checkpoint_every, "loss.top_k": config.loss.top_k}
    whole |= {"data.stride": config.data.stride, "data.eval_stride": config.data.eval_stride}
    whole |= {"accumulate": config.accumulate, "data.eval_batch_size": config.data.eval_batch_size}
    for key, value in whole.items():
        if value < 1:
            raise LiftjaxError(f"config.{key} is {value}; it must be at least 1.")
    if not 0 <= config.seed < 2**31:
        raise LiftjaxError(f"config.seed is {config.seed}; it is from 0 to 2147483647.")
    if not 0 < config.loss.beta <= LARGEST_BETA:
        raise LiftjaxError(
            f"config.loss.beta is {config.loss.beta}; it must be above 0 and at most "
            f"{LARGEST_BETA:g}."
        )
    check_optim(config.optim, config.steps)
    if config.loss.window_frames < 1 or config.loss.window_frames % 2 == 0:
        raise LiftjaxError(
            f"config.loss.window_frames is {config.loss.window_frames}; it must be odd and at "
            "least 1, because the sample is the middle frame."
        )
    off = {"loss.balance": config.loss.balance, "keep_every": config.keep_every}
    off |= {"loss.renewed": config.loss.renewed}
    off |= {"evaluate_every": config.evaluate_every, "num_devices": config.num_devices}
    for key, value in off.items():
        if value < 0:
            raise LiftjaxError(f"config.{key} is {value}; 0 switches it off.")
    if not 0 <= config.ema < 1:
        raise LiftjaxError(f"config.ema is {config.ema}; it must be at least 0 (off) and below 1.")
    choices = {"nonfinite": ("stop", "skip"), "precision": DETECTOR_PRECISIONS}
    choices |= {"replicate": WAYS}
    for key, known in choices.items():
        check_name(f"config.{key}", config[key], known)
    check_name("config.loss.normalizer", config.loss.normalizer, NORMALIZERS)
    precision = config.loss.lifter_precision
    if precision is not None:
        check_name("config.loss.lifter_precision", precision, LIFTER_PRECISIONS)
    size = config.detector.image_size
    if size is not None and not _is_size(size):
        raise LiftjaxError(
            f"config.detector.image_size is {size}; give height and width, such as (384, 288)."
        )


def _is_size(value) -> bool:
    pair = isinstance(value, tuple | list) and len(value) == 2
    return pair and all(isinstance(n, int) and n > 0 for n in value)
