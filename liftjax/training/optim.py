"""Optimizers and learning-rate schedules from a recipe's `optim` section.

A parameter's name is its path with dots, such as "backbone.stem.0.conv.kernel". Distillation trains
{"student": ..., "projection": ...}, so that its names are "student.backbone..." and
"projection.kernel".

Schedules are computed on the host in float64, one number a step; optax's own would dispatch several
float32 operations to the device for it.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from liftjax.errors import LiftjaxError, check_name
from liftjax.training.update import global_norm

Schedule = Callable[[int], float]


def make_optimizer(optim: ConfigDict) -> optax.GradientTransformation:
    """The optimizer without its learning rate, by which a step multiplies the update.

    The learning rate is an argument of the compiled step, so that one compilation serves every
    schedule. The optimizer takes gradients of the whole batch.
    """
    check_name("optim.name", optim.name, _DIRECTIONS)
    clip = clip_gradients(optim.clip_norm) if optim.clip_norm else optax.identity()
    parts = [clip, _DIRECTIONS[optim.name](optim)]
    if optim.rates:
        parts.append(scale_by_part(optim.rates.to_dict()))
    return optax.chain(*parts)


def make_schedule(optim: ConfigDict, steps: int) -> Schedule:
    """The learning rate by step: a linear warm-up, then the shape `optim.schedule`, then a boost.

    Shapes: 'constant'; 'cosine' falls to zero; 'flat_cosine' is constant for half of the run, then
    falls to a twentieth (RTMPose's); 'step' multiplies by `decay_rate` after each `decay_every` of
    the run. From the fraction `boost_at` of the run on, the rate is multiplied by `boost`; there is
    no boost if `boost_at` is 0.
    """
    check_name("optim.schedule", optim.schedule, _SHAPES)
    shape = _SHAPES[optim.schedule](optim, steps)
    boosted_from = round(steps * optim.boost_at) if optim.boost_at else math.inf

    def schedule(step: int) -> float:
        warm = min((step + 1) / optim.warmup_steps, 1.0) if optim.warmup_steps else 1.0
        boost = optim.boost if step >= boosted_from else 1.0
        return optim.learning_rate * warm * shape(step) * boost

    return schedule


def check_optim(optim: ConfigDict, steps: int) -> None:
    """Raises a LiftjaxError that names the first value of the section that makes no sense."""
    check_name("optim.name", optim.name, _DIRECTIONS)
    check_name("optim.schedule", optim.schedule, _SHAPES)
    for key in ("learning_rate", "weight_decay", "clip_norm", "warmup_steps"):
        if not 0 <= optim[key] < math.inf:
            raise LiftjaxError(f"config.optim.{key} is {optim[key]}; it must be 0 or above.")
    for key in ("eps", "decay_rate", "decay_every", "boost"):
        if not 0 < optim[key] < math.inf:
            raise LiftjaxError(f"config.optim.{key} is {optim[key]}; it must be above 0.")
    for key in ("b1", "b2", "boost_at"):
        if not 0 <= optim[key] < 1:
            raise LiftjaxError(
                f"config.optim.{key} is {optim[key]}; it must be at least 0 and below 1."
            )
    if optim.warmup_steps > steps:
        raise LiftjaxError(
            f"config.optim.warmup_steps is {optim.warmup_steps}, longer than the run of {steps} "
            f"steps; take --config.optim.warmup_steps={steps // 10}."
        )
    if optim.weight_decay and optim.name != "adamw":
        raise LiftjaxError(
            f"config.optim.weight_decay is {optim.weight_decay}, but {optim.name} has no such "
            "option; set optim.name=adamw, or weight_decay=0."
        )
    for name, factor in optim.rates.items():
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not number or not 0 <= factor < math.inf:
            raise LiftjaxError(
                f"config.optim.rates.{name} is {factor!r}; give a factor of the learning rate, 0 "
                "or above."
            )


def clip_gradients(max_norm: float) -> optax.GradientTransformation:
    """Scales gradients whose norm over all arrays exceeds `max_norm` down to it.

    As torch.nn.utils.clip_grad_norm_, which adds 1e-6 to the norm (`optax.clip_by_global_norm` does
    not).
    """

    def clip(grads, params=None):
        factor = jnp.minimum(max_norm / (global_norm(grads) + 1e-6), 1.0)
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)

    return optax.stateless(clip)


def scale_by_part(rates: dict[str, float]) -> optax.GradientTransformation:
    """Multiplies the update of parts of the network, weight decay included; 0 freezes a part.

    As PyTorch's parameter groups with learning rates of their own. The batch norms of a frozen part
    still follow the statistics of the data. `init` raises a LiftjaxError for an unknown part.

    Args:
      rates: factor by part: a top-level attribute of the network, or "projection" in distillation.
        All other parts keep the rate.
    """

    def init(params):
        known = {_part(path) for path, _ in jax.tree.leaves_with_path(params)}
        for name in rates:
            check_name("part of the network in config.optim.rates", name, known)
        return optax.EmptyState()

    def update(updates, state, params=None):
        def scale(path, u):
            return rates.get(_part(path), 1.0) * u

        return jax.tree.map_with_path(scale, updates), state

    return optax.GradientTransformation(init, update)


def decays(params: Any) -> Any:
    """Which parameters weight decay applies to: a tree of booleans.

    It does not apply to biases and to the scales of batch and layer norms, as with MMEngine's
    `norm_decay_mult=0, bias_decay_mult=0`. A norm is recognised by having a scale and a bias; the
    other gains of RTMPose's attention (a ScaleNorm's g, res_scale.scale, gamma, beta) do decay, as
    in MMEngine.
    """
    names = {_name(path) for path, _ in jax.tree.leaves_with_path(params)}

    def decay(path, _):
        *owner, leaf = _name(path)
        is_norm = leaf == "scale" and (*owner, "bias") in names
        return leaf != "bias" and not is_norm

    return jax.tree.map_with_path(decay, params)


def _name(path: tuple) -> tuple[str, ...]:
    """The attributes that lead to an array, from its path in a tree of flat dictionaries."""
    return tuple(".".join(entry.key for entry in path).split("."))


def _part(path: tuple) -> str:
    first, *rest = _name(path)
    return rest[0] if first == "student" else first


def _adam(optim: ConfigDict) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=optim.b1, b2=optim.b2, eps=optim.eps)


def _adamw(optim: ConfigDict) -> optax.GradientTransformation:
    mask = None if optim.decay_norms else decays
    return optax.chain(_adam(optim), optax.add_decayed_weights(optim.weight_decay, mask))


_DIRECTIONS = {"adam": _adam, "adamw": _adamw, "sgd": lambda optim: optax.identity()}


def _cosine(progress: float) -> float:
    """From 1 at progress 0 to 0 at 1, constant outside."""
    return 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


def _cosine_after_warmup(optim: ConfigDict, steps: int) -> Schedule:
    length = max(steps - optim.warmup_steps, 1)
    return lambda step: _cosine((step - optim.warmup_steps) / length)


def _step_decay(optim: ConfigDict, steps: int) -> Schedule:
    every = steps * optim.decay_every
    return lambda step: optim.decay_rate ** int(step / every + 1e-9)


_SHAPES = {
    "constant": lambda optim, steps: lambda step: 1.0,
    "cosine": _cosine_after_warmup,
    "flat_cosine": lambda optim, steps: lambda step: 0.05 + 0.95 * _cosine(2 * step / steps - 1),
    "step": _step_decay,
}
