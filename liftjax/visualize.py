"""Pictures of poses: ground truth blue, prediction red."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from liftjax.skeletons import Skeleton

TRUTH, PREDICTION = "#1f5fd6", "#d6261f"


class Comparison(NamedTuple):
    """One person as several methods see it. Keypoints are in pixels of `image`."""

    title: str
    image: np.ndarray  # (H, W, 3) uint8
    true_kpts_K2: np.ndarray
    true_pose_m_K3: np.ndarray
    kpts_K2: Mapping[str, np.ndarray]  # by method
    pose_m_K3: Mapping[str, np.ndarray]  # by method


def draw_2d(axes, image: np.ndarray, poses: Sequence[tuple[np.ndarray, str]], skeleton: Skeleton):
    """The picture with poses (K, 2), each with its colour, on a matplotlib axes."""
    axes.imshow(image)
    for kpts_K2, color in poses:
        for a, b in skeleton.edges:
            axes.plot(*kpts_K2[[a, b]].T, color=color, linewidth=1.6, solid_capstyle="round")
        axes.scatter(*kpts_K2.T, s=5, color=color, zorder=3)
    axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axes.set_axis_off()


def draw_3d(axes, poses: Sequence[tuple[np.ndarray, str]], skeleton: Skeleton, azimuth: float):
    """Poses (K, 3) in camera axes on a matplotlib 3D axes, seen `azimuth` degrees from the side.

    The camera looks along the axes' depth direction at azimuth -90.
    """
    for pose_m_K3, color in poses:
        # Camera y points down and z away; the plot's z points up and y away.
        x, y, z = pose_m_K3[:, 0], pose_m_K3[:, 2], -pose_m_K3[:, 1]
        for a, b in skeleton.edges:
            axes.plot(x[[a, b]], y[[a, b]], z[[a, b]], color=color, linewidth=1.8)
    reach = 1.05 * max(np.abs(pose).max() for pose, _ in poses)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
    axes.set(xticklabels=[], yticklabels=[], zticklabels=[])
    axes.set_box_aspect((1, 1, 1), zoom=1.25)
    axes.view_init(elev=12, azim=azimuth)


def comparison_figure(
    path: str, samples: Sequence[Comparison], skeleton: Skeleton, caption: str
) -> None:
    """Saves a PNG: a row a sample, for each method the picture, then the 3D pose beside it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    methods = list(samples[0].kpts_K2)
    columns = 2 * len(methods)
    figure = Figure(figsize=(2.3 * columns, 2.5 * len(samples) + 0.9), dpi=110)
    FigureCanvasAgg(figure)
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
            error_mm = (
                1000
                * np.linalg.norm(sample.pose_m_K3[method] - sample.true_pose_m_K3, axis=-1).mean()
            )
            flat.set_title(sample.title, fontsize=8)
            solid.set_title(f"{method}: {error_mm:.0f} mm", fontsize=9, pad=-2)
    figure.suptitle(caption, fontsize=10)
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        figure.savefig(file, format="png")
