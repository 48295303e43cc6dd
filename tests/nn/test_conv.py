"""The convolution layer against PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from liftjax.nn.layers import Conv
from tests.slow import slow

CHANNELS = 6


def _pair(size, out_features=CHANNELS, **geometry):
    """The same convolution in both libraries."""
    rngs = nnx.Rngs(0)
    ours = Conv(CHANNELS, out_features, (size, size), rngs=rngs, **geometry)
    ours.bias[...] = jax.random.normal(rngs.params(), ours.bias[...].shape)
    geometry["stride"] = geometry.pop("strides", 1)
    theirs = torch.nn.Conv2d(CHANNELS, out_features, size, **geometry)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(np.asarray(ours.kernel[...]).transpose(3, 2, 0, 1)))
        theirs.bias.copy_(torch.tensor(np.asarray(ours.bias[...])))
    return ours, theirs


@pytest.mark.parametrize(
    "geometry",
    [
        {"size": 5, "padding": 2, "groups": CHANNELS},
        slow({"size": 3, "padding": 0, "groups": CHANNELS}),
        slow({"size": 4, "padding": 1, "groups": CHANNELS}),
        {"size": 3, "padding": 1, "groups": CHANNELS, "strides": 2},
        slow({"size": 3, "padding": 2, "groups": CHANNELS, "dilation": 2}),
        {"size": 3, "padding": 1, "groups": CHANNELS, "out_features": 2 * CHANNELS},
        {"size": 3, "padding": 1, "groups": 2},
        {"size": 3, "padding": 1},
    ],
)
def test_value_and_gradients_equal_pytorch(geometry):
    ours, theirs = _pair(**geometry)
    x = np.random.default_rng(0).normal(size=(2, 9, 7, CHANNELS)).astype(np.float32)

    graph, state = nnx.split(ours)

    @jax.jit
    def gradients(state, x):
        def loss(state, x):
            y = nnx.merge(graph, state)(x)
            return jnp.sin(y).sum(), y

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(state, x)

    (_, y), (d_state, d_x) = gradients(state, jnp.asarray(x))

    x_theirs = torch.tensor(x.transpose(0, 3, 1, 2)).requires_grad_()
    y_theirs = theirs(x_theirs)
    torch.sin(y_theirs).sum().backward()

    for got, want, axes in (
        (y, y_theirs.detach(), (0, 2, 3, 1)),
        (d_x, x_theirs.grad, (0, 2, 3, 1)),
        (d_state["kernel"][...], theirs.weight.grad, (2, 3, 1, 0)),
        (d_state["bias"][...], theirs.bias.grad, (0,)),
    ):
        np.testing.assert_allclose(got, want.numpy().transpose(axes), rtol=1e-4, atol=2e-5)


def test_training_a_depthwise_layer_matches_pytorch():
    ours, theirs = _pair(5, padding=2, groups=CHANNELS)
    rng = np.random.default_rng(0)
    x, wanted = (rng.normal(size=(4, 8, 6, CHANNELS)).astype(np.float32) for _ in range(2))
    graph, state = nnx.split(ours)

    @jax.jit
    def step(state):
        def loss(state):
            return jnp.square(nnx.merge(graph, state)(x) - wanted).mean()

        return jax.tree.map(lambda p, g: p - 0.5 * g, state, jax.grad(loss)(state))

    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5)
    x_theirs, wanted_theirs = (torch.tensor(v.transpose(0, 3, 1, 2)) for v in (x, wanted))
    for _ in range(20):
        state = step(state)
        optimizer.zero_grad()
        torch.square(theirs(x_theirs) - wanted_theirs).mean().backward()
        optimizer.step()

    trained = theirs.weight.detach().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(state["kernel"][...], trained, atol=1e-5)
    np.testing.assert_allclose(state["bias"][...], theirs.bias.detach().numpy(), atol=1e-5)
