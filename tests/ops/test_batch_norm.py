"""Batch normalisation: the derivative, replicas, and what is kept between the passes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax.ops import batch_norm as module
from liftjax.ops.batch_norm import ACTIVATIONS, batch_norm, normalise

EPSILON = 1e-5
SHAPE = (4, 6, 5, 3)

pytestmark = pytest.mark.usefixtures("computed_by")


def formula(x, scale, bias, shortcut=0.0, activation=None):
    """As batch_norm, differentiated by JAX."""
    axes = tuple(range(x.ndim - 1))
    centred = x - x.mean(axes, keepdims=True)
    var = jnp.square(centred).mean(axes, keepdims=True)
    row = (1,) * (x.ndim - 1) + (-1,)
    y = centred / jnp.sqrt(var + EPSILON) * scale.reshape(row) + bias.reshape(row)
    return ACTIVATIONS[activation](y + shortcut)


def arrays(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, SHAPE), rng.normal(1, 0.3, SHAPE[-1]), rng.normal(0, 1, SHAPE[-1])
    return [jnp.asarray(v, dtype) for v in (*x, rng.normal(0, 1, SHAPE))]


@pytest.fixture(params=["cpu", "tpu", "cuda"])
def platform(request, monkeypatch):
    """Whose form is computed; all of them run on a CPU too."""

    def chosen(*arrays, default, **forms):
        return forms.get(request.param, default)(*arrays)

    for function in (module._forward, module._backward):
        function.clear_cache()  # traced once for each shape
    monkeypatch.setattr(jax.lax, "platform_dependent", chosen)
    yield
    for function in (module._forward, module._backward):
        function.clear_cache()


@pytest.mark.parametrize("with_shortcut", [False, True])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_value_and_gradients_are_those_of_the_formula(platform, activation, with_shortcut):
    with jax.enable_x64(True):
        *inputs, dy = arrays()
        inputs += [arrays(1)[0]] if with_shortcut else []

        def ours(x, scale, bias, shortcut=None):
            after = {"activation": activation, "shortcut": shortcut}
            return batch_norm(x, scale, bias, EPSILON, center=jnp.full(3, 2.5), **after)[0]

        y, pull = jax.vjp(ours, *inputs)
        expected, pull_formula = jax.vjp(partial(formula, activation=activation), *inputs)
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
        for ours, theirs in zip(pull(dy), pull_formula(dy), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("deviations", [0, 30, 1000])
def test_one_pass_about_a_number_near_the_mean_is_exact(deviations, platform):
    """The mean lies `deviations` standard deviations from zero, and a few from the center."""
    x = np.random.default_rng(0).normal(deviations, 1, (64, 12, 9, 3)).astype(np.float32)
    center = jnp.full(3, deviations + 3.0)
    _, mean, var = batch_norm(jnp.asarray(x), jnp.ones(3), jnp.zeros(3), EPSILON, center=center)
    wide = x.astype(np.float64)
    # A CPU computes the GPU's form one number after the other, hence 1e-4.
    np.testing.assert_allclose(mean, wide.mean((0, 1, 2)), rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(var, wide.var((0, 1, 2)), rtol=1e-4)


def test_one_pass_about_zero_is_as_exact_as_bfloat16(platform):
    """A mean of 30 deviations: more would drown in the rounding of the map itself."""
    x = np.random.default_rng(0).normal(30, 1, (64, 12, 9, 3))
    x = jnp.asarray(x, jnp.bfloat16)
    _, _, var = batch_norm(x, jnp.ones(3), jnp.zeros(3), EPSILON)
    np.testing.assert_allclose(var, np.asarray(x, np.float64).var((0, 1, 2)), rtol=1e-3)


def test_given_statistics_normalise_alike():
    x, scale, bias, _ = arrays(dtype=np.float32)
    y, mean, var = batch_norm(x, scale, bias, EPSILON, activation="relu", shortcut=x)
    again = normalise(x, mean, var, scale, bias, EPSILON, "relu", x)
    np.testing.assert_allclose(y, again, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_together_are_one_batch(replicas):
    with jax.enable_x64(True):
        x, scale, bias, dy = arrays()

        def one(x, dy):
            def normalise(x, scale, bias):
                return batch_norm(x, scale, bias, EPSILON, "replicas")

            (y, mean, var), pull = jax.vjp(normalise, x, scale, bias)
            return y, mean, var, *pull((dy, jnp.zeros_like(mean), jnp.zeros_like(var)))

        def split(v):
            return v.reshape(replicas, -1, *v.shape[1:])

        y, mean, var, dx, *of_rows = jax.vmap(one, axis_name="replicas")(split(x), split(dy))
        whole, pull = jax.vjp(lambda *v: batch_norm(*v, EPSILON), x, scale, bias)
        np.testing.assert_allclose(y.reshape(SHAPE), whole[0], atol=1e-12)
        np.testing.assert_allclose(mean[0], whole[1], rtol=1e-12)
        np.testing.assert_allclose(var[-1], whole[2], rtol=1e-12)
        dx_whole, *grads = pull((dy, jnp.zeros(3), jnp.zeros(3)))
        np.testing.assert_allclose(dx.reshape(SHAPE), dx_whole, atol=1e-12)
        for ours, expected in zip(of_rows, grads, strict=True):  # each its rows' share
            np.testing.assert_allclose(ours.sum(0), expected, rtol=1e-10)


def test_bfloat16_maps_have_float32_statistics_and_keep_one_map():
    x, scale, bias, dy = arrays(dtype=np.float32)
    narrow = x.astype(jnp.bfloat16)
    (y, mean, var), pull = jax.vjp(lambda *v: batch_norm(*v, EPSILON), narrow, scale, bias)
    assert (y.dtype, mean.dtype, var.dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
    np.testing.assert_allclose(mean, narrow.astype(np.float32).mean((0, 1, 2)), rtol=1e-6)
    kept = [leaf for leaf in jax.tree.leaves(pull) if leaf.ndim == x.ndim]
    assert [leaf.dtype for leaf in kept] == [jnp.bfloat16]
    dx, d_scale, d_bias = pull((dy.astype(jnp.bfloat16), jnp.zeros(3), jnp.zeros(3)))
    assert (dx.dtype, d_scale.dtype, d_bias.dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)


def test_activations_far_from_zero_keep_their_variance():
    x = 1e4 + arrays(dtype=np.float32)[0]
    _, _, var = batch_norm(x, jnp.ones(3), jnp.zeros(3), EPSILON)
    np.testing.assert_allclose(var, np.asarray(x, np.float64).var((0, 1, 2)), rtol=1e-3)
