"""Draws poses in 3D beside a picture.

They are seen without perspective, turned about the vertical and a little from above, so that depth
shows. Camera axes are x right, y down, z away; view axes are the same after the turn.

Legend: P people, J joints.
"""

import dataclasses
import itertools

import cv2
import numpy as np

from liftjax.inference.outputs import colors
from liftjax.skeletons import Skeleton

AZIMUTH, ELEVATION = 35.0, 14.0  # degrees
_TILE_M = 0.5
_SHIFT = 4  # cv2 takes coordinates in sixteenths of a pixel


@dataclasses.dataclass(frozen=True)
class View:
    """What the panel shows; the same throughout a video, so that nothing grows or shrinks.

    Attributes:
      center_m: (3,) the point in the middle; None for the first person's root.
      low_m, high_m: (2,) corners of the part shown, in view axes around the middle.
    """

    center_m: np.ndarray | None
    low_m: np.ndarray
    high_m: np.ndarray


def fitting_view(placed_NJ3: np.ndarray, roots_N3: np.ndarray, together: bool) -> View:
    """The view that shows all poses but outliers, where they are or each around its root."""
    points = placed_NJ3.astype(np.float64)
    center = None
    if together:
        center = _finite_quantiles(points.reshape(-1, 3), 0.5)
        points = points - center
    else:
        points = points - np.where(np.isfinite(roots_N3), roots_N3, 0)[:, None]
    seen = (points @ turn().T).reshape(-1, 3)[:, :2]
    low, high = (_finite_quantiles(seen, share) for share in (0.003, 0.997))
    if not np.all(high > low):
        low, high = np.array([-0.6, -0.9]), np.array([0.6, 0.9])
    return View(center, low, high)


def turn() -> np.ndarray:
    """(3, 3) rotation from camera axes to view axes."""
    a, e = np.radians([AZIMUTH, ELEVATION])
    about_up = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(e), -np.sin(e)], [0, np.sin(e), np.cos(e)]])
    return about_x @ about_up


def draw_panel(
    size: tuple[int, int],
    placed_PJ3: np.ndarray,
    strength_P: np.ndarray,
    roots_P3: np.ndarray,
    tracks: list[int],
    skeleton: Skeleton,
    view: View,
) -> np.ndarray:
    """(height, width, 3) uint8: people where they are, on the ground below the lowest joint.

    Args:
      size: (width, height).
      placed_PJ3: metres, camera axes.
      strength_P: how strongly people are drawn, from 0 to 1.
      tracks: numbers of the people, for the colours.
    """
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    image[:] = colors.PAPER
    center = view.center_m
    if center is None:
        center = roots_P3[0] if len(roots_P3) and np.isfinite(roots_P3[0]).all() else np.zeros(3)
    rotation = turn()
    span = view.high_m - view.low_m
    scale = min(0.78 * width / span[0], 0.74 * height / span[1])
    middle = np.array([width, height]) / 2 - scale * (view.low_m + view.high_m) / 2

    def place(points):
        """Points (..., 3) around the middle as pixels of the panel and depth."""
        seen = points @ rotation.T
        return np.concatenate([scale * seen[..., :2] + middle, seen[..., 2:]], axis=-1)

    joints = placed_PJ3.astype(np.float64) - center
    down = joints[..., 1]
    floor = np.nanmax(down) if np.isfinite(down).any() else view.high_m[1]
    radius = 0.75 * max(span)
    _draw_ground(image, place, floor, radius)
    thick = max(2.0, min(width, height) / 95 * min(1.0, 2.2 / max(span)))
    flat = joints.copy()
    flat[..., 1] = floor
    for points in place(flat):
        for a, b in skeleton.edges:
            line(image, points[a], points[b], colors.SHADOW, thick)
    _draw_people(image, place(joints), strength_P, tracks, skeleton, thick)
    return image


def _draw_ground(image, place, floor, radius) -> None:
    """Lines half a metre apart that fade towards a circle."""
    tile = _TILE_M * max(1, int(radius / _TILE_M / 5))  # a crowd's ground has larger tiles
    count = int(radius // tile)
    for at in np.arange(-count, count + 1) * tile:
        half = np.sqrt(max(0.0, radius**2 - at**2))
        ends = np.linspace(-half, half, 9)
        for p, q in itertools.pairwise(ends):
            away = min(1.0, np.hypot(at, (p + q) / 2) / radius)
            color = colors.mix(colors.GRID, colors.PAPER, away**2)
            for swap in (False, True):
                ends_m = np.array([[at, floor, p], [at, floor, q]])
                line(image, *place(ends_m[:, ::-1] if swap else ends_m), color, len(image) / 600)


def _draw_people(image, points_PJ3, strength_P, tracks, skeleton, thick) -> None:
    """Bones from the farthest to the nearest; the far ones are paler, doubtful people faint."""
    left = [name.startswith("left_") for name in skeleton.joints]
    parts = []
    for points, strength, track in zip(points_PJ3, strength_P, tracks, strict=True):
        right_color = colors.of_track(track)
        for a, b in skeleton.edges:
            color = colors.left_tint(right_color) if left[a] or left[b] else right_color
            depth = (points[a, 2] + points[b, 2]) / 2
            parts.append((depth, points[a], points[b], color, strength))
    depths = np.array([part[0] for part in parts])
    if not np.isfinite(depths).any():
        return
    near, far = np.nanmin(depths), np.nanmax(depths)
    for depth, a, b, color, strength in sorted(parts, key=lambda part: -part[0]):
        if not np.isfinite(depth):
            continue
        fade = 0.45 * (depth - near) / max(far - near, 0.5)
        # A rim separates a bone from what lies behind, but not from the bones at its ends.
        inset = thick * (b - a) / max(np.hypot(*(b - a)[:2]), 4 * thick)
        line(image, a + inset, b - inset, colors.PAPER, thick + 4)
        line(image, a, b, colors.mix(colors.PAPER, color, strength * (1 - fade)), thick)


def line(image: np.ndarray, a: np.ndarray, b: np.ndarray, color: colors.Color, thick: float):
    """A smooth line with round ends; nothing if an end is not finite or far outside."""
    ends = np.array([a[:2], b[:2]])
    if not (np.abs(ends) < 1e5).all():
        return
    (ax, ay), (bx, by) = np.round(ends * (1 << _SHIFT)).astype(int).tolist()
    cv2.line(image, (ax, ay), (bx, by), color, max(1, round(thick)), cv2.LINE_AA, _SHIFT)


def dot(image: np.ndarray, point: np.ndarray, radius: float, color: colors.Color):
    """A smooth disc; nothing if its centre is not finite or far outside."""
    if not (np.abs(point[:2]) < 1e5).all():
        return
    x, y = np.round(point[:2] * (1 << _SHIFT)).astype(int).tolist()
    cv2.circle(image, (x, y), round(radius * (1 << _SHIFT)), color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _finite_quantiles(points: np.ndarray, share: float) -> np.ndarray:
    """(D,) quantiles of the finite points among (N, D); zeros if there are none."""
    points = points[np.isfinite(points).all(axis=-1)]
    return np.quantile(points, share, axis=0) if len(points) else np.zeros(points.shape[-1])
