"""`export-2d`: a detector's keypoints on Human3.6M as a data_2d_*.npz, for everybody's lifters.

The file has VideoPose3D's format (see `liftjax.data.videopose3d`): row n of a sequence is frame n
at 50 Hz, for each of the four cameras. No row is ever out of place, whatever the data set lacks;
a table beside the file counts what was missing:

  frames without a picture (a data set built with a stride): their keypoints are interpolated
    between detections, and repeated before the first and after the last; readers that take every
    stride-th row, such as VideoPose3D with --downsample, get detections alone
  a sequence that one of the cameras lacks: left out
  "Directions" of S11, whose video is broken in the archive: left out, as in VideoPose3D's files
"""

import csv
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from liftjax.data.records import PoseDataset, read_metadata
from liftjax.data.schema import IDENTITY
from liftjax.data.videopose3d import CAMERAS, LAYOUTS, read_positions_3d, write_keypoints
from liftjax.errors import LiftjaxError
from liftjax.geometry import interpolate_frames
from liftjax.prediction import detection_settings, predict_2d
from liftjax.runtime.checkpoints import load_model

_BROKEN = {("S11", "Directions")}
_Views = dict[str, tuple[np.ndarray, np.ndarray]]  # camera -> frames (F,), keypoints (F, K, 2)


@dataclasses.dataclass
class Line:
    """A line of the table: what became of a sequence."""

    subject: str
    sequence: str
    rows: int = 0
    detected: int = 0  # of rows times four cameras
    longest_gap: int = 0  # rows between two detections
    left_out: str = ""


def export_keypoints(
    config: ConfigDict,
    workdir: str,
    out: str,
    *,
    data: str | None = None,
    splits: Sequence[str] = (),
    poses: str | None = None,
) -> list[Line]:
    """Detects in all pictures of the splits, writes `out` and the table `out`.csv.

    Args:
      config: the recipe, which says how keypoints are decoded.
      workdir: the run directory of the detector.
      out: the file to write.
      data: the data set; default: the recipe's.
      splits: default: all that the data set has.
      poses: data_3d_h36m.npz, for the lengths and the names of its sequences; without it a
        sequence ends with its last picture, and readers may find it short.
    """
    detector, _ = load_model(workdir, "detector")
    skeleton = detector.spec.skeleton
    if skeleton not in LAYOUTS.values():
        raise LiftjaxError(
            f"The detector in {workdir} finds {skeleton or 'unnamed'} joints, but VideoPose3D's "
            f"files hold {' or '.join(LAYOUTS.values())} joints; give a detector of those."
        )
    lengths = _lengths(poses) if poses else None
    data = data or config.data.dir
    positions, table = arrange(_detect(config, detector, data, splits), lengths)
    if not positions:
        raise LiftjaxError(f"{data}: no sequence is there from all four cameras; {_why(table)}.")
    write_keypoints(out, positions, skeleton)
    with open(f"{out}.csv", "w", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(field.name for field in dataclasses.fields(Line))
        writer.writerows(dataclasses.astuple(line) for line in table)
    print(report(table, out, lengths))
    return table


def _detect(
    config: ConfigDict, detector: nnx.Module, data: str, splits: Sequence[str]
) -> dict[tuple, _Views]:
    """The sequences of these splits."""
    labels, kpts_px = {field: [] for field in IDENTITY}, []
    for split in splits or read_metadata(data)["splits"]:
        dataset = PoseDataset.open(data, split)
        _check_cameras(dataset)
        settings = {"batch_size": config.data.eval_batch_size, **detection_settings(config)}
        kpts_px.append(predict_2d(detector, dataset.with_pictures(), **settings))
        for field in IDENTITY:
            labels[field].append(dataset.labels[field])
    labels = {field: np.concatenate(parts) for field, parts in labels.items()}
    return sequences(labels, np.concatenate(kpts_px))


def sequences(labels: Mapping[str, np.ndarray], kpts_px_NK2: np.ndarray) -> dict[tuple, _Views]:
    """Frames and keypoints by (subject, action, trial), then by camera."""
    seen: dict[tuple, _Views] = {}
    fields = [labels[name] for name in ("subject", "action", "trial", "camera")]
    ids = [np.unique(field, return_inverse=True)[1] for field in fields]
    order = np.lexsort([labels["frame"], *reversed(ids)])
    change = np.any([i[order[1:]] != i[order[:-1]] for i in ids], axis=0)
    for rows in np.split(order, np.flatnonzero(change) + 1):
        subject, action, trial, camera = (field[rows[0]].item() for field in fields)
        views = seen.setdefault((subject, action, trial), {})
        views[camera] = labels["frame"][rows], kpts_px_NK2[rows]
    return seen


def arrange(seen: Mapping[tuple, _Views], lengths: Mapping | None):
    """The sequences as VideoPose3D has them, and what became of each.

    Args:
      seen: of :func:`sequences`.
      lengths: (subject, action, file number) -> name and frames of the 3D poses; None: a sequence
        is as long as its pictures.
    """
    positions: dict[str, dict[str, list]] = {}
    table = []
    for (subject, action, trial), views in sorted(seen.items()):
        key, name = _file_name(subject, action, trial)
        line = Line(subject, name)
        table.append(line)
        missing = [camera for camera in CAMERAS if camera not in views]
        if key is None:
            line.left_out = "no such trial in Human3.6M"
        elif (subject, name) in _BROKEN:
            line.left_out = "broken video, in none of VideoPose3D's files"
        elif missing:
            line.left_out = f"no picture from {', '.join(missing)}"
        elif lengths is not None and key not in lengths:
            line.left_out = "not among the 3D poses"
        else:
            last = max(int(frames[-1]) for frames, _ in views.values())
            line.sequence, line.rows = lengths[key] if lengths else (name, last + 1)
            arrays = [fill(*views[camera], line.rows) for camera in CAMERAS]
            positions.setdefault(subject, {})[line.sequence] = arrays
            frames = [views[camera][0] for camera in CAMERAS]
            line.detected = sum(int((f < line.rows).sum()) for f in frames)
            line.longest_gap = max(_longest_gap(f, line.rows) for f in frames)
    absent = set(lengths or ()) - {_file_name(*key)[0] for key in seen}
    for key in sorted(absent):
        table.append(Line(key[0], lengths[key][0], left_out="no picture at all"))
    return positions, table


def fill(frames_F: np.ndarray, kpts_px_FK2: np.ndarray, rows: int) -> np.ndarray:
    """Keypoints (rows, K, 2) float32 of every frame, from those of some frames.

    Args:
      frames_F: the frames that have keypoints, in increasing order.
      kpts_px_FK2: their keypoints.
      rows: the number of frames.
    """
    if not np.isfinite(kpts_px_FK2).all():
        raise LiftjaxError("The detector gave NaN keypoints; its weights are damaged.")
    filled = interpolate_frames(frames_F, kpts_px_FK2.astype(np.float64), np.arange(rows))
    return filled.astype(np.float32)  # in detected frames the detections themselves, bit for bit


def _longest_gap(frames: np.ndarray, rows: int) -> int:
    ends = np.concatenate([[-1], frames[frames < rows], [rows]])
    return int(np.diff(ends).max()) - 1


def _file_name(subject: str, action: str, trial: int) -> tuple[tuple | None, str]:
    """The key of a sequence and its name in the archive, "Directions 1"; no key if it has none."""
    from data_prep.human36m.names import ACTIONS, file_numbers, parse_subject

    if parse_subject(subject) is None or action not in ACTIONS or trial not in (1, 2):
        return None, f"{action}, trial {trial}"
    number = file_numbers(subject, action)[trial - 1]
    return (subject, action, number), f"{action} {number}".rstrip()


def _lengths(path: str) -> dict[tuple, tuple[str, int]]:
    """(subject, action, file number) -> name and frames of a sequence of the 3D file."""
    from data_prep.human36m.names import parse_sequence

    found = {}
    for subject, poses in read_positions_3d(path).items():
        for name, points in poses.items():
            parsed = parse_sequence(name)
            if parsed:
                found[subject, *parsed] = name, len(points)
    return found


def _check_cameras(dataset: PoseDataset) -> None:
    unknown = sorted(set(np.unique(dataset.labels["camera"]).tolist()) - set(CAMERAS))
    if unknown:
        raise LiftjaxError(
            f"{dataset.directory} has cameras {', '.join(unknown[:4])}; VideoPose3D's files are of "
            f"Human3.6M, whose cameras are {', '.join(CAMERAS)}; give a data set of those."
        )


def _why(table: Sequence[Line]) -> str:
    reasons = [line.left_out for line in table if line.left_out]
    return "; ".join(f"{reasons.count(r)} sequences: {r}" for r in dict.fromkeys(reasons))


def report(table: Sequence[Line], out: str, lengths: Mapping | None) -> str:
    """What was written and what was not, in a few lines."""
    written = [line for line in table if not line.left_out]
    rows, detected = 4 * sum(line.rows for line in written), sum(line.detected for line in written)
    lines = [
        f"Wrote {out}: {len(written)} sequences from 4 cameras, {rows} poses, {detected} of them "
        f"detected ({detected / rows:.1%})"
    ]
    if detected < rows:
        longest = max(line.longest_gap for line in written)
        lines.append(
            f"  the others are interpolated or repeated, over gaps of up to {longest} frames; for "
            "detections alone read every n-th row, n being the stride of the data set"
        )
    if len(written) < len(table):
        lines.append(f"  left out: {_why(table)}")
    if lengths is None:
        lines.append(
            "  sequences end with their last picture; with --poses data_3d_h36m.npz they are as "
            "long as the poses, as VideoPose3D needs them"
        )
    return "\n".join([*lines, f"  by sequence in {out}.csv"])
