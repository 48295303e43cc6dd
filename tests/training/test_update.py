"""From gradients to a new state: accumulation, averages, steps that are skipped."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from liftjax.runtime.replicas import own_key
from liftjax.training.update import Update, ema_rate, make_update_step, moving_average
from tests.training.toys import compiled

RATE = 0.1


def backward(state, frozen, batch, hyper):
    """Least squares; counts its calls in "others"."""

    def loss(params):
        return jnp.square(batch["x"] @ params["w"] - batch["y"]).mean()

    value, grads = jax.value_and_grad(loss)(state["params"])
    return grads, {"others": {"calls": state["others"]["calls"] + 1}}, {"loss": value}


def state(**more):
    weights = {"w": jnp.arange(1.0, 4.0)}
    return {"params": weights, "others": {"calls": jnp.zeros(())}, "opt": OPT.init(weights), **more}


OPT = optax.trace(0.9)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(12, 3)).astype(np.float32),
        "y": rng.normal(size=12).astype(np.float32),
    }


def run(batch, steps=1, start=None, hyper=None, **settings):
    step = compiled(make_update_step(backward, Update(OPT, **settings)))
    now = start or state()
    for _ in range(steps):
        now, metrics = step(now, (), batch, {"learning_rate": RATE} | (hyper or {}))
    return now, metrics


@pytest.mark.parametrize("parts", [2, 3, 12])
def test_parts_of_a_batch_have_the_mean_gradient_of_the_whole(batch, parts):
    whole, metrics = run(batch, steps=3)
    parted, same = run(batch, steps=3, parts=parts)
    np.testing.assert_allclose(parted["params"]["w"], whole["params"]["w"], rtol=1e-5)
    np.testing.assert_allclose(same["loss"], metrics["loss"], rtol=1e-5)
    np.testing.assert_allclose(same["grad_norm"], metrics["grad_norm"], rtol=1e-5)


def test_parts_of_a_batch_draw_other_random_numbers(batch):
    def drawing(state, frozen, batch, hyper):
        drawn = jax.random.uniform(own_key(hyper["seed"], hyper["step"], hyper.get("part")))
        others = {"drawn": drawn, "before": state["others"]["drawn"]}
        return {"w": jnp.zeros(3)}, {"others": others}, {"loss": drawn}

    start = state() | {"others": {"drawn": jnp.zeros(()), "before": jnp.zeros(())}}
    step = compiled(make_update_step(drawing, Update(OPT, parts=2)))
    others = step(start, (), batch, {"learning_rate": RATE, "seed": 0, "step": 1})[0]["others"]
    assert 0 < others["before"] != others["drawn"] > 0


def test_what_a_forward_pass_moves_goes_from_part_to_part(batch):
    assert float(run(batch, parts=4)[0]["others"]["calls"]) == 4


def test_metrics_have_the_norm_of_the_new_parameters(batch):
    new, metrics = run(batch)
    assert float(metrics["param_norm"]) == pytest.approx(float(jnp.linalg.norm(new["params"]["w"])))


def test_the_average_follows_the_weights_after_each_step(batch):
    start = state()
    start["ema"] = start["params"] | start["others"]
    once, _ = run(batch, start=start, hyper={"ema_rate": 0.25})
    expected = 0.75 * start["params"]["w"] + 0.25 * once["params"]["w"]
    np.testing.assert_allclose(once["ema"]["w"], expected, rtol=1e-6)
    assert float(once["ema"]["calls"]) == 0.25
    plain, _ = run(batch)
    np.testing.assert_array_equal(once["params"]["w"], plain["params"]["w"])


def test_an_average_forgets_its_start_and_then_decays_as_asked():
    """The weight of the first value after n steps is the product of the decays."""
    left = np.prod([1 - ema_rate(0.9998, t) for t in range(10)])
    assert left < 1e-4
    assert ema_rate(0.9998, 10**6) == pytest.approx(1 - 0.9998, rel=1e-12)
    assert moving_average({"a": 3.0}, {"a": 3.0}, ema_rate(0.99, 5)) == {"a": 3.0}


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_step_that_is_not_finite_is_skipped(batch, bad):
    """Also one whose loss is finite and whose gradient overflows."""
    start, _ = run(batch)
    start["ema"] = start["params"] | start["others"]
    broken = batch | {"y": np.full(12, bad, np.float32)}
    kept, metrics = run(broken, start=start, hyper={"ema_rate": 0.1}, skip_nonfinite=True)
    assert float(metrics["skipped"]) == 1
    jax.tree.map(np.testing.assert_array_equal, kept, start)
    _, metrics = run(batch, start=kept, hyper={"ema_rate": 0.1}, skip_nonfinite=True)
    assert float(metrics["skipped"]) == 0


def test_without_that_setting_the_step_shows_what_it_is(batch):
    broken = batch | {"y": np.full(12, np.nan, np.float32)}
    new, metrics = run(broken)
    assert not np.isfinite(float(metrics["param_norm"]))
    assert not np.isfinite(np.asarray(new["params"]["w"])).any()
