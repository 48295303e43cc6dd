"""What works on NumPy and JAX arrays alike."""

import jax
import jax.numpy as jnp
import numpy as np


def namespace(*arrays):
    """jax.numpy if one of the arrays is JAX's, else numpy."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def matmul(a, b):
    """a @ b in the precision of its operands.

    Accelerators would round the operands to ten bits or less.
    """
    if namespace(a, b) is np:
        return a @ b
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
