"""Guidance of a detector by lifters: 3D losses, lifter weights, single-model and multi-model loss.

Reference: "Learning 2D Human Poses for Better 3D Lifting via Multi-Model 3D-Guidance" (ACCV 2024).

Legend: B batch, K joints, M lifters. Poses are metres in camera axes with the root at the origin.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from liftjax.ops.numerics import at_least_float32, check_same, mean_square, product, sample_mean


class LossWeights(NamedTuple):
    """Factors of the loss terms; numbers or traced scalars.

    The defaults are those of the paper's RTMPose (supplement, Tables 7 and 8).

    Attributes:
      l_2d: 2D loss of all joints. l_o: 2D loss of the joints that are hard to lift.
      l_xy, l_z: lifting error across the image and in depth, m^2.
      l_single: all of the above, beside the two terms that need several lifters.
      l_local: disagreement of pairs of lifters, m^2. l_global: error of the lifters' mean, m^2.
    """

    l_2d: float | jax.Array = 0.5
    l_o: float | jax.Array = 0.3
    l_xy: float | jax.Array = 10.0
    l_z: float | jax.Array = 20.0
    l_single: float | jax.Array = 0.8
    l_local: float | jax.Array = 15.0
    l_global: float | jax.Array = 5.0


# The paper's tables 7 and 8, for detectors whose 2D loss is a KL divergence, and the released
# trainer's set, for those whose 2D loss is a mean square over heatmap pixels.
SIMCC_WEIGHTS = LossWeights()
HEATMAP_WEIGHTS = LossWeights(l_xy=0.02, l_z=0.04, l_local=0.1, l_global=0.05)
DEFAULT_WEIGHTS = {"simcc": SIMCC_WEIGHTS, "heatmap": HEATMAP_WEIGHTS}  # by a detector's kind


class LossTerms(NamedTuple):
    """Every term before its factor of :class:`LossWeights`; scalars, and one number a lifter.

    Attributes:
      loss_2d, ohklm, xy, z, local_consistency, global_consistency: scalars; ohklm, xy and z are
        averaged with the lifters' weights.
      ohklm_M, xy_M, z_M: the same for each lifter.
      mse_M: mean square over x, y and z, what :func:`dwa_weights` looks at.
      lifter_weights_M: the weights that were used.
    """

    loss_2d: jax.Array
    ohklm: jax.Array
    xy: jax.Array
    z: jax.Array
    local_consistency: jax.Array
    global_consistency: jax.Array
    ohklm_M: jax.Array
    xy_M: jax.Array
    z_M: jax.Array
    mse_M: jax.Array
    lifter_weights_M: jax.Array


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


def ohklm_loss(
    loss_2d_BK: jax.Array,
    lifting_error_BK: jax.Array,
    top_k: int = 10,
    sample_weight_B: jax.Array | None = None,
) -> jax.Array:
    """Online hard keypoint lifting mining: the 2D loss of the joints that lift worst.

    In each sample the `top_k` joints of the largest lifting error are chosen; the loss is the mean
    of their 2D losses, a scalar: L_2D^O. The choice carries no gradient.

    Args:
      loss_2d_BK: 2D loss of each joint.
      lifting_error_BK: 3D error of each joint, :func:`per_joint_lifting_error`.
      top_k: joints to choose, at most K; 10 in the released code.
      sample_weight_B: weights of the samples.

    Raises:
      ValueError: `top_k` is not from 1 to K.
    """
    check_same(loss_2d_BK.shape, lifting_error_BK.shape, "2D losses", "lifting errors")
    if not 0 < top_k <= loss_2d_BK.shape[1]:
        raise ValueError(f"top_k is {top_k}, but poses have {loss_2d_BK.shape[1]} joints.")
    _, hardest_Bk = jax.lax.top_k(jax.lax.stop_gradient(lifting_error_BK), top_k)
    return sample_mean(
        jnp.take_along_axis(at_least_float32(loss_2d_BK), hardest_Bk, 1), sample_weight_B
    )


def guided_loss_terms(
    loss_2d_BK: jax.Array,
    poses_MBK3: jax.Array,
    true_BK3: jax.Array,
    lifter_weights_M: jax.Array,
    weights: LossWeights,
    top_k: int = 10,
    joint_weight_BK: jax.Array | None = None,
    has_3d_B: jax.Array | None = None,
    sample_weight_B: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, LossTerms]:
    """The 2D and the 3D part of the multi-model loss, scalars, and every term.

        2D part: l_single (l_2d L_2D^H + l_o sum_m w_m L_2D^O,m)
        3D part: l_single sum_m w_m (l_xy L_xy,m + l_z L_z,m) + l_local local + l_global global

    Args:
      loss_2d_BK: 2D loss of each joint, of heatmaps or SimCC vectors.
      poses_MBK3: what each lifter makes of the detected pose, metres. true_BK3: metres.
      lifter_weights_M: weights of the lifters; of sum 1 but for lifter dropout.
      weights: factors of the terms. top_k: joints of :func:`ohklm_loss`.
      joint_weight_BK: weights of the joints in the 3D terms; None for all alike.
      has_3d_B: 0 for samples without a 3D label; they drop out of the 3D terms and of OHKLM.
      sample_weight_B: weights of the samples in every term, 0 for padding.
    """
    M, B, K, _ = poses_MBK3.shape
    check_same(loss_2d_BK.shape, (B, K), "2D losses", "poses")
    check_same(lifter_weights_M.shape, (M,), "lifter weights", "lifters")
    labelled_B = product(has_3d_B, sample_weight_B)
    weight_BK = joint_weight_BK
    if labelled_B is not None:
        weight_BK = product(jnp.broadcast_to(labelled_B[:, None], (B, K)), joint_weight_BK)

    def lifter_terms(pose_BK3):
        error_BK = per_joint_lifting_error(pose_BK3, true_BK3)
        if weight_BK is not None:
            error_BK = jnp.where(weight_BK > 0, weight_BK * error_BK, 0)
        return (
            ohklm_loss(loss_2d_BK, error_BK, top_k, labelled_B),
            lifting_loss_xy(pose_BK3, true_BK3, weight_BK),
            lifting_loss_z(pose_BK3, true_BK3, weight_BK),
            lifting_loss(pose_BK3, true_BK3, weight_BK),
        )

    ohklm_M, xy_M, z_M, mse_M = jax.vmap(lifter_terms)(poses_MBK3)
    terms = LossTerms(
        loss_2d=sample_mean(at_least_float32(loss_2d_BK), sample_weight_B),
        ohklm=(lifter_weights_M * ohklm_M).sum(),
        xy=(lifter_weights_M * xy_M).sum(),
        z=(lifter_weights_M * z_M).sum(),
        local_consistency=consistency_loss(poses_MBK3, weight_BK),
        global_consistency=global_loss(poses_MBK3, true_BK3, weight_BK),
        ohklm_M=ohklm_M,
        xy_M=xy_M,
        z_M=z_M,
        mse_M=mse_M,
        lifter_weights_M=lifter_weights_M,
    )
    part_2d = weights.l_single * (weights.l_2d * terms.loss_2d + weights.l_o * terms.ohklm)
    part_3d = (
        weights.l_single * (weights.l_xy * terms.xy + weights.l_z * terms.z)
        + weights.l_local * terms.local_consistency
        + weights.l_global * terms.global_consistency
    )
    return part_2d, part_3d, terms


def multi_model_loss(
    loss_2d_BK: jax.Array,
    poses_MBK3: jax.Array,
    true_BK3: jax.Array,
    lifter_weights_M: jax.Array,
    weights: LossWeights,
    **options,
) -> tuple[jax.Array, LossTerms]:
    """The multi-model loss, a scalar, and its terms: the sum of both of :func:`guided_loss_terms`.

    Args:
      loss_2d_BK, poses_MBK3, true_BK3, lifter_weights_M, weights, **options: as there.
    """
    part_2d, part_3d, terms = guided_loss_terms(
        loss_2d_BK, poses_MBK3, true_BK3, lifter_weights_M, weights, **options
    )
    return part_2d + part_3d, terms


def single_model_loss(
    loss_2d_BK: jax.Array,
    pose_BK3: jax.Array,
    true_BK3: jax.Array,
    weights: LossWeights,
    **options,
) -> tuple[jax.Array, LossTerms]:
    """l_2d L_2D^H + l_o L_2D^O + l_xy L_3D^xy + l_z L_3D^z of one lifter, a scalar, and its terms.

    Args:
      loss_2d_BK: 2D loss of each joint.
      pose_BK3: what the lifter makes of the detected pose, metres. true_BK3: metres.
      weights: factors of the terms; `l_single`, `l_local` and `l_global` play no part.
      **options: as for :func:`guided_loss_terms`.
    """
    weights = weights._replace(l_single=1.0, l_local=0.0, l_global=0.0)
    one = jnp.ones(1, jnp.float32)
    return multi_model_loss(loss_2d_BK, pose_BK3[None], true_BK3, one, weights, **options)


def initial_dwa_history(num_lifters: int) -> jax.Array:
    """The (2, M) history before the first step, for which :func:`dwa_weights` is uniform.

    Args:
      num_lifters: M.
    """
    return jnp.ones((2, num_lifters), jnp.float32)


def update_dwa_history(history_2M: jax.Array, mse_M: jax.Array) -> jax.Array:
    """The (2, M) history after a step; no gradient.

    Args:
      history_2M: before it. mse_M: the lifters' 3D losses in it, `LossTerms.mse_M`.
    """
    return jnp.stack([history_2M[1], jax.lax.stop_gradient(mse_M).astype(history_2M.dtype)])


def dwa_weights(history_2M: jax.Array, temperature: float = 2.0) -> jax.Array:
    """Dynamic weight averaging: (M,) weights of sum 1, larger where a loss falls more slowly.

    w_m proportional to exp((L_m(t-1) / L_m(t-2)) / temperature); no gradient. Liu, Johns, Davison,
    "End-to-end multi-task learning with attention", CVPR 2019, there for epochs and tasks.

    Args:
      history_2M: 3D losses of the lifters at steps t-2 (row 0) and t-1 (row 1).
      temperature: the larger, the more alike the weights.
    """
    older_M, newer_M = jax.lax.stop_gradient(at_least_float32(history_2M))
    usable_M = (older_M > 0) & jnp.isfinite(older_M) & jnp.isfinite(newer_M)
    ratio_M = jnp.where(usable_M, newer_M / jnp.where(usable_M, older_M, 1), 1)
    return jax.nn.softmax(ratio_M / temperature)


def lifter_dropout_weights(key: jax.Array, num_lifters: int) -> jax.Array:
    """(M,) factors: one lifter is 0, or none, each of the M + 1 outcomes equally likely.

    Multiply the lifters' weights with it; the released trainer does not renormalise them. A
    single lifter is never dropped.

    Args:
      key: random key of the step. num_lifters: M.
    """
    if num_lifters == 1:
        return jnp.ones(1, jnp.float32)
    dropped = jax.random.randint(key, (), 0, num_lifters + 1)
    return (jnp.arange(num_lifters) != dropped).astype(jnp.float32)
