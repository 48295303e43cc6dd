"""A product folded into its batch norm: what the two give one after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax.ops.batch_norm import batch_norm
from liftjax.ops.product_norm import product_norm

EPSILON = 1e-5
SHAPE, OUTPUTS = (4, 9, 7, 6), 20


def arrays(dtype, with_shortcut=True):
    """x as after ReLU, kernel, scale, bias, shortcut, and a gradient of the result."""
    rng, wide = np.random.default_rng(0), jnp.promote_types(dtype, jnp.float32)
    x = np.maximum(rng.normal(0.3, 1, SHAPE), 0)
    maps = [rng.normal(0, 1, (*SHAPE[:-1], OUTPUTS)) for _ in range(2)]
    scale, bias = rng.normal(1, 0.2, OUTPUTS), rng.normal(0, 1, OUTPUTS)
    found = [(x, dtype), (rng.normal(0, 0.3, (SHAPE[-1], OUTPUTS)), dtype)]
    found += [(scale, wide), (bias, wide), *((values, dtype) for values in maps)]
    *inputs, shortcut, dy = (jnp.asarray(values, dtype) for values, dtype in found)
    return [*inputs, shortcut] if with_shortcut else inputs, dy


def folded(relu, axis_name=None):
    def function(x, kernel, scale, bias, shortcut=None):
        after = {"relu": relu, "shortcut": shortcut}
        return product_norm(x, kernel, scale, bias, EPSILON, axis_name, **after)

    return function


def in_turn(relu):
    def function(x, kernel, scale, bias, shortcut=None):
        after = {"activation": "relu" if relu else None, "shortcut": shortcut}
        return batch_norm(x @ kernel, scale, bias, EPSILON, **after)

    return function


@pytest.mark.parametrize("with_shortcut", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_values_and_gradients_are_those_of_one_after_the_other(relu, with_shortcut):
    with jax.enable_x64(True):
        inputs, dy = arrays(jnp.float64, with_shortcut)
        zero = jnp.zeros(OUTPUTS)
        ours, pull = jax.vjp(folded(relu), *inputs)
        theirs, pull_theirs = jax.vjp(in_turn(relu), *inputs)
        pairs = [*zip(ours, theirs, strict=True)]
        pairs += zip(pull((dy, zero, zero)), pull_theirs((dy, zero, zero)), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_bfloat16_is_as_near_to_the_truth():
    """Against float64, of the same rounded inputs; ReLU's own jumps are left out."""
    inputs, dy = arrays(jnp.bfloat16)

    def errors(function):
        y, pull = jax.vjp(lambda *v: function(*v)[0], *inputs)
        found = [y, *pull(dy)]
        with jax.enable_x64(True):
            wide = [jnp.asarray(v, jnp.float64) for v in (*inputs, dy)]
            y, pull = jax.vjp(lambda *v: in_turn(False)(*v)[0], *wide[:-1])
            return [
                float(jnp.linalg.norm(jnp.ravel(a - b)) / jnp.linalg.norm(jnp.ravel(b)))
                for a, b in zip(found, [y, *pull(wide[-1])], strict=True)
            ]

    for ours, theirs in zip(errors(folded(False)), errors(in_turn(False)), strict=True):
        assert ours <= 1.5 * theirs + 1e-3


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_together_are_one_batch(replicas):
    with jax.enable_x64(True):
        inputs, dy = arrays(jnp.float64)
        zero = jnp.zeros(OUTPUTS)

        def one(x, shortcut, dy):
            y, pull = jax.vjp(folded(True, "replicas"), x, *inputs[1:4], shortcut)
            return y, pull((dy, zero, zero))

        def split(v):
            return v.reshape(replicas, -1, *v.shape[1:])

        (y, mean, var), (dx, *of_rows, _) = jax.vmap(one, axis_name="replicas")(
            split(inputs[0]), split(inputs[4]), split(dy)
        )
        whole, pull = jax.vjp(folded(True), *inputs)
        dx_whole, *grads, _ = pull((dy, zero, zero))
        np.testing.assert_allclose(y.reshape(whole[0].shape), whole[0], atol=1e-12)
        np.testing.assert_allclose(mean[0], whole[1], rtol=1e-12)
        np.testing.assert_allclose(var[-1], whole[2], rtol=1e-12)
        np.testing.assert_allclose(dx.reshape(dx_whole.shape), dx_whole, atol=1e-12)
        for ours, expected in zip(of_rows, grads, strict=True):  # each its rows' share
            np.testing.assert_allclose(ours.sum(0), expected, rtol=1e-10, atol=1e-12)
