"""The sums over a map that soft-argmax and the heatmap loss need.

A map lies along `axes` of the values: (1, 2) of heatmaps (B, H, W, K), or the last axis of vectors
(..., X). Statistics have size 1 along these axes, and are float32 or wider.

Legend: B batch, H x W map, K joints, X vector.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from liftjax.ops.numerics import at_least_float32


class Statistics(NamedTuple):
    """Sums over one map.

    Attributes:
      top: the largest value, limited to the range that weights can be scaled by.
      total: the sum of the unnormalised weights: about 1 or more; 0 in an empty map.
      sums: the sum of weight times position, for each of `axes` (y before x).
      squares: the sum of squared differences from the target; None without a target.
    """

    top: jax.Array
    total: jax.Array
    sums: tuple[jax.Array, ...]
    squares: jax.Array | None


class Target(NamedTuple):
    """A map (B, H, W, K) that is the product of its profiles."""

    row_BH1K: jax.Array
    column_B1WK: jax.Array

    def map(self) -> jax.Array:
        return self.row_BH1K * self.column_B1WK


def positions(values: jax.Array, axes: Sequence[int]) -> list[jax.Array]:
    """The index along each of `axes`, in a shape that broadcasts against the values."""

    def along(axis):
        shape = [1] * values.ndim
        shape[axis] = -1
        return jnp.arange(values.shape[axis], dtype=values.dtype).reshape(shape)

    return [along(axis) for axis in axes]


def safe_top(values: jax.Array, normalizer: str) -> jax.Array:
    """The values, within the range that weights can be scaled by."""
    limits = jnp.finfo(values.dtype)
    if normalizer == "relu":
        # The inverse of a larger or a smaller number would leave the normal range.
        return jnp.clip(values, float(limits.tiny), float(limits.max) / 8)
    return jnp.maximum(values, float(limits.min))


def below(values: jax.Array, top: jax.Array) -> jax.Array:
    """values - top, finite where a value is -inf."""
    distance, least = values - top, float(jnp.finfo(values.dtype).min)
    return jnp.where(distance < least, least, distance)  # a maximum loses NaN on some devices


def weights(values: jax.Array, top: jax.Array, beta: jax.Array, normalizer: str) -> jax.Array:
    """Unnormalised weights; the largest is about 1, or 0 in an empty map."""
    if normalizer == "relu":
        return jnp.where(values <= 0, 0, values) / top
    return jnp.exp(beta * below(values, top))


def means(found: Statistics, values: jax.Array, axes: Sequence[int]):
    """The mean position along each of `axes` (the centre of an empty map), and 1 / total."""
    empty = found.total == 0
    inverse = jnp.where(empty, 0, 1 / jnp.where(empty, 1, found.total))
    centre = [(values.shape[axis] - 1) / 2 for axis in axes]
    coordinates = [
        jnp.where(empty, c, s * inverse) for c, s in zip(centre, found.sums, strict=True)
    ]
    return coordinates, inverse


def squared_errors(values: jax.Array, target: Target, axes: tuple[int, ...] = (1, 2)) -> jax.Array:
    """Sum over each map of (value - target)^2."""
    return jnp.square(at_least_float32(values) - target.map()).sum(axes, keepdims=True)


def two_passes(values, beta, axes, normalizer, target=None) -> Statistics:
    """The statistics in plain XLA: first the largest value, then the sums.

    XLA computes all sums in one loop over the map; on a TPU it finds the largest value while the
    convolution writes the map. A CPU is faster with matrix products than with sums.
    """
    top = safe_top(at_least_float32(values.max(axes, keepdims=True)), normalizer)
    values = at_least_float32(values)
    q = weights(values, top, beta, normalizer)
    if len(axes) == 2:
        moments = jax.lax.platform_dependent(q, cpu=_products_2d, default=_sums_2d)
    else:
        moments = jax.lax.platform_dependent(q, cpu=_products_1d, default=_sums_1d)
    total, *sums = moments
    squares = None if target is None else squared_errors(values, target, axes)
    return Statistics(top, total, tuple(sums), squares)


def _sums_1d(weights):
    axes = (weights.ndim - 1,)
    (x,) = positions(weights, axes)
    return [summand.sum(axes, keepdims=True) for summand in (weights, weights * x)]


def _sums_2d(weights_BHWK):
    y, x = positions(weights_BHWK, (1, 2))
    summands = (weights_BHWK, weights_BHWK * y, weights_BHWK * x)
    return [summand.sum((1, 2), keepdims=True) for summand in summands]


def _products_1d(weights):
    index = jnp.arange(weights.shape[-1], dtype=weights.dtype)
    sums = _dot(weights, jnp.stack([jnp.ones_like(index), index], axis=-1))
    return [sums[..., :1], sums[..., 1:]]


def _products_2d(weights_BHWK):
    # Over the rows first, as a product per sample: XLA on CPU computes the weights inside of it,
    # and only the small marginals are ever stored.
    B, H, W, K = weights_BHWK.shape
    y, x = (jnp.arange(n, dtype=weights_BHWK.dtype) for n in (H, W))
    rows_B2H = jnp.broadcast_to(jnp.stack([jnp.ones_like(y), y])[None], (B, 2, H))
    marginals_B2WK = _dot(rows_B2H, weights_BHWK.reshape(B, H, W * K)).reshape(B, 2, W, K)
    totals_B2K = marginals_B2WK.sum(axis=2)
    x_BK = (marginals_B2WK[:, 0] * x.reshape(1, W, 1)).sum(axis=1)
    return [sums.reshape(B, 1, 1, K) for sums in (totals_B2K[:, 0], totals_B2K[:, 1], x_BK)]


def _dot(a, b):
    # Full precision: coordinates rounded to bfloat16 or TF32 would be off by up to half a pixel.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def rescale(top, new_top, beta, normalizer):
    """The factor that turns weights scaled by `top` into weights scaled by `new_top`."""
    return top / new_top if normalizer == "relu" else jnp.exp(beta * below(top, new_top))
