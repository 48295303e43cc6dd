"""The least precision that sums, statistics and coordinates are computed in."""

import jax
import jax.numpy as jnp


def at_least_float32(array) -> jax.Array:
    """The array, in float32 where it is narrower."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
