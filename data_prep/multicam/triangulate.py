"""3D points from their pictures in several calibrated cameras, and who is who.

Legend: C cameras, F frames, J joints.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from data_prep.multicam.calibration import Camera
from liftjax import geometry

_NEWTON_STEPS = 5
_STANDING_OUT = 0.7  # the others' error without a camera, to that with it
_SAMPLE = 100  # frames to find that out from


def triangulate(points_px, weights, cameras: Sequence[Camera]) -> np.ndarray:
    """World points (..., 3) in metres whose weighted reprojection error is least.

    A linear solution on undistorted rays starts a few Gauss-Newton steps on the pixel error.

    Args:
      points_px: (C, ..., 2) pixels. weights: (C, ...) not negative; zero means not seen.
      cameras: the C cameras.

    Returns:
      Points; NaN where fewer than two cameras saw the point.
    """
    points_px, weights = np.asarray(points_px, float), np.asarray(weights, float)
    rays = np.stack(
        [geometry.pixel_rays(p, c.K, c.distortion) for p, c in zip(points_px, cameras, strict=True)]
    )
    shape = weights.shape[1:]
    rays, weights = rays.reshape(len(cameras), -1, 2), weights.reshape(len(cameras), -1)
    seen = (weights > 0).sum(axis=0) >= 2
    world = np.full((rays.shape[1], 3), np.nan)
    world[seen] = _linear(rays[:, seen], weights[:, seen], cameras)
    for _ in range(_NEWTON_STEPS):
        world[seen] += _newton_step(world[seen], rays[:, seen], weights[:, seen], cameras)
    return world.reshape(*shape, 3)


def drop_outliers(points_px, weights, cameras: Sequence[Camera], max_error_px: float):
    """World points (..., 3) and weights (C, ...) with views that contradict the others at zero.

    While a point's largest reprojection error exceeds `max_error_px`, the view goes without which
    the rest agree best; two views that do not agree both go, and the point is NaN.

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
        solved = [_solve(points_px[:, bad], w, cameras) for w in without]
        # Leaving out a view that had no weight changes nothing, so it never wins.
        best = np.argmin([e for _, e in solved], axis=0)
        at = np.arange(len(bad))
        weights[best, bad] = 0
        world[bad] = np.stack([w for w, _ in solved])[best, at]
        error[bad] = np.stack([e for _, e in solved])[best, at]
    contradictory = error > max_error_px
    weights[:, contradictory], world[contradictory] = 0, np.nan
    return world.reshape(*shape[1:], 3), weights.reshape(shape)


def without_standing_out(
    points_px, weights, cameras: Sequence[Camera], least_px: float
) -> np.ndarray:
    """Weights (C, F, J) with those of a camera at zero that spoils the others' agreement.

    Such a camera was moved, or its calibration is of another one. It shows where the error falls
    by 30 % or more without it, beyond what fewer views explain; that takes four cameras.

    Args: as for :func:`triangulate`.
    """
    weights = np.array(weights, float)
    step = max(1, weights.shape[1] // _SAMPLE)
    points_px = np.asarray(points_px)[:, ::step]
    while True:
        sample = weights[:, ::step]
        used = np.flatnonzero((sample > 0).any(axis=(1, 2)))
        if len(used) < 4:
            return weights
        error = _noise_px(points_px, sample, cameras)
        errors = [_noise_px(points_px, np.where(_one(c, sample), 0, sample), cameras) for c in used]
        best = int(np.argmin(errors))
        if error < least_px or not errors[best] < _STANDING_OUT * error:
            return weights
        weights[used[best]] = 0


def _one(camera: int, weights) -> np.ndarray:
    """(C, 1, 1) whether it is that camera."""
    return (np.arange(len(weights)) == camera)[:, None, None]


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
        x, y, z = geometry.world_to_camera(world, camera.R, camera.t).T
        focal = camera.K[0, 0]
        residual = focal * (np.stack([x / z, y / z], axis=-1) - ray)
        zero = np.zeros_like(z)
        by_camera = np.stack([1 / z, zero, -x / z**2, zero, 1 / z, -y / z**2], axis=-1)
        jacobian = focal * by_camera.reshape(-1, 2, 3) @ camera.R
        weighted = weight[:, None, None] * jacobian
        normal += np.einsum("nia,nib->nab", weighted, jacobian)
        gradient += np.einsum("nia,ni->na", weighted, residual)
    return -np.linalg.solve(normal, gradient[..., None])[..., 0]


def reprojection_error(world, points_px, cameras: Sequence[Camera]) -> np.ndarray:
    """(C, ...) distances in pixels between the pictures of `world` (..., 3) and `points_px`."""
    return np.stack(
        [
            np.linalg.norm(project(world, camera) - p, axis=-1)
            for p, camera in zip(points_px, cameras, strict=True)
        ]
    )


def project(world, camera: Camera) -> np.ndarray:
    """Pixels (..., 2) of world points (..., 3)."""
    return geometry.project(
        geometry.world_to_camera(world, camera.R, camera.t), camera.K, camera.distortion
    )
