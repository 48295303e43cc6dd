"""Weights of several lifters: dynamic weight averaging and lifter dropout.

Legend: M lifters. The weights carry no gradient.
"""

import jax
import jax.numpy as jnp

from liftjax.ops.widening import at_least_float32


def initial_dwa_history(num_lifters: int) -> jax.Array:
    """The (2, M) history before the first step, for which :func:`dwa_weights` is uniform.

    Args:
      num_lifters: M.
    """
    return jnp.ones((2, num_lifters), jnp.float32)


def update_dwa_history(history_2M: jax.Array, mse_M: jax.Array) -> jax.Array:
    """The (2, M) history after a step; no gradient.

    Args:
      history_2M: before it. mse_M: the lifters' 3D losses in it, `LossTerms.mse_M`.
    """
    return jnp.stack([history_2M[1], jax.lax.stop_gradient(mse_M).astype(history_2M.dtype)])


def dwa_weights(history_2M: jax.Array, temperature: float = 2.0) -> jax.Array:
    """Dynamic weight averaging: (M,) weights of sum 1, larger where a loss falls more slowly.

    w_m proportional to exp((L_m(t-1) / L_m(t-2)) / temperature); no gradient. Liu, Johns, Davison,
    "End-to-end multi-task learning with attention", CVPR 2019, there for epochs and tasks.

    Args:
      history_2M: 3D losses of the lifters at steps t-2 (row 0) and t-1 (row 1).
      temperature: the larger, the more alike the weights.
    """
    older_M, newer_M = jax.lax.stop_gradient(at_least_float32(history_2M))
    usable_M = (older_M > 0) & jnp.isfinite(older_M) & jnp.isfinite(newer_M)
    ratio_M = jnp.where(usable_M, newer_M / jnp.where(usable_M, older_M, 1), 1)
    return jax.nn.softmax(ratio_M / temperature)


def lifter_dropout_weights(key: jax.Array, num_lifters: int) -> jax.Array:
    """(M,) factors: one lifter is 0, or none, each of the M + 1 outcomes equally likely.

    Multiply the lifters' weights with it; the released trainer does not renormalise them. A
    single lifter is never dropped.

    Args:
      key: random key of the step. num_lifters: M.
    """
    if num_lifters == 1:
        return jnp.ones(1, jnp.float32)
    dropped = jax.random.randint(key, (), 0, num_lifters + 1)
    return (jnp.arange(num_lifters) != dropped).astype(jnp.float32)
