"""`train`: builds the task that a recipe names and runs the loop on it."""

import dataclasses
import json

from etils import epath
from ml_collections import ConfigDict

from liftjax import hosts
from liftjax.errors import LiftjaxError, needs, unknown_name
from liftjax.lifters.spec import PRECISIONS
from liftjax.runtime import inputs
from liftjax.runtime.replicas import WAYS
from liftjax.training import detector_task, distill_task, lifter_task, loop, validation
from liftjax.training.optim import check_optim

TASKS = {
    "detector": detector_task.build,
    "distill": distill_task.build,
    "lifter": lifter_task.build,
}


def run(config: ConfigDict, workdir: str, accept_changes: bool = False) -> dict:
    """Trains (or resumes) the recipe in `workdir`; returns the final state as NumPy arrays.

    Args:
      accept_changes: resume though the data, or a network that guides or teaches, has changed.
    """
    check(config)
    _check_workdir(workdir)
    hosts.check_same("recipe", json.dumps(config.to_dict(), sort_keys=True))
    task = TASKS[config.task](config)
    hosts.check_same("data", json.dumps(task.samples(0)))
    read = inputs.fingerprints(config, task.frozen)
    hosts.check_same("content of data sets or networks", json.dumps(read, sort_keys=True))
    task = dataclasses.replace(task, meta=task.meta | {"inputs": read})
    validated = validation.build(config, task)
    return loop.train(task, loop.Plan.of(config), workdir, validated, accept_changes)


def _check_workdir(workdir: str) -> None:
    store = str(workdir).partition("://")[0]
    package = {"s3": "s3fs", "az": "adlfs"}.get(store, "gcsfs")
    install = "liftjax[gcs]" if package == "gcsfs" else package
    with needs(f"--workdir {workdir}", package, install):
        is_file = epath.Path(workdir).is_file()
    if is_file:
        raise LiftjaxError(f"--workdir {workdir} is a file; give a directory.")


def check(config: ConfigDict) -> None:
    """Raises a LiftjaxError that names the first key whose value makes no sense."""
    if config.task not in TASKS:
        raise unknown_name("config.task", config.task, TASKS)
    whole = {"steps": config.steps, "batch_size": config.batch_size, "log_every": config.log_every}
    whole |= {"checkpoint_every": config.checkpoint_every, "loss.top_k": config.loss.top_k}
    whole |= {"accumulate": config.accumulate, "data.eval_batch_size": config.data.eval_batch_size}
    for key, value in whole.items():
        if value < 1:
            raise LiftjaxError(f"config.{key} is {value}; it must be at least 1.")
    if not 0 <= config.seed < 2**31:
        raise LiftjaxError(f"config.seed is {config.seed}; it is from 0 to 2147483647.")
    if not config.loss.beta > 0:
        raise LiftjaxError(f"config.loss.beta is {config.loss.beta}; it must be above 0.")
    check_optim(config.optim, config.steps)
    off = {"loss.balance": config.loss.balance, "keep_every": config.keep_every}
    off |= {"evaluate_every": config.evaluate_every, "num_devices": config.num_devices}
    for key, value in off.items():
        if value < 0:
            raise LiftjaxError(f"config.{key} is {value}; 0 switches it off.")
    if not 0 <= config.ema < 1:
        raise LiftjaxError(f"config.ema is {config.ema}; it lies between 0 (off) and 1.")
    choices = {"nonfinite": ("stop", "skip"), "precision": ("float32", "bfloat16")}
    choices |= {"replicate": WAYS}
    for key, known in choices.items():
        if config[key] not in known:
            raise unknown_name(f"config.{key}", config[key], known)
    if config.loss.lifter_precision not in (None, *PRECISIONS):
        raise unknown_name("config.loss.lifter_precision", config.loss.lifter_precision, PRECISIONS)
    size = config.detector.image_size
    if size is not None and not _is_size(size):
        raise LiftjaxError(
            f"config.detector.image_size is {size}; give height and width, such as (384, 288)."
        )


def _is_size(value) -> bool:
    pair = isinstance(value, tuple | list) and len(value) == 2
    return pair and all(isinstance(n, int) and n > 0 for n in value)
