"""3D losses of lifted poses, and the agreement of several lifters.

Legend: B batch, K joints, M lifters. Poses are metres in camera axes with the root at the origin.
"""

import jax
import jax.numpy as jnp
import numpy as np

from liftjax.losses.reductions import check_same, mean_square
from liftjax.ops.widening import at_least_float32


def per_joint_lifting_error(pred_m: jax.Array, true_m: jax.Array) -> jax.Array:
    """Mean square error over x, y, z of each joint, (..., K) in m^2.

    Args:
      pred_m, true_m: poses (..., K, 3) in metres.
    """
    check_same(pred_m.shape, true_m.shape, "predicted poses", "true poses")
    return jnp.square(at_least_float32(pred_m) - at_least_float32(true_m)).mean(axis=-1)


def lifting_loss(
    pred_BK3: jax.Array, true_BK3: jax.Array, weight_BK: jax.Array | None = None
) -> jax.Array:
    """Mean square error over x, y and z of all joints and samples, a scalar in m^2.

    Args:
      pred_BK3, true_BK3: metres. weight_BK: joint weights, None for all alike.
    """
    return mean_square(pred_BK3, true_BK3, weight_BK)


def lifting_loss_xy(
    pred_BK3: jax.Array, true_BK3: jax.Array, weight_BK: jax.Array | None = None
) -> jax.Array:
    """Mean square error over x and y, the error across the image, a scalar in m^2: L_3D^xy.

    Args:
      pred_BK3, true_BK3, weight_BK: as for :func:`lifting_loss`.
    """
    return mean_square(pred_BK3[..., :2], true_BK3[..., :2], weight_BK)


def lifting_loss_z(
    pred_BK3: jax.Array, true_BK3: jax.Array, weight_BK: jax.Array | None = None
) -> jax.Array:
    """Mean square error over z, the error in depth, a scalar in m^2: L_3D^z.

    Args:
      pred_BK3, true_BK3, weight_BK: as for :func:`lifting_loss`.
    """
    return mean_square(pred_BK3[..., 2:], true_BK3[..., 2:], weight_BK)


def consistency_loss(poses_MBK3: jax.Array, weight_BK: jax.Array | None = None) -> jax.Array:
    """Local consistency: the sum over pairs of lifters of their mean square difference, in m^2.

    A scalar; 0 for a single lifter. Sum and mean are the released code's.

    Args:
      poses_MBK3: of the lifters, metres. weight_BK: joint weights, None for all alike.
    """
    first, second = np.triu_indices(poses_MBK3.shape[0], k=1)
    pair_loss = jax.vmap(mean_square, in_axes=(0, 0, None))
    return pair_loss(poses_MBK3[first], poses_MBK3[second], weight_BK).sum()


def global_loss(
    poses_MBK3: jax.Array, true_BK3: jax.Array, weight_BK: jax.Array | None = None
) -> jax.Array:
    """Global consistency: mean square error of the lifters' mean pose, a scalar in m^2.

    Args:
      poses_MBK3: of the lifters, metres. true_BK3: metres.
      weight_BK: joint weights, None for all alike.
    """
    return mean_square(at_least_float32(poses_MBK3).mean(axis=0), true_BK3, weight_BK)
