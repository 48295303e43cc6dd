"""Chooses the samples of a step's batch, as a pure function of (seed, step).

Samples are shuffled again in every epoch. Epochs follow each other without a gap, so a batch may
hold the end of one and the beginning of the next.
"""

import fractions
import functools
import math
from collections.abc import Sequence

import numpy as np

from liftjax.errors import LiftjaxError

_FINEST_SHARE = 10_000  # shares of a batch are rounded to fractions of at most this denominator


def part_of_batch(batch_size: int, shard: tuple[int, int]) -> slice:
    """The rows of the i-th of n equal parts of a batch; `shard` is (i, n)."""
    part, parts = shard
    if batch_size < 1 or batch_size % parts:
        raise LiftjaxError(
            f"Batch size {batch_size} does not split into {parts} equal parts; choose a multiple."
        )
    return slice(part * batch_size // parts, (part + 1) * batch_size // parts)


def train_positions(num_samples: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """(batch_size,) samples of the batch of `step`; each epoch is one permutation of them all."""
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    return _shuffled(places, num_samples, seed)


def mixed_positions(
    members: Sequence[np.ndarray],
    shares: Sequence[fractions.Fraction],
    batch_size: int,
    seed: int,
    step: int,
) -> np.ndarray:
    """(batch_size,) samples of the batch of `step`, in which set j has the share `shares[j]`.

    The sets take turns in one fixed pattern that continues from batch to batch, so that over any
    stretch of training each set has its share, to within one sample. Each set is shuffled by
    itself: all its samples come once before any comes again.

    Args:
      members: the samples of each set.
      shares: positive, with sum 1, see :func:`as_shares`.
      batch_size, seed, step: as for :func:`train_positions`.
    """
    samples = np.empty(batch_size, np.int64)
    open_places = np.arange(batch_size)
    turns = step * batch_size + open_places  # numbers of the places that earlier sets left
    left = fractions.Fraction(1)
    for number, (indices, share) in enumerate(zip(members, shares, strict=True)):
        part = share / left
        before = _portion(turns, part)
        taken = _portion(turns + 1, part) > before
        visits = _shuffled(before[taken], len(indices), seed, number + 1)
        samples[open_places[taken]] = indices[visits]
        turns, open_places, left = (turns - before)[~taken], open_places[~taken], left - share
    return samples


def _portion(turns: np.ndarray, part: fractions.Fraction) -> np.ndarray:
    """The whole part of turns * part, in Python's integers: the products may exceed 64 bits."""
    portions = [turn * part.numerator // part.denominator for turn in turns.tolist()]
    return np.array(portions, np.int64)


def as_shares(shares: Sequence[float], names: Sequence[str]) -> tuple[fractions.Fraction, ...]:
    """Weights of the data sets `names` as fractions with sum 1.

    Raises:
      LiftjaxError: there are more or fewer weights than names, or one is not a positive number.
    """
    if len(shares) != len(names):
        raise LiftjaxError(
            f"{len(shares)} shares for {len(names)} data sets ({', '.join(names)}); give "
            "config.data.shares one number each, or none for all samples alike."
        )
    numbers = all(isinstance(share, int | float) and math.isfinite(share) for share in shares)
    if not numbers:
        raise LiftjaxError(f"config.data.shares is {tuple(shares)}; give numbers.")
    exact = [fractions.Fraction(share).limit_denominator(_FINEST_SHARE) for share in shares]
    if min(exact) <= 0:
        raise LiftjaxError(f"config.data.shares is {tuple(shares)}; give numbers above 0.")
    return tuple(share / sum(exact) for share in exact)


def _shuffled(visits: np.ndarray, num_samples: int, seed: int, *stream: int) -> np.ndarray:
    """The samples of the given visits, counted from the start of training."""
    epochs, within = np.divmod(visits, num_samples)
    samples = np.empty(len(visits), np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        samples[here] = _permutation(num_samples, (seed, int(epoch), *stream))[within[here]]
    return samples


@functools.lru_cache(maxsize=16)
def _permutation(num_samples: int, entropy: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(entropy).permutation(num_samples)
