"""The loss of heatmaps against Gaussian targets, without storing the targets.

    loss = 0.5 w^2 mean over the map of (h - g)^2

g is an unnormalised Gaussian of peak 1, zero outside a square of 3 sigma around its centre. It is
the product of a row and a column profile, and only these are kept. The derivative is written by
hand, for reverse mode alone. `losses.heatmap_loss_per_joint` is the same loss of a stored target.

Legend: B batch, K joints, H x W map.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from liftjax.ops import map_statistics as maps
from liftjax.ops.map_statistics import Target
from liftjax.ops.reductions import at_least_float32
from liftjax.ops.soft_argmax import (
    DEFAULT,
    STATISTICS,
    as_points,
    check,
    expectation,
    soft_argmax_2d_plain,
)


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


def gaussian_loss_per_joint(
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


def soft_argmax_and_heatmap_loss(
    heat_BHWK: jax.Array,
    center_BK2: jax.Array,
    weight_BK: jax.Array,
    sigma: float,
    beta: jax.Array | float = 100.0,
    normalizer: str = "softmax",
    implementation: str = DEFAULT,
) -> tuple[jax.Array, jax.Array]:
    """`soft_argmax_2d` (B, K, 2) and `gaussian_loss_per_joint` (B, K) of the same maps.

    One loop over the map computes all sums, and another one the gradient of both.
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
