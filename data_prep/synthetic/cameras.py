"""The four calibrated cameras of the synthetic room.

World axes: metres, z up, the floor at z = 0, the room's centre above the origin.
"""

import numpy as np

from data_prep.cameras import CalibratedCamera


def look_at(position, target) -> tuple[np.ndarray, np.ndarray]:
    """R and t of a level camera at `position` (3,) whose axis goes through `target` (3,)."""
    position, target = np.asarray(position, float), np.asarray(target, float)
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    return R, -R @ position


def _camera(name, position, target, focal, center, distortion, image_size) -> CalibratedCamera:
    R, t = look_at(position, target)
    K = np.array([[focal[0], 0, center[0]], [0, focal[1], center[1]], [0, 0, 1]], float)
    return CalibratedCamera(name, image_size, K, np.asarray(distortion, float), R, t)


CAMERAS = {
    camera.name: camera
    for camera in (
        _camera("south_west", (-3.60, -3.45, 1.55), (0.05, 0.00, 0.92), (1142.0, 1140.5),
                (506.0, 497.5), (-0.120, 0.080, 0.0010, -0.0008, 0.010), (1000, 1000)),
        _camera("south_east", (3.55, -3.70, 1.80), (0.00, 0.04, 0.90), (1148.5, 1147.0),
                (493.5, 508.0), (-0.105, 0.060, -0.0012, 0.0015, 0.020), (1000, 1000)),
        _camera("north_east", (3.70, 3.40, 1.35), (-0.04, 0.02, 0.94), (1151.0, 1149.0),
                (503.0, 489.0), (-0.135, 0.095, 0.0007, 0.0011, -0.015), (1000, 1002)),
        _camera("north_west", (-3.35, 3.65, 2.15), (0.02, -0.05, 0.88), (1139.0, 1141.5),
                (488.5, 502.5), (-0.110, 0.070, -0.0006, -0.0013, 0.005), (1000, 1002)),
    )
}  # fmt: skip
