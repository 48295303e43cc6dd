"""What is trained: all that the loop knows of a training problem."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from liftjax.runtime.replicas import Replicas
from liftjax.runtime.state import Arrays

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Task:
    """One training problem.

    Attributes:
      name: what the progress bar calls it.
      state: {"params", "others", "opt", ...}: everything that a step changes.
      frozen: arrays that a step reads and never changes (the lifters' weights).
      step: (state, frozen, batch, hyper) -> (state, metrics) of one replica; see `replicas`.
      hyper: the numbers of a step that are not compiled into it, by step number.
      batches: this process's rows of the batches from a step number on; the batch of step t depends
        on the seed and t alone.
      samples: readable names of the samples in the whole batch of a step.
      meta: what is saved with a checkpoint: "model" (see `checkpoints.build_model`), "recipe",
        "inputs" (see `inputs.fingerprints`).
      replicas: the devices.
    """

    name: str
    state: dict[str, Any]
    frozen: Any
    step: Callable[[dict, Any, dict, dict], tuple[dict, Metrics]]
    hyper: Callable[[int], dict]
    batches: Callable[[int], Iterator[dict[str, np.ndarray]]]
    samples: Callable[[int], list[str]]
    meta: dict
    replicas: Replicas


def model_arrays(state: dict) -> Arrays:
    """Every variable of the network that a run gives: the averaged ones if there are any."""
    return state["ema"] if "ema" in state else state["params"] | state["others"]
