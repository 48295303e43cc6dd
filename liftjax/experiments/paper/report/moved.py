"""What guidance moved: how far in 2D, for how much in 3D, joint by joint; as numbers and drawn."""

from collections.abc import Sequence

import numpy as np

from liftjax.experiments.paper.measures import Sampled
from liftjax.experiments.paper.outcomes import Outcome
from liftjax.experiments.paper.report.labels import place_labels
from liftjax.experiments.paper.statistics import estimate
from liftjax.skeletons import get_skeleton
from liftjax.visualize import new_figure, save_figure

_DISPLACEMENT = ("displacement_px", "displacement_low", "displacement_high")
_GAIN = ("gain_mm", "low", "high")
_LEAST_PX = 0.01  # where a joint that did not move is drawn on the logarithmic axis
_GREY = "#667085"
_PARTS = {"legs": "#0f766e", "arms": "#b45309", "trunk and head": _GREY}


def moved_joints(ft2d: Outcome, guided: Outcome, detector: str = "") -> list[dict]:
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
        row = {"detector": detector, "joint": joint}
        for keys, values_NK in ((_DISPLACEMENT, moved_px_NK), (_GAIN, gain_mm_NK)):
            values_N = np.where(ft2d.has_3d_N, values_NK[:, k], 0.0)
            sampled = Sampled(values_N, ft2d.has_3d_N.astype(float), ft2d.moment_N)
            row |= dict(zip(keys, estimate([sampled]), strict=False))
        rows.append(row)
    return rows


def draw_moved(path, rows: Sequence[dict]) -> str:
    """One panel per detector: how far guidance moved each joint in 2D, and what that saved in 3D.

    Args:
      rows: of :func:`moved_joints`, of all detectors.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    detectors = list(dict.fromkeys(row["detector"] for row in rows))
    figure = new_figure(4.6 * len(detectors) + 0.4, 4.3, dpi=115)
    panels = figure.subplots(1, len(detectors), squeeze=False, sharex=True, sharey=True)[0]
    ends_px = np.array([_bars(row)[0] for row in rows])
    panels[0].set_xlim(ends_px.min() / 1.25, ends_px.max() * 1.25)
    for detector, axes in zip(detectors, panels, strict=True):
        axes.axhline(0, color=_GREY, linewidth=0.8)
        for part, color in _PARTS.items():
            some = [r for r in rows if r["detector"] == detector and _part(r["joint"]) == part]
            (x, left, right), (y, low, high) = np.moveaxis([_bars(row) for row in some], 0, -1)
            axes.errorbar(
                x, y, xerr=[x - left, right - x], yerr=[y - low, high - y], fmt="o", color=color,
                markersize=4, elinewidth=0.8, label=part,
            )  # fmt: skip
        axes.set_title(detector, fontsize=11)
        axes.set_xscale("log")  # the joints of the trunk move little and would be a heap
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("mean 2D displacement (px)", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(True, color="#e6e9ee", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
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


def _bars(row: dict) -> np.ndarray:
    """(2, 3) value, lower and upper end: of the displacement, and of the gain."""
    displacement_px = [max(row[key], _LEAST_PX) for key in _DISPLACEMENT]
    return np.array([displacement_px, [row[key] for key in _GAIN]])


def _part(joint: str) -> str:
    if joint.endswith(("knee", "ankle")) or joint in ("left_hip", "right_hip"):
        return "legs"
    return "arms" if joint.endswith(("shoulder", "elbow", "wrist")) else "trunk and head"


def _name_joints(axes, rows: Sequence[dict]) -> None:
    """Writes the joints' names, `left_knee` as "L knee", clear of the error bars."""
    points, bars = [], []
    for (x, left, right), (y, low, high) in map(_bars, rows):
        points.append((x, y))
        bars += [((left, y), (right, y)), ((x, low), (x, high))]
    names = [
        row["joint"].replace("left_", "L ").replace("right_", "R ").replace("_", " ")
        for row in rows
    ]
    colors = [_PARTS[_part(row["joint"])] for row in rows]
    place_labels(axes, points, names, colors, bars, fontsize=7.5)
