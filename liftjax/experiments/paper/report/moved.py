"""What guidance moved: how far in 2D, for how much in 3D, joint by joint; as numbers and drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from liftjax.experiments.paper.measures import Sampled
from liftjax.experiments.paper.outcomes import Outcome
from liftjax.experiments.paper.report.labels import place_labels
from liftjax.experiments.paper.statistics import Estimate, estimate
from liftjax.skeletons import get_skeleton
from liftjax.visualize import new_figure, save_figure

_LEAST_PX = 0.01  # a joint that did not move stands here on the logarithmic axis
_GREY = "#667085"
_PARTS = {"legs": "#0f766e", "arms": "#b45309", "trunk and head": _GREY}
_SIDES = {"left": "L", "right": "R"}


def moved(ft2d: Outcome, guided: Outcome, detector: str = "") -> list[dict]:
    """Mean 2D displacement of each joint from FT-2D to guided, and the 3D error that it saves.

    Returns:
      Rows {"detector", "joint", "displacement_px", "displacement_low", "displacement_high",
      "gain_mm" (mean over lifters; positive: guided is nearer to the truth), "low", "high"}, of
      the samples with 3D labels, with 95 % bootstrap intervals over them.
    """
    moved_px_NK = np.linalg.norm(guided.kpts_px_NK2 - ft2d.kpts_px_NK2, axis=-1)
    gains = [ft2d.joint_error_mm(name) - guided.joint_error_mm(name) for name in ft2d.lifters]
    gain_mm_NK = np.mean(gains, axis=0)
    rows = []
    for k, joint in enumerate(get_skeleton(ft2d.skeleton).joints):
        displacement = _mean(moved_px_NK[:, k], ft2d)
        gain = _mean(gain_mm_NK[:, k], ft2d)
        rows.append(
            {
                "detector": detector,
                "joint": joint,
                "displacement_px": displacement.mean,
                "displacement_low": displacement.low,
                "displacement_high": displacement.high,
                "gain_mm": gain.mean,
                "low": gain.low,
                "high": gain.high,
            }
        )
    return rows


def _mean(values_N: np.ndarray, outcome: Outcome) -> Estimate:
    """The mean over samples with 3D labels; views of one instant are drawn together."""
    values_N = np.where(outcome.has_3d_N, values_N, 0.0)
    return estimate([Sampled(values_N, outcome.has_3d_N.astype(float), outcome.moment_N)])


def draw_moved(path, rows: Sequence[dict]) -> str:
    """A panel a detector: how far guidance moved each joint in 2D, and what that saved in 3D.

    Args:
      rows: of :func:`moved`, of all detectors.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    detectors = list(dict.fromkeys(row["detector"] for row in rows))
    figure = new_figure(4.6 * len(detectors) + 0.4, 4.3, dpi=115)
    panels = figure.subplots(1, len(detectors), squeeze=False, sharex=True, sharey=True)[0]
    ends_px = np.array([_place(row).across for row in rows])
    panels[0].set_xlim(ends_px.min() / 1.25, ends_px.max() * 1.25)
    for detector, axes in zip(detectors, panels, strict=True):
        some = [row for row in rows if row["detector"] == detector]
        axes.axhline(0, color=_GREY, linewidth=0.8)
        for part, color in _PARTS.items():
            _draw_part(axes, [row for row in some if _part(row["joint"]) == part], color, part)
        axes.set_title(detector, fontsize=11)
        axes.set_xscale("log")  # the trunk moves little and would be a heap
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("mean 2D displacement (px)", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(True, color="#e6e9ee", linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[0].set_ylabel("3D error saved by guidance (mm)", fontsize=9)
    panels[0].legend(fontsize=8, frameon=False, loc="upper left")
    figure.tight_layout(pad=0.6, w_pad=1.2)
    for detector, axes in zip(detectors, panels, strict=True):
        _name_joints(axes, [row for row in rows if row["detector"] == detector])
    save_figure(figure, path)
    return (
        "What guidance moved: mean 2D displacement of each joint from FT-2D to the guided detector "
        "against the 3D error it saves, mean over lifters; bars are 95 % intervals over samples."
    )


def _part(joint: str) -> str:
    if joint.endswith(("knee", "ankle")) or joint in ("left_hip", "right_hip"):
        return "legs"
    return "arms" if joint.endswith(("shoulder", "elbow", "wrist")) else "trunk and head"


def _short(joint: str) -> str:
    """`left_knee` as "L knee"."""
    side, _, rest = joint.partition("_")
    return f"{_SIDES[side]} {rest}" if side in _SIDES else joint.replace("_", " ")


class _Place(NamedTuple):
    """Where a joint stands, and the ends of its bars: across (displacement) and up (gain)."""

    point: tuple[float, float]
    across: tuple[float, float]
    up: tuple[float, float]


def _place(row: dict) -> _Place:
    """A report may leave out the interval of the displacement."""
    keys = ("displacement_px", "displacement_low", "displacement_high")
    x, left, right = (max(row.get(key, row[keys[0]]), _LEAST_PX) for key in keys)
    return _Place((x, row["gain_mm"]), (left, right), (row["low"], row["high"]))


def _draw_part(axes, rows: Sequence[dict], color: str, label: str) -> None:
    places = [_place(row) for row in rows]
    for place in places:
        (x, y), (left, right), (low, high) = place
        axes.errorbar(
            x, y, xerr=[[x - left], [right - x]], yerr=[[y - low], [high - y]], fmt="o",
            color=color, markersize=4, elinewidth=0.8, label=label if place is places[0] else None,
        )  # fmt: skip


def _name_joints(axes, rows: Sequence[dict]) -> None:
    places, bars = [_place(row) for row in rows], []
    for (x, y), (left, right), (low, high) in places:
        bars += [((left, y), (right, y)), ((x, low), (x, high))]
    colors = [_PARTS[_part(row["joint"])] for row in rows]
    names = [_short(row["joint"]) for row in rows]
    place_labels(axes, [place.point for place in places], names, colors, bars, fontsize=7.5)
