"""`train`: builds the task that a recipe names and runs the loop on it."""

from ml_collections import ConfigDict

from liftjax.errors import unknown_name
from liftjax.training import detector_task, lifter_task, loop

TASKS = {"detector": detector_task.build, "lifter": lifter_task.build}


def run(config: ConfigDict, workdir: str) -> dict:
    """Trains (or resumes) the recipe in `workdir`; returns the final state."""
    if config.task not in TASKS:
        raise unknown_name("config.task", config.task, TASKS)
    return loop.train(
        TASKS[config.task](config),
        workdir=workdir,
        steps=config.steps,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
    )
