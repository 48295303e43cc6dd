"""What is measured in a cell of a table, sample by sample.

Means, intervals and paired tests all use the same values, so that they cannot disagree about which
samples count. Legend: N test samples, R runs.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from liftjax.experiments.paper.outcomes import Outcome, Outcomes

Run = Any  # whatever has an .id, by which outcomes are found, and a .title


class Sampled(NamedTuple):
    """One number a sample, and how much it counts.

    Attributes:
      values_N: 0 where the weight is 0.
      weights_N: at least 0.
      groups_N: samples with the same number are views of one instant, and are drawn together when
        samples are drawn anew; None: every sample by itself.
    """

    values_N: np.ndarray
    weights_N: np.ndarray
    groups_N: np.ndarray | None = None

    @property
    def value(self) -> float:
        """The weighted mean; NaN if nothing counts."""
        total = self.weights_N.sum()
        return float((self.weights_N * self.values_N).sum() / total) if total > 0 else float("nan")

    def only(self, keep_N: np.ndarray) -> "Sampled":
        """The same with no weight on the other samples."""
        weights_N = np.where(keep_N, self.weights_N, 0.0)
        return Sampled(np.where(weights_N > 0, self.values_N, 0.0), weights_N, self.groups_N)


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number of a table, given the outcomes of the runs that it needs.

    Attributes:
      runs: those that must have been done.
      unit: "mm" or "%".
      of: outcomes by run id -> the number, sample by sample.
    """

    runs: tuple[Run, ...]
    unit: str
    of: Callable[[Outcomes], Sampled]


# 3D


def mpjpe(run: Run, lifter: str | None = None, action: str | None = None) -> Measure:
    """Mean per-joint position error over frames.

    Args:
      lifter: None for the mean over all lifters.
      action: the action whose samples count; None: all.
    """
    return _error(run, Outcome.error_mm, lifter, action)


def p_mpjpe(run: Run, lifter: str | None = None) -> Measure:
    """The same after similarity alignment of each pose."""
    return _error(run, Outcome.aligned_mm, lifter)


def median_of_lifters_mpjpe(run: Run) -> Measure:
    """MPJPE of the ensemble: the median over lifters, of each joint and axis by itself."""
    return Measure((run,), "mm", lambda o: _errors(o[run.id], o[run.id].median_error_mm))


def voted_mpjpe(runs: Sequence[Run], lifter: str | None = None) -> Measure:
    """MPJPE of a choice among runs: for each sample the one whose 2D is the most accurate there.

    The most accurate has the least mean 2D error over the visible joints, which only the labels
    can tell. Among equals, and for a sample without a visible joint, it is the first.
    """

    def of(outcomes):
        candidates = [outcomes[run.id] for run in runs]
        error_px_RN = np.stack([outcome.mean_error_px_N for outcome in candidates])
        chosen_N = np.where(np.isnan(error_px_RN), np.inf, error_px_RN).argmin(axis=0)
        error_mm_RN = np.stack([_over(o, Outcome.error_mm, lifter) for o in candidates])
        return _errors(candidates[0], error_mm_RN[chosen_N, np.arange(len(chosen_N))])

    return Measure(tuple(runs), "mm", of)


# 2D


def pck(run: Run) -> Measure:
    """PCK@0.2: share of the visible joints within 20 % of the box's longer side."""
    return _share(run, lambda outcome: (outcome.correct_NK, outcome.visible_NK))


def pdj(run: Run) -> Measure:
    """PDJ@0.2: share of the visible joints within 20 % of the torso's diagonal.

    Samples whose torso has no known length do not count.
    """
    return _share(run, lambda outcome: (outcome.by_torso_NK, outcome.with_torso_NK))


# Of other measures


def on_perfect_2d(measure: Measure, reference: Run) -> Measure:
    """`measure` on the samples of which `reference` (FT-2D) has all visible joints correct."""
    runs = once([*measure.runs, reference])
    return Measure(runs, measure.unit, lambda o: measure.of(o).only(o[reference.id].perfect_N))


def average(measures: Sequence[Measure]) -> Measure:
    """The mean, sample by sample, of measures of the same samples."""
    units = {measure.unit for measure in measures}
    if len(units) != 1:
        raise ValueError(f"An average needs measures of one unit, not {sorted(units)}.")

    def of(outcomes):
        parts = [measure.of(outcomes) for measure in measures]
        if any(not np.array_equal(part.weights_N, parts[0].weights_N) for part in parts):
            raise ValueError("An average needs measures of the same samples.")
        return parts[0]._replace(values_N=np.mean([part.values_N for part in parts], axis=0))

    runs = once(run for measure in measures for run in measure.runs)
    return Measure(runs, units.pop(), of)


def once(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Each run once, in order of first appearance."""
    return tuple({run.id: run for run in runs}.values())


def _error(run: Run, kind: Callable, lifter: str | None, action: str | None = None) -> Measure:
    def of(outcomes):
        outcome = outcomes[run.id]
        sampled = _errors(outcome, _over(outcome, kind, lifter))
        return sampled if action is None else sampled.only(outcome.labels["action"] == action)

    return Measure((run,), "mm", of)


def _over(outcome: Outcome, kind: Callable, lifter: str | None) -> np.ndarray:
    """(N,) errors through a lifter, or their mean over all lifters."""
    if lifter is not None:
        return kind(outcome, lifter)
    return np.mean([kind(outcome, name) for name in outcome.lifters], axis=0)


def _errors(outcome: Outcome, error_mm_N: np.ndarray) -> Sampled:
    """Every sample with a 3D label counts the same."""
    weights_N = outcome.has_3d_N.astype(np.float64)
    return Sampled(error_mm_N, weights_N, outcome.moment_N).only(outcome.has_3d_N)


def _share(run: Run, joints: Callable[[Outcome], tuple[np.ndarray, np.ndarray]]) -> Measure:
    """The share of correct joints among those that count, in per cent.

    A sample counts as often as it has joints that count, so that the mean pools joints.

    Args:
      run: what is measured.
      joints: outcome -> the correct joints, and those that count, both (N, K) bool.
    """

    def of(outcomes):
        correct_NK, counted_NK = joints(outcomes[run.id])
        count_N = counted_NK.sum(axis=-1)
        share_N = (correct_NK & counted_NK).sum(axis=-1) / np.maximum(count_N, 1)
        return Sampled(100 * share_N, count_N.astype(np.float64), outcomes[run.id].moment_N)

    return Measure((run,), "%", of)
