"""What losses, layers and geometry share: precision, checked shapes, means under weights."""

import jax
import jax.numpy as jnp
import numpy as np


def namespace(*arrays):
    """jax.numpy if one of the arrays is JAX's, else numpy."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def matmul(a, b):
    """a @ b, of NumPy or JAX arrays, in the precision of the operands.

    By default accelerators round the operands to ten bits or less.
    """
    if namespace(a, b) is np:
        return a @ b
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def at_least_float32(array) -> jax.Array:
    """The array, in float32 where it is narrower."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def check_same(shape: tuple, expected: tuple, what: str, than: str) -> None:
    """Raises a ValueError that names both shapes where they differ."""
    if shape != expected:
        raise ValueError(f"The {what} have shape {shape}, the {than} {expected}.")


def product(a: jax.Array | None, b: jax.Array | None) -> jax.Array | None:
    """a * b, where None stands for ones."""
    if a is None or b is None:
        return b if a is None else a
    return at_least_float32(a) * at_least_float32(b)


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """sum(w v) / sum(w); 0 without any weight. Values under zero weight may be NaN."""
    weights = at_least_float32(weights)
    total = weights.sum()
    kept = jnp.where(weights > 0, values, 0)
    return jnp.where(total > 0, (weights * kept).sum() / jnp.where(total > 0, total, 1), 0)


def sample_mean(values_BK: jax.Array, sample_weight_B: jax.Array | None) -> jax.Array:
    """Mean over joints and samples, samples weighted."""
    per_sample_B = values_BK.mean(axis=1)
    if sample_weight_B is None:
        return per_sample_B.mean()
    return weighted_mean(per_sample_B, sample_weight_B)


def mean_square(
    a_BKC: jax.Array, b_BKC: jax.Array, weight_BK: jax.Array | None = None
) -> jax.Array:
    """Mean of (a - b)^2 over everything, joints weighted."""
    check_same(a_BKC.shape, b_BKC.shape, "predicted poses", "true poses")
    difference = at_least_float32(a_BKC) - at_least_float32(b_BKC)
    if weight_BK is None:
        return jnp.square(difference).mean()
    check_same(weight_BK.shape, a_BKC.shape[:2], "weights", "joints")
    # Masked before the square: the derivative of a NaN times zero is NaN again.
    difference = jnp.where(weight_BK[..., None] > 0, difference, 0)
    return weighted_mean(jnp.square(difference).mean(axis=-1), weight_BK)
