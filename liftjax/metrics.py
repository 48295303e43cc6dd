"""Measures of 2D and 3D poses, one definition each, on NumPy and JAX arrays alike.

Lengths keep their unit (metres inside liftjax; millimetres in print). Every measure is per pose, so
that the caller chooses subsets and averages. Predictions and truths of different shapes raise a
ValueError that names both.

Legend: K joints; leading axes (...) are poses.
"""

import numpy as np

from liftjax.errors import LiftjaxError
from liftjax.ops.numerics import matmul, namespace
from liftjax.skeletons import get_skeleton


def _pair(xp, pred, true):
    """Both as arrays of one floating type, of at least float32."""
    pred, true = xp.asarray(pred), xp.asarray(true)
    if pred.shape != true.shape:
        raise ValueError(f"Predictions have shape {pred.shape}, the truth {true.shape}.")
    dtype = xp.promote_types(xp.promote_types(pred.dtype, true.dtype), xp.float32)
    return pred.astype(dtype), true.astype(dtype)


def _norm(xp, vectors):
    return xp.sqrt(xp.square(vectors).sum(axis=-1))


# 3D


def joint_distances(pred, true):
    """Euclidean distance (..., K) of each joint, in the unit of the poses.

    Args:
      pred, true: poses (..., K, D).
    """
    xp = namespace(pred, true)
    pred, true = _pair(xp, pred, true)
    return _norm(xp, pred - true)


def mpjpe(pred, true):
    """Mean per-joint position error (...,), in the unit of the poses; no alignment.

    "Protocol 1" of Human3.6M, the measure of the paper's tables.

    Args:
      pred, true: root-relative poses (..., K, 3).
    """
    return joint_distances(pred, true).mean(axis=-1)


def p_mpjpe(pred, true):
    """MPJPE (...,) after aligning each pose to its truth by :func:`procrustes_align`.

    "Protocol 2" of Human3.6M.

    Args:
      pred, true: poses (..., K, 3).
    """
    return mpjpe(procrustes_align(pred, true), true)


def procrustes_align(pred, true):
    """Predictions (..., K, 3) moved, turned and scaled to least square distance from the truth.

    Each pose has its own similarity transform, without reflection (Kabsch, Umeyama 1991). A
    prediction whose joints coincide moves to the truth's mean; one with a joint that is not finite
    becomes NaN.

    Args:
      pred, true: poses (..., K, 3).
    """
    xp = namespace(pred, true)
    pred, true = _pair(xp, pred, true)
    pred_mean = pred.mean(axis=-2, keepdims=True)
    true_mean = true.mean(axis=-2, keepdims=True)
    pred, true = pred - pred_mean, true - true_mean
    covariance = matmul(xp.swapaxes(pred, -1, -2), true)
    # NumPy's SVD would raise for the whole batch; a pose that is not finite stays NaN anyway.
    finite = xp.isfinite(covariance).all(axis=(-2, -1), keepdims=True)
    covariance = xp.where(finite, covariance, 0)
    u, singular, vt = xp.linalg.svd(covariance)
    # The least singular direction is flipped where the best orthogonal map is a reflection.
    sign = xp.where(xp.linalg.det(u) * xp.linalg.det(vt) < 0, -1, 1).astype(pred.dtype)
    flip = xp.stack([xp.ones_like(sign), xp.ones_like(sign), sign], axis=-1)
    rotation = matmul(u * flip[..., None, :], vt)
    spread = xp.square(pred).sum(axis=(-2, -1))
    smallest = xp.finfo(pred.dtype).tiny
    scale = xp.where(
        spread > smallest, (singular * flip).sum(axis=-1) / xp.maximum(spread, smallest), 0
    )
    return scale[..., None, None] * matmul(pred, rotation) + true_mean


# 2D


def correct_by_box(pred_px, true_px, box_xyxy, visible=None, threshold=0.2):
    """Joints (..., K) that :func:`pck` counts as correct, bool; arguments as there."""
    xp = namespace(pred_px, true_px, box_xyxy)
    box = xp.asarray(box_xyxy)
    longer = (box[..., 2:] - box[..., :2]).max(axis=-1)
    return _correct(xp, pred_px, true_px, longer * threshold, visible)


def pck(pred_px, true_px, box_xyxy, visible=None, threshold=0.2):
    """Percentage of correct keypoints (...,) as a share from 0 to 1 of each pose's joints.

    A joint is correct if it is nearer to the truth than `threshold` times the longer side of the
    person's box; the paper's tables use 0.2. For the share over many poses pool the joints:
    ``share(correct_by_box(...), visible, axis=None)``.

    Args:
      pred_px, true_px: (..., K, 2) pixels. A prediction of NaN is wrong.
      box_xyxy: (..., 4) pixels, the record's box.
      visible: (..., K) joints to count, None for all; NaN for a pose without any.
      threshold: share of the box's longer side; strictly nearer counts.
    """
    return share(correct_by_box(pred_px, true_px, box_xyxy, visible, threshold), visible)


def correct_by_torso(pred_px, true_px, skeleton, visible=None, threshold=0.2, known=None):
    """Joints (..., K) that :func:`pdj` counts as detected, bool; arguments as there.

    A pose whose torso has no known length has none.

    Raises:
      LiftjaxError: the poses have another number of joints than `skeleton`.
    """
    xp = namespace(pred_px, true_px)
    torso = _torso(true_px, skeleton, visible if known is None else known)
    return _correct(xp, pred_px, true_px, torso * threshold, visible)


def counted_by_torso(true_px, skeleton, visible=None, known=None):
    """Joints (..., K) over which :func:`pdj` takes the share, bool; arguments as there.

    They are the visible joints of poses whose torso has a known length.
    """
    xp = namespace(true_px, visible, known)
    torso = _torso(true_px, skeleton, visible if known is None else known)
    visible = xp.ones(true_px.shape[:-1], bool) if visible is None else xp.asarray(visible) > 0
    return visible & xp.isfinite(torso)[..., None]


def pdj(pred_px, true_px, skeleton, visible=None, threshold=0.2, known=None):
    """Percentage of detected joints (...,) as a share from 0 to 1 of each pose's joints.

    A joint is detected if it is nearer to the truth than `threshold` times the torso's diagonal,
    from the true left shoulder to the true right hip. The paper's released evaluator computes this
    measure; the paper's tables give :func:`pck`. A pose without a diagonal, because an end is not
    known or both are one point, is left out. For the share over many poses pool the joints:
    ``share(correct_by_torso(...), counted_by_torso(...), axis=None)``.

    Args:
      pred_px, true_px: (..., K, 2) pixels.
      skeleton: name of the joint set.
      visible: (..., K) joints to count, None for all; NaN for a pose without any.
      threshold: share of the diagonal; strictly nearer counts.
      known: (..., K) joints whose true place is known, even outside the picture; None for the
        visible ones.

    Raises:
      LiftjaxError: the poses have another number of joints than `skeleton`.
    """
    correct = correct_by_torso(pred_px, true_px, skeleton, visible, threshold, known)
    return share(correct, counted_by_torso(true_px, skeleton, visible, known))


def _torso(true_px, skeleton, known):
    """The torso's diagonal (...,) in pixels; NaN where an end is not known or the length is 0."""
    joints = get_skeleton(skeleton)
    if true_px.shape[-2] != joints.num_joints:
        raise LiftjaxError(
            f"Poses have {true_px.shape[-2]} joints, but {skeleton} has {joints.num_joints}."
        )
    xp = namespace(true_px, known)
    shoulder, hip = joints.index("left_shoulder"), joints.index("right_hip")
    torso = joint_distances(true_px[..., shoulder, :], true_px[..., hip, :])
    there = torso > 0
    if known is not None:
        known = xp.asarray(known) > 0
        there = there & known[..., shoulder] & known[..., hip]
    return xp.where(there, torso, xp.nan)


def _correct(xp, pred_px, true_px, radius, visible):
    # NaN is not smaller than anything, so a missing prediction is wrong.
    correct = joint_distances(pred_px, true_px) < radius[..., None]
    return correct if visible is None else correct & (xp.asarray(visible) > 0)


def share(correct, visible=None, axis=-1):
    """Share of correct joints among the visible ones, from 0 to 1; NaN where none is visible.

    Args:
      correct: (..., K) bool.
      visible: (..., K), None for all.
      axis: along which joints are counted; None for all axes.
    """
    xp = namespace(correct, visible)
    if visible is None:
        return correct.mean(axis=axis)
    visible = xp.asarray(visible) > 0
    count = visible.sum(axis=axis)
    return xp.where(count > 0, (correct & visible).sum(axis=axis) / xp.maximum(count, 1), xp.nan)


# Tables


def per_action(values, actions) -> dict[str, float]:
    """Mean of each action, in alphabetical order, and the mean over all frames as "average".

    The paper's "Avg." column is this mean over frames, not the mean of its fifteen actions.

    Args:
      values: (N,) one number per frame.
      actions: N action names.
    """
    values, actions = np.asarray(values), np.asarray(actions)
    if values.shape != actions.shape or values.ndim != 1:
        raise ValueError(f"{values.shape} values, but {actions.shape} action names.")
    table = {str(a): float(values[actions == a].mean()) for a in np.unique(actions)}
    return table | {"average": float(values.mean())}
