"""Finds where people stand: the root joint's position in camera axes.

A lifter gives a pose around its root. Given the camera's focal length, least squares find the
position from which that pose projects onto its keypoints.

Legend: N people, J joints.
"""

import numpy as np

ASSUMED_FOCAL = 1.15
"""Default focal length as a multiple of the frame's longer side, that of Human3.6M's cameras."""

_NEAREST_M = 0.2
_FARTHEST_M = 1000


def focal_px(size_N2: np.ndarray, given: float | None) -> np.ndarray:
    """(N,) focal lengths in pixels of frames of sizes (N, 2); `given` for all if not None."""
    longer_N = np.asarray(size_N2, np.float64).max(axis=1)
    return ASSUMED_FOCAL * longer_N if given is None else np.full(len(longer_N), float(given))


def place_roots(
    pose_m_NJ3: np.ndarray,
    kpts_px_NJ2: np.ndarray,
    weight_NJ: np.ndarray,
    focal_px_N: np.ndarray,
    center_px_N2: np.ndarray,
) -> np.ndarray:
    """Positions (N, 3) of the roots in metres, camera axes; exact for a pose's own projection.

    Minimises, over the joints, the weighted squares of f (X + x) - u (Z + z) and of the same in y,
    where (u, v) are pixels from the principal point and (x, y, z) is the root. These equations are
    linear (Mehta et al., 3DV 2017, solve them with a weak-perspective approximation). A person
    whom they put behind the camera is placed by the sizes of pose and keypoints instead. Depths
    are limited to 0.2 m to 1 km.

    Args:
      pose_m_NJ3: root-relative poses.
      kpts_px_NJ2: their keypoints.
      weight_NJ: of each keypoint, such as its score; not all 0.
      focal_px_N: focal lengths.
      center_px_N2: principal points.
    """
    pose, focal = np.asarray(pose_m_NJ3, np.float64), np.asarray(focal_px_N, np.float64)
    rays_NJ2 = (np.asarray(kpts_px_NJ2, np.float64) - center_px_N2[:, None]) / focal[:, None, None]
    weight_NJ = np.clip(np.asarray(weight_NJ, np.float64), 1e-3, None)
    weight_NJ = weight_NJ / weight_NJ.sum(axis=1, keepdims=True)

    # X + x = a (Z + z): for a given z the best x is mean(a (Z + z) - X), so only z is unknown.
    offset_NJ2 = rays_NJ2 * pose[..., 2:] - pose[..., :2]
    ray_N2, offset_N2 = _mean(weight_NJ, rays_NJ2), _mean(weight_NJ, offset_NJ2)
    slope_NJ2 = rays_NJ2 - ray_N2[:, None]
    square = (weight_NJ * (slope_NJ2**2).sum(axis=-1)).sum(axis=1)
    product = (slope_NJ2 * (offset_NJ2 - offset_N2[:, None])).sum(axis=-1)
    product = (weight_NJ * product).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        z_N = -product / square
        z_N = np.where(z_N > _NEAREST_M, z_N, _depth_by_size(pose, slope_NJ2, weight_NJ))
    z_N = np.clip(np.nan_to_num(z_N, nan=_FARTHEST_M), _NEAREST_M, _FARTHEST_M)
    xy_N2 = offset_N2 + z_N[:, None] * ray_N2
    return np.concatenate([xy_N2, z_N[:, None]], axis=1).astype(np.float32)


def _depth_by_size(pose_NJ3, slope_NJ2, weight_NJ) -> np.ndarray:
    """Depths (N,) at which pose and keypoints have the same spread."""
    spread_NJ2 = pose_NJ3[..., :2] - _mean(weight_NJ, pose_NJ3[..., :2])[:, None]
    sizes = [(weight_NJ[..., None] * v**2).sum((1, 2)) for v in (spread_NJ2, slope_NJ2)]
    return np.sqrt(sizes[0] / sizes[1])


def _mean(weight_NJ, values_NJ2) -> np.ndarray:
    """Weighted means (N, 2) over the joints."""
    return (weight_NJ[..., None] * values_NJ2).sum(axis=1)
