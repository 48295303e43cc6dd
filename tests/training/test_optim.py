import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from configs.common import base
from liftjax.errors import LiftjaxError
from liftjax.training.optim import make_optimizer, make_schedule


def optim(**changes):
    section = base().optim
    section.update(changes)
    return section


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


def test_clipping_bounds_the_norm_of_an_sgd_direction():
    optimizer = make_optimizer(optim(name="sgd", clip_norm=1.0))
    params = {"a": jnp.zeros(3)}
    update, _ = optimizer.update({"a": jnp.full(3, 10.0)}, optimizer.init(params), params)
    np.testing.assert_allclose(np.linalg.norm(update["a"]), 1.0, rtol=1e-6)


def test_adamw_decays_towards_zero_where_the_gradient_is_zero():
    optimizer = make_optimizer(optim(name="adamw", weight_decay=0.1))
    params = {"a": jnp.ones(2)}
    update, _ = optimizer.update({"a": jnp.zeros(2)}, optimizer.init(params), params)
    np.testing.assert_allclose(update["a"], 0.1, rtol=1e-6)  # the caller subtracts it


@pytest.mark.parametrize(("key", "near"), [("name", "adamw"), ("schedule", "cosine")])
def test_a_misspelt_choice_names_the_nearest(key, near):
    section = optim(**{key: near + "e"})
    make = {"name": make_optimizer, "schedule": lambda section: make_schedule(section, 10)}[key]
    with pytest.raises(LiftjaxError, match=f"did you mean '{near}'"):
        make(section)
