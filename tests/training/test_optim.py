import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from liftjax.configs.common import base

import liftjax
from liftjax.benchmark import torch_peer
from liftjax.configs import ft2d
from liftjax.errors import LiftjaxError
from liftjax.recipes import load_recipe, recipe_names
from liftjax.runtime.state import dotted
from liftjax.training.optim import (
    check_optim,
    decays,
    global_norm,
    make_optimizer,
    make_schedule,
)
from liftjax.training.update import apply_gradients
from tests.slow import one_in

NETWORKS = ["hrnet_tiny", "rtmpose_tiny", "simple_baseline", "videopose3d", "iganet", "mixste"]


def optim(**changes):
    section = base().optim
    section.update(changes)
    return section


def params_of(name):
    """Shapes of the parameters of a network by name."""
    lifter = name in liftjax.list_lifters()
    create = liftjax.create_lifter if lifter else liftjax.create_detector
    module = nnx.eval_shape(lambda: create(name, skeleton="human36m", rngs=nnx.Rngs(0)))
    state = nnx.to_flat_state(nnx.state(module, nnx.Param))
    return {dotted(path): variable.get_value() for path, variable in state}


def one_step(section, params, grads):
    optimizer = make_optimizer(section)
    return apply_gradients(optimizer, grads, optimizer.init(params), params, 0.1)[0]


def test_step_decay_multiplies_by_the_rate_every_so_many_steps():
    schedule = make_schedule(optim(decay_rate=0.5, decay_every=0.1, learning_rate=0.8), steps=100)
    assert [schedule(t) for t in (0, 9, 10, 25)] == pytest.approx([0.8, 0.8, 0.4, 0.2])


def test_cosine_warms_up_and_ends_near_zero():
    schedule = make_schedule(optim(schedule="cosine", warmup_steps=4, learning_rate=1.0), steps=104)
    assert [schedule(t) for t in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert schedule(54) == pytest.approx(0.5)
    assert schedule(104) == pytest.approx(0.0, abs=1e-12)
    rates = [schedule(t) for t in range(4, 104)]
    assert all(a >= b for a, b in itertools.pairwise(rates))


def test_flat_cosine_stays_for_half_of_the_run_and_ends_at_a_twentieth():
    schedule = make_schedule(optim(schedule="flat_cosine", learning_rate=1.0), steps=100)
    assert [schedule(t) for t in (0, 30, 50)] == pytest.approx([1.0, 1.0, 1.0])
    assert schedule(75) == pytest.approx((1 + 0.05) / 2)
    assert schedule(100) == pytest.approx(0.05)


# Thousandths, by epoch from 0 on: times 0.67 every 5 epochs, and times 5 at the end of epoch 30.
RELEASED = [
    *[1.0] * 5, *[0.67] * 5, *[0.4489] * 5, *[0.300763] * 5, *[0.20151121] * 5,
    *[0.1350125107] * 5, 0.090458382169,
    *[0.452291910845] * 4, *[0.30303558026615] * 5, 0.2030338387783205,
]  # fmt: skip


@pytest.mark.parametrize("recipe", ["ft2d", "single_model", "multi_model"])
@pytest.mark.parametrize("steps_per_epoch", [1, 7, 610, 2440])
def test_the_released_trainers_rate_by_epoch(recipe, steps_per_epoch):
    """With the overrides that the recipe ft2d gives for all three."""
    overrides = re.findall(r"--config\.(optim\.\w+=\S+)", ft2d.__doc__)
    assert len(overrides) == 2
    config = load_recipe(recipe, [*overrides, f"steps={41 * steps_per_epoch}"])
    schedule = make_schedule(config.optim, config.steps)
    for epoch, rate in enumerate(RELEASED):
        first = epoch * steps_per_epoch
        for step in (first, first + steps_per_epoch - 1):
            assert schedule(step) == pytest.approx(1e-3 * rate, rel=1e-12), (epoch, step)


def test_there_is_no_boost_by_default():
    schedule = make_schedule(optim(schedule="constant", learning_rate=0.5), steps=10)
    assert {schedule(t) for t in range(10)} == {0.5}


def test_clipping_bounds_the_norm_over_all_arrays():
    section = optim(name="sgd", clip_norm=1.0)
    params = {"a": jnp.zeros(3), "b": jnp.zeros(1)}
    new = one_step(section, params, {"a": jnp.full(3, 10.0), "b": jnp.full(1, 10.0)})
    np.testing.assert_allclose(new["a"], -0.05, rtol=1e-6)
    np.testing.assert_allclose(new["b"], -0.05, rtol=1e-6)


@pytest.mark.parametrize("norm", [0.0, 0.5, 0.999])
def test_clipping_leaves_short_gradients_alone(norm):
    section = optim(name="sgd", clip_norm=1.0)
    new = one_step(section, {"a": jnp.zeros(1)}, {"a": jnp.full(1, norm)})
    np.testing.assert_array_equal(new["a"], -jnp.float32(0.1) * jnp.full(1, norm))


def test_adamw_decays_towards_zero_where_the_gradient_is_zero():
    params = {"a.kernel": jnp.ones(2), "a.bias": jnp.ones(2)}
    grads = jax.tree.map(jnp.zeros_like, params)
    section = optim(name="adamw", weight_decay=0.1)
    new = one_step(section, params, grads)
    np.testing.assert_allclose(new["a.kernel"], 0.99, rtol=1e-6)
    np.testing.assert_allclose(new["a.bias"], 0.99, rtol=1e-6)
    section.decay_norms = False
    new = one_step(section, params, grads)
    np.testing.assert_allclose(new["a.kernel"], 0.99, rtol=1e-6)
    np.testing.assert_array_equal(new["a.bias"], 1.0)


def spared_by_mmengine(network):
    """Names of PyTorch parameters without decay under norm_decay_mult=0 and bias_decay_mult=0."""
    import torch

    norms = (
        torch.nn.modules.batchnorm._BatchNorm,
        torch.nn.modules.instancenorm._InstanceNorm,
        torch.nn.GroupNorm,
        torch.nn.LayerNorm,
    )
    return {
        f"{prefix}.{name}".removeprefix(".")
        for prefix, module in network.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if isinstance(module, norms) or name == "bias"
    }


@pytest.mark.parametrize("name", one_in(3, NETWORKS))
def test_spared_are_the_arrays_that_mmengine_spares(name):
    lifter = name in liftjax.list_lifters()
    twin = (torch_peer.create_lifter if lifter else torch_peer.create_detector)(
        name, skeleton="human36m"
    )
    theirs = {key for key, _ in twin.named_parameters()}
    mask = decays(params_of(name))
    spared = set()
    for ours in (key for key, decay in mask.items() if not decay):
        prefix, _, leaf = ours.rpartition(".")
        weight = f"{prefix}.weight"
        spared.add(weight if leaf == "scale" and weight in theirs else ours)
    assert spared == spared_by_mmengine(twin)
    assert 0 < len(spared) < len(mask) == len(theirs)


def test_the_gains_of_rtmposes_attention_decay():
    mask = decays(params_of("rtmpose_tiny"))
    for name in ("mlp.0.g", "gau.ln.g", "gau.gamma", "gau.beta", "gau.res_scale.scale"):
        assert mask[f"head.{name}"], name


def test_distillation_spares_the_same_arrays_of_the_student():
    student = params_of("rtmpose_tiny")
    projection = {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}
    mask = decays({"student": student, "projection": projection})
    assert mask["student"] == decays(student)
    assert mask["projection"] == {"kernel": True, "bias": False}
    assert decays({"student": student, "projection": {}})["student"] == decays(student)


def test_a_rate_multiplies_the_whole_update_of_its_part():
    params = {"backbone.conv.kernel": jnp.ones(2), "head.kernel": jnp.ones(2)}
    grads = {name: jnp.full(2, 0.5) for name in params}
    settings = {"name": "adamw", "weight_decay": 0.1, "learning_rate": 1.0}
    whole = one_step(optim(**settings), params, grads)
    new = one_step(optim(**settings, rates={"backbone": 0.25}), params, grads)
    np.testing.assert_array_equal(new["head.kernel"], whole["head.kernel"])
    moved = 1 - whole["backbone.conv.kernel"]
    np.testing.assert_allclose(1 - new["backbone.conv.kernel"], 0.25 * moved, rtol=1e-5)


def test_a_rate_of_zero_freezes_to_the_last_bit():
    key = jax.random.key(0)
    params = {"bn1.bias": jax.random.normal(key, (5,)), "bn10.bias": jnp.ones(2)}
    grads = jax.tree.map(lambda p: p + 1, params)
    section = optim(name="adamw", weight_decay=0.1, clip_norm=1.0, rates={"bn1": 0})
    new = one_step(section, params, grads)
    np.testing.assert_array_equal(new["bn1.bias"], params["bn1.bias"])
    assert (new["bn10.bias"] != params["bn10.bias"]).all()


def test_rates_reach_the_student_and_the_projection_of_distillation():
    student = {"backbone.kernel": jnp.ones(2), "head.kernel": jnp.ones(2)}
    params = {"student": student, "projection": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}
    section = optim(name="sgd", rates={"head": 0.5, "projection": 0.0})
    new = one_step(section, params, jax.tree.map(jnp.ones_like, params))
    np.testing.assert_allclose(new["student"]["backbone.kernel"], 0.9, rtol=1e-6)
    np.testing.assert_allclose(new["student"]["head.kernel"], 0.95, rtol=1e-6)
    for array in new["projection"].values():
        np.testing.assert_array_equal(array, 1.0)


@pytest.mark.parametrize(
    ("params", "name", "hint"),
    [
        ("rtmpose_tiny", "backbon", "did you mean 'backbone'"),
        ("hrnet_tiny", "backbone", "known: bn1, bn2, conv1, conv2, final_layer, layer1, stage2"),
        ({"student": {"head.kernel": jnp.ones(1)}, "projection": {}}, "projection", "known: head"),
        ({"student": {"head.kernel": jnp.ones(1)}, "projection": {}}, "student", "known: head"),
    ],
)
def test_a_rate_for_a_part_that_is_not_there_is_refused(params, name, hint):
    params = params_of(params) if isinstance(params, str) else params
    with pytest.raises(LiftjaxError, match=f"config.optim.rates '{name}'; {hint}"):
        make_optimizer(optim(rates={name: 0.1})).init(params)


def test_a_rate_is_one_override():
    config = load_recipe("ft2d", ["optim.rates.backbone=0.1", "optim.rates.head=2"])
    assert config.optim.rates.to_dict() == {"backbone": 0.1, "head": 2}
    check_optim(config.optim, config.steps)


@pytest.mark.parametrize("settings", [{}, {"decay_norms": False, "rates": {"head": 0.1}}])
def test_the_optimizers_state_is_arrays_alone(settings):
    section = optim(name="adamw", clip_norm=1.0, **settings)
    state = make_optimizer(section).init({"head.kernel": jnp.ones(2)})
    leaves = jax.tree.leaves(state)
    assert len(leaves) == 3  # a count and two moments
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)


@pytest.mark.parametrize(("key", "near"), [("name", "adamw"), ("schedule", "cosine")])
def test_a_misspelt_choice_names_the_nearest(key, near):
    section = optim(**{key: near + "e"})
    make = {"name": make_optimizer, "schedule": lambda section: make_schedule(section, 10)}[key]
    for refuse in (make, lambda section: check_optim(section, 10)):
        with pytest.raises(LiftjaxError, match=f"did you mean '{near}'"):
            refuse(section)


@pytest.mark.parametrize("name", recipe_names())
def test_the_recipes_settings_make_sense(name):
    config = load_recipe(name)
    check_optim(config.optim, config.steps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1e-3}, "learning_rate is -0.001; it must be 0 or above"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it must be 0 or above"),
        (
            {"weight_decay": 0.1},
            "weight_decay is 0.1, but adam has no such option; set optim.name=adamw, or",
        ),
        ({"clip_norm": -1.0}, "clip_norm is -1.0; it must be 0 or above"),
        ({"eps": 0.0}, "eps is 0.0; it must be above 0"),
        ({"b2": 1.0}, "b2 is 1.0; it must be at least 0 and below 1"),
        ({"b1": -0.1}, "b1 is -0.1; it must be at least 0 and below 1"),
        ({"warmup_steps": -1}, "warmup_steps is -1; it must be 0 or above"),
        ({"warmup_steps": 101}, "warmup_steps is 101, longer than the run of 100 steps"),
        ({"decay_every": 0.0}, "decay_every is 0.0; it must be above 0"),
        ({"decay_rate": -0.5}, "decay_rate is -0.5; it must be above 0"),
        ({"boost_at": 1.5}, "boost_at is 1.5; it must be at least 0 and below 1"),
        ({"boost_at": -0.1}, "boost_at is -0.1; it must be at least 0 and below 1"),
        ({"boost": 0.0}, "boost is 0.0; it must be above 0"),
        ({"rates": {"head": -1.0}}, "rates.head is -1.0; give a factor"),
        ({"rates": {"head": "fast"}}, "rates.head is 'fast'; give a factor"),
        ({"rates": {"head": True}}, "rates.head is True; give a factor"),
    ],
)
def test_values_without_sense_are_refused_in_one_line(changes, message):
    with pytest.raises(LiftjaxError, match=f"^config.optim.{re.escape(message)}") as error:
        check_optim(optim(**changes), steps=100)
    assert "\n" not in str(error.value)


def test_a_warm_up_as_long_as_the_run_is_allowed():
    check_optim(optim(warmup_steps=100), steps=100)


def test_global_norm_is_optax_s():
    rng = np.random.default_rng(0)
    shapes = [(3,), (64,), (3, 3, 32, 32), (), (4096,), (1, 70, 70)]
    tree = {str(i): jnp.asarray(rng.normal(size=s), jnp.float32) for i, s in enumerate(shapes)}
    # Sums in another order; measured: 1e-7.
    ours, theirs = (jax.jit(norm)(tree) for norm in (global_norm, optax.tree.norm))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert global_norm({"bias": tree["0"]}) == pytest.approx(float(jnp.linalg.norm(tree["0"])))
    assert global_norm({}) == 0
