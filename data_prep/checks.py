"""What a built data set is checked for: its unit, that 2D and 3D agree, that limbs keep length."""

from collections.abc import Mapping, Sequence

import numpy as np

from liftjax import geometry
from liftjax.errors import LiftjaxError
from liftjax.skeletons import Skeleton, get_skeleton

# Thighs and shins of everybody from a child of three to the tallest man, with room for the error of
# a triangulation.
LEG_BONE_M = (0.1, 0.9)
_LEG_BONES = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"))
)
_CHUNK = 65_536  # poses projected at a time: a whole data set would take gigabytes
SUSPICIOUS_PX = 5.0  # median reprojection error of a sequence worth a line in the report


def check_scale(rows: Sequence[Mapping], skeleton: str, unit) -> None:
    """Raises if the legs of a unit's people have no human length in metres: a wrong unit."""
    poses = np.asarray([row["pose_m"] for row in rows if row["has_3d"]])
    joints = get_skeleton(skeleton)
    bones = [b for b in _LEG_BONES if set(b) <= set(joints.joints)]
    if not len(poses) or not bones:
        return
    ends = np.array([[joints.index(a), joints.index(b)] for a, b in bones])
    length = float(np.median(bone_lengths(poses, ends)))
    low, high = LEG_BONE_M
    if not low <= length <= high:
        file = unit.inputs[0] if unit.inputs else unit.name
        raise LiftjaxError(
            f"{file}: thighs and shins of {unit.name} would be {length:.3g} m long (median), "
            f"people's are {low} to {high} m; the file is in another unit than its format has"
            f"{_likely_unit(length)}."
        )


def _likely_unit(length: float) -> str:
    factors = {"metres": 1e-3, "centimetres": 1e-2, "millimetres": 1e3}
    expected = 0.42  # of an adult
    factor = min(factors.values(), key=lambda f: abs(np.log(length / (expected * f))))
    return f" (by a factor of about {factor:g})"


def bone_lengths(poses: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(N, E) lengths of bones between joints `edges` (E, 2) of poses (N, K, 3)."""
    return np.linalg.norm(poses[:, edges[:, 0]] - poses[:, edges[:, 1]], axis=-1)


def self_check(labels: Mapping[str, np.ndarray], skeleton: Skeleton) -> dict:
    """How well the labels of a split agree with themselves, as JSON values.

    Returns {"reprojection_px": error of the projected 3D against the 2D joints, by camera;
    "suspicious": sequences whose median error exceeds SUSPICIOUS_PX; "limbs": by subject the bone
    whose length varies most, and by how much}; {} if nothing has 3D.
    """
    rows = np.flatnonzero(labels["has_3d"])
    if not len(rows):
        return {}
    error_NK = _reprojection_error(labels, rows)
    cameras = labels["camera"][rows]
    report = {
        "reprojection_px": {
            str(camera): _spread(error_NK[cameras == camera]) for camera in np.unique(cameras)
        },
        "suspicious": _suspicious(labels, rows, error_NK),
        "limbs": {},
    }
    edges, subjects = np.asarray(skeleton.edges), labels["subject"][rows]
    for subject in np.unique(subjects):
        lengths = bone_lengths(labels["pose_m"][rows[subjects == subject]], edges)
        report["limbs"][str(subject)] = _limbs(lengths, skeleton)
    return report


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


def _suspicious(labels, rows, error_NK) -> dict[str, float | None]:
    """Name of a sequence -> its median error, where that is large; None behind the camera."""
    fields = [labels[field][rows] for field in ("subject", "action", "trial", "camera")]
    codes = [np.unique(field, return_inverse=True)[1] for field in fields]
    order = np.lexsort(codes)
    new = np.any([np.diff(code[order]) != 0 for code in codes], axis=0)
    found = {}
    for members in np.split(order, np.flatnonzero(new) + 1):
        subject, action, trial, camera = (field[members[0]] for field in fields)
        errors = error_NK[members]
        median = round(float(np.nanmedian(errors)), 2) if np.isfinite(errors).any() else None
        if median is None or median > SUSPICIOUS_PX:
            found[f"{subject}/{action} {trial}/{camera}"] = median
    return dict(sorted(found.items()))


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
