"""Reads the 2D poses of one camera that a detector wrote.

A folder of JSON files, one a frame:

- OpenPose: {"people": [{"pose_keypoints_2d": [x, y, confidence, ...]}]}. RTMPose through Pose2Sim
  writes the same.
- MMPose: [{"keypoints": [[x, y], ...], "keypoint_scores": [...]}, ...], the frame's people.

The file name ends in a number (NAME.0000.json, NAME_000000_keypoints.json); the one that varies is
the frame's. Or one JSON file for the whole video, beside such folders or alone in one:

- MMPose's inferencer: [{"frame_id": 0, "instances": [people as above]}, ...].
- MMPose's demo scripts: {"meta_info": ..., "instance_info": [{"frame_id": 1, "instances": ...}]},
  which count from 1 and name the joints.
- COCO results: [{"image_id": 0, "keypoints": [x, y, score, ...]}, ...], a person each. An image may
  be a number or the name of a picture ("000001.jpg", as AlphaPose writes).

Which frame of the video the first number is, :mod:`numbering` finds with the videos; which joints
they are, :mod:`joint_sets`. A joint that is NaN counts as not found, and a person without joints as
nobody.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.building import Problem
from data_prep.multicam.joint_sets import joint_set_named, joint_set_told, lie_otherwise
from data_prep.multicam.numbering import frame_numbers
from liftjax.errors import LiftjaxError
from liftjax.numbers import as_numbers, usable
from liftjax.skeletons import get_skeleton

_NUMBERED = re.compile(r"\d(?:_keypoints)?\.json$")
# OpenPose's COCO model: 0 nose, 1 neck, right then left arm, right then left leg, eyes, ears.
_OPENPOSE_COCO_TO_COCO = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
# Confidences are 0 to 1; OpenPose's are a little higher at times, those of some RTMPose models
# several times as high. Hundreds are per cent or of another unit.
_REMARKABLE_CONFIDENCE, _NO_CONFIDENCE = 1.5, 20.0
# What JSON of another form raises.
_OTHERWISE = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError)


@dataclasses.dataclass(frozen=True)
class Detections:
    """The people that one camera's detector found.

    Attributes:
      people: frame number -> (P, J, 3) x, y in pixels and confidence; P may be 0, and a joint that
        was not found has confidence 0.
      joint_set: name of the skeleton of the J joints; None if their number leaves it open.
      source: the folder or file. problems: what was wrong in it.
      first: the video's first frame in the file, if its form says so; it is 0 in `people`.
      only_found: whether frames without people are not listed.
    """

    people: dict[int, np.ndarray]
    joint_set: str | None
    source: Path
    problems: tuple[Problem, ...] = ()
    first: int | None = None
    only_found: bool = False


@dataclasses.dataclass(frozen=True)
class _Content:
    """What files hold: (file, frame number, people as (J, 3) arrays) in order, and the rest.

    Attributes:
      meta: what the file says about its joints. first, only_found: as of Detections.
    """

    frames: Sequence[tuple[Path, int, list[np.ndarray]]]
    meta: Mapping = dataclasses.field(default_factory=dict)
    first: int | None = None
    only_found: bool = False


def read_detections(source, joint_set: str | None = None, root=None) -> Detections:
    """The detections of one camera.

    Args:
      source: a folder of files, one a frame, or one file for the whole video.
      joint_set: skeleton of the joints; None for what the file says, or else to tell it from their
        number and places.
      root: the directory that problems name files relative to.
    """
    source = Path(source)
    problems: list[Problem] = []
    people: dict[int, list[np.ndarray]] = {}
    empty = 0
    content = _read(source)
    for file, number, rows in content.frames:
        name = str(file.relative_to(root)) if root else str(file)
        if number in people:
            raise LiftjaxError(f"{file}: frame {number} comes twice.")
        people[number] = [_without_nan(row, name, number, problems) for row in rows if len(row)]
        empty += len(rows) - len(people[number])
        if people[number] and not all(len(r) == len(people[number][0]) for r in people[number]):
            raise LiftjaxError(f"{file}, frame {number}: people with different numbers of joints.")
    counts = {len(row): number for number, rows in people.items() for row in rows}
    if not counts:
        raise LiftjaxError(
            f"{source}: no person in any of {len(people)} frames; leave the camera out with "
            "--cameras."
        )
    if len(counts) > 1:
        (a, frame_a), (b, frame_b) = list(counts.items())[:2]
        raise LiftjaxError(
            f"{source}: people of {a} joints (frame {frame_a}) and of {b} (frame {frame_b}); are "
            "these of two detectors?"
        )
    count = next(iter(counts))
    stacked = {
        number: np.stack(rows) if rows else np.zeros((0, count, 3))
        for number, rows in sorted(people.items())
    }
    name, remark = joint_set_named(content.meta, joint_set, source)
    everyone = np.concatenate(list(stacked.values()))
    name = name or joint_set_told(everyone, source)
    if name == "openpose_coco":
        stacked = {n: p[:, _OPENPOSE_COCO_TO_COCO] for n, p in stacked.items()}
        everyone = everyone[:, _OPENPOSE_COCO_TO_COCO]
        name = "coco"
    elif name and get_skeleton(name).num_joints != count:
        raise LiftjaxError(
            f"{source}: a person has {count} joints, expected {get_skeleton(name).num_joints} "
            f"({name})."
        )
    shown = str(source.relative_to(root)) if root else str(source)
    if empty:
        problems.append(Problem("people without joints", shown, None, f"{empty}, left out", 0))
    if remark:
        problems.append(Problem("joints of another name", shown, None, remark, 0))
    if lie_otherwise(everyone, name):
        detail = f"they do not lie as those of {name} do"
        problems.append(Problem("joints in other places", shown, None, detail, 0))
    problems += _confidences(everyone[..., 2], source, shown)
    if not content.only_found:
        problems += _missing_frames(stacked, shown)
    return Detections(stacked, name, source, tuple(problems), content.first, content.only_found)


def _read(source: Path) -> _Content:
    if source.is_file():
        return _video_file(source)
    files = sorted(source.glob("*.json")) if source.is_dir() else []
    if len(files) == 1 and _is_video_file(_load(files[0])):
        return _video_file(files[0])
    files = [file for file in files if _NUMBERED.search(file.name)]
    if not files:
        raise LiftjaxError(f"No detections: expected files {source}/NAME.0000.json and so on.")
    frames = []
    numbers = frame_numbers([file.name for file in files], source)
    for number, file in sorted(zip(numbers, files, strict=True)):
        document = _load(file)
        try:
            people = document["people"] if isinstance(document, dict) else document
            frames.append((file, number, _people(people)))
        except _OTHERWISE as error:
            raise LiftjaxError(f"{file} is not an OpenPose file ({error!r}).") from None
    return _Content(frames)


def _load(file: Path):
    try:
        return json.loads(file.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise LiftjaxError(f"{file} is not an OpenPose file ({error!r}).") from None


def _is_video_file(document) -> bool:
    if isinstance(document, dict):
        return "instance_info" in document
    first = document[0] if document and isinstance(document, list) else None
    return isinstance(first, dict) and ("instances" in first or "image_id" in first)


def _video_file(file: Path) -> _Content:
    document = _load(file)
    try:
        if isinstance(document, dict):
            return _mmpose_demo(file, document)
        if document and "image_id" in document[0]:
            return _coco_results(file, document)
        numbers = [int(f.get("frame_id", i)) for i, f in enumerate(document)]
        people = [frame["instances"] for frame in document]
        return _Content(_frames(file, numbers, people))
    except LiftjaxError:
        raise
    except _OTHERWISE as error:
        raise LiftjaxError(f"{file} is not a file of MMPose predictions ({error!r}).") from None


def _mmpose_demo(file: Path, document: dict) -> _Content:
    numbers = [int(frame["frame_id"]) for frame in document["instance_info"]]
    first = 1 if min(numbers, default=0) >= 1 else 0
    people = [frame["instances"] for frame in document["instance_info"]]
    frames = _frames(file, [number - first for number in numbers], people)
    meta = document.get("meta_info")
    return _Content(frames, meta if isinstance(meta, dict) else {}, first)


def _coco_results(file: Path, document: list[dict]) -> _Content:
    kinds = sorted({str(person.get("category_id", 1)) for person in document})
    if len(kinds) > 1:
        raise LiftjaxError(
            f"{file}: detections of {len(kinds)} categories ({', '.join(kinds[:4])}); keep the "
            "persons' alone."
        )
    found: dict[int, list] = {}
    numbers = frame_numbers([person["image_id"] for person in document], file)
    for number, person in zip(numbers, document, strict=True):
        found.setdefault(number, []).append(person)
    numbers = sorted(found)
    return _Content(_frames(file, numbers, [found[n] for n in numbers]), only_found=True)


def _frames(file: Path, numbers: Sequence[int], people: Sequence) -> list:
    joints = [_people(frame) for frame in people]
    scored = {"keypoint_scores" in person for frame in people for person in frame}
    if len(scored) > 1:
        raise ValueError("some people have keypoint_scores and others have none")
    return [(file, number, found) for number, found in zip(numbers, joints, strict=True)]


def _people(frame: list[dict]) -> list[np.ndarray]:
    if not isinstance(frame, list):
        raise TypeError(f"the people of a frame are not a list but a {type(frame).__name__}")
    return [_joints(person) for person in frame]


def _joints(person: dict) -> np.ndarray:
    """(J, 3) x, y, confidence of a person in any of the formats; J is 0 if there are no joints."""
    if person == {}:
        return np.zeros((0, 3))
    key = "pose_keypoints_2d" if "pose_keypoints_2d" in person else "keypoints"
    array = as_numbers(person[key])
    if array.ndim == 1:
        return array.reshape(-1, 3)
    scored = "keypoint_scores" in person
    if scored and array.shape[1] > 2:
        raise ValueError(f"keypoints of {array.shape[1]} numbers, expected 2 in pixels; is it 3D?")
    if scored:
        scores = as_numbers(person["keypoint_scores"])
    else:
        scores = array[:, 2] if array.shape[1] > 2 else np.ones(len(array))
    return np.column_stack([array[:, :2], scores])


def _without_nan(joints: np.ndarray, file: str, frame: int, problems: list) -> np.ndarray:
    """The joints with confidence 0 where a number is NaN, infinite or too large, which is noted."""
    bad = ~usable(joints).all(axis=-1)
    if bad.any():
        numbers = ", ".join(map(str, np.flatnonzero(bad)[:6]))
        problems.append(Problem("NaN joints", file, frame, f"joints {numbers}", 0))
    return np.where(bad[:, None], 0.0, joints)


def _confidences(values: np.ndarray, source: Path, shown: str) -> list[Problem]:
    """A remark if confidences are above 1; raises if they can be none."""
    highest = float(values.max())
    if highest > _NO_CONFIDENCE:
        raise LiftjaxError(
            f"{source}: confidences up to {highest:.4g}, expected 0 to 1; divide them by 100 if "
            "they are per cent."
        )
    if highest <= _REMARKABLE_CONFIDENCE:
        return []
    detail = f"up to {highest:.3g}; what counts as found is above 0.2 nevertheless"
    return [Problem("confidences above 1", shown, None, detail, 0)]


def _missing_frames(people: Mapping[int, np.ndarray], shown: str) -> list[Problem]:
    """A problem for each run of frame numbers that lack between the first and the last."""
    return [
        Problem("missing frame", shown, a + 1, f"{b - a - 1} without detections after {a}", 0)
        for a, b in itertools.pairwise(sorted(people))
        if b - a > 1
    ]
