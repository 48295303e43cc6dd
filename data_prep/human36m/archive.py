"""The official archive, unpacked: S1/MyPoseFeatures/D2_Positions/Directions 1.54138969.cdf.

Beside D2_Positions lies D3_Positions_mono (camera axes, millimetres), and S1/Videos has
"Directions 1.54138969.mp4". Each .cdf holds one variable, Pose, of shape (1, frames, 64 or 96): 32
joints. The names that h36m-fetch unpacks to, S1/Poses_D2_Positions, are read as well.
"""

import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep import video
from data_prep.building import Problem
from data_prep.human36m.cameras import CAMERAS, camera
from data_prep.human36m.names import assign_trials, file_numbers, parse_sequence
from data_prep.human36m.sequences import (
    Found,
    LabelError,
    Labels,
    Options,
    Seen,
    SequenceUnit,
    agreeing,
    equally_long,
    known,
    lost,
    metres,
    seventeen,
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

    def read_labels(self) -> tuple[Labels, list[Problem]]:
        px, mm = read_pose(self.labels_2d, 2), read_pose(self.labels_3d, 3)
        file = self.relative(self.labels_2d if len(px) < len(mm) else self.labels_3d)
        frames = np.arange(max(len(px), len(mm)))
        shared, problems = equally_long(frames, px, mm, self.options.stride, file)
        labels = Labels(frames[:shared], px.astype(np.float64)[:shared], metres(mm)[:shared])
        if len(px) != len(mm):
            view = camera(self.subject, self.camera)
            labels, shifted = agreeing(labels, view, self.options.stride, file)
            problems += shifted
        return labels, problems

    def read_pictures(self, frames) -> Iterator[Seen]:
        if not frames:
            return
        file = self.relative(self.video)
        try:
            count = video.frame_count(self.video)
        except LiftjaxError:
            kind = "unreadable video" if os.path.exists(self.video) else "missing video"
            detail = known(self.subject, self.action, self.trial, self.camera)
            yield frames[0], None, Problem(kind, file, frames[0], detail, len(frames))
            return
        inside = [f for f in frames if f < count]
        for frame, picture in video.frames_at(self.video, inside):
            problem = Problem("broken frame", file, frame, "the video breaks off before it")
            yield frame, picture, problem if picture is None else None
        for frame in frames[len(inside) :]:
            yield frame, None, Problem("video too short", file, frame, f"it has {count} frames")

    def unlabelled(self, frames: np.ndarray) -> list[Problem]:
        try:
            count = video.frame_count(self.video)
        except LiftjaxError:
            return []
        annotated = int(frames.max(initial=-1)) + 1
        detail = f"the video has {count} frames, the annotation {annotated}"
        missing = np.arange(annotated, count)
        stride = self.options.stride
        return lost("frame without annotation", self.relative(self.video), missing, stride, detail)

    def pictures_there(self, stride: int) -> int:
        try:
            return len(range(0, video.frame_count(self.video), stride))
        except LiftjaxError:
            return 0

    def picture_file(self, frame: int) -> str:
        return self.relative(self.video)


def holds(folder: Path) -> bool:
    """Whether a subject's folder is in this layout."""
    return _folder(folder, "D2_Positions") is not None


def plan_units(root: Path, folder: Path, subject: str, options: Options) -> Found:
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
    numbers = defaultdict(set)
    for action, number, _ in files:
        numbers[action].add(number)
    units = []
    for action in sorted(numbers):
        trials = assign_trials(subject, action, numbers[action])
        for number, trial in sorted(trials.items(), key=lambda item: item[1]):
            if number not in file_numbers(subject, action):
                problems.append(_unexpected(root, files, subject, (action, number), trial))
            for name in CAMERAS:
                of_camera = files.get((action, number, name), {})
                identity = (str(root), subject, action, trial, name, options)
                if all(kind in of_camera for kind in _ANNOTATIONS):
                    paths = [of_camera[kind] for kind in _ANNOTATIONS]
                    of_camera.setdefault("Videos", places["Videos"] / f"{paths[0].stem}.mp4")
                    units.append(ArchiveUnit(*identity, *map(str, paths), str(of_camera["Videos"])))
                elif of_camera:
                    problems.append(_half(root, places, of_camera, options.stride))
                else:
                    stem = f"{action} {number}".strip() + f".{name}"
                    file = os.path.relpath(places["D2_Positions"] / f"{stem}.cdf", root)
                    detail = known(subject, action, trial, name)
                    count = _others_have(units, action, trial, options.stride)
                    problems.append(Problem("missing camera", file, None, detail, count))
    return Found(units, problems)


def _others_have(units, action: str, trial: int, stride: int) -> int:
    """How many frames of the stride another camera has of the trial; 0 if none was seen yet."""
    others = (unit for unit in units if (unit.action, unit.trial) == (action, trial))
    return next((unit.pictures_there(stride) for unit in others), 0)


def _files(root, places) -> tuple[dict[tuple, dict[str, Path]], list[Problem]]:
    """(action, file number, camera) -> kind of file -> path; and files that say the same twice."""
    found, problems = defaultdict(dict), []
    for kind, place in places.items():
        for path in sorted(place.glob(f"*{_SUFFIXES[kind]}")) if place else ():
            key = _parse(path)
            if key is None:
                continue
            first = found[key].setdefault(kind, path)
            if first != path:
                file, detail = os.path.relpath(path, root), f"{first.name} is taken instead"
                problems.append(Problem("duplicate sequence", file, None, detail, 0))
    return found, problems


def _unexpected(root, files, subject: str, sequence: tuple[str, str], trial: int) -> Problem:
    key = min(key for key in files if key[:2] == sequence)
    file = os.path.relpath(min(files[key].values()), root)
    detail = f"the archive has no such file for {subject}; read as trial {trial}"
    return Problem("unexpected sequence", file, None, detail, 0)


def _half(root, places, of_camera: dict[str, Path], stride: int) -> Problem:
    """One of a sequence's annotations is missing; its video tells how much is lost."""
    kind = next(kind for kind in _ANNOTATIONS if kind not in of_camera)
    stem = next(iter(of_camera.values())).stem
    try:
        count = len(range(0, video.frame_count(of_camera["Videos"]), stride))
    except (KeyError, LiftjaxError):
        count = 0
    file = os.path.relpath(places[kind] / f"{stem}{_SUFFIXES[kind]}", root)
    return Problem("missing annotation", file, None, "", count)


def _folder(subject_folder: Path, kind: str) -> Path | None:
    places = (subject_folder / pattern.format(kind) for pattern in _FOLDERS)
    return next((place for place in places if place.is_dir()), None)


def _parse(path: Path) -> tuple[str, str, str] | None:
    """(action, file number, camera) of "Directions 1.54138969.cdf"."""
    name, _, camera = path.stem.rpartition(".")
    sequence = parse_sequence(name)
    return (*sequence, camera) if sequence and camera in CAMERAS else None


def read_pose(path: str, dimensions: int) -> np.ndarray:
    """(F, 17, dimensions) of a .cdf file's Pose, in the file's dtype and unit."""
    import cdflib

    try:
        pose = np.asarray(cdflib.CDF(path).varget("Pose"))
    except Exception as error:  # the reader has a dozen kinds for a file cut short
        raise LabelError(path, f"not a whole .cdf file with a variable Pose ({error})") from error
    width = 32 * dimensions
    if pose.shape[-1:] == (width,):
        return seventeen(pose.reshape(-1, 32, dimensions), path)
    if pose.shape[-2:] == (32, dimensions):
        return seventeen(pose.reshape(-1, 32, dimensions), path)
    raise LabelError(path, f"Pose has shape {pose.shape}, expected (1, frames, {width})")
