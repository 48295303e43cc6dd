"""The figures beside the tables, as JPEG or PNG; ground truth is blue, prediction red.

Each function writes a file and returns its caption.

Legend: N samples, K joints, S shown samples, H W heatmap.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from liftjax import geometry
from liftjax.data import crops
from liftjax.data.records import PoseDataset
from liftjax.experiments.paper.outcomes import Outcome
from liftjax.experiments.paper.report.explain import Term
from liftjax.experiments.paper.study import LIFTER_TITLES
from liftjax.visualize import (
    PREDICTION,
    TRUTH,
    add_plain_box,
    draw_2d,
    draw_3d,
    new_figure,
    save_figure,
)

VIEWS = (-65.0, 10.0)  # azimuths: nearly the camera's own view, and from the side
PERCENTILES = (97, 80, 50, 10)  # of improvement, of the samples shown by default
_CROP = (256, 192)  # (height, width) of the pictures shown
_TIGHT = 0.9  # of the region that a detector sees
_DPI = 115
_LINE = 1.3
_PALE = 0.35  # share of white in the picture under a pose
_GREY = "#667085"


class Pair(NamedTuple):
    """One detector before and after guidance, on the same test samples."""

    title: str  # of the detector
    ft2d: Outcome
    guided: Outcome
    methods: tuple[str, str] = ("FT-2D", "multi-model")

    @property
    def rows(self) -> tuple[tuple[str, Outcome], ...]:
        return tuple(zip(self.methods, (self.ft2d, self.guided), strict=True))


# Which samples


def by_improvement(pair: Pair, lifter: str, percentiles: Sequence[float] = PERCENTILES):
    """Samples at these percentiles of the 3D error that guidance saves: 100 the most improved."""
    gain_mm_N = pair.ft2d.error_mm(lifter) - pair.guided.error_mm(lifter)
    order = np.argsort(gain_mm_N)[: np.isfinite(gain_mm_N).sum()]  # NaN come last
    return [int(order[round(p / 100 * (len(order) - 1))]) for p in percentiles]


def worst(outcome: Outcome, lifter: str, count: int = 4) -> list[int]:
    """The samples of largest MPJPE, one a sequence: neighbouring frames fail alike."""
    error_mm_N, labels = outcome.error_mm(lifter), outcome.labels
    columns = [labels[name] for name in ("subject", "action", "trial") if name in labels]
    chosen: dict[tuple, int] = {}  # by sequence
    for i in np.argsort(-error_mm_N):  # NaN come last
        if np.isfinite(error_mm_N[i]):
            chosen.setdefault(tuple(str(column[i]) for column in columns), int(i))
    return list(chosen.values())[:count]


# Pieces


class _Picture(NamedTuple):
    """The person cut out of the picture; keypoints go there by `points`."""

    image: np.ndarray
    from_image: np.ndarray  # (2, 3)

    def points(self, kpts_px_K2: np.ndarray) -> np.ndarray:
        return geometry.apply_affine(self.from_image, np.asarray(kpts_px_K2, np.float64))


def _picture(
    dataset: PoseDataset, i: int, size: tuple[int, int] = _CROP, scale: float = _TIGHT
) -> _Picture:
    to_crop = crops.image_to_crop(dataset.labels["box_xyxy"][i : i + 1], size, scale)[0]
    stored_to_crop = geometry.compose_affine(to_crop, dataset.labels["stored_to_image"][i])
    reduction = int(crops.reductions(stored_to_crop[None])[0])
    image = crops.cut(dataset.image(i, reduction), stored_to_crop, size, reduction)
    return _Picture(image, to_crop)


def _sample_title(dataset: PoseDataset, i: int) -> str:
    return f"{dataset.labels['subject'][i]} {dataset.labels['action'][i]}"


class _Sample:
    """Draws one test sample, as the methods of a pair see it, into places of a figure's grid."""

    def __init__(self, figure, pair: Pair, dataset: PoseDataset, lifter: str, i: int):
        self._figure, self._dataset, self._lifter, self._i = figure, dataset, lifter, i
        self._picture = _picture(dataset, i)
        self._true_m_K3 = pair.ft2d.labels["pose_m"][i]
        # A flat pose gets some room in the flat direction, so that a box stays a box.
        poses = [self._true_m_K3, *(outcome.pose_m(lifter)[i] for _, outcome in pair.rows)]
        low, high = np.min(poses, axis=(0, 1)), np.max(poses, axis=(0, 1))
        half = np.maximum((high - low) / 2 + 0.05, 0.35 * (high - low).max())
        self._bounds_m = (low + high) / 2 + np.stack([-half, half])

    def draw_picture(self, place):
        """The picture alone, with the sample's name; returns its axes."""
        axes = self._figure.add_subplot(place)
        draw_2d(axes, self._picture.image, [], self._dataset.skeleton)
        axes.set_title(_sample_title(self._dataset, self._i), fontsize=9, pad=3)
        return axes

    def draw_2d(self, place, method: str, outcome: Outcome) -> None:
        """The true and the detected keypoints over the picture."""
        axes = self._figure.add_subplot(place)
        true, found = outcome.labels["joints_px"][self._i], outcome.kpts_px_NK2[self._i]
        poses = [(self._picture.points(true), TRUTH), (self._picture.points(found), PREDICTION)]
        pale = (_PALE * 255 + (1 - _PALE) * self._picture.image).astype(np.uint8)
        draw_2d(axes, pale, poses, self._dataset.skeleton, linewidth=_LINE)
        axes.set_title(method, fontsize=9, pad=3)

    def draw_3d(self, place, outcome: Outcome, azimuth: float, zoom: float) -> None:
        """The true and the lifted pose; the camera's own view has the error as its title."""
        axes = add_plain_box(self._figure, place)
        poses = [(self._true_m_K3, TRUTH), (outcome.pose_m(self._lifter)[self._i], PREDICTION)]
        draw_3d(axes, poses, self._dataset.skeleton, azimuth, linewidth=_LINE,
                bounds_m=self._bounds_m, zoom=zoom)  # fmt: skip
        if azimuth == VIEWS[0]:
            error_mm = outcome.error_mm(self._lifter)[self._i]
            axes.set_title(f"{error_mm:.0f} mm", fontsize=9, pad=3)


# Figures


def qualitative(
    path,
    pairs: Sequence[Pair],
    dataset: PoseDataset,
    lifter: str,
    samples: Sequence[Sequence[int]] | None = None,
) -> str:
    """One block per detector, two samples abreast: the picture; FT-2D above guided, in 2D and 3D.

    Args:
      dataset: of the pictures; its records are the outcomes' samples.
      lifter: whose poses are shown.
      samples: of each pair; default: `by_improvement`.
    """
    samples = samples or [by_improvement(pair, lifter) for pair in pairs]
    heights = [0.05 + 3.0 * -(-len(some) // 2) for some in samples]
    figure = new_figure(10, sum(heights), _DPI)
    blocks = figure.subfigures(len(pairs), 1, height_ratios=heights, squeeze=False, hspace=0)
    for pair, shown, block, height in zip(pairs, samples, blocks[:, 0], heights, strict=True):
        block.text(0.004, 0.5, pair.title, rotation=90, va="center", fontsize=12, weight="bold")
        grid = block.add_gridspec(
            -(-len(shown) // 2), 2, left=0.03, right=0.995, top=1 - 0.22 / height, bottom=0.03,
            wspace=0.03, hspace=0.09,
        )  # fmt: skip
        gain_mm_N = pair.ft2d.error_mm(lifter) - pair.guided.error_mm(lifter)
        for n, i in enumerate(shown):
            cell = grid[n // 2, n % 2].subgridspec(
                2, 4, width_ratios=[1.2, 1, 1.15, 1.15], wspace=0.02, hspace=0.16
            )
            sample = _Sample(block, pair, dataset, lifter, i)
            plain = sample.draw_picture(cell[:, 0])
            plain.set_anchor("N")
            better = 100 * np.nanmean(gain_mm_N < gain_mm_N[i])
            change = f"{abs(gain_mm_N[i]):.0f} mm {'saved' if gain_mm_N[i] >= 0 else 'lost'}"
            note = f"{change}\n(percentile {better:.0f}\nof improvement)"
            plain.text(0.5, -0.06, note, transform=plain.transAxes, ha="center", va="top",
                       fontsize=8, color=_GREY)  # fmt: skip
            for row, (method, outcome) in enumerate(pair.rows):
                sample.draw_2d(cell[row, 1], method, outcome)
                for v, azimuth in enumerate(VIEWS):
                    sample.draw_3d(cell[row, 2 + v], outcome, azimuth, 1.35)
    save_figure(figure, path)
    first, second = pairs[0].methods
    return (
        f"{first} above {second}: the poses found, and lifted by "
        f"{LIFTER_TITLES.get(lifter, lifter)}, as the camera sees them and from the side. Ground "
        "truth blue, prediction red; mm are the sample's MPJPE. The samples stand for their place "
        "in the order of improvement, worsened ones too."
    )


def failures(
    path,
    pair: Pair,
    dataset: PoseDataset,
    lifter: str,
    terms: Sequence[Term],
    samples: Sequence[int] | None = None,
) -> str:
    """The worst samples of the guided detector, FT-2D beside it, and the terms that explain them.

    A bar says how many of the test samples are easier in that respect; red from the 90th
    percentile on.

    Args:
      terms: of `explain_error`.
      samples: default: `worst`.
    """
    samples = worst(pair.guided, lifter) if samples is None else samples
    figure = new_figure(10, 2.05 * len(samples) + 0.2, _DPI)
    grid = figure.add_gridspec(
        len(samples), 6, left=0.005, right=0.96, top=1 - 0.3 / figure.get_figheight(),
        bottom=0.03 / figure.get_figheight(), width_ratios=[1, 1, 1.25, 1, 1.25, 2.2],
        wspace=0.04, hspace=0.13,
    )  # fmt: skip
    for row, i in enumerate(samples):
        sample = _Sample(figure, pair, dataset, lifter, i)
        sample.draw_picture(grid[row, 0])
        for m, (method, outcome) in enumerate(pair.rows):
            sample.draw_2d(grid[row, 1 + 2 * m], method, outcome)
            sample.draw_3d(grid[row, 2 + 2 * m], outcome, VIEWS[0], 1.25)
        bars = figure.add_subplot(grid[row, 5])
        _draw_terms(bars, terms, i)
        if row == 0:
            bars.set_title("harder than % of the test samples", fontsize=9, x=0.46, y=0.95)
    save_figure(figure, path)
    return (
        f"The test samples of largest MPJPE with {pair.title}, {pair.methods[1]}, through "
        f"{LIFTER_TITLES.get(lifter, lifter)}, one a sequence; {pair.methods[0]} beside it. Ground "
        "truth blue, prediction red. Bars: the share of test samples that are easier in that "
        "respect, red from 90 % on. Limb contrast is the colour difference (ΔE) of arms and legs "
        "to what is beside them; the last bar is the lifter's own error."
    )


def _draw_terms(axes, terms: Sequence[Term], i: int) -> None:
    """Each term as a line of text and a bar."""
    for n, term in enumerate(terms):
        percentile = term.percentile(i)
        color = PREDICTION if percentile >= 90 else _GREY
        axes.barh(n, 100, height=0.22, color="#eceff3")
        axes.barh(n, percentile, height=0.22, color=color)
        axes.text(0, n - 0.2, f"{term.title}: {term.text(i)}", fontsize=8, va="bottom")
        axes.text(103, n, f"{int(percentile)}" if term.measured(i) else "-", fontsize=8,
                  va="center", color=color)  # fmt: skip
    axes.set(xlim=(-8, 112), ylim=(len(terms) - 0.6, -1.0))
    axes.set_axis_off()


def heatmaps(
    path,
    pair: Pair,
    dataset: PoseDataset,
    samples: Sequence[int],
    maps_SHWK: tuple[np.ndarray, np.ndarray],
    stride: float,
    joints: int = 4,
) -> str:
    """One block per sample: heatmaps of FT-2D above those of the guided detector, over the crop.

    A cross is the truth, a point the keypoint found. Each joint has one scale of brightness.

    Args:
      maps_SHWK: of FT-2D and guided, see `maps.heatmaps`.
      stride: crop pixels per map pixel.
      joints: how many, of those that guidance moved most.
    """
    height, width = maps_SHWK[0].shape[1:3]
    size = round(height * stride), round(width * stride)
    figure = new_figure(1.5 * joints + 0.35, 4.35 * len(samples), _DPI)
    blocks = figure.subfigures(len(samples), 1, squeeze=False, hspace=0)
    for s, (i, block) in enumerate(zip(samples, blocks[:, 0], strict=True)):
        grid = block.subplots(
            2, joints, squeeze=False,
            gridspec_kw={"left": 0.055, "right": 0.995, "top": 0.92, "bottom": 0.05,
                         "wspace": 0.05, "hspace": 0.13},
        )  # fmt: skip
        block.suptitle(_sample_title(dataset, i), fontsize=9, y=0.985)
        picture = _picture(dataset, i, size, 1.0)
        moved_px_K = np.linalg.norm(pair.guided.kpts_px_NK2[i] - pair.ft2d.kpts_px_NK2[i], axis=-1)
        for column, k in enumerate(np.argsort(-moved_px_K)[:joints]):
            both = [maps[s, :, :, k] for maps in maps_SHWK]
            top = max(map_HW.max() for map_HW in both)
            for axes, map_HW, (_, outcome) in zip(grid[:, column], both, pair.rows, strict=True):
                _draw_map(axes, picture, map_HW, stride, top)
                _draw_joint(axes, picture, outcome, i, k)
                label = f"peak {map_HW.max():.2g}, off by {outcome.error_px_NK[i, k]:.0f} px"
                axes.set_xlabel(label, fontsize=8, labelpad=2)
            name = dataset.skeleton.joints[k].replace("_", " ")
            grid[0, column].set_title(name, fontsize=9, pad=3)
        for axes, method in zip(grid[:, 0], pair.methods, strict=True):
            axes.set_ylabel(method, fontsize=9)
    save_figure(figure, path)
    return (
        f"Heatmaps of {pair.title}, {pair.methods[0]} above {pair.methods[1]}, for the joints that "
        "guidance moved most. Blue cross: ground truth; red point: the keypoint found; px are of "
        "the original image. Each joint has one scale of brightness."
    )


def _draw_map(axes, picture: _Picture, map_HW: np.ndarray, stride: float, top: float) -> None:
    """The map as light over the greyed picture."""
    height, width = map_HW.shape
    grey = picture.image.mean(axis=-1, keepdims=True).repeat(3, axis=-1) / 255
    axes.imshow(0.25 + 0.6 * grey)
    # Map pixel (x, y) is crop pixel (x, y) * stride, both centres.
    extent = np.array([-0.5, width - 0.5, height - 0.5, -0.5]) * stride
    strength = np.clip(map_HW / max(top, 1e-9), 0, 1)
    axes.imshow(
        strength, extent=extent, alpha=0.9 * strength**0.5, cmap="inferno", vmin=0, vmax=1,
        interpolation="bilinear",
    )  # fmt: skip
    axes.set(xlim=(-0.5, picture.image.shape[1] - 0.5), ylim=(picture.image.shape[0] - 0.5, -0.5))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _draw_joint(axes, picture: _Picture, outcome: Outcome, i: int, k: int) -> None:
    true, found = outcome.labels["joints_px"][i], outcome.kpts_px_NK2[i]
    for kpts, marker, color in ((true, "x", TRUTH), (found, ".", PREDICTION)):
        x, y = picture.points(kpts)[k]
        size = 6 if marker == "x" else 8
        axes.plot(x, y, marker, color="white", markersize=size + 2, markeredgewidth=3)
        axes.plot(x, y, marker, color=color, markersize=size, markeredgewidth=1.6)
