"""What all training problems take from a recipe alike."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from liftjax.nn.blocks import rematerialise
from liftjax.nn.layers import synchronize, unsynchronized
from liftjax.runtime.replicas import AXIS, Replicas
from liftjax.training.optim import make_optimizer, make_schedule
from liftjax.training.update import Update, ema_rate


def make_replicas(config: ConfigDict) -> Replicas:
    """The devices of a run; raises a LiftjaxError if the batch does not split over them."""
    replicas = Replicas.create(config.replicate, config.num_devices)
    replicas.check_batch_size(config.batch_size, parts=config.accumulate)
    return replicas


def prepare(module: nnx.Module, config: ConfigDict) -> None:
    """Sets what a recipe says of how a trained network is computed."""
    if config.sync_batch_norm:
        synchronize(module, AXIS)
    if config.remat:
        rematerialise(module)


def make_update(config: ConfigDict, module: nnx.Module) -> Update:
    """What follows a backward pass of the network `module`."""
    return Update(
        optimizer=make_optimizer(config.optim),
        parts=config.accumulate,
        averaged=unsynchronized(module),
        skip_nonfinite=config.nonfinite == "skip",
    )


def make_hyper(config: ConfigDict) -> Callable[[int], dict[str, Any]]:
    """The numbers that every step takes, by step number."""
    schedule = make_schedule(config.optim, config.steps)

    def hyper(t: int) -> dict[str, Any]:
        numbers = {"learning_rate": schedule(t), "seed": config.seed, "step": t}
        return numbers | {"ema_rate": ema_rate(config.ema, t)} if config.ema else numbers

    return hyper


def initial_state(config: ConfigDict, params: Any, others: Any, opt: Any, **more: Any) -> dict:
    """The state before the first step; with an average of the weights where one is kept.

    Arrays of the host: the loop puts them on the devices, and these would stay there beside it.
    """
    state = {"params": params, "others": others, "opt": opt, **more}
    state |= {"ema": params | others} if config.ema else {}
    return jax.device_get(state)
