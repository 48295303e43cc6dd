"""Intervals and tests: against scipy, against known values, and against how often they hold."""

import numpy as np
import pytest
from scipy import stats

from liftjax.experiments.paper.measures import Sampled
from liftjax.experiments.paper.statistics import estimate, holm, paired


def sampled(values, weights=None, groups=None):
    values = np.asarray(values, np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    return Sampled(values, weights, None if groups is None else np.asarray(groups))


def draw(seed, count, scale=10.0):
    return np.random.default_rng(seed).gamma(2, scale, count)


# Over samples


def test_one_seed_is_bootstrapped():
    values = draw(0, 400)
    ours = estimate([sampled(values)])
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=1, batch=100
    ).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert ours.seeds == (ours.mean,)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.08 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.08 * width)


def test_the_same_samples_give_the_same_interval():
    assert estimate([sampled(draw(0, 50))]) == estimate([sampled(draw(0, 50))])


def test_intervals_cover_the_truth_as_often_as_they_say():
    """95 % of 600; the bounds are six standard errors and bootstrap's known shortfall away."""
    truth, count, times = 20.0, 150, 600
    held = 0
    for seed in range(times):
        one = estimate([sampled(draw(seed, count))])
        held += one.low < truth < one.high
    assert 0.90 < held / times < 0.985


def test_views_of_one_instant_make_the_interval_no_narrower():
    """Four identical views of each instant tell no more than one."""
    values = draw(3, 100)
    once = estimate([sampled(values)])
    groups = np.tile(np.arange(100), 4)
    views = estimate([sampled(np.tile(values, 4), groups=groups)])
    assert views[:3] == pytest.approx(once[:3], rel=1e-5)
    alone = estimate([sampled(np.tile(values, 4))])
    assert alone.high - alone.low < 0.6 * (once.high - once.low)


def test_weights_pool_joints():
    """A sample of 17 visible joints weighs as much as 17 samples of one."""
    one = sampled([100, 0], [17, 1])
    assert estimate([one]).mean == pytest.approx(100 * 17 / 18)


def test_what_does_not_count_does_not_matter():
    values, keep = draw(5, 60), np.arange(60) < 40
    part = estimate([sampled(values).only(keep)])
    assert part == estimate([sampled(values[:40])])


def test_too_few_samples_have_no_interval():
    for weights in ([1, 0], [0, 0]):
        one = estimate([sampled([5, 5], weights)])
        assert np.isnan([one.low, one.high]).all()
        two = paired([sampled([5, 5], weights)], [sampled([5, 4], weights)])
        assert np.isnan([two.low, two.high, two.p]).all()
    assert estimate([sampled([5, 5], [1, 0])]).mean == 5


def test_large_values_lose_nothing():
    """Sums are in float32; an offset must not show in the interval."""
    low, high = estimate([sampled(draw(0, 200))])[1:3]
    far = estimate([sampled(draw(0, 200) + 1e6)])
    assert (far.low - 1e6, far.high - 1e6) == pytest.approx((low, high), abs=1e-3)


# Over seeds


def test_several_seeds_are_students():
    values = [51.2, 50.4, 52.3]
    ours = estimate([sampled([v - 1, v + 1]) for v in values])
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert ours.seeds == pytest.approx(tuple(values))
    assert ours[:3] == pytest.approx((np.mean(values), theirs.low, theirs.high))


def test_paired_over_seeds_is_the_paired_t_test():
    a, b = [51.2, 50.4, 52.3, 50.0], [52.0, 52.5, 52.9, 51.7]
    ours = paired([sampled([v]) for v in a], [sampled([v]) for v in b])
    theirs = stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert ours.over == "seeds"
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours[:3] == pytest.approx((np.mean(a) - np.mean(b), interval.low, interval.high))


def test_paired_over_samples_is_the_paired_t_test():
    a, b = draw(1, 300), draw(1, 300) + np.random.default_rng(2).normal(0.5, 4, 300)
    ours = paired([sampled(a)], [sampled(b)])
    theirs = stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert ours.over == "samples"
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.difference == pytest.approx((a - b).mean())
    width = interval.high - interval.low
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=0.1 * width)


def test_paired_test_of_groups_is_that_of_their_means():
    """Two views of each of 50 instants, weighed the same."""
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(50), 2)
    a, b = rng.normal(0, 1, 100), rng.normal(0.2, 1, 100)
    ours = paired([sampled(a, groups=groups)], [sampled(b, groups=groups)])
    theirs = stats.ttest_1samp((a - b).reshape(50, 2).mean(axis=1), 0)
    assert ours.p == pytest.approx(theirs.pvalue)


def test_pairing_takes_out_what_samples_share():
    hard = draw(4, 200, scale=40)
    noise = np.random.default_rng(5).normal(0, 1, 200)
    found = paired([sampled(hard - 1 + noise)], [sampled(hard)])
    assert found.low < -1 < found.high < 0
    assert found.p < 1e-6
    assert found.high - found.low < 0.4


def test_swapping_turns_the_sign():
    a, b = sampled(draw(1, 80)), sampled(draw(2, 80))
    one, other = paired([a], [b]), paired([b], [a])
    assert one.difference == pytest.approx(-other.difference)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p == pytest.approx(other.p)


def test_chance_is_called_a_difference_as_often_as_it_says():
    times = 600
    called = 0
    for seed in range(times):
        a, b = draw(2 * seed, 60), draw(2 * seed + 1, 60)
        called += paired([sampled(a)], [sampled(b)]).p < 0.05
    assert 0.02 < called / times < 0.09


def test_no_difference_at_all():
    same = sampled(draw(1, 20))
    assert paired([same], [same]) == (0, 0, 0, 1, "samples")
    assert paired([same] * 3, [same] * 3) == (0, 0, 0, 1, "seeds")


def test_only_the_same_samples_are_compared():
    with pytest.raises(ValueError, match="same samples"):
        paired([sampled([1, 2], [1, 1])], [sampled([1, 2], [1, 0])])
    with pytest.raises(ValueError, match="zip"):
        paired([sampled([1])], [sampled([1]), sampled([2])])


# Many tests


def test_holm_by_hand():
    """0.01 times 4, 0.02 times 3, 0.03 times 2, 0.04; never less than the one before."""
    adjusted = holm([0.04, 0.01, 0.03, 0.02])
    assert adjusted == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert holm([0.5, 0.9]) == (1.0, 1.0)
    assert holm([]) == ()


def test_holm_passes_over_what_was_not_tested():
    adjusted = holm([0.01, float("nan"), 0.02])
    assert np.isnan(adjusted[1])
    assert (adjusted[0], adjusted[2]) == pytest.approx((0.02, 0.02))
