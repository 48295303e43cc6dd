"""Names beside points, placed so that they do not cover each other."""

from collections.abc import Sequence

import numpy as np

_GAP = 2  # from a point to its name, in points of print
_FAR = 6  # rings of places that are tried, each a gap further out
_DIRECTIONS = np.deg2rad([45, 315, 135, 225, 0, 180, 90, 270])
_BAR = 1.5  # half width of what a bar takes, in points of print


def place_labels(
    axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colors: Sequence[str],
    bars: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
    **style,
) -> None:
    """Writes each text near its point of a matplotlib axes, with a thin line if it is far.

    Each text takes the first free place around its point; points far from the others come first.
    Call it when the layout of the figure is final.

    Args:
      points: in data coordinates.
      bars: (low, high) corners of error bars, which stay visible.
      style: of the text.
    """
    figure = axes.get_figure(root=True)
    renderer, unit = figure.canvas.get_renderer(), figure.dpi / 72

    def pixels(corners):
        return axes.transData.transform(np.reshape(np.asarray(corners, float), (-1, 2)))

    points_px, bars_px = pixels(points), pixels(bars).reshape(-1, 2, 2)
    frame = np.ravel(axes.get_window_extent(renderer).get_points())
    taken = [np.concatenate([p - 3 * unit, p + 3 * unit]) for p in points_px]
    taken += [np.concatenate([a - _BAR * unit, b + _BAR * unit]) for a, b in bars_px]
    if axes.get_legend():
        taken.append(np.ravel(axes.get_legend().get_window_extent(renderer).get_points()))
    distances = np.linalg.norm(points_px[:, None] - points_px, axis=-1)
    np.fill_diagonal(distances, np.inf)
    for n in np.argsort(-distances.min(axis=1)):
        text = axes.text(0, 0, texts[n], **style)
        size = np.array(text.get_window_extent(renderer).size)
        text.remove()
        center, ring = _free_place(points_px[n], size, _GAP * unit, taken, frame)
        taken.append(np.concatenate([center - size / 2, center + size / 2]))
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": "#98a2b3", "shrinkA": 0}
        axes.annotate(
            texts[n], points[n], xytext=center - points_px[n], textcoords="offset pixels",
            ha="center", va="center", color=colors[n], arrowprops=line if ring else None, **style,
        )  # fmt: skip


def _free_place(point, size, gap_px: float, taken: list[np.ndarray], frame):
    """(center, ring) of the place around `point` that covers least."""
    best = None
    for ring in range(_FAR):
        for angle in _DIRECTIONS:
            direction = np.array([np.cos(angle), np.sin(angle)])
            center = point + direction * (size / 2 + gap_px * (1 + 3 * ring))
            box = np.concatenate([center - size / 2, center + size / 2])
            outside = _overlap(box, box) - _overlap(box, frame)
            cost = sum(_overlap(box, other) for other in taken) + outside
            if best is None or cost < best[0]:
                best = cost, center, ring
            if cost <= 0:
                return center, ring
    return best[1:]


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Area that two boxes (left, bottom, right, top) share."""
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(max(width, 0) * max(height, 0))
