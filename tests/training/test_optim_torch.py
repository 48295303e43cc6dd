"""The same steps as PyTorch's optimizers take, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from liftjax.configs.common import base

from liftjax.training.optim import make_optimizer, make_schedule
from liftjax.training.update import apply_gradients

STEPS = 20
CLIP = 7.0  # some of the toy's gradients are longer, some shorter
ADAM = {"betas": (0.9, 0.999), "eps": 1e-8}
NAMES = (
    "backbone.conv.kernel",
    "backbone.bn.scale",
    "backbone.bn.bias",
    "head.kernel",
    "head.bias",
)


def toy_problem():
    """Parameters by name and inputs x of a small network without batch statistics."""
    rng = np.random.default_rng(0)
    shapes = ((6, 5), (5,), (5,), (5, 3), (3,))
    params = {name: rng.normal(size=shape) for name, shape in zip(NAMES, shapes, strict=True)}
    return params, rng.normal(size=(STEPS, 8, 6))


def loss_of(params, x, tanh):
    """Written for arrays of either kind."""
    kernel, scale, bias, head, head_bias = (params[name] for name in NAMES)
    hidden = tanh(x @ kernel * scale.reshape(1, -1) + bias.reshape(1, -1))
    y = hidden @ head + head_bias.reshape(1, -1)
    return (y**2).mean() + 3 * y[:, 0].mean()


def ours(settings, steps):
    section = base().optim
    section.update(settings)
    optimizer, schedule = make_optimizer(section), make_schedule(section, steps)
    with jax.enable_x64(True):
        start, inputs = toy_problem()
        params = jax.tree.map(jnp.asarray, start)
        opt = optimizer.init(params)

        @jax.jit
        def step(params, opt, x, rate):
            grads = jax.grad(loss_of)(params, x, jnp.tanh)
            return apply_gradients(optimizer, grads, opt, params, rate)

        for t in range(steps):
            params, opt = step(params, opt, jnp.asarray(inputs[t % STEPS]), schedule(t))
        assert all(p.dtype == jnp.float64 for p in params.values())
        return jax.tree.map(np.asarray, params)


def theirs(make, steps, after_step=None, max_norm=None):
    """The parameters after torch's steps; `make` gives an optimizer and a scheduler or None."""
    start, inputs = toy_problem()
    params = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
    optimizer, scheduler = make(params)
    norms = []
    for t in range(steps):
        optimizer.zero_grad()
        loss_of(params, torch.tensor(inputs[t % STEPS]), torch.tanh).backward()
        if max_norm is not None:
            norms.append(float(torch.nn.utils.clip_grad_norm_(params.values(), max_norm)))
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        if after_step is not None:
            after_step(t, optimizer)
    if norms:
        assert min(norms) < max_norm < max(norms)  # both sides of the clip are seen
    return {name: value.detach().numpy() for name, value in params.items()}


def assert_equal(got, expected):
    start, _ = toy_problem()
    for name, value in expected.items():
        assert np.abs(value - start[name]).max() > 1e-3, f"{name} has not moved"
        np.testing.assert_allclose(got[name], value, rtol=1e-12, atol=1e-13, err_msg=name)


def step_decay(params):
    optimizer = torch.optim.Adam(params.values(), lr=0.05, **ADAM)
    return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, [5, 10, 15], 0.67)


def test_adam_with_step_decay():
    settings = {"name": "adam", "learning_rate": 0.05, "decay_rate": 0.67, "decay_every": 0.25}
    assert_equal(ours(settings, STEPS), theirs(step_decay, STEPS))


def test_gradients_clipped():
    settings = {"learning_rate": 0.05, "decay_every": 0.25, "clip_norm": CLIP}
    assert_equal(ours(settings, STEPS), theirs(step_decay, STEPS, max_norm=CLIP))


def test_sgd_with_clipped_gradients():
    settings = {"name": "sgd", "learning_rate": 0.05, "schedule": "constant", "clip_norm": CLIP}
    expected = theirs(
        lambda params: (torch.optim.SGD(params.values(), lr=0.05), None), STEPS, max_norm=CLIP
    )
    assert_equal(ours(settings, STEPS), expected)


def test_adamw_that_decays_everything():
    settings = {"name": "adamw", "weight_decay": 0.3, "schedule": "constant"}
    expected = theirs(
        lambda params: (torch.optim.AdamW(params.values(), lr=1e-3, weight_decay=0.3), None), STEPS
    )
    assert_equal(ours(settings, STEPS), expected)


@pytest.mark.parametrize("max_norm", [None, CLIP])
def test_adamw_with_spared_norms_and_a_rate_for_each_part(max_norm):
    rates = {"backbone": 0.1, "head": 3.0}
    settings = {
        "name": "adamw", "learning_rate": 0.02, "weight_decay": 0.3, "decay_norms": False,
        "rates": rates, "schedule": "constant", "clip_norm": max_norm or 0.0,
    }  # fmt: skip

    def make(params):
        groups = [
            {
                "params": [value],
                "lr": 0.02 * rates[name.split(".")[0]],
                "weight_decay": 0.3 if name.endswith("kernel") else 0.0,
            }
            for name, value in params.items()
        ]
        return torch.optim.AdamW(groups, **ADAM), None

    assert_equal(ours(settings, STEPS), theirs(make, STEPS, max_norm=max_norm))


def test_the_released_trainers_epochs():
    """41 epochs, here of a step each, and the rate times 5 at the end of epoch 30."""

    def make(params):
        optimizer = torch.optim.Adam(params.values(), lr=1e-3)
        milestones = list(range(5, 75, 5))
        return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, 0.67)

    def boost(epoch, optimizer):
        if epoch == 30:
            optimizer.param_groups[0]["lr"] *= 5

    settings = {"decay_every": 5 / 41, "boost_at": 31 / 41}
    assert_equal(ours(settings, 41), theirs(make, 41, after_step=boost))
