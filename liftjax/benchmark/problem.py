"""The training step that benchmarks look at: a detector and lifters, on a batch of noise."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import optax
from flax import nnx

from liftjax import geometry, losses
from liftjax.registry import create_lifter, list_lifters
from liftjax.runtime.state import PureModule
from liftjax.training.step import Options, initial_guidance, make_step
from liftjax.training.update import Step, Update


class Problem(NamedTuple):
    """A step of one replica and what it takes; Adam, all lifters' terms."""

    step: Step
    state: dict
    frozen: tuple
    hyper: dict


def training_problem(
    module: nnx.Module, lifters: Sequence[nnx.Module] = (), precision: str = "float32"
) -> Problem:
    """The step of the detector `module` through the frozen `lifters`; FT-2D without any."""
    pure, params, others = PureModule.split(module)
    split = [PureModule.split(lifter) for lifter in lifters]
    update = Update(optax.scale_by_adam())
    options = Options(dtype=precision)
    state = {
        "params": params,
        "others": others,
        "opt": update.optimizer.init(params),
        "guidance": initial_guidance(len(split)),
    }
    hyper = {
        "weights": losses.DEFAULT_WEIGHTS[module.spec.kind],
        "beta": 100.0,
        "balance": 0.0,
        "learning_rate": 1e-4,
        "seed": 0,
        "step": 0,
    }
    step = make_step(pure, module.spec, tuple(s[0] for s in split), update, options)
    return Problem(step, state, tuple(s[1:] for s in split), hyper)


def all_lifters() -> list[nnx.Module]:
    """Every lifter with fresh weights, at the paper's size."""
    return [create_lifter(name, rngs=nnx.Rngs(0)) for name in list_lifters()]


def random_batch(spec, batch_size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A batch of noise in the shapes of `liftjax.data.pipeline`."""
    rng = np.random.default_rng(seed)
    height, width = spec.image_size
    crop_to_image = np.tile(np.array([[2.0, 0, 50], [0, 2.0, 80]], np.float32), (batch_size, 1, 1))
    joints_crop = rng.uniform(0, (width, height), (batch_size, spec.num_joints, 2))
    return {
        "image_u8": rng.integers(0, 256, (batch_size, height, width, 3), np.uint8),
        "crop_to_image": crop_to_image,
        "joints_px": geometry.apply_affine(crop_to_image, joints_crop.astype(np.float32)),
        "joint_visible": np.ones((batch_size, spec.num_joints), np.float32),
        "pose_m": rng.normal(0, 0.3, (batch_size, spec.num_joints, 3)).astype(np.float32),
        "has_3d": np.ones(batch_size, np.float32),
        "image_size": np.full((batch_size, 2), 1000, np.float32),
    }
