"""Draws that change smoothly in time."""

import numpy as np

from data_prep.synthetic.variation import Variation


def variation(frames=2000, motions=3):
    times = np.broadcast_to(np.arange(frames) / 100.0, (motions, frames))
    return Variation(np.random.default_rng(0), times)


def test_draws_stay_in_range_and_do_not_jump():
    v = variation()
    draws = {
        "uniform": (v.uniform(-1.0, 2.0, 4), -1.0, 2.0),
        "choice": (v.choice(1, 2, 3), 0.0, 1.0),
        "pulse": (v.pulse(0.3, 0.5, 0.6), 0.0, 1.0),
    }
    for name, (values, low, high) in draws.items():
        assert values.shape[:2] == (3, 2000), name
        assert values.min() >= low, name
        assert values.max() <= high, name
        assert np.abs(np.diff(values, axis=1)).max() < 0.1, name


def test_choice_settles_on_one_option():
    shares = variation().choice(1, 1, 1)
    np.testing.assert_allclose(shares.sum(axis=-1), 1.0)
    assert (shares.max(axis=-1) == 1.0).mean() > 0.5
    assert len(np.unique(shares.argmax(axis=-1))) == 3


def test_wander_has_the_asked_spread():
    noise = variation(motions=200).wander(0.2, 2)
    assert noise.shape == (200, 2000, 2)
    assert abs(noise.std() - 0.2) < 0.02
    assert abs(noise.mean()) < 0.02


def test_fixed_draws_hold_for_a_whole_motion():
    v = variation()
    assert v.fixed(0, 1, 2).shape == (3, 1, 2)
    assert v.coin(0.5).dtype == bool
