"""How sure a number is, and whether two differ; 95 % intervals throughout.

Several seeds: each seed is one observation, and Student's t speaks about training anew. One seed:
samples are drawn anew (bootstrap), and the interval speaks about other test samples for the very
networks at hand, not about training them again. Views of one instant are drawn together.

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
    """A mean over seeds and its interval, NaN where there is none; `seeds`: the value of each."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]


class Paired(NamedTuple):
    """What a - b is; `p`: how likely so large a difference, either way, if there were none.

    `over`: "seeds" or "samples", what the interval and the test have seen vary.
    """

    difference: float
    low: float
    high: float
    p: float
    over: str


def estimate(sampled: Sequence[Sampled]) -> Estimate:
    """The mean of a measure, one `Sampled` a seed."""
    seeds = tuple(one.value for one in sampled)
    low, high = _bootstrap(sampled[0]) if len(seeds) == 1 else _student(seeds)
    return Estimate(float(np.mean(seeds)), low, high, seeds)


def paired(a: Sequence[Sampled], b: Sequence[Sampled]) -> Paired:
    """a - b of two methods on the same samples, or on the same seeds.

    Args:
      a, b: one `Sampled` a seed, in the same order of seeds.

    One seed: bootstrap interval, and the paired t test, its error taken over groups. Several:
    interval and paired t test over the seeds' differences.
    """
    differences = [_minus(one, other) for one, other in zip(a, b, strict=True)]
    values = [difference.value for difference in differences]
    if len(values) == 1:
        low, high = _bootstrap(differences[0])
        return Paired(values[0], low, high, _p_over_groups(differences[0]), "samples")
    low, high = _student(values)
    return Paired(float(np.mean(values)), low, high, _p(values), "seeds")


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values of tests made together, adjusted by Holm's step-down; NaN is no test and stays.

    Whoever calls those below 0.05 differences errs in any of them in at most 5 % of such tables.
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


# Over seeds


def _student(values: Sequence[float]) -> tuple[float, float]:
    """Student's interval of the mean."""
    mean, error = np.mean(values), stats.sem(values)
    reach = stats.t.ppf(1 - TAIL, len(values) - 1) * error
    return float(mean - reach), float(mean + reach)


def _p(values: Sequence[float]) -> float:
    """Two-sided p of the t test that the mean is 0."""
    return _p_of(float(np.mean(values)), float(stats.sem(values)), len(values) - 1)


def _p_of(mean: float, error: float, freedom: int) -> float:
    if freedom < 1 or np.isnan(mean):
        return NAN
    if error == 0:  # all differences are one number
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean / error), freedom))


# Over samples


class _Groups(NamedTuple):
    """Sums over the samples of each group that counts."""

    weighted_G: np.ndarray
    weight_G: np.ndarray


def _groups(sampled: Sampled) -> _Groups:
    groups_N = np.arange(len(sampled.weights_N)) if sampled.groups_N is None else sampled.groups_N
    weight_G = np.bincount(groups_N, sampled.weights_N)
    weighted_G = np.bincount(groups_N, sampled.weights_N * sampled.values_N)
    return _Groups(weighted_G[weight_G > 0], weight_G[weight_G > 0])


def _bootstrap(sampled: Sampled) -> tuple[float, float]:
    """Percentile interval of the weighted mean; NaN with fewer than two groups."""
    weighted_G, weight_G = _groups(sampled)
    if len(weight_G) < 2:
        return NAN, NAN
    # About the mean, so that float32 is exact enough for the sums.
    mean = weighted_G.sum() / weight_G.sum()
    sums = np.stack([weighted_G - mean * weight_G, weight_G], axis=-1).astype(np.float32)
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
    weighted_G, weight_G = _groups(difference)
    count = len(weight_G)
    if count < 2:
        return NAN
    mean = weighted_G.sum() / weight_G.sum()
    residual_G = (weighted_G - mean * weight_G) / weight_G.mean()
    error = residual_G.std(ddof=1) / np.sqrt(count)
    return _p_of(mean, error, count - 1)
