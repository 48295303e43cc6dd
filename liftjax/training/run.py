"""`train`: builds the task that a recipe names and runs the loop on it."""

from pathlib import Path

from ml_collections import ConfigDict

from liftjax.errors import LiftjaxError, unknown_name
from liftjax.training import detector_task, distill_task, lifter_task, loop

TASKS = {
    "detector": detector_task.build,
    "distill": distill_task.build,
    "lifter": lifter_task.build,
}


def run(config: ConfigDict, workdir: str) -> dict:
    """Trains (or resumes) the recipe in `workdir`; returns the final state."""
    check(config)
    if "://" not in str(workdir) and Path(workdir).is_file():
        raise LiftjaxError(f"--workdir {workdir} is a file; give a directory.")
    return loop.train(
        TASKS[config.task](config),
        workdir=workdir,
        steps=config.steps,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
    )


def check(config: ConfigDict) -> None:
    """Raises a LiftjaxError that names the first key whose value makes no sense."""
    if config.task not in TASKS:
        raise unknown_name("config.task", config.task, TASKS)
    whole = {"steps": config.steps, "batch_size": config.batch_size, "log_every": config.log_every}
    whole |= {"checkpoint_every": config.checkpoint_every, "loss.top_k": config.loss.top_k}
    for key, value in whole.items():
        if value < 1:
            raise LiftjaxError(f"config.{key} is {value}; it must be at least 1.")
    positive = {"loss.beta": config.loss.beta, "optim.decay_every": config.optim.decay_every}
    for key, value in positive.items():
        if not value > 0:
            raise LiftjaxError(f"config.{key} is {value}; it must be above 0.")
    if config.loss.balance < 0:
        raise LiftjaxError(f"config.loss.balance is {config.loss.balance}; 0 switches it off.")
    size = config.detector.image_size
    if size is not None and not _is_size(size):
        raise LiftjaxError(
            f"config.detector.image_size is {size}; give height and width, such as (384, 288)."
        )


def _is_size(value) -> bool:
    pair = isinstance(value, tuple | list) and len(value) == 2
    return pair and all(isinstance(n, int) and n > 0 for n in value)
