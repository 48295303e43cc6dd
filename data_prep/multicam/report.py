"""How well the triangulated poses explain the detections: report.json and its tables."""

import numpy as np

from data_prep.multicam.recording import Recording, TriangulatedPoses
from liftjax.skeletons import get_skeleton


def reprojection_report(recording: Recording, poses: TriangulatedPoses) -> dict:
    """Errors of one recording: medians in pixels and, at their depth, in mm; JSON values."""
    joints = get_skeleton(poses.skeleton).joints
    filled = dict(zip(joints, poses.filled.sum(axis=0).tolist(), strict=True))
    report = {
        "frames": len(poses.frames),
        "detections": recording.joint_set,
        "interpolated": {joint: count for joint, count in filled.items() if count},
        "cameras": {},
    }
    for c, camera in enumerate(recording.cameras):
        seen, lags = poses.seen[c], poses.lags
        points_m = camera.to_camera(poses.world_m)
        error_px = np.linalg.norm(camera.project(points_m) - poses.detected_px[c], axis=-1)
        error_mm = 1000 * error_px * points_m[..., 2] / camera.K[0, 0]
        report["cameras"][camera.name] = {
            "lag_frames": lags.frames[c],
            "lag_of_least_error": lags.least_error[c],
            "epipolar_px_without_lags": _rounded(lags.before_px[c]),
            "epipolar_px": _rounded(lags.after_px[c]),
            "frames_in_agreement": int(seen.any(axis=-1).sum()),
            **_medians(error_px[seen], error_mm[seen]),
            "p95_px": _percentile(error_px[seen], 95),
            "joints": {
                joint: {
                    **_medians(error_px[found, k], error_mm[found, k]),
                    "seen": int(found.sum()),
                }
                for k, (joint, found) in enumerate(zip(joints, seen.T, strict=True))
            },
        }
    return report


def _medians(error_px: np.ndarray, error_mm: np.ndarray) -> dict:
    return {"median_px": _percentile(error_px, 50), "median_mm": _percentile(error_mm, 50)}


def _percentile(values: np.ndarray, q: float) -> float | None:
    return round(float(np.percentile(values, q)), 2) if values.size else None


def _rounded(value: float) -> float | None:
    return round(float(value), 2) if np.isfinite(value) else None


def format_report(name: str, report: dict) -> str:
    """The report of a recording as a table: median errors in px (mm), joints by cameras."""
    cameras = report["cameras"]
    width = max(16, 2 + max(map(len, cameras)))
    lines = [
        f"{name}: {report['frames']} frames of {report['detections']} joints; median reprojection "
        "error in px (mm)",
        f"{'':16}" + "".join(f"{name:>{width}}" for name in cameras),
    ]
    joints = next(iter(cameras.values()))["joints"]
    rows = [(joint, [c["joints"][joint] for c in cameras.values()]) for joint in joints]
    for joint, cells in [*rows, ("all joints", list(cameras.values()))]:
        lines.append(f"{joint:16}" + "".join(f"{_cell(cell):>{width}}" for cell in cells))
    lines.append(_lags(cameras))
    for name, camera in cameras.items():
        if camera["lag_of_least_error"] != camera["lag_frames"]:
            lines.append(
                f"{name} was moved or is badly calibrated: {camera['epipolar_px']} px from the "
                f"others' epipolar lines; a lag of {camera['lag_of_least_error']} frames would "
                "lessen that, but puts it out of step with their motion"
            )
    if report["interpolated"]:
        counts = ", ".join(f"{joint} {n}" for joint, n in report["interpolated"].items())
        lines.append(f"frames in which a joint was interpolated: {counts}")
    return "\n".join(lines)


def _cell(errors: dict) -> str:
    if errors["median_px"] is None:
        return "not seen"
    return f"{errors['median_px']:.1f} ({errors['median_mm']:.0f})"


def _lags(cameras: dict) -> str:
    late = {name: c for name, c in cameras.items() if c["lag_frames"]}
    if not late:
        measured = any(c["epipolar_px"] is not None for c in cameras.values())
        return "the cameras are in step" if measured else "lags between cameras: not estimated"
    return "; ".join(
        f"{name} runs {abs(c['lag_frames'])} frames {'late' if c['lag_frames'] > 0 else 'early'} "
        f"(epipolar error {c['epipolar_px_without_lags']} -> {c['epipolar_px']} px)"
        for name, c in late.items()
    )
