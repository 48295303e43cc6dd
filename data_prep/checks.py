"""Checks of records: lengths in metres, 2D that agrees with 3D, limbs of constant length."""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from data_prep.problems import Problem, last_parts
from liftjax import geometry
from liftjax.data.schema import IDENTITY, Record, record_name
from liftjax.errors import LiftjaxError
from liftjax.skeletons import Skeleton, get_skeleton

# From a child of three to the tallest man, with room for errors of triangulation.
LEG_BONE_M = (0.1, 0.9)
_LEG_M = 0.42  # of an adult
_LEG_BONES = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"))
)
_CHUNK = 65_536  # poses that are projected at a time, to save memory
SUSPICIOUS_PX = 5.0  # median reprojection error that makes a sequence worth a remark
WRONG_PX = 50.0  # the same for a single record
DISAGREE = "2D and 3D disagree"


def of_human_size(items: Iterable[Record | Problem], unit) -> Iterator[Record | Problem]:
    """What a unit gives, with a problem for each record whose legs have no human length.

    Raises:
      LiftjaxError: most records are like that, so the source must be in another unit of length.
    """
    lengths, good = [], 0
    for item in items:
        length = None
        if isinstance(item, Record) and item.has_3d:
            length = leg_length(item.pose_m, item.skeleton, item.joint_visible)
        if length is not None and not LEG_BONE_M[0] <= length <= LEG_BONE_M[1]:
            lengths.append(length)
            detail = f"thighs and shins of {length:.3g} m (median){_likely_unit(length)}"
            item = Problem(
                "limbs of no human length", last_parts(unit.pose_file), item.frame, detail
            )
        elif length is not None:
            good += 1
        yield item
    if len(lengths) > good:
        check_leg_lengths(lengths, unit)


def check_leg_lengths(lengths_m: Sequence[float], unit) -> None:
    """Raises if the median length of a unit's thighs and shins is not human."""
    length, (low, high) = float(np.median(lengths_m)), LEG_BONE_M
    if not low <= length <= high:
        raise LiftjaxError(
            f"{unit.pose_file}: thighs and shins of {unit.name} would be {length:.3g} m long "
            f"(median), people's are {low} to {high} m; the file is in another unit than its "
            f"format requires{_likely_unit(length)}."
        )


def leg_length(pose_m: np.ndarray, skeleton: str, visible=None) -> float | None:
    """Median length in metres of the visible thighs and shins; None if none is visible.

    Args:
      pose_m: (K, 3).
      visible: (K,) bool; None for all.
    """
    ends = _leg_ends(skeleton)
    if visible is not None:
        ends = ends[np.asarray(visible, bool)[ends].all(axis=-1)]
    return float(np.median(bone_lengths(np.asarray(pose_m)[None], ends))) if len(ends) else None


@functools.cache
def _leg_ends(skeleton: str) -> np.ndarray:
    """(E, 2) indices of the joints at the ends of thighs and shins."""
    joints = get_skeleton(skeleton)
    bones = [bone for bone in _LEG_BONES if set(bone) <= set(joints.joints)]
    return np.array([[joints.index(a), joints.index(b)] for a, b in bones], int).reshape(-1, 2)


def _likely_unit(length: float) -> str:
    """The power of ten that would explain a wrong length, in brackets."""
    return f" (by a factor of about {10 ** round(math.log10(length / _LEG_M)):g})" if length else ""


def bone_lengths(poses: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(N, E) lengths of bones between joints `edges` (E, 2) of poses (N, K, 3)."""
    return np.linalg.norm(poses[:, edges[:, 0]] - poses[:, edges[:, 1]], axis=-1)


def self_check(labels: Mapping[str, np.ndarray], skeleton: Skeleton) -> tuple[dict, list[Problem]]:
    """Checks whether the labels of a split agree with each other.

    Returns:
      A JSON value with "reprojection_px", the distances between projected 3D and 2D joints by
      camera, and "limbs", the bone whose length varies most by subject; {} without any 3D.
      Remarks on the sequences and single records whose 2D and 3D disagree.
    """
    rows = np.flatnonzero(labels["has_3d"])
    if not len(rows):
        return {}, []
    error_NK = _reprojection_error(labels, rows)
    cameras = labels["camera"][rows]
    report = {
        "reprojection_px": {
            str(camera): _spread(error_NK[cameras == camera]) for camera in np.unique(cameras)
        },
        "limbs": {},
    }
    edges, subjects = np.asarray(skeleton.edges), labels["subject"][rows]
    for subject in np.unique(subjects):
        lengths = bone_lengths(labels["pose_m"][rows[subjects == subject]], edges)
        report["limbs"][str(subject)] = _limbs(lengths, skeleton)
    return report, list(_disagreements(labels, rows, error_NK))


def _reprojection_error(labels, rows) -> np.ndarray:
    """(N, K) pixels, NaN where the joint lies behind the camera."""
    error_NK = np.empty((len(rows), labels["joints_px"].shape[1]), np.float32)
    models = labels["distortion_model"][rows]
    for model in np.unique(models):
        at = np.flatnonzero(models == model)
        for some in np.array_split(at, -(-len(at) // _CHUNK)):
            error_NK[some] = _chunk_error(labels, rows[some], str(model))
    return error_NK


def _chunk_error(labels, rows, model: str) -> np.ndarray:
    points = labels["pose_m"][rows].astype(np.float64) + labels["root_m"][rows][:, None]
    in_front = points[..., 2] > 0
    points[..., 2] = np.where(in_front, points[..., 2], 1)
    camera = labels["camera_K"][rows], labels["camera_distortion"][rows]
    px = geometry.project(points, *camera, model=model)
    return np.where(in_front, np.linalg.norm(px - labels["joints_px"][rows], axis=-1), np.nan)


def _disagreements(labels, rows, error_NK) -> Iterator[Problem]:
    """A remark on each sequence with a large median error, and on single records of the others."""
    fields = [labels[field][rows] for field in IDENTITY]
    codes = [np.unique(field, return_inverse=True)[1] for field in fields[:-1]]
    order = np.lexsort(codes)
    new = np.any([np.diff(code[order]) != 0 for code in codes], axis=0)
    for members in np.split(order, np.flatnonzero(new) + 1):
        subject, action, trial, camera = (field[members[0]] for field in fields[:-1])
        errors = np.nan_to_num(error_NK[members], nan=np.inf)
        sequence = f"{subject}/{action} {trial}/{camera}"
        if (median := float(np.median(errors))) > SUSPICIOUS_PX:
            yield Problem(DISAGREE, sequence, None, _apart(median, "in the median"), dropped=0)
            continue
        for i in np.flatnonzero(np.median(errors, axis=1) > WRONG_PX):
            name = record_name(*(field[members[i]] for field in fields))
            detail = f"{name}: {_apart(float(np.median(errors[i])), 'in the median joint')}"
            yield Problem(DISAGREE, sequence, int(fields[-1][members[i]]), detail, dropped=0)


def _apart(error_px: float, of: str) -> str:
    return f"{error_px:.1f} px apart {of}" if np.isfinite(error_px) else "behind the camera"


def _spread(error: np.ndarray) -> dict[str, float | None]:
    error = error[np.isfinite(error)]
    if not error.size:
        return {"median": None, "p95": None, "max": None}
    median, p95 = np.percentile(error, (50, 95))
    return {
        k: round(float(v), 4)
        for k, v in zip(("median", "p95", "max"), (median, p95, error.max()), strict=True)
    }


def _limbs(lengths: np.ndarray, skeleton: Skeleton) -> dict:
    mean, deviation = lengths.mean(axis=0), lengths.std(axis=0)
    worst = int(np.argmax(deviation / np.maximum(mean, 1e-9)))
    return {
        "least_constant_bone": "-".join(skeleton.bones[worst]),
        "mean_mm": round(1000 * float(mean[worst]), 1),
        "std_mm": round(1000 * float(deviation[worst]), 2),
    }
