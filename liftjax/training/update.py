"""From a backward pass to a training step: accumulation, replicas, averages, steps to be skipped.

A backward pass is (state, frozen, batch, hyper) -> (gradients, changes, metrics), on one replica:
the gradients are of its rows' share of the loss of the whole batch, so that their sum over replicas
is the gradient; `changes` are entries of the state that a forward pass moves (running statistics,
the memory of guidance); the metrics are of the whole batch. Where a batch is passed through in
parts, `hyper` has the number of the "part".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from liftjax.runtime.replicas import AXIS
from liftjax.training.optim import apply_gradients, global_norm

Step = Callable[[dict, Any, dict, dict], tuple[dict, dict]]
Backward = Callable[[dict, Any, dict, dict], tuple[Any, dict, dict]]


class Update(NamedTuple):
    """How gradients become a new state.

    Attributes:
      optimizer: the direction, see `optim.make_optimizer`.
      parts: parts of a batch that are passed through one after the other.
      averaged: running statistics that are a mean over replicas, each of which has seen its own
        rows alone; none where batch norm is synchronised.
      skip_nonfinite: a step with a result that is not finite changes nothing.
    """

    optimizer: optax.GradientTransformation
    parts: int = 1
    averaged: frozenset[str] = frozenset()
    skip_nonfinite: bool = False


def make_update_step(
    backward: Backward,
    update: Update,
    trained: Callable[[dict], Any] = lambda state: state["params"],
    placed: Callable[[Any], dict] = lambda params: {"params": params},
) -> Step:
    """The step (state, frozen, batch, hyper) -> (state, metrics) of one replica.

    Args:
      backward: see above. update: the settings.
      trained: what the optimizer changes, out of a state; `placed`: the entries of a state for it.

    state: {"params", "others", "opt", ...}; with "ema", averages of params and others.
    hyper: what `backward` reads, "learning_rate" and, with averages, "ema_rate", the share of the
      new weights in them.
    metrics: those of `backward`, "grad_norm", "param_norm" and, if steps may be skipped, "skipped".
    """
    if update.parts > 1:
        backward = _accumulated(backward, update.parts)

    def step(state, frozen, batch, hyper):
        grads, changes, metrics = backward(state, frozen, batch, hyper)
        grads = jax.lax.psum(grads, AXIS)
        params, opt = apply_gradients(
            update.optimizer, grads, state["opt"], trained(state), hyper["learning_rate"]
        )
        new = state | changes | placed(params) | {"opt": opt}
        new["others"] = _averaged(new["others"], update.averaged)
        if "ema" in state:
            model = new["params"] | new["others"]
            new["ema"] = moving_average(state["ema"], model, hyper["ema_rate"])
        metrics = metrics | {
            "grad_norm": global_norm(grads),
            "param_norm": global_norm(params),
        }
        return _kept_if_finite(state, new, metrics) if update.skip_nonfinite else (new, metrics)

    return step


def ema_rate(decay: float, step: int) -> float:
    """The share of the new weights in their average after step `step`, counted from 0.

    1 - decay in the long run, and more at first, so that the average forgets the start: the decay
    is at most (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage.
    """
    return max(1 - decay, 9 / (10 + step))


def moving_average(average: Any, new: Any, rate: jax.Array | float) -> Any:
    """average + rate (new - average) of every array."""
    return jax.tree.map(lambda a, n: a + rate * (n - a), average, new)


def _averaged(others: dict, names: frozenset[str]) -> dict:
    return others | jax.lax.pmean({name: others[name] for name in sorted(names)}, AXIS)


def _kept_if_finite(old: dict, new: dict, metrics: dict) -> tuple[dict, dict]:
    watched = [metrics[key] for key in ("loss", "grad_norm", "param_norm")]
    finite = jnp.isfinite(jnp.stack(watched)).all()
    state = jax.tree.map(lambda a, b: jnp.where(finite, b, a), old, new)
    return state, metrics | {"skipped": 1.0 - finite}


def _accumulated(backward: Backward, parts: int) -> Backward:
    """The mean of `parts` backward passes; what they change goes from one to the next.

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
