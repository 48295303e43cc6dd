"""Initial values: the same numbers as JAX's own initializers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax.nn import initial
from tests.slow import one_in

_theirs = jax.nn.initializers
SHAPES = [((3, 3, 32, 64),), ((7, 5),), ((512, 17),), ((4, 1),), ((128, 256),)]


@pytest.mark.parametrize("shape", one_in(3, SHAPES))
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (initial.normal(0.01), _theirs.normal(0.01)),
        (initial.he_normal(), _theirs.variance_scaling(2.0, "fan_in", "normal")),
        (initial.he_truncated(), _theirs.he_normal()),
        (initial.uniform(0, 1), _theirs.uniform(1.0)),
    ],
    ids=["normal", "he_normal", "he_truncated", "uniform"],
)
def test_equals_jax(ours, theirs, shape):
    key = jax.random.key(3)
    expected = theirs(key, shape)
    drawn = ours(key, shape)
    assert drawn.dtype == expected.dtype
    assert isinstance(drawn, jax.Array)
    # JAX's factor is rounded five times, ours once, and each product once; a compiler may add one.
    tolerance = {"rtol": 8 * 2**-24}
    np.testing.assert_allclose(drawn, expected, **tolerance)
    np.testing.assert_allclose(jax.jit(ours, static_argnums=1)(key, shape), expected, **tolerance)


def test_follows_the_width_that_jax_is_set_to():
    with jax.enable_x64(True):
        for init in (initial.normal(1.0), initial.fan_in_uniform(3), initial.constant(1.0)):
            assert init(jax.random.key(0), (5,)).dtype == jnp.float64
            assert init(jax.random.key(0), (5,), jnp.float32).dtype == jnp.float32
    assert initial.zeros(3).dtype == jnp.float32


def test_uniform_stays_in_its_bounds():
    drawn = initial.fan_in_uniform(64)(jax.random.key(0), (64, 200))
    assert -0.125 <= drawn.min() < -0.12
    assert 0.12 < drawn.max() < 0.125


def test_constants():
    assert (initial.zeros(2, 3) == jnp.zeros((2, 3))).all()
    assert (initial.constant(2.5)(None, (4,), jnp.float16) == jnp.full(4, 2.5, jnp.float16)).all()
    assert initial.ones(5).dtype == jnp.float32
