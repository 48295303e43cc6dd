"""The training step of a lifter on windows of 2D poses, as a pure function of one replica.

Legend: B windows, T input frames of a window, M output frames of a window, K joints.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from liftjax.errors import check_name
from liftjax.lifters.mirror import mirror_2d, mirror_3d
from liftjax.lifters.spec import Lifter
from liftjax.metrics import mpjpe
from liftjax.nn.layers import unsynchronized
from liftjax.runtime.replicas import AXIS, own_key
from liftjax.runtime.state import PureModule
from liftjax.training.update import TrainStep, Update, make_update_step


def make_lifter_step(
    lifter: Lifter,
    poses: dict[str, np.ndarray],
    update: Update,
    skeleton: str,
    loss: str = "mpjpe",
) -> TrainStep:
    """The step that trains a lifter on windows of 2D poses.

    Args:
      lifter: the network.
      poses: the data set that windows are cut from: "joints_px" (N, K, 2), "pose_m" (N, K, 3) and
        "image_size" (N, 2). It becomes `frozen`, and lies on the device whole.
      update: the optimizer and how gradients are accumulated.
      skeleton: the joint set, for mirroring.
      loss: "mpjpe" (mean distance) or "mse", both in the scale of the network's output.

    Returns:
      The step. Its state is {"params", "others", "opt"}; `hyper` holds "learning_rate", "seed" (of
      dropout) and "step". For batches see `windows.train_batches`.

    Raises:
      LiftjaxError: `loss` is unknown.
    """
    losses = {"mpjpe": _distance, "mse": _square}
    check_name("lifter.loss", loss, losses)
    pure, params, others = PureModule.split(lifter)
    update = update._replace(averaged=unsynchronized(lifter))

    def backward(state, frozen, batch, hyper):
        kpts_px_BTK2, pose_m_BMK3, size_B2 = _poses(frozen, batch, skeleton)
        key = own_key(hyper["seed"], hyper["step"], hyper.get("part"))

        def share(params):
            """This replica's share of the loss and of the error, and new statistics."""
            module = pure.merge(params, state["others"])
            normal_BTK2 = module.normalize(kpts_px_BTK2, size_B2)
            raw_BMK3 = module(normal_BTK2, train=True, rngs=nnx.Rngs(dropout=key))
            value = _mean(losses[loss](raw_BMK3, module.target(pose_m_BMK3)), batch["weight"])
            error_m = _mean(mpjpe(module.to_metres(raw_BMK3), pose_m_BMK3), batch["weight"])
            return value, ((value, error_m), pure.others(module))

        grads, (values, others) = jax.grad(share, has_aux=True)(state["params"])
        value, error_m = jax.lax.psum(values, AXIS)
        return grads, {"others": others}, {"loss": value, "mpjpe_mm": 1000 * error_m}

    state = {"params": params, "others": others, "opt": update.optimizer.init(params)}
    hyper = {"learning_rate": 1e-3, "seed": 0, "step": 0}
    return TrainStep(make_update_step(backward, update), state, poses, hyper)


def _poses(arrays, batch, skeleton: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """2D poses of the input frames, 3D poses of the output frames, and image sizes.

    Samples whose "flip" is set are mirrored.
    """
    kpts_px_BTK2, pose_m_BMK3 = (
        arrays["joints_px"][batch["inputs"]],
        arrays["pose_m"][batch["index"]],
    )
    size_B2 = arrays["image_size"][batch["index"][:, 0]]
    flip_B111 = batch["flip"][:, None, None, None]
    mirrored_BTK2 = mirror_2d(kpts_px_BTK2, size_B2, skeleton)
    kpts_px_BTK2 = jnp.where(flip_B111, mirrored_BTK2, kpts_px_BTK2)
    pose_m_BMK3 = jnp.where(flip_B111, mirror_3d(pose_m_BMK3, skeleton), pose_m_BMK3)
    return kpts_px_BTK2, pose_m_BMK3, size_B2


def _mean(values: jax.Array, weight_BM: jax.Array) -> jax.Array:
    """This replica's share of the mean of (B, M, ...) over all frames that count."""
    weight = weight_BM.reshape(weight_BM.shape + (1,) * (values.ndim - 2))
    return (values * weight).mean() / jax.lax.psum(weight.mean(), AXIS)


def _distance(raw: jax.Array, true: jax.Array) -> jax.Array:
    """Distance of joints. Where it is 0 (the root's), its gradient is 0 and not NaN."""
    squared = jnp.square(raw - true).sum(axis=-1)
    apart = squared > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0)


def _square(raw: jax.Array, true: jax.Array) -> jax.Array:
    return jnp.square(raw - true)
