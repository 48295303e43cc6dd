"""Soft-argmax: the expected coordinate of a heatmap or of a SimCC vector, differentiable.

    coordinate = sum_i p_i i,    p = softmax(beta h)    or    p = relu(h) / sum relu(h)

Coordinates are indices into the map, in float32 or wider whatever the input. `beta` may be traced
and has a derivative; with the ReLU normaliser it has no effect. Entries of -inf are masked out. A
map that is all -inf, or for ReLU has nothing positive, gives its centre and no gradient. NaN and
+inf give NaN.

Each function comes twice with one signature. The default has a derivative written by hand: it
keeps the map itself and a few numbers a map, where JAX would keep the probabilities and more. The
`_plain` twin is the formula, the reference in tests and the one to export.

Legend: B batch, K joints, H x W map, X vector, P = H * W positions.
"""

import functools

import jax
import jax.numpy as jnp

from liftjax.errors import unknown_name

NORMALIZERS = ("softmax", "relu")


def soft_argmax_2d(
    heat_BHWK: jax.Array, beta: jax.Array | float = 100.0, normalizer: str = "softmax"
) -> jax.Array:
    """Expected positions (B, K, 2) as (x, y) in heatmap pixels.

    Args:
      heat_BHWK: heatmaps, any floating dtype.
      beta: sharpness of the softmax.
      normalizer: "softmax" or "relu".
    """
    return _soft_argmax_2d(_expectation, heat_BHWK, beta, normalizer)


def soft_argmax_1d(
    logits: jax.Array, beta: jax.Array | float = 100.0, normalizer: str = "softmax"
) -> jax.Array:
    """Expected indices (...) along the last axis of logits (..., X).

    Args:
      logits: floating array, for SimCC (B, K, X).
      beta: sharpness of the softmax.
      normalizer: "softmax" or "relu".
    """
    return _soft_argmax_1d(_expectation, logits, beta, normalizer)


def soft_argmax_2d_plain(
    heat_BHWK: jax.Array, beta: jax.Array | float = 100.0, normalizer: str = "softmax"
) -> jax.Array:
    """:func:`soft_argmax_2d` as the formula reads, differentiated by JAX."""
    return _soft_argmax_2d(_plain_expectation, heat_BHWK, beta, normalizer)


def soft_argmax_1d_plain(
    logits: jax.Array, beta: jax.Array | float = 100.0, normalizer: str = "softmax"
) -> jax.Array:
    """:func:`soft_argmax_1d` as the formula reads, differentiated by JAX."""
    return _soft_argmax_1d(_plain_expectation, logits, beta, normalizer)


def _soft_argmax_2d(expectation, heat_BHWK, beta, normalizer):
    if heat_BHWK.ndim != 4:
        raise ValueError(f"Expected heatmaps of shape (B, H, W, K), not {heat_BHWK.shape}.")
    B, H, W, K = heat_BHWK.shape
    values_BPK, beta = _prepare(heat_BHWK.reshape(B, H * W, K), beta, normalizer)
    x_B1K, y_B1K = expectation(values_BPK, beta, 1, (H, W), normalizer)
    return jnp.stack([x_B1K[:, 0], y_B1K[:, 0]], axis=-1)


def _soft_argmax_1d(expectation, logits, beta, normalizer):
    values, beta = _prepare(logits, beta, normalizer)
    (x,) = expectation(values, beta, logits.ndim - 1, logits.shape[-1:], normalizer)
    return x[..., 0]


def _prepare(values, beta, normalizer):
    """Both in the type of the computation, float32 or wider."""
    if normalizer not in NORMALIZERS:
        raise unknown_name("normalizer", normalizer, NORMALIZERS)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"Soft-argmax needs a floating array, not {values.dtype}.")
    dtype = jnp.promote_types(values.dtype, jnp.float32)
    return values.astype(dtype), jnp.asarray(beta, dtype)


# Both versions take the map as it lies in memory: positions are along `axis`, where the statistics
# of a map have size 1. They return (x, y) of a map, (x,) of a vector.


def _positions(map_shape, axis, values):
    """x and y of every position of an (H, W) map, or x along an (X,) vector, along `axis`."""
    grids = jnp.meshgrid(*(jnp.arange(n, dtype=values.dtype) for n in map_shape), indexing="ij")
    along = [1] * values.ndim
    along[axis] = -1
    return [grid.reshape(along) for grid in reversed(grids)]


def _top(values, axis, normalizer):
    """The largest value of a map, by which its weights are scaled, within a range that is safe."""
    top = values.max(axis=axis, keepdims=True)
    limits = jnp.finfo(top.dtype)
    if normalizer == "relu":
        # The inverse of a larger or a smaller number would leave the normal range.
        return jnp.clip(top, float(limits.tiny), float(limits.max) / 8)
    return jnp.maximum(top, limits.min)


def _below(values, top):
    """values - top, finite where a value is -inf."""
    return jnp.maximum(values - top, jnp.finfo(values.dtype).min)


def _weights(values, top, beta, normalizer):
    """Unnormalised weights; the largest is about 1, or 0 in an empty map."""
    if normalizer == "relu":
        return jax.nn.relu(values) / top
    return jnp.exp(beta * _below(values, top))


def _means(total, sums, map_shape):
    """Coordinates from sums over the weights, the map's centre where there are none."""
    inverse = jnp.where(total == 0, 0, 1 / jnp.where(total == 0, 1, total))
    centre = [(n - 1) / 2 for n in reversed(map_shape)]
    means = [jnp.where(total == 0, c, s * inverse) for c, s in zip(centre, sums, strict=True)]
    return means, inverse


def _plain_expectation(values, beta, axis, map_shape, normalizer):
    top = jax.lax.stop_gradient(_top(values, axis, normalizer))
    weights = _weights(values, top, beta, normalizer)
    total = weights.sum(axis=axis, keepdims=True)
    sums = [
        (weights * position).sum(axis=axis, keepdims=True)
        for position in _positions(map_shape, axis, values)
    ]
    return _means(total, sums, map_shape)[0]


# With q the unnormalised weights, s their sum, c the positions and x = sum q c / s:
#     dx / dh_i = (dq_i / dh_i) (c_i - x) / s


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _expectation(values, beta, axis, map_shape, normalizer):
    return _forward(values, beta, axis, map_shape, normalizer)[0]


def _forward(values, beta, axis, map_shape, normalizer):
    top = _top(values, axis, normalizer)
    total, sums = _moments(_weights(values, top, beta, normalizer), map_shape)
    means, inverse = _means(total, sums, map_shape)
    return means, (values, beta, top, inverse, means)


def _moments(weights, map_shape):
    """Sum of the weights (B, P, K) or (..., X), and their sums times x and y, or times x."""
    index = [jnp.arange(n, dtype=weights.dtype) for n in map_shape]
    ones_and_index = jnp.stack([jnp.ones_like(index[0]), index[0]])
    if len(map_shape) == 1:
        sums = _dot(weights, ones_and_index.T)
        return sums[..., :1], [sums[..., 1:]]
    # Over the rows first, as a product per sample: XLA on CPU computes the weights inside of it,
    # and only the small marginals are ever stored.
    (B, _, K), (H, W) = weights.shape, map_shape
    rows_B2H = jnp.broadcast_to(ones_and_index[None], (B, 2, H))
    marginals_B2WK = _dot(rows_B2H, weights.reshape(B, H, W * K)).reshape(B, 2, W, K)
    totals_B2K = marginals_B2WK.sum(axis=2)
    x_BK = (marginals_B2WK[:, 0] * index[1].reshape(1, W, 1)).sum(axis=1)
    return totals_B2K[:, :1], [x_BK[:, None], totals_B2K[:, 1:]]


def _dot(a, b):
    # Full precision: coordinates rounded to bfloat16 or TF32 would be off by up to half a pixel.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _backward(axis, map_shape, normalizer, saved, grads):
    values, beta, top, inverse, means = saved
    positions = _positions(map_shape, axis, values)
    # Differences first: next to the peak, where the weights are, they are small.
    pull = sum(
        (position - mean) * (grad * inverse)
        for position, mean, grad in zip(positions, means, grads, strict=True)
    )
    if normalizer == "relu":
        return jnp.where(values > 0, pull / top, 0), jnp.zeros_like(beta)
    moved = _weights(values, top, beta, normalizer) * pull
    return beta * moved, (moved * _below(values, top)).sum()


_expectation.defvjp(_forward, _backward)
