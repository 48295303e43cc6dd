"""3D points from their pictures in several calibrated cameras, without views that contradict.

Legend: C cameras, F frames, J joints.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from data_prep.cameras import CalibratedCamera
from liftjax import geometry

_NEWTON_STEPS = 5
_BAD_CAMERA = 0.7  # the others' error without a bad camera, relative to that with it
_SAMPLE = 100  # frames in which bad cameras are looked for


def triangulate(points_px, weights, cameras: Sequence[CalibratedCamera]) -> np.ndarray:
    """World points (..., 3) in metres that have the least weighted reprojection error.

    A linear solution on undistorted rays starts a few Gauss-Newton steps on the pixel error.

    Args:
      points_px: (C, ..., 2) pixels.
      weights: (C, ...) not negative; zero means not seen.
      cameras: the C cameras.

    Returns:
      Points; NaN where fewer than two cameras saw the point.
    """
    points_px, weights = np.asarray(points_px, float), np.asarray(weights, float)
    rays = np.stack([camera.rays(p) for p, camera in zip(points_px, cameras, strict=True)])
    shape = weights.shape[1:]
    rays, weights = rays.reshape(len(cameras), -1, 2), weights.reshape(len(cameras), -1)
    seen = (weights > 0).sum(axis=0) >= 2
    world = np.full((rays.shape[1], 3), np.nan)
    world[seen] = _linear(rays[:, seen], weights[:, seen], cameras)
    for _ in range(_NEWTON_STEPS):
        world[seen] += _newton_step(world[seen], rays[:, seen], weights[:, seen], cameras)
    return world.reshape(*shape, 3)


def drop_outliers(points_px, weights, cameras: Sequence[CalibratedCamera], max_error_px: float):
    """World points (..., 3), and weights (C, ...) that are zero for contradicting views.

    While a point's largest reprojection error exceeds `max_error_px`, that view is dropped without
    which the others agree best. Of two views that disagree both are dropped, and the point is NaN.

    Args: as for :func:`triangulate`.
    """
    points_px, weights = np.asarray(points_px, float), np.array(weights, float)
    shape = weights.shape
    points_px, weights = points_px.reshape(len(cameras), -1, 2), weights.reshape(len(cameras), -1)
    world, error = _solve(points_px, weights, cameras)
    for _ in cameras[2:]:
        bad = np.flatnonzero(error > max_error_px)
        bad = bad[(weights[:, bad] > 0).sum(axis=0) > 2]
        if not bad.size:
            break
        without = np.repeat(weights[None, :, bad], len(cameras), axis=0)
        without[np.arange(len(cameras)), np.arange(len(cameras))] = 0
        worlds, errors = zip(*(_solve(points_px[:, bad], w, cameras) for w in without), strict=True)
        # Leaving out a view that had no weight changes nothing, so it never wins.
        best, at = np.argmin(errors, axis=0), np.arange(len(bad))
        weights[best, bad] = 0
        world[bad], error[bad] = np.stack(worlds)[best, at], np.stack(errors)[best, at]
    contradictory = error > max_error_px
    weights[:, contradictory], world[contradictory] = 0, np.nan
    return world.reshape(*shape[1:], 3), weights.reshape(shape)


def drop_bad_cameras(
    points_px, weights, cameras: Sequence[CalibratedCamera], least_px: float
) -> np.ndarray:
    """Weights (C, F, J) that are zero for cameras which spoil the others' agreement.

    Such a camera was moved, or its calibration is another camera's. Without it the error falls by
    30 % or more, beyond what fewer views explain. To see that takes four cameras.

    Args:
      points_px, weights, cameras: as for :func:`triangulate`.
      least_px: a smaller error is no reason to drop a camera.
    """
    weights = np.array(weights, float)
    step = max(1, weights.shape[1] // _SAMPLE)
    points_px = np.asarray(points_px)[:, ::step]
    index = np.arange(len(cameras))[:, None, None]
    while True:
        sample = weights[:, ::step]
        used = np.flatnonzero((sample > 0).any(axis=(1, 2)))
        if len(used) < 4:
            return weights
        error = _noise_px(points_px, sample, cameras)
        errors = [_noise_px(points_px, np.where(index == c, 0, sample), cameras) for c in used]
        best = int(np.argmin(errors))
        if error < least_px or not errors[best] < _BAD_CAMERA * error:
            return weights
        weights[used[best]] = 0


def _noise_px(points_px, weights, cameras) -> float:
    """Error of a view, from the median residual of points that three or more views show."""
    views = (weights > 0).sum(axis=0)
    counted = (weights > 0) & (views >= 3)
    if not counted.any():
        return np.inf
    residuals = reprojection_error(triangulate(points_px, weights, cameras), points_px, cameras)
    # N views are 2N numbers, of which the point explains three.
    explained = np.sqrt(1 - 3 / (2 * np.broadcast_to(np.maximum(views, 2), weights.shape)))
    return float(np.median((residuals / explained)[counted]))


def _solve(points_px, weights, cameras):
    """World points (N, 3) and their largest reprojection error (N,) over the views that count."""
    world = triangulate(points_px, weights, cameras)
    errors = reprojection_error(world, points_px, cameras)
    return world, np.where(weights > 0, errors, 0).max(axis=0)


def fill_gaps(world: np.ndarray, frames: np.ndarray, max_gap: int) -> np.ndarray:
    """World points (F, J, 3) with NaN replaced by linear interpolation between frames.

    Only gaps of at most `max_gap` frames between known points are filled.
    """
    world = world.copy()
    for joint in range(world.shape[1]):
        known = np.flatnonzero(np.isfinite(world[:, joint]).all(axis=-1))
        for a, b in itertools.pairwise(known):
            if b - a > 1 and frames[b] - frames[a] <= max_gap + 1:
                ends = [a, b]
                world[a + 1 : b, joint] = geometry.interpolate_frames(
                    frames[ends], world[ends, joint], frames[a + 1 : b]
                )
    return world


def _linear(rays, weights, cameras) -> np.ndarray:
    """(N, 3): the direct linear transform, rows weighted (Hartley and Zisserman, 12.2)."""
    rows = []
    for ray, weight, camera in zip(rays, weights, cameras, strict=True):
        projection = np.hstack([camera.R, camera.t[:, None]])
        for axis in (0, 1):
            row = ray[:, axis, None] * projection[2] - projection[axis]
            rows.append(weight[:, None] * row)
    _, _, v = np.linalg.svd(np.stack(rows, axis=1))
    homogeneous = v[:, -1]
    return homogeneous[:, :3] / homogeneous[:, 3:]


def _newton_step(world, rays, weights, cameras) -> np.ndarray:
    """(N, 3): the step that lowers sum_c w_c |f_c (projection - ray)|^2."""
    normal, gradient = np.zeros((len(world), 3, 3)), np.zeros((len(world), 3))
    for ray, weight, camera in zip(rays, weights, cameras, strict=True):
        x, y, z = camera.to_camera(world).T
        focal = camera.K[0, 0]
        residual = focal * (np.stack([x / z, y / z], axis=-1) - ray)
        zero = np.zeros_like(z)
        by_camera = np.stack([1 / z, zero, -x / z**2, zero, 1 / z, -y / z**2], axis=-1)
        jacobian = focal * by_camera.reshape(-1, 2, 3) @ camera.R
        weighted = weight[:, None, None] * jacobian
        normal += np.einsum("nia,nib->nab", weighted, jacobian)
        gradient += np.einsum("nia,ni->na", weighted, residual)
    return -np.linalg.solve(normal, gradient[..., None])[..., 0]


def reprojection_error(world, points_px, cameras: Sequence[CalibratedCamera]) -> np.ndarray:
    """(C, ...) distances in pixels between the projections of `world` (..., 3) and `points_px`."""
    pairs = zip(points_px, cameras, strict=True)
    return np.stack([np.linalg.norm(c.project_world(world) - p, axis=-1) for p, c in pairs])
