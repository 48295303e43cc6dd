"""What h36m-fetch makes: S1/Directions-1/annot.h5 and imageSequence/54138969/img_000001.jpg.

annot.h5 has one row a frame and camera, the cameras one after another: pose/2d (rows, 32, 2),
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
from data_prep.human36m import folders
from data_prep.human36m.cameras import CAMERAS, camera
from data_prep.human36m.names import canonical_action
from data_prep.human36m.sequences import (
    Found,
    LabelError,
    Labels,
    Options,
    Seen,
    SequenceUnit,
    agreeing,
    equally_long,
    in_order,
    known,
    lost,
    metres,
    seventeen,
)
from liftjax.errors import LiftjaxError, needs

if TYPE_CHECKING:
    import h5py

LOOKED_FOR = "S1/Directions-1/annot.h5 (h36m-fetch)"
_POSES = ("pose/2d", "pose/3d")
_COLUMNS = ("camera", "frame")
CONVERT_PICKLE = (
    "import pathlib, pickle, h5py; a = pickle.loads(pathlib.Path('annot.pkl').read_bytes()); "
    "f = h5py.File('annot.h5', 'w'); "
    "[f.create_dataset(k, data=a[k]) for k in ('pose/2d', 'pose/3d', 'camera', 'frame')]; "
    "f.close()"
)


@dataclasses.dataclass(frozen=True, eq=False)
class FetchUnit(SequenceUnit):
    """One camera of an annot.h5 and its folder of pictures."""

    annotation: str
    pictures: str

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.annotation, self.pictures

    def read_labels(self) -> tuple[Labels, list[Problem]]:
        file, stride = self.label_file, self.options.stride
        with _open(self.annotation) as h5:
            rows, frames = _rows(h5, self.annotation, self.camera)
            px, mm = (h5[key] for key in _POSES)
            last = [rows[rows < len(poses)] for poses in (px, mm)]
            whole = len(px) == len(mm)
            shared, problems = equally_long(frames, *last, stride, file)
            detail = f"{len(rows)} frames, poses of {shared}"
            without = frames[max(map(len, last)) :]  # rows of frame and camera alone
            problems += lost("frame without annotation", file, without, stride, detail)
            px, mm = (_read(poses, rows[:shared], self.annotation) for poses in (px, mm))
        labels = Labels(frames[:shared], px.astype(np.float64), metres(mm))
        if not whole:
            labels, shifted = agreeing(labels, camera(self.subject, self.camera), stride, file)
            problems += shifted
        labels, more = in_order(labels, stride, file)
        return labels, problems + more

    def read_pictures(self, frames) -> Iterator[Seen]:
        return folders.read(self.pictures, self.source, frames, self.options.present)

    def unlabelled(self, frames: np.ndarray) -> list[Problem]:
        return folders.unlabelled(self.pictures, self.source, frames, self.options.stride)

    def pictures_there(self, stride: int) -> int:
        return _strided(self.annotation, self.camera, stride)

    def picture_file(self, frame: int) -> str:
        return self.relative(Path(self.pictures, folders.numbered(self.pictures)[frame]))


def holds(folder: Path) -> bool:
    """Whether a subject's folder is in this layout."""
    return any(_sequences(folder, "annot.h5"))


def refuse_pickles(folder: Path) -> None:
    """Raises if a subject's folder has the annotations as pickles."""
    for path in sorted(folder.glob("*/annot.pkl")):
        if path.with_name("annot.h5").exists():
            continue
        raise LiftjaxError(
            f"{path} is a pickle, which may run code when read; if you trust it, make an annot.h5 "
            f'of each, in its folder: python -c "{CONVERT_PICKLE}"'
        )


def plan_units(root: Path, folder: Path, subject: str, options: Options) -> Found:
    """The sequences of one subject."""
    refuse_pickles(folder)
    found = Found([], [])
    for path, (action, trial) in sorted(_sequences(folder, "annot.h5"), key=lambda s: s[1]):
        file = os.path.relpath(path, root)
        try:
            with _open(path) as h5:
                frames = {name: _rows(h5, path, name)[1] for name in CAMERAS}
        except LabelError as error:
            count = sum(_strided(path, name, options.stride) for name in CAMERAS)
            found.problems.append(
                Problem("unreadable annotation", file, None, error.args[1], count)
            )
            continue
        for name in CAMERAS:
            place = _pictures(path, name)
            detail = known(subject, action, trial, name)
            if not len(frames[name]):
                detail = f"no rows of camera {name}. {detail}".rstrip()
                count = max(int((f % options.stride == 0).sum()) for f in frames.values())
                found.problems.append(Problem("missing camera", file, None, detail, count))
            elif not place.is_dir():
                count = int((frames[name] % options.stride == 0).sum())
                missing = os.path.relpath(place, root)
                found.problems.append(Problem("missing camera", missing, None, detail, count))
            else:
                unit = FetchUnit(
                    str(root), subject, action, trial, name, options, str(path), str(place)
                )
                found.units.append(unit)
                found.held[unit.name] = frames[name], folders.numbers(place)
    return found


def _pictures(annotation, camera: str) -> Path:
    return Path(annotation).parent / "imageSequence" / camera


def _strided(annotation, camera: str, stride: int) -> int:
    """How many pictures of the stride a camera has."""
    return int((folders.numbers(_pictures(annotation, camera)) % stride == 0).sum())


def _sequences(folder: Path, file: str) -> Iterator[tuple[Path, tuple[str, int]]]:
    """Annotations of a subject, with action and trial from the folder's name."""
    for path in sorted(folder.glob(f"*/{file}")):
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
    return rows, frames[rows].astype(np.int64) - folders.first_number(_pictures(path, camera))


def _read(poses: "h5py.Dataset", rows: np.ndarray, path: str) -> np.ndarray:
    """(rows, 17, D) of a data set of poses."""
    first, last = (rows[0], rows[-1] + 1) if len(rows) else (0, 0)
    try:
        return seventeen(poses[first:last][rows - first], path)  # rows one by one are slow to read
    except OSError as error:
        raise LabelError(path, f"{poses.name} cannot be read") from error
