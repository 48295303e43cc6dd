"""How sure a number is, and whether two differ; 95 % intervals throughout.

With several seeds each seed is one observation, and Student's t says how another training may end.
With one seed samples are drawn anew (bootstrap), and the interval says what other test samples may
give for the same networks, not how another training may end. Views of one instant are drawn
together.

Legend: N samples, G groups of samples that are drawn together, R draws.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from liftjax.experiments.paper.measures import Sampled

DRAWS = 1000
TAIL = 0.025  # on each side of an interval
NAN = float("nan")


class Estimate(NamedTuple):
    """A mean over seeds with its interval (NaN where there is none), and the value of each seed."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]


class Paired(NamedTuple):
    """The difference a - b with its interval.

    Attributes:
      p: how likely so large a difference, either way, would be if there were none.
      over: "seeds" or "samples": what varies in the interval and the test.
    """

    difference: float
    low: float
    high: float
    p: float
    over: str


def estimate(sampled: Sequence[Sampled]) -> Estimate:
    """The mean of a measure, one `Sampled` a seed."""
    seeds = tuple(one.value for one in sampled)
    interval = _bootstrap(sampled[0]) if len(seeds) == 1 else _student(seeds)
    return Estimate(float(np.mean(seeds)), *interval, seeds)


def paired(a: Sequence[Sampled], b: Sequence[Sampled]) -> Paired:
    """a - b of two methods on the same samples, or on the same seeds.

    One seed: bootstrap interval, and the paired t test, whose error is taken over groups. Several:
    interval and paired t test over the seeds' differences.

    Args:
      a, b: one `Sampled` a seed, in the same order of seeds.
    """
    differences = [_minus(one, other) for one, other in zip(a, b, strict=True)]
    values = [difference.value for difference in differences]
    if len(values) == 1:
        (one,) = differences
        return Paired(one.value, *_bootstrap(one), _p_over_groups(one), "samples")
    mean = float(np.mean(values))
    p = _p_value(mean, float(stats.sem(values)), len(values) - 1)
    return Paired(mean, *_student(values), p, "seeds")


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values of tests made together, adjusted by Holm's step-down; NaN is no test and stays.

    Calling those below 0.05 differences is wrong about any of them in at most 5 % of such tables.
    """
    p = np.asarray(p_values, np.float64)
    adjusted, order = p.copy(), np.flatnonzero(~np.isnan(p))
    order = order[np.argsort(p[order], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
    return tuple(adjusted.tolist())


def _minus(a: Sampled, b: Sampled) -> Sampled:
    if not np.array_equal(a.weights_N, b.weights_N):
        raise ValueError("A paired comparison needs both methods on the same samples.")
    return a._replace(values_N=a.values_N - b.values_N)


def _student(values: Sequence[float]) -> tuple[float, float]:
    """Student's interval of the mean over seeds."""
    reach = stats.t.ppf(1 - TAIL, len(values) - 1) * stats.sem(values)
    return float(np.mean(values) - reach), float(np.mean(values) + reach)


def _p_value(mean: float, error: float, freedom: int) -> float:
    """Two-sided p of the t test that a mean with this standard error is 0."""
    if freedom < 1 or np.isnan(mean):
        return NAN
    if error == 0:  # all differences are one number
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean / error), freedom))


def _centered(sampled: Sampled) -> tuple[float, np.ndarray, np.ndarray]:
    """The weighted mean; by group that counts, the summed deviation from it, and the weight."""
    groups_N = np.arange(len(sampled.weights_N)) if sampled.groups_N is None else sampled.groups_N
    weight_G = np.bincount(groups_N, sampled.weights_N)
    sum_G = np.bincount(groups_N, sampled.weights_N * sampled.values_N)[weight_G > 0]
    weight_G = weight_G[weight_G > 0]
    mean = sum_G.sum() / weight_G.sum() if len(weight_G) else NAN
    return mean, sum_G - mean * weight_G, weight_G


def _bootstrap(sampled: Sampled) -> tuple[float, float]:
    """Percentile interval of the weighted mean; NaN with fewer than two groups."""
    mean, deviation_G, weight_G = _centered(sampled)
    if len(weight_G) < 2:
        return NAN, NAN
    # Deviations from the mean are small enough to be summed in float32.
    sums = np.stack([deviation_G, weight_G], axis=-1).astype(np.float32)
    top_R, bottom_R = (_draws(len(weight_G)) @ sums).T.astype(np.float64)
    low, high = mean + np.quantile(top_R / bottom_R, [TAIL, 1 - TAIL])
    return float(low), float(high)


@functools.lru_cache(maxsize=64)
def _draws(count: int) -> np.ndarray:
    """(R, count) float32: how often each of `count` groups is in each draw; always the same."""
    picked = np.random.default_rng(0).integers(count, size=(DRAWS, count))
    flat = (picked + count * np.arange(DRAWS)[:, None]).ravel()
    return np.bincount(flat, minlength=DRAWS * count).reshape(DRAWS, count).astype(np.float32)


def _p_over_groups(difference: Sampled) -> float:
    """Two-sided p of the t test that a weighted mean is 0, by its linearised error over groups.

    With equal weights and no groups this is the paired t test.
    """
    mean, deviation_G, weight_G = _centered(difference)
    count = len(weight_G)
    if count < 2:
        return NAN
    error = (deviation_G / weight_G.mean()).std(ddof=1) / np.sqrt(count)
    return _p_value(mean, error, count - 1)
