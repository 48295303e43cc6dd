"""VideoPose3D's files, written as its own scripts write them."""

import numpy as np

from data_prep.human36m.cameras import CAMERAS, published_camera

METADATA = {
    "layout_name": "h36m",
    "num_joints": 17,
    "keypoints_symmetry": [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]],
}
KEPT = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
# Standing with arms stretched out, metres, z up; by number among the 32 joints.
_STANDING = {
    0: (0, 0, 0.95), 1: (-0.13, 0, 0.95), 2: (-0.13, 0.05, 0.5), 3: (-0.13, 0, 0.08),
    6: (0.13, 0, 0.95), 7: (0.13, 0.05, 0.5), 8: (0.13, 0, 0.08), 12: (0, 0, 1.2),
    13: (0, 0, 1.45), 14: (0, 0.1, 1.55), 15: (0, 0, 1.7), 17: (0.16, 0, 1.42),
    18: (0.4, 0, 1.4), 19: (0.65, 0, 1.4), 25: (-0.16, 0, 1.42), 26: (-0.4, 0, 1.4),
    27: (-0.65, 0, 1.4),
}  # fmt: skip


def person(frames: int, seed: int = 0) -> np.ndarray:
    """(F, 32, 3) float32 metres, world axes: somebody who turns and sways."""
    standing = np.zeros((32, 3))
    for joint, place in _STANDING.items():
        standing[joint] = place
    time = np.arange(frames)
    cos, sin, zero = np.cos(time / 60 + seed), np.sin(time / 60 + seed), np.zeros(frames)
    turns = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], -1)
    sway = np.stack([0.5 * np.sin(time / 40 + seed), 0.5 * np.cos(time / 30), zero], -1)
    points = np.einsum("fij,kj->fki", turns.reshape(-1, 3, 3), standing) + sway[:, None]
    return points.astype(np.float32)


def project(points: np.ndarray, subject: str, name: str) -> np.ndarray:
    """(F, 17, 2) float32 pixels, by the formula of VideoPose3D's `project_to_2d`."""
    view = published_camera(subject, name)
    xyz = points[:, KEPT].astype(np.float64) @ view.R.T + view.t
    xy = xyz[..., :2] / xyz[..., 2:]
    r2 = (xy**2).sum(-1, keepdims=True)
    k1, k2, p1, p2, k3 = view.distortion
    swapped = np.array([p2, p1])
    gain = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + (xy * swapped).sum(-1, keepdims=True)
    distorted = xy * gain + swapped * r2
    return (distorted @ view.K[:2, :2].T + view.K[:2, 2]).astype(np.float32)


def poses(subjects=("S1", "S9"), sequences=("Directions 1", "Directions"), frames=12) -> dict:
    return {
        subject: {name: person(frames, 7 * i + j) for j, name in enumerate(sequences)}
        for i, subject in enumerate(subjects)
    }


def two_d(positions: dict, change=lambda px: px) -> dict:
    return {
        subject: {
            name: [change(project(points, subject, c)) for c in CAMERAS]
            for name, points in sequences.items()
        }
        for subject, sequences in positions.items()
    }


def save_3d(path, positions: dict):
    np.savez_compressed(path, positions_3d=positions)
    return path


def save_2d(path, positions: dict, metadata=METADATA):
    np.savez_compressed(path, positions_2d=positions, metadata=metadata)
    return path
