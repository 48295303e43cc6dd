"""What h36m-fetch makes: S1/Directions-1/annot.h5 and imageSequence/54138969/img_000001.jpg.

annot.h5 has one row for each frame and camera, one camera after another: pose/2d (rows, 32, 2),
pose/3d (rows, 32, 3) in camera axes and millimetres, camera, frame (from 1, as the pictures),
subject, action, subaction. The folder's number is the trial. The stock script keeps every 64th
frame of S9 and S11 and, of the others, frames in which a joint has moved by 40 mm.
"""

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.building import Problem
from data_prep.human36m.cameras import CAMERAS
from data_prep.human36m.folders import (
    FolderUnit,
    add_unit,
    count_strided,
    first_picture_number,
    pictured_frames,
)
from data_prep.human36m.names import canonical_action, known_cause
from data_prep.human36m.sequences import (
    LabelError,
    SequenceLabels,
    SequenceOptions,
    SubjectSequences,
    pair_labels,
    select_joints,
    sort_frames,
)
from liftjax.errors import LiftjaxError, needs

if TYPE_CHECKING:
    import h5py

LOOKED_FOR = "S1/Directions-1/annot.h5 (h36m-fetch)"
_POSES = ("pose/2d", "pose/3d")
_COLUMNS = ("camera", "frame")
_CONVERT_PICKLE = (
    "import pathlib, pickle, h5py; a = pickle.loads(pathlib.Path('annot.pkl').read_bytes()); "
    "f = h5py.File('annot.h5', 'w'); "
    "[f.create_dataset(k, data=a[k]) for k in ('pose/2d', 'pose/3d', 'camera', 'frame')]; "
    "f.close()"
)


@dataclasses.dataclass(frozen=True, eq=False)
class FetchUnit(FolderUnit):
    """One camera of an annot.h5 and its folder of pictures."""

    def read_labels(self) -> tuple[SequenceLabels, list[Problem]]:
        path, file, stride = self.annotation, self.label_file, self.options.stride
        with _open(path) as h5:
            rows, frames = _rows(h5, path, self.camera)
            px, mm = (_read_joints(h5[key], rows, path) for key in _POSES)
            complete = len(h5["pose/2d"]) == len(h5["pose/3d"])
        labels, problems = pair_labels(frames, px, mm, self.view, stride, file, complete)
        labels, unsorted = sort_frames(labels, stride, file)
        return labels, problems + unsorted


def holds(folder: Path) -> bool:
    """Whether a subject's folder is in this layout."""
    return any(_sequences(folder))


def refuse_pickles(folder: Path) -> None:
    """Raises if a subject's folder has the annotations as pickles."""
    for path in sorted(folder.glob("*/annot.pkl")):
        if not path.with_name("annot.h5").exists():
            raise LiftjaxError(
                f"{path} is a pickle, which may run code when it is read; if you trust it, make an "
                f'annot.h5 of each, in its folder: python -c "{_CONVERT_PICKLE}"'
            )


def plan_units(
    root: Path, folder: Path, subject: str, options: SequenceOptions
) -> SubjectSequences:
    """The sequences of one subject."""
    refuse_pickles(folder)
    found, stride = SubjectSequences(), options.stride
    for path, (action, trial) in sorted(_sequences(folder), key=lambda s: s[1]):
        file = os.path.relpath(path, root)
        try:
            with _open(path) as h5:
                frames = {name: _rows(h5, path, name)[1] for name in CAMERAS}
        except LabelError as error:
            pictured = (pictured_frames(_pictures(path, name)) for name in CAMERAS)
            lost = sum(count_strided(numbers, stride) for numbers in pictured)
            problem = Problem("unreadable annotation", file, None, error.args[1], lost)
            found.problems.append(problem)
            continue
        for name in CAMERAS:
            identity = (str(root), subject, action, trial, name, options)
            if len(frames[name]):
                unit = FetchUnit(*identity, str(path), str(_pictures(path, name)))
                add_unit(found, unit, frames[name])
            else:
                cause = known_cause(subject, action, trial, name)
                detail = f"no rows of camera {name}. {cause}".rstrip()
                lost = max(count_strided(numbers, stride) for numbers in frames.values())
                found.problems.append(Problem("missing camera", file, None, detail, lost))
    return found


def _pictures(annotation, camera: str) -> Path:
    return Path(annotation).parent / "imageSequence" / camera


def _sequences(folder: Path) -> Iterator[tuple[Path, tuple[str, int]]]:
    """Annotations of a subject, with action and trial from the folder's name."""
    for path in sorted(folder.glob("*/annot.h5")):
        match = re.fullmatch(r"([A-Za-z]+)[-_ ](\d+)", path.parent.name)
        action = match and canonical_action(match[1])
        if action:
            yield path, (action, int(match[2]))


def _open(path) -> "h5py.File":
    """The file, with the columns needed. Raises LabelError."""
    with needs("Reading annot.h5", "h5py", "liftjax[data]"):
        import h5py
    try:
        h5 = h5py.File(path, "r")
    except OSError as error:
        raise LabelError(str(path), "not a whole HDF5 file") from error
    for key in (*_POSES, *_COLUMNS):
        if key not in h5:
            h5.close()
            raise LabelError(str(path), f"it has no {key}")
    return h5


def _rows(h5: "h5py.File", path, camera: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a camera and their frame numbers, from 0 (the file counts as its pictures do)."""
    try:
        cameras, frames = (np.asarray(h5[key]).reshape(-1) for key in _COLUMNS)
    except (OSError, TypeError) as error:
        raise LabelError(str(path), "camera or frame cannot be read") from error
    if len(cameras) != len(frames):
        reason = f"camera has {len(cameras)} rows, frame {len(frames)}"
        raise LabelError(str(path), reason)
    rows = np.flatnonzero(cameras.astype("U") == camera)
    return rows, frames[rows].astype(np.int64) - first_picture_number(_pictures(path, camera))


def _read_joints(poses: "h5py.Dataset", rows: np.ndarray, path: str) -> np.ndarray:
    """(rows, 17, D) of a data set of poses, without rows beyond its end."""
    rows = rows[rows < len(poses)]
    first, last = (rows[0], rows[-1] + 1) if len(rows) else (0, 0)
    try:  # one slice, because single rows are slow to read
        return select_joints(poses[first:last][rows - first], path)
    except OSError as error:
        raise LabelError(path, f"{poses.name} cannot be read") from error
