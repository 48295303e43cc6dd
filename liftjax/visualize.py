"""Draws poses: ground truth blue, prediction red."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from liftjax.errors import needs
from liftjax.metrics import mpjpe
from liftjax.skeletons import Skeleton

with needs("Drawing figures", "Matplotlib", "liftjax[report]"):
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MultipleLocator

TRUTH, PREDICTION = "#1f5fd6", "#d6261f"


class Comparison(NamedTuple):
    """One person and the results of several methods; keypoints are in pixels of `image`."""

    title: str
    image: np.ndarray  # (H, W, 3) uint8
    true_kpts_K2: np.ndarray
    true_pose_m_K3: np.ndarray
    kpts_K2: Mapping[str, np.ndarray]  # by method
    pose_m_K3: Mapping[str, np.ndarray]  # by method


def draw_2d(
    axes,
    image: np.ndarray,
    poses: Sequence[tuple[np.ndarray, str]],
    skeleton: Skeleton,
    linewidth: float = 1.6,
):
    """Draws a picture and poses (K, 2), each in its colour, on matplotlib axes."""
    axes.imshow(image)
    for kpts_K2, color in poses:
        for a, b in skeleton.edges:
            axes.plot(*kpts_K2[[a, b]].T, color=color, lw=linewidth, solid_capstyle="round")
        axes.scatter(*kpts_K2.T, s=2 * linewidth**2, color=color, linewidths=0, zorder=3)
    axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axes.set_axis_off()


def draw_3d(
    axes,
    poses: Sequence[tuple[np.ndarray, str]],
    skeleton: Skeleton,
    azimuth: float,
    *,
    linewidth: float = 1.8,
    bounds_m: np.ndarray | None = None,
    zoom: float = 1.25,
):
    """Draws poses (K, 3) in camera axes, each in its colour, on matplotlib 3D axes.

    Args:
      azimuth: direction of view in degrees; -90 is the camera's own.
      bounds_m: (2, 3) least and greatest coordinates shown, in camera axes; default: a cube around
        the root that holds all poses.
    """
    for pose_m_K3, color in poses:
        x, y, z = _to_plot(pose_m_K3).T
        for a, b in skeleton.edges:
            axes.plot(x[[a, b]], y[[a, b]], z[[a, b]], color=color, linewidth=linewidth)
    reach = 1.05 * max(np.abs(pose).max() for pose, _ in poses)
    bounds_m = np.array([[-reach] * 3, [reach] * 3]) if bounds_m is None else bounds_m
    corners = _to_plot(np.asarray(bounds_m))
    low, high = corners.min(axis=0), corners.max(axis=0)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.set(xticklabels=[], yticklabels=[], zticklabels=[])
    axes.set_box_aspect((high - low) / (high - low).max(), zoom=zoom)
    axes.view_init(elev=12, azim=azimuth)


def add_plain_box(figure, place):
    """Adds 3D axes at `place` of a grid, with pale walls, a thin grid and no ticks."""
    with matplotlib.rc_context({"grid.color": "#d5dae1", "grid.linewidth": 0.5}):
        axes = figure.add_subplot(place, projection="3d")
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color("#f4f6f9")
        axis.line.set_color("#d5dae1")
        axis.set_major_locator(MultipleLocator(0.5))  # metres
        axis.set_tick_params(color="none")
    return axes


def _to_plot(points_m: np.ndarray) -> np.ndarray:
    """Points from camera axes (y down, z away) to the plot's (z up, y away)."""
    return points_m[:, [0, 2, 1]] * [1, 1, -1]


def new_figure(width: float, height: float, dpi: int = 110):
    """A matplotlib figure (inches) that needs no screen and leaves pyplot's state alone."""
    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, path) -> None:
    """Writes a JPEG or PNG file, by the ending of its name."""
    path = epath.Path(path)
    jpeg = path.suffix in (".jpg", ".jpeg")
    options = {"pil_kwargs": {"quality": 85, "optimize": True}} if jpeg else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        figure.savefig(file, format="jpeg" if jpeg else "png", **options)


def comparison_figure(
    path: str, samples: Sequence[Comparison], skeleton: Skeleton, caption: str
) -> None:
    """Saves a PNG with one row per sample: for each method the picture and the 3D pose."""
    methods = list(samples[0].kpts_K2)
    columns = 2 * len(methods)
    figure = new_figure(2.3 * columns, 2.5 * len(samples) + 0.9)
    grid = figure.add_gridspec(
        len(samples), columns, left=0.01, right=0.99, top=1 - 0.75 / figure.get_figheight(),
        bottom=0.01, wspace=0.03, hspace=0.1,
    )  # fmt: skip
    for row, sample in enumerate(samples):
        for m, method in enumerate(methods):
            flat = figure.add_subplot(grid[row, 2 * m])
            poses = [(sample.true_kpts_K2, TRUTH), (sample.kpts_K2[method], PREDICTION)]
            draw_2d(flat, sample.image, poses, skeleton)
            solid = figure.add_subplot(grid[row, 2 * m + 1], projection="3d")
            poses = [(sample.true_pose_m_K3, TRUTH), (sample.pose_m_K3[method], PREDICTION)]
            draw_3d(solid, poses, skeleton, azimuth=-60)
            error_mm = 1000 * mpjpe(sample.pose_m_K3[method], sample.true_pose_m_K3)
            flat.set_title(sample.title, fontsize=8)
            solid.set_title(f"{method}: {error_mm:.0f} mm", fontsize=9, pad=-2)
    figure.suptitle(caption, fontsize=10)
    save_figure(figure, path)
