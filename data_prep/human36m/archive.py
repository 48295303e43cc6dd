"""The official archive, unpacked: S1/MyPoseFeatures/D2_Positions/Directions 1.54138969.cdf.

Beside D2_Positions lies D3_Positions_mono (camera axes, millimetres), and S1/Videos has
"Directions 1.54138969.mp4". Each .cdf holds one variable, Pose, of shape (1, frames, 64 or 96): 32
joints. The folder names that h36m-fetch unpacks to, S1/Poses_D2_Positions, are read as well.
"""

import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep import video
from data_prep.building import Problem
from data_prep.human36m.cameras import CAMERAS, parse_view
from data_prep.human36m.names import (
    file_numbers,
    in_order_of_trials,
    known_cause,
)
from data_prep.human36m.sequences import (
    LabelError,
    Seen,
    SequenceLabels,
    SequenceOptions,
    SequenceUnit,
    SubjectSequences,
    lost_frames,
    pair_labels,
    select_joints,
)
from liftjax.errors import LiftjaxError, needs

LOOKED_FOR = "S1/MyPoseFeatures/D2_Positions/*.cdf (the official archive)"
_ANNOTATIONS = ("D2_Positions", "D3_Positions_mono")
_SUFFIXES = dict.fromkeys(_ANNOTATIONS, ".cdf") | {"Videos": ".mp4"}
_FOLDERS = ("MyPoseFeatures/{}", "Poses_{}", "{}", "MyPoseFeatures/Poses_{}")


@dataclasses.dataclass(frozen=True, eq=False)
class ArchiveUnit(SequenceUnit):
    """A sequence in two .cdf files and an .mp4."""

    labels_2d: str
    labels_3d: str
    video: str

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.labels_2d, self.labels_3d, self.video

    @property
    def pose_file(self) -> str:
        return self.labels_3d

    def read_labels(self) -> tuple[SequenceLabels, list[Problem]]:
        px, mm = read_pose(self.labels_2d, 2), read_pose(self.labels_3d, 3)
        file = self.relative(self.labels_2d if len(px) < len(mm) else self.labels_3d)
        frames, stride = np.arange(max(len(px), len(mm))), self.options.stride
        return pair_labels(frames, px, mm, self.view, stride, file, complete=len(px) == len(mm))

    def read_pictures(self, frames) -> Iterator[Seen]:
        if not frames:
            return
        file, count = self.relative(self.video), _count_frames(self.video)
        if count is None:
            kind = "unreadable video" if os.path.exists(self.video) else "missing video"
            cause = known_cause(self.subject, self.action, self.trial, self.camera)
            yield frames[0], None, Problem(kind, file, frames[0], cause, len(frames))
            return
        inside = [f for f in frames if f < count]
        for frame, picture in video.frames_at(self.video, inside):
            problem = Problem("broken frame", file, frame, "the video breaks off before it")
            yield frame, picture, problem if picture is None else None
        for frame in frames[len(inside) :]:
            yield frame, None, Problem("video too short", file, frame, f"it has {count} frames")

    def unlabelled(self, frames: np.ndarray) -> list[Problem]:
        count, annotated = _count_frames(self.video) or 0, int(frames.max(initial=-1)) + 1
        detail = f"the video has {count} frames, the annotation {annotated}"
        file, missing = self.relative(self.video), np.arange(annotated, count)
        return lost_frames("frame without annotation", file, missing, self.options.stride, detail)

    def count_pictures(self) -> int:
        return _count_strided(self.video, self.options.stride)

    def picture_file(self, frame: int) -> str:
        return self.relative(self.video)


def holds(folder: Path) -> bool:
    """Whether a subject's folder is in this layout."""
    return _folder(folder, "D2_Positions") is not None


def plan_units(
    root: Path, folder: Path, subject: str, options: SequenceOptions
) -> SubjectSequences:
    """The sequences of one subject."""
    with needs("Reading .cdf files", "cdflib", "liftjax[data]"):
        import cdflib  # noqa: F401  (raises now rather than in the middle of the work)
    video.check_readable()
    places = {kind: _folder(folder, kind) for kind in _SUFFIXES}
    if places["D3_Positions_mono"] is None:
        raise LiftjaxError(
            f"{folder}: looked for D3_Positions_mono (3D joints in camera axes) beside "
            f"{places['D2_Positions'].name}, found none; download D3_Positions_mono too."
        )
    files, problems = _files(root, places)
    found = SubjectSequences(problems=problems)
    for action, number, trial in in_order_of_trials(subject, (key[:2] for key in files)):
        if number not in file_numbers(subject, action):
            first = min(key for key in files if key[:2] == (action, number))
            file = os.path.relpath(min(files[first].values()), root)
            detail = f"the archive has no such file for {subject}; read as trial {trial}"
            problems.append(Problem("unexpected sequence", file, None, detail, 0))
        for name in CAMERAS:
            of_camera = files.get((action, number, name), {})
            if all(kind in of_camera for kind in _ANNOTATIONS):
                labels = [of_camera[kind] for kind in _ANNOTATIONS]
                film = of_camera.get("Videos", places["Videos"] / f"{labels[0].stem}.mp4")
                identity = (str(root), subject, action, trial, name, options)
                found.units.append(ArchiveUnit(*identity, *map(str, labels), str(film)))
            elif of_camera:
                problems.append(_half(root, places, of_camera, options.stride))
            else:
                stem = f"{action} {number}".strip() + f".{name}"
                file = os.path.relpath(places["D2_Positions"] / f"{stem}.cdf", root)
                cause = known_cause(subject, action, trial, name)
                others = (u for u in found.units if (u.action, u.trial) == (action, trial))
                lost = next((unit.count_pictures() for unit in others), 0)
                problems.append(Problem("missing camera", file, None, cause, lost))
    return found


def _files(root, places) -> tuple[dict[tuple, dict[str, Path]], list[Problem]]:
    """(action, file number, camera) -> kind of file -> path; and problems with files of one key."""
    found, problems = defaultdict(dict), []
    for kind, place in places.items():
        for path in sorted(place.glob(f"*{_SUFFIXES[kind]}")) if place else ():
            key = parse_view(path.stem)
            if key is None:
                continue
            first = found[key].setdefault(kind, path)
            if first != path:
                file, detail = os.path.relpath(path, root), f"{first.name} is taken instead"
                problems.append(Problem("duplicate sequence", file, None, detail, 0))
    return found, problems


def _half(root, places, of_camera: dict[str, Path], stride: int) -> Problem:
    """The problem that one of a sequence's two annotations is missing."""
    kind = next(kind for kind in _ANNOTATIONS if kind not in of_camera)
    stem = next(iter(of_camera.values())).stem
    lost = _count_strided(of_camera["Videos"], stride) if "Videos" in of_camera else 0
    file = os.path.relpath(places[kind] / f"{stem}{_SUFFIXES[kind]}", root)
    return Problem("missing annotation", file, None, "", lost)


def _count_frames(path) -> int | None:
    """How many frames a video has; None if it is missing or cannot be read."""
    try:
        return video.frame_count(path)
    except LiftjaxError:
        return None


def _count_strided(path, stride: int) -> int:
    return len(range(0, _count_frames(path) or 0, stride))


def _folder(subject_folder: Path, kind: str) -> Path | None:
    places = (subject_folder / pattern.format(kind) for pattern in _FOLDERS)
    return next((place for place in places if place.is_dir()), None)


def read_pose(path: str, dimensions: int) -> np.ndarray:
    """(F, 17, dimensions) of a .cdf file's Pose, in the file's dtype and unit."""
    import cdflib

    try:
        pose = np.asarray(cdflib.CDF(path).varget("Pose"))
    except Exception as error:  # the reader raises a dozen kinds for a truncated file
        raise LabelError(path, f"not a whole .cdf file with a variable Pose ({error})") from error
    width = 32 * dimensions
    if pose.shape[-1:] != (width,) and pose.shape[-2:] != (32, dimensions):
        raise LabelError(path, f"Pose has shape {pose.shape}, expected (1, frames, {width})")
    return select_joints(pose.reshape(-1, 32, dimensions), path)
