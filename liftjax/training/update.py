"""From a backward pass to a training step: accumulation, replicas, averages, skipped steps.

A backward pass is a function (state, frozen, batch, hyper) -> (gradients, changes, metrics) of one
replica. Its gradients summed over the replicas are the gradients of the whole batch. `changes` are
the entries of the state that a forward pass changes: running statistics, the memory of guidance.
The metrics are those of the whole batch. Where a batch is processed in parts, `hyper` holds the
number of the "part".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from liftjax.runtime.replicas import AXIS

_SMALL_ARRAY = 4096

Step = Callable[[dict, Any, dict, dict], tuple[dict, dict]]
Backward = Callable[[dict, Any, dict, dict], tuple[Any, dict, dict]]


class TrainStep(NamedTuple):
    """A training step and what it takes.

    Attributes:
      step: (state, frozen, batch, hyper) -> (state, metrics) of one replica. Compile it with
        `Replicas.map_step`, which also splits the batch over the devices.
      state: the state before the first step: {"params", "others", "opt", ...}.
      frozen: arrays that a step reads and never changes, such as the weights of lifters.
      hyper: the numbers of a step, such as "learning_rate". They are traced, so that one
        compilation serves all values.
    """

    step: Step
    state: dict[str, Any]
    frozen: Any
    hyper: dict[str, Any]


class Update(NamedTuple):
    """How gradients become a new state.

    Attributes:
      optimizer: gives the direction; a step multiplies it by minus the learning rate.
      parts: number of parts of a batch that are processed one after the other.
      averaged: names of running statistics to average over the replicas, because each replica has
        seen its own rows alone. Empty where batch norm is synchronised.
      skip_nonfinite: whether a step with a result that is not finite changes nothing.
    """

    optimizer: optax.GradientTransformation
    parts: int = 1
    averaged: frozenset[str] = frozenset()
    skip_nonfinite: bool = False


def make_update_step(
    backward: Backward,
    update: Update,
    trained: Callable[[dict], Any] = lambda state: state["params"],
    replaced: Callable[[Any], dict] = lambda params: {"params": params},
) -> Step:
    """The step (state, frozen, batch, hyper) -> (state, metrics) of one replica.

    The state holds "params", "others", "opt" and, where an average of the weights is kept, "ema".
    `hyper` holds what `backward` reads, "learning_rate" and, with "ema", "ema_rate": the weight of
    the new values in the average. The metrics are those of `backward`, "grad_norm", "param_norm"
    and, with `update.skip_nonfinite`, "skipped".

    Args:
      backward: see the top of this file.
      update: how gradients become a new state.
      trained: takes the parameters that the optimizer changes out of a state.
      replaced: the entries of a state for new parameters.
    """
    if update.parts > 1:
        backward = _accumulated(backward, update.parts)

    def step(state, frozen, batch, hyper):
        grads, changes, metrics = backward(state, frozen, batch, hyper)
        with jax.named_scope("gradients"):
            grads = jax.lax.psum(grads, AXIS)
        params = trained(state)
        with jax.named_scope("optimizer"):
            params, opt = apply_gradients(
                update.optimizer, grads, state["opt"], params, hyper["learning_rate"]
            )
        new = state | changes | replaced(params) | {"opt": opt}
        new["others"] = _averaged(new["others"], update.averaged)
        if "ema" in state:
            model = new["params"] | new["others"]
            new["ema"] = moving_average(state["ema"], model, hyper["ema_rate"])
        metrics |= {"grad_norm": global_norm(grads), "param_norm": global_norm(params)}
        return _kept_if_finite(state, new, metrics) if update.skip_nonfinite else (new, metrics)

    return step


def apply_gradients(
    optimizer: optax.GradientTransformation, grads: Any, opt: Any, params: Any, rate: Any
) -> tuple[Any, Any]:
    """New parameters and optimizer state after one step at the learning rate `rate`."""
    updates, opt = optimizer.update(grads, opt, params)
    return optax.apply_updates(params, jax.tree.map(lambda u: -rate * u, updates)), opt


def global_norm(tree: Any) -> jax.Array:
    """The Euclidean norm of all arrays together.

    Two thirds of a network's arrays are small, and one sum serves them all: `optax.global_norm` has
    a sum for each, which is a third of the operations of HRNet's step, and XLA on a CPU needs time
    in the square of their number to load a program. On a GPU one sum serves all arrays.
    """
    flat = [leaf.reshape(-1) for leaf in jax.tree.leaves(tree)]
    small = [leaf for leaf in flat if leaf.size < _SMALL_ARRAY]
    large = [leaf for leaf in flat if leaf.size >= _SMALL_ARRAY]
    together = [jnp.concatenate(small)] if small else []

    def one_sum(*arrays):
        return jnp.square(jnp.concatenate(arrays)).sum()

    def sum_of_each(*arrays):
        return sum(jnp.vdot(x, x, precision=jax.lax.Precision.HIGHEST) for x in arrays)

    arrays = together + large
    if not arrays:
        return jnp.zeros(())
    return jnp.sqrt(jax.lax.platform_dependent(*arrays, cuda=one_sum, default=sum_of_each))


def ema_rate(decay: float, step: int) -> float:
    """The weight of the new values in the moving average after step `step`, counted from 0.

    It is 1 - decay in the long run and larger at first, so that the average forgets the start: the
    decay is at most (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage.
    """
    return max(1 - decay, 9 / (10 + step))


def moving_average(average: Any, new: Any, rate: jax.Array | float) -> Any:
    """average + rate (new - average) of every array.

    Unlike `optax.incremental_update`, this leaves values that do not change exactly as they are.
    """
    return jax.tree.map(lambda a, n: a + rate * (n - a), average, new)


def _averaged(others: dict, names: frozenset[str]) -> dict:
    return others | jax.lax.pmean({name: others[name] for name in sorted(names)}, AXIS)


def _kept_if_finite(old: dict, new: dict, metrics: dict) -> tuple[dict, dict]:
    watched = [metrics[key] for key in ("loss", "grad_norm", "param_norm")]
    finite = jnp.isfinite(jnp.stack(watched)).all()
    state = jax.tree.map(lambda a, b: jnp.where(finite, b, a), old, new)
    return state, metrics | {"skipped": 1.0 - finite}


def _accumulated(backward: Backward, parts: int) -> Backward:
    """The mean of `parts` backward passes; each starts from the changes of the one before.

    A part takes every `parts`-th row, so that its rows are the same on any number of replicas.
    """

    def passes(state, frozen, batch, hyper):
        split = jax.tree.map(
            lambda rows: rows.reshape(-1, parts, *rows.shape[1:]).swapaxes(0, 1), batch
        )
        first = jax.tree.map(lambda rows: rows[0], split)
        shapes, changed, _ = jax.eval_shape(backward, state, frozen, first, hyper)

        def one(carried, numbered):
            moving, total = carried
            number, part = numbered
            own = hyper | {"part": number}
            grads, moving, metrics = backward(state | moving, frozen, part, own)
            return (moving, jax.tree.map(lambda t, g: t + g / parts, total, grads)), metrics

        none = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        start = {key: state[key] for key in changed}
        (changes, grads), metrics = jax.lax.scan(one, (start, none), (jnp.arange(parts), split))
        return grads, changes, jax.tree.map(lambda m: m.mean(axis=0), metrics)

    return passes
