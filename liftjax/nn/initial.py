"""Initial values of parameters: those of `jax.random`, drawn quickly for a whole network.

JAX compiles a program for each shape that it draws, and a detector has some forty shapes. So
numbers are drawn as vectors of 2^n entries, and a parameter takes the first of them. They are the
numbers that JAX gives for the parameter's own shape, because its generator counts entries in order.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

Initializer = Callable[..., jax.Array]

_TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal cut off at -2 and 2


class Keys:
    """Stands in for `rngs`: `params()` gives the same keys but is quick to trace.

    `rngs.params()` compares the sharding of its counter before and after. A traced counter has no
    sharding, and composing the error message for that is two thirds of the time of building HRNet
    under `nnx.eval_shape`.
    """

    def __init__(self, rngs: nnx.Rngs):
        self._stream = rngs.params

    def params(self) -> jax.Array:
        count = self._stream.count
        key = jax.random.fold_in(self._stream.key[...], count[...])
        count.set_raw_value(count[...] + 1)
        return key


def normal(deviation: float) -> Initializer:
    """Normal numbers of that standard deviation."""
    return _initializer(jax.random.normal, lambda shape: deviation)


def he_normal() -> Initializer:
    """Normal numbers of variance 2 / fan-in (He et al., ICCV 2015)."""
    return _initializer(jax.random.normal, _he_deviation)


def he_truncated() -> Initializer:
    """As :func:`he_normal`, cut off at two deviations before the scaling: Flax's `he_normal`."""

    def random(key, shape, dtype):
        return jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)

    return _initializer(random, lambda shape: _he_deviation(shape) / _TRUNCATED_DEVIATION)


def uniform(low: float, high: float) -> Initializer:
    """Uniform numbers of [low, high)."""

    def random(key, shape, dtype):
        # The bounds are traced, so that one program does for all of them.
        return jax.random.uniform(key, shape, dtype, *(jnp.asarray(b, dtype) for b in (low, high)))

    return _initializer(random, lambda shape: 1.0)


def fan_in_uniform(fan_in: int) -> Initializer:
    """Uniform on ±1/√fan_in: what PyTorch gives a Linear or Conv, weight and bias alike."""
    return uniform(-(fan_in**-0.5), fan_in**-0.5)


def constant(value: float) -> Initializer:
    """The same number everywhere."""
    return lambda key, shape, dtype=float: jnp.asarray(np.full(shape, value, _canonical(dtype)))


def zeros(*shape: int) -> jax.Array:
    """Zeros, made on the host: no program to compile."""
    return constant(0.0)(None, shape)


def ones(*shape: int) -> jax.Array:
    """Ones, made on the host."""
    return constant(1.0)(None, shape)


def _initializer(random: Callable, scale: Callable[[Sequence[int]], float]) -> Initializer:
    def initialize(key, shape, dtype=float):
        count, dtype = math.prod(shape), _canonical(dtype)
        numbers = random(key, (1 << max(count - 1, 0).bit_length(),), dtype)
        if not isinstance(numbers, jax.core.Tracer):  # JAX would compile a slice for each shape
            numbers = np.asarray(numbers)
        return jnp.asarray(numbers[:count].reshape(shape) * dtype.type(scale(shape)))

    return initialize


def _canonical(dtype) -> np.dtype:
    """float32, or float64 where JAX has 64 bits switched on."""
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype))


def _he_deviation(shape: Sequence[int]) -> float:
    """Of a kernel (*spatial, inputs, outputs)."""
    return math.sqrt(2 / math.prod(shape[:-1]))
