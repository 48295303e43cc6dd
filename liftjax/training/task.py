"""A training problem, and what all problems take from a recipe alike."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from liftjax.nn.layers import rematerialise, synchronize
from liftjax.runtime.replicas import AXIS, Replicas
from liftjax.runtime.state import Arrays
from liftjax.training.optim import make_optimizer, make_schedule
from liftjax.training.update import Step, TrainStep, Update, ema_rate

Metrics = dict[str, jax.Array]
Batches = Callable[[int], Iterator[dict[str, np.ndarray]]]


@dataclasses.dataclass(frozen=True)
class Task:
    """A training problem: everything that the loop needs to know of it.

    Attributes:
      name: shown by the progress bar.
      state: {"params", "others", "opt", ...}: everything that a step changes.
      frozen: arrays that a step reads and never changes, such as the weights of lifters.
      step: (state, frozen, batch, hyper) -> (state, metrics) of one replica; see `replicas`.
      hyper: the numbers of a step that are not compiled into it, by step number.
      batches: this process's rows of the batches from a step number on. The batch of a step depends
        on the seed and on its number alone.
      samples: readable names of the samples in the whole batch of a step.
      meta: what is saved with a checkpoint: "model" (see `checkpoints.build_model`), "recipe",
        "inputs" (see `inputs.fingerprints`) and "trained_on", the data sets in words.
      replicas: the devices.
      begin: completes the state before the first step of a new run; None: it is complete.
    """

    name: str
    state: dict[str, Any]
    frozen: Any
    step: Step
    hyper: Callable[[int], dict]
    batches: Batches
    samples: Callable[[int], list[str]]
    meta: dict
    replicas: Replicas
    begin: Callable[[dict], dict] | None = None


def make_task(
    config: ConfigDict,
    replicas: Replicas,
    train: TrainStep,
    *,
    name: str,
    model: dict,
    batches: Batches,
    samples: Callable[[int], list[str]],
    hyper: Callable[[int], dict] = lambda t: {},
    begin: Callable[[dict], dict] | None = None,
) -> Task:
    """The task of a recipe.

    Args:
      config: the recipe.
      replicas: the devices.
      train: the step, its first state and its frozen arrays.
      name: shown by the progress bar.
      model: what rebuilds the trained network (see `checkpoints.build_model`).
      batches: see `Task`.
      samples: see `Task`.
      hyper: the numbers of a step other than its learning rate, seed and step number.
      begin: see `Task`.
    """
    schedule = make_schedule(config.optim, config.steps)
    state = train.state
    if config.ema:
        state = state | {"ema": state["params"] | state["others"]}

    def numbers(t: int) -> dict[str, Any]:
        average = {"ema_rate": ema_rate(config.ema, t)} if config.ema else {}
        own = {"learning_rate": schedule(t), "seed": config.seed, "step": t}
        return hyper(t) | own | average

    # Arrays of the host: those of a device would stay there beside the copies that the loop makes.
    return Task(
        name=name,
        state=jax.device_get(state),
        frozen=train.frozen,
        step=train.step,
        hyper=numbers,
        batches=batches,
        samples=samples,
        meta={"model": model, "recipe": config.to_dict()},
        replicas=replicas,
        begin=begin,
    )


def make_replicas(config: ConfigDict) -> Replicas:
    """The devices of a run; raises a LiftjaxError if the batch does not split over them."""
    replicas = Replicas.create(config.replicate, config.num_devices)
    replicas.check_batch_size(config.batch_size, parts=config.accumulate)
    return replicas


def prepare(module: nnx.Module, config: ConfigDict) -> None:
    """Applies the recipe's `sync_batch_norm` and `remat` to the network to be trained."""
    if config.sync_batch_norm:
        synchronize(module, AXIS)
    if config.remat:
        rematerialise(module)


def make_update(config: ConfigDict) -> Update:
    """How the recipe turns gradients into a new state."""
    return Update(
        optimizer=make_optimizer(config.optim),
        parts=config.accumulate,
        skip_nonfinite=config.nonfinite == "skip",
    )


def model_arrays(state: dict) -> Arrays:
    """Every variable of the network that a run gives: the averages where they are kept."""
    return state["ema"] if "ema" in state else state["params"] | state["others"]
