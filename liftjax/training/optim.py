"""Optimizers and learning-rate schedules from a recipe's `optim` section."""

import math
from collections.abc import Callable
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from liftjax.errors import unknown_name
from liftjax.training.state import Arrays

Schedule = Callable[[int], float]


def make_optimizer(optim: ConfigDict) -> optax.GradientTransformation:
    """The update direction; the caller multiplies it by minus the learning rate of the step.

    The rate stays outside, a plain number passed to the compiled step, so that one compiled step
    serves every schedule.
    """
    scalers = {
        "adam": lambda: optax.scale_by_adam(b1=optim.b1, b2=optim.b2, eps=optim.eps),
        "adamw": lambda: optax.chain(
            optax.scale_by_adam(b1=optim.b1, b2=optim.b2, eps=optim.eps),
            optax.add_decayed_weights(optim.weight_decay),
        ),
        "sgd": optax.identity,
    }
    if optim.name not in scalers:
        raise unknown_name("optim.name", optim.name, scalers)
    clip = optax.clip_by_global_norm(optim.clip_norm) if optim.clip_norm else optax.identity()
    return optax.chain(clip, scalers[optim.name]())


def apply_gradients(
    optimizer: optax.GradientTransformation, grads: Arrays, opt: Any, params: Arrays, rate: Any
) -> tuple[Arrays, Any]:
    """New parameters and optimizer state after one step at the learning rate `rate`."""
    updates, opt = optimizer.update(grads, opt, params)
    return optax.apply_updates(params, jax.tree.map(lambda u: -rate * u, updates)), opt


def make_schedule(optim: ConfigDict, steps: int) -> Schedule:
    """Learning rate by step: linear warm-up, then a shape.

    'constant'; 'cosine' to zero; 'flat_cosine', constant for half of the run, then a cosine to a
    twentieth (RTMPose's); 'step', a factor every so often.
    """

    def decay(step: int) -> float:
        progress = (step - optim.warmup_steps) / max(steps - optim.warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))

    def flat_then_decay(step: int) -> float:
        progress = min(max(2 * step / steps - 1, 0.0), 1.0)
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))

    shapes = {
        "constant": lambda step: 1.0,
        "cosine": decay,
        "flat_cosine": flat_then_decay,
        "step": lambda step: optim.decay_rate ** int(step / (steps * optim.decay_every) + 1e-9),
    }
    if optim.schedule not in shapes:
        raise unknown_name("optim.schedule", optim.schedule, shapes)
    shape = shapes[optim.schedule]

    def schedule(step: int) -> float:
        warm = min((step + 1) / optim.warmup_steps, 1.0) if optim.warmup_steps else 1.0
        return optim.learning_rate * warm * shape(step)

    return schedule
