"""Losses that teach a student what a larger detector sees and answers.

Reference: "Effective Whole-body Pose Estimation with Two-stages Distillation" (DWPose, ICCV
workshops 2023), equations 1 and 2, with the sums and means of its released code. No joint weights:
a teacher also has an answer where a label is missing.

Legend: B batch, H x W x C feature map, K joints, X and Y bins of SimCC vectors.
"""

import jax
import jax.numpy as jnp

from liftjax.losses.detection import softmax_divergence
from liftjax.ops.numerics import at_least_float32, check_same, sample_mean, weighted_mean


def feature_loss(
    student_BHWC: jax.Array, teacher_BHWC: jax.Array, sample_weight_B: jax.Array | None = None
) -> jax.Array:
    """Sum of squared differences over each sample's feature map; mean over samples, a scalar.

    Equation 1 of the DWPose paper, summed as in its released code.

    Args:
      student_BHWC: the student's features, projected to the teacher's channels.
      teacher_BHWC: the teacher's features; no gradient flows there.
      sample_weight_B: weights of the samples.
    """
    check_same(student_BHWC.shape, teacher_BHWC.shape, "student's features", "teacher's")
    difference = at_least_float32(student_BHWC) - jax.lax.stop_gradient(
        at_least_float32(teacher_BHWC)
    )
    per_sample_B = jnp.square(difference).sum(axis=(1, 2, 3))
    if sample_weight_B is None:
        return per_sample_B.mean()
    return weighted_mean(per_sample_B, sample_weight_B)


def logit_loss(
    x_BKX: jax.Array,
    y_BKY: jax.Array,
    teacher_x_BKX: jax.Array,
    teacher_y_BKY: jax.Array,
    beta: float | jax.Array = 10.0,
    sample_weight_B: jax.Array | None = None,
) -> jax.Array:
    """KL divergence of the student's SimCC vectors from the teacher's.

    KL(softmax(beta teacher) || softmax(beta student)) along x, plus along y, where MMPose's label
    loss, :func:`simcc_loss_per_joint`, divides by the number of bins; mean over samples and joints,
    a scalar. Equation 2 of the DWPose paper, up to the teacher's own entropy.

    Args:
      x_BKX, y_BKY: the student's logits.
      teacher_x_BKX, teacher_y_BKY: the teacher's logits; no gradient flows there.
      beta: factor of all logits. sample_weight_B: weights of the samples.
    """
    check_same(x_BKX.shape, teacher_x_BKX.shape, "student's x logits", "teacher's")
    check_same(y_BKY.shape, teacher_y_BKY.shape, "student's y logits", "teacher's")
    teacher_x_BKX, teacher_y_BKY = jax.lax.stop_gradient((teacher_x_BKX, teacher_y_BKY))
    along_x_BK = softmax_divergence(x_BKX, teacher_x_BKX, beta).sum(axis=-1)
    along_y_BK = softmax_divergence(y_BKY, teacher_y_BKY, beta).sum(axis=-1)
    return sample_mean(along_x_BK + along_y_BK, sample_weight_B)
