"""2D losses of detectors, and their targets: heatmaps and SimCC vectors.

Training compares heatmaps with Gaussian targets that are never stored
(:func:`gaussian_heatmap_loss_per_joint`):

    loss = 0.5 w^2 mean over the map of (h - g)^2

g is an unnormalised Gaussian of peak 1, zero outside a square of 3 sigma around its centre. It is
the product of a row and a column profile, and only these are kept. The derivative is written by
hand, for reverse mode alone. :func:`heatmap_loss_per_joint` is the same loss of a stored target.

Legend: B batch, K joints, H x W heatmap, X and Y bins of SimCC vectors. Coordinates are (x, y).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from liftjax.ops import map_statistics as maps
from liftjax.ops.map_statistics import Target
from liftjax.ops.numerics import at_least_float32, check_same, sample_mean
from liftjax.ops.soft_argmax import (
    DEFAULT,
    STATISTICS,
    as_points,
    check,
    expectation,
    soft_argmax_2d_plain,
)


def gaussian_centers(
    joints_crop_BK2: jax.Array,
    visible_BK: jax.Array,
    heatmap_size: tuple[int, int],
    stride: float,
    sigma: float,
) -> tuple[jax.Array, jax.Array]:
    """Centres (B, K, 2) of the Gaussians of :func:`gaussian_heatmaps`, and joint weights (B, K).

    Centres are (x, y) in heatmap pixels; arguments as there.
    """
    height, width = heatmap_size
    # Truncated, not floored, as in HRNet; this moves joints left of or above the map by a pixel.
    center_BK2, radius = jnp.trunc(at_least_float32(joints_crop_BK2) / stride + 0.5), int(3 * sigma)
    weight_BK = _weight_in_reach(center_BK2, visible_BK, (width, height), (radius, radius))
    return center_BK2, weight_BK


def gaussian_heatmaps(
    joints_crop_BK2: jax.Array,
    visible_BK: jax.Array,
    heatmap_size: tuple[int, int],
    stride: float,
    sigma: float,
) -> tuple[jax.Array, jax.Array]:
    """Target heatmaps (B, H, W, K) and joint weights (B, K), as in HRNet.

    A map is an unnormalised Gaussian of peak 1 on the heatmap pixel nearest to the joint, zero
    outside the square of 3 sigma around it. A joint that is invisible, or whose square misses the
    map, has weight 0 and an empty map.

    Args:
      joints_crop_BK2: crop pixels.
      visible_BK: weights, 0 where invisible.
      heatmap_size: (height, width).
      stride: crop pixels per heatmap pixel.
      sigma: in heatmap pixels.
    """
    center_BK2, weight_BK = gaussian_centers(
        joints_crop_BK2, visible_BK, heatmap_size, stride, sigma
    )
    return gaussian_target(center_BK2, weight_BK, heatmap_size, sigma).map(), weight_BK


def gaussian_target(
    center_BK2: jax.Array, weight_BK: jax.Array, size: tuple[int, int], sigma: float
) -> Target:
    """The profiles of Gaussian targets; all zero where a joint's weight is 0.5 or less.

    Args:
      center_BK2: (x, y) in heatmap pixels.
      weight_BK: joint weights.
      size: (height, width) of the heatmap.
      sigma: standard deviation in heatmap pixels.
    """
    center_BK2, radius = at_least_float32(center_BK2), int(3 * sigma)

    def profile(n, center_BK):
        offset_BnK = jnp.arange(n, dtype=center_BK.dtype).reshape(1, n, 1) - center_BK[:, None]
        window = jnp.abs(offset_BnK) <= radius
        return jnp.where(window, jnp.exp(-jnp.square(offset_BnK) / (2 * sigma**2)), 0)

    height, width = size
    row_BHK = jnp.where(weight_BK[:, None] > 0.5, profile(height, center_BK2[..., 1]), 0)
    return Target(row_BHK[:, :, None], profile(width, center_BK2[..., 0])[:, None])


def gaussian_heatmap_loss_per_joint(
    heat_BHWK: jax.Array, center_BK2: jax.Array, weight_BK: jax.Array, sigma: float
) -> jax.Array:
    """0.5 w^2 mean (h - g)^2 of each joint: (B, K), float32 or wider.

    HRNet's loss (Sun et al., CVPR 2019; https://arxiv.org/abs/1902.09212), and the one that
    training uses. There is no gradient with respect to `center_BK2`.

    Args:
      heat_BHWK: predicted maps, any floating dtype.
      center_BK2: (x, y) of the Gaussians in heatmap pixels.
      weight_BK: joint weights w, 0 where a joint has no label.
      sigma: standard deviation of the Gaussians in heatmap pixels.

    Raises:
      ValueError: the shapes do not fit together.
    """
    target = _target(heat_BHWK, center_BK2, weight_BK, sigma)
    return _loss(_squared_errors(heat_BHWK, target), heat_BHWK, weight_BK)


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


def soft_argmax_and_heatmap_loss(
    heat_BHWK: jax.Array,
    center_BK2: jax.Array,
    weight_BK: jax.Array,
    sigma: float,
    beta: jax.Array | float = 100.0,
    normalizer: str = "softmax",
    implementation: str = DEFAULT,
) -> tuple[jax.Array, jax.Array]:
    """`soft_argmax_2d` (B, K, 2) and `gaussian_heatmap_loss_per_joint` (B, K) of the same maps.

    One loop over the map computes all sums, and another one the gradient of both. Training calls
    the two functions, which XLA joins; `benchmark` measures this one.
    """
    beta = check(heat_BHWK, beta, normalizer)
    target = _target(heat_BHWK, center_BK2, weight_BK, sigma)
    means, squares = expectation(heat_BHWK, beta, target, (1, 2), normalizer, implementation)
    return as_points(means), _loss(squares, heat_BHWK, weight_BK)


def soft_argmax_and_heatmap_loss_plain(
    heat_BHWK: jax.Array,
    center_BK2: jax.Array,
    weight_BK: jax.Array,
    sigma: float,
    beta: jax.Array | float = 100.0,
    normalizer: str = "softmax",
) -> tuple[jax.Array, jax.Array]:
    """:func:`soft_argmax_and_heatmap_loss` as the formulas read, differentiated by JAX."""
    target = _target(heat_BHWK, center_BK2, weight_BK, sigma)
    squares = maps.squared_errors(heat_BHWK, target)
    points = soft_argmax_2d_plain(heat_BHWK, beta, normalizer)
    return points, _loss(squares, heat_BHWK, weight_BK)


IMPLEMENTATIONS: dict[str, Callable[..., tuple[jax.Array, jax.Array]]] = {
    "plain": soft_argmax_and_heatmap_loss_plain,
    **{name: partial(soft_argmax_and_heatmap_loss, implementation=name) for name in STATISTICS},
}


def simcc_labels(
    joints_crop_BK2: jax.Array,
    visible_BK: jax.Array,
    image_size: tuple[int, int],
    split_ratio: float,
    sigma: tuple[float, float],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gaussian label vectors (B, K, X) and (B, K, Y) and joint weights (B, K), as in MMPose.

    Labels are unnormalised Gaussians of peak 1 on the nearest bin. A joint that is invisible, or
    whose 3-sigma square misses the crop (on the left and above by one bin more, as in MMPose), has
    weight 0 and empty labels.

    Args:
      joints_crop_BK2: crop pixels.
      visible_BK: weights, 0 where invisible.
      image_size: (height, width) of the crop.
      split_ratio: bins per pixel.
      sigma: (x, y), in bins.
    """
    height, width = image_size
    bins = round(width * split_ratio), round(height * split_ratio)
    center_BK2 = jnp.round(at_least_float32(joints_crop_BK2) * split_ratio)
    radius = [3 * s for s in sigma]
    weight_BK = _weight_in_reach(center_BK2, visible_BK, bins, radius, slack=1)

    def label(axis):
        bins_11n = jnp.arange(bins[axis], dtype=center_BK2.dtype).reshape(1, 1, -1)
        offset_BKn = bins_11n - center_BK2[..., axis, None]
        gaussian = jnp.exp(-jnp.square(offset_BKn) / (2 * sigma[axis] ** 2))
        return jnp.where(weight_BK[..., None] > 0.5, gaussian, 0)

    return label(0), label(1), weight_BK


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


def _target(heat_BHWK, center_BK2, weight_BK, sigma):
    if heat_BHWK.ndim != 4:
        raise ValueError(f"Expected heatmaps of shape (B, H, W, K), not {heat_BHWK.shape}.")
    B, H, W, K = heat_BHWK.shape
    if center_BK2.shape != (B, K, 2) or weight_BK.shape != (B, K):
        raise ValueError(
            f"Heatmaps {heat_BHWK.shape} need centres {(B, K, 2)} and weights {(B, K)}, not "
            f"{center_BK2.shape} and {weight_BK.shape}."
        )
    target = gaussian_target(center_BK2, weight_BK, (H, W), sigma)
    return jax.tree.map(jax.lax.stop_gradient, target)


def _loss(squares_B11K, heat_BHWK, weight_BK):
    _, H, W, _ = heat_BHWK.shape
    return 0.5 * jnp.square(at_least_float32(weight_BK)) * (squares_B11K[:, 0, 0] / (H * W))


@jax.custom_vjp
def _squared_errors(heat_BHWK, target):
    return maps.squared_errors(heat_BHWK, target)


def _forward(heat_BHWK, target):
    return _squared_errors(heat_BHWK, target), (heat_BHWK, target)


def _backward(saved, grad_B11K):
    heat_BHWK, target = saved
    grad_BHWK = 2 * grad_B11K * (at_least_float32(heat_BHWK) - target.map())
    return grad_BHWK.astype(heat_BHWK.dtype), jax.tree.map(jnp.zeros_like, target)


_squared_errors.defvjp(_forward, _backward)


def _weight_in_reach(center_BK2, visible_BK, size, radius, slack=0):
    """The visibility where center +- radius meets [-slack, size) on both axes, else 0."""
    size, radius = (jnp.asarray(v, center_BK2.dtype).reshape(1, 1, 2) for v in (size, radius))
    inside_BK = ((center_BK2 - radius < size) & (center_BK2 + radius >= -slack)).all(axis=-1)
    return jnp.where(inside_BK, visible_BK.astype(center_BK2.dtype), 0)
