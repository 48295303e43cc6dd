"""The speed that the machine reaches in a single operation: a matrix product, and a copy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from liftjax.benchmark.timing import time_in_turn

_TURNS = 5


def on_accelerator() -> bool:
    """Whether jax computes on something other than a CPU."""
    return jax.default_backend() != "cpu"


def matmul_flops(precision: str) -> float:
    """FLOP/s of a large square matrix product in `precision`, the best of several.

    At JAX's default precision, which the detectors use: on NVIDIA GPUs float32 may be TF32, on TPUs
    bfloat16.
    """
    size = 8192 if on_accelerator() else 2048
    values = np.random.default_rng(0).normal(size=(2, size, size)).astype(np.float32)
    a, b = (jnp.asarray(v, precision) for v in values)
    seconds = _best(functools.partial(jax.jit(jnp.matmul), a, b))
    return 2 * size**3 / seconds


def copy_bytes_per_s() -> float:
    """Bytes read plus bytes written a second, over an array much larger than the caches.

    The fastest of three ways: a copy, an elementwise pass, and one in place, which on a CPU needs
    no new pages of memory.
    """
    count = (1 << 30 if on_accelerator() else 1 << 28) // 4
    array = jnp.ones(count, jnp.float32)
    ways = [functools.partial(jax.jit(way), array) for way in (jnp.copy, jnp.negative)]
    negate, held = jax.jit(jnp.negative, donate_argnums=0), jnp.copy(array)

    def in_place():  # every call gives its array away to the next
        nonlocal held
        held = negate(held)
        return held

    return 2 * 4 * count / min(_best(way) for way in [*ways, in_place])


def _best(call) -> float:
    return time_in_turn({"": call}, _TURNS, times=10 if on_accelerator() else 1)[""].least
