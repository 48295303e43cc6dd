"""Runs and outcomes whose errors are known in advance, for the arithmetic of the tables."""

from typing import NamedTuple

import numpy as np

from liftjax.experiments.paper.outcomes import Outcome

SKELETON = "human36m"
JOINTS = 17
BOX = (0.0, 0.0, 100.0, 50.0)  # its longer side makes 20 px the limit of PCK@0.2


class Run(NamedTuple):
    """All that measures know of a run."""

    id: str
    title: str = ""


def labels(actions, visible=None, has_3d=None, seed=0, **fields):
    """Labels of as many samples as actions, their poses random."""
    rng, count = np.random.default_rng(seed), len(actions)
    visible = np.ones((count, JOINTS), bool) if visible is None else np.asarray(visible, bool)
    return {
        "joints_px": rng.uniform(0, 100, (count, JOINTS, 2)).astype(np.float32),
        "joint_visible": visible,
        "pose_m": rng.normal(0, 0.4, (count, JOINTS, 3)).astype(np.float32),
        "has_3d": np.ones(count, bool) if has_3d is None else np.asarray(has_3d, bool),
        "box_xyxy": np.tile(np.float32(BOX), (count, 1)),
        "action": np.asarray(actions),
        "subject": np.full(count, "S9"),
        "frame": np.arange(count),
    } | fields


def outcome(truth, errors_mm, errors_px=0.0) -> Outcome:
    """Predictions beside `truth` by given distances.

    Args:
      errors_mm: by lifter, (N,), or (N, K) for a distance of each joint; along depth.
      errors_px: (N,) or (N, K), to the right.
    """
    shape = truth["joint_visible"].shape

    def moved(points, distances, axis):
        points = np.array(points, np.float64)
        points[..., axis] += np.broadcast_to(_column(distances), shape)
        return points

    poses = {name: moved(truth["pose_m"], _mm(e), 2) for name, e in errors_mm.items()}
    return Outcome(truth, SKELETON, moved(truth["joints_px"], errors_px, 0), poses)


def _mm(errors_mm):
    return np.asarray(errors_mm, np.float64) / 1000


def _column(distances):
    distances = np.asarray(distances, np.float64)
    return distances[:, None] if distances.ndim == 1 else distances
