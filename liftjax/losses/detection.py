"""2D losses of detectors: heatmaps and SimCC vectors.

Legend: B batch, K joints, H x W heatmap, X and Y bins of SimCC vectors.
"""

import jax
import jax.numpy as jnp

from liftjax.ops.reductions import at_least_float32, check_same, sample_mean


def heatmap_loss_per_joint(
    heat_BHWK: jax.Array, target_BHWK: jax.Array, weight_BK: jax.Array
) -> jax.Array:
    """0.5 * mean over pixels of (w (h - g))^2, for each joint: (B, K).

    HRNet's loss (Sun et al., CVPR 2019), as its authors' code has it.

    Args:
      heat_BHWK: predicted maps. target_BHWK: target maps, see :func:`gaussian_heatmaps`.
      weight_BK: joint weights, 0 where a joint has no label.
    """
    check_same(heat_BHWK.shape, target_BHWK.shape, "heatmaps", "targets")
    B, _, _, K = heat_BHWK.shape
    check_same(weight_BK.shape, (B, K), "weights", "joints")
    difference_BHWK = at_least_float32(heat_BHWK) - at_least_float32(target_BHWK)
    return (
        0.5
        * jnp.square(at_least_float32(weight_BK))
        * jnp.square(difference_BHWK).mean(axis=(1, 2))
    )


def heatmap_loss(
    heat_BHWK: jax.Array,
    target_BHWK: jax.Array,
    weight_BK: jax.Array,
    sample_weight_B: jax.Array | None = None,
) -> jax.Array:
    """The mean of :func:`heatmap_loss_per_joint` over samples and joints, a scalar: L_2D^H.

    Args:
      heat_BHWK, target_BHWK, weight_BK: as there. sample_weight_B: weights of the samples.
    """
    return sample_mean(heatmap_loss_per_joint(heat_BHWK, target_BHWK, weight_BK), sample_weight_B)


def simcc_loss_per_joint(
    x_BKX: jax.Array,
    y_BKY: jax.Array,
    target_x_BKX: jax.Array,
    target_y_BKY: jax.Array,
    weight_BK: jax.Array,
    beta: float | jax.Array = 10.0,
) -> jax.Array:
    """KL divergence of SimCC vectors from smoothed labels, for each joint: (B, K).

    w (mean over bins of KL(softmax(beta target) || softmax(beta logits)) along x, plus along y),
    as MMPose's KLDiscretLoss with label_softmax (SimCC: Li et al., ECCV 2022; RTMPose: Jiang et
    al., arXiv 2303.07399). MMPose sums over the batch where :func:`simcc_loss` takes the mean.

    Args:
      x_BKX, y_BKY: logits. target_x_BKX, target_y_BKY: labels of :func:`simcc_labels`.
      weight_BK: joint weights. beta: factor of logits and labels.
    """
    check_same(x_BKX.shape, target_x_BKX.shape, "x logits", "x labels")
    check_same(y_BKY.shape, target_y_BKY.shape, "y logits", "y labels")
    check_same(weight_BK.shape, x_BKX.shape[:2], "weights", "joints")
    along_x_BK = softmax_divergence(x_BKX, target_x_BKX, beta).mean(axis=-1)
    along_y_BK = softmax_divergence(y_BKY, target_y_BKY, beta).mean(axis=-1)
    return weight_BK * (along_x_BK + along_y_BK)


def simcc_loss(
    x_BKX: jax.Array,
    y_BKY: jax.Array,
    target_x_BKX: jax.Array,
    target_y_BKY: jax.Array,
    weight_BK: jax.Array,
    beta: float | jax.Array = 10.0,
    sample_weight_B: jax.Array | None = None,
) -> jax.Array:
    """The mean of :func:`simcc_loss_per_joint` over samples and joints, a scalar: L_2D^H.

    Args:
      x_BKX, y_BKY, target_x_BKX, target_y_BKY, weight_BK, beta: as there.
      sample_weight_B: weights of the samples.
    """
    per_joint_BK = simcc_loss_per_joint(x_BKX, y_BKY, target_x_BKX, target_y_BKY, weight_BK, beta)
    return sample_mean(per_joint_BK, sample_weight_B)


def softmax_divergence(logits: jax.Array, target: jax.Array, beta: float | jax.Array) -> jax.Array:
    """Each bin's term of KL(softmax(beta target) || softmax(beta logits)): (..., bins)."""
    log_p = jax.nn.log_softmax(beta * at_least_float32(logits), axis=-1)
    log_q = jax.nn.log_softmax(beta * at_least_float32(target), axis=-1)
    return jnp.exp(log_q) * (log_q - log_p)
