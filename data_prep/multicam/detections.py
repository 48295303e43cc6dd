"""Reads the 2D poses of one camera that a detector wrote.

A folder of JSON files, one per frame:

- OpenPose: {"people": [{"pose_keypoints_2d": [x, y, confidence, ...]}]}. RTMPose through Pose2Sim
  writes the same.
- MMPose: [{"keypoints": [[x, y], ...], "keypoint_scores": [...]}, ...], the frame's people.

The file name ends in a number (NAME.0000.json, NAME_000000_keypoints.json); the number that varies
is the frame's. Or one JSON file for the whole video, beside such folders or alone in one:

- MMPose's inferencer: [{"frame_id": 0, "instances": [people as above]}, ...].
- MMPose's demo scripts: {"meta_info": ..., "instance_info": [{"frame_id": 1, "instances": ...}]},
  which count from 1 and name the joints.
- COCO results: [{"image_id": 0, "keypoints": [x, y, score, ...]}, ...], one entry per person. An
  image may be a number or the name of a picture ("000001.jpg", as AlphaPose writes).

:mod:`numbering` finds which frame of the video the first number is, :mod:`joint_sets` which joints
they are. A joint that is NaN counts as not found, and a person without joints as nobody.
"""

import contextlib
import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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
# Confidences are 0 to 1. OpenPose's are a little higher at times, those of some RTMPose models
# several times as high. Hundreds are per cent or another unit.
_REMARKABLE_CONFIDENCE, _NO_CONFIDENCE = 1.5, 20.0
# What files of another form raise.
_OTHERWISE = (
    ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, OSError,
    RecursionError,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Detections:
    """The people that one camera's detector found.

    Attributes:
      people: frame number -> (P, J, 3) x, y in pixels and confidence. P may be 0, and a joint that
        was not found has confidence 0.
      joint_set: name of the skeleton of the J joints; None if their number leaves it open.
      source: the folder or file.
      problems: what was wrong in it.
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
    """What files hold.

    Attributes:
      frames: (file, frame number, people as (J, 3) arrays), in order.
      meta: what the file says about its joints.
      first, only_found: as in Detections.
    """

    frames: Sequence[tuple[Path, int, list[np.ndarray]]]
    meta: Mapping = dataclasses.field(default_factory=dict)
    first: int | None = None
    only_found: bool = False


def read_detections(source, joint_set: str | None = None, root=None) -> Detections:
    """The detections of one camera.

    Args:
      source: a folder of files, one per frame, or one file for the whole video.
      joint_set: skeleton of the joints; None to take what the file says, or else to recognise it
        from their number and places.
      root: the directory that problems name files relative to.
    """
    source = Path(source)

    def shown(path: Path) -> str:
        return str(path.relative_to(root)) if root else str(path)

    def remark(kind: str, detail: str) -> Problem:
        return Problem(kind, shown(source), None, detail, dropped=0)

    content = _read_source(source)
    people, problems = _people_by_frame(content, source, shown)
    everyone = np.concatenate(list(people.values()))
    count = everyone.shape[1]
    name, doubt = joint_set_named(content.meta, joint_set, source)
    name = name or joint_set_told(everyone, source)
    if name == "openpose_coco":
        people = {number: found[:, _OPENPOSE_COCO_TO_COCO] for number, found in people.items()}
        everyone, name = everyone[:, _OPENPOSE_COCO_TO_COCO], "coco"
    elif name and get_skeleton(name).num_joints != count:
        expected = get_skeleton(name).num_joints
        raise LiftjaxError(f"{source}: a person has {count} joints, expected {expected} ({name}).")
    if doubt:
        problems.append(remark("joints of another name", doubt))
    if lie_otherwise(everyone, name):
        problems.append(remark("joints in other places", f"they do not lie as those of {name} do"))
    highest = float(everyone[..., 2].max())
    if highest > _NO_CONFIDENCE:
        raise LiftjaxError(
            f"{source}: confidences up to {highest:.4g}, expected 0 to 1; divide them by 100 if "
            "they are per cent."
        )
    if highest > _REMARKABLE_CONFIDENCE:
        detail = f"up to {highest:.3g}; what counts as found is above 0.2 nevertheless"
        problems.append(remark("confidences above 1", detail))
    if not content.only_found:
        problems += [
            Problem(
                "missing frame",
                shown(source),
                a + 1,
                f"{b - a - 1} without detections after {a}",
                0,
            )
            for a, b in itertools.pairwise(people)
            if b - a > 1
        ]
    return Detections(people, name, source, tuple(problems), content.first, content.only_found)


def _people_by_frame(
    content: _Content, source: Path, shown: Callable[[Path], str]
) -> tuple[dict[int, np.ndarray], list[Problem]]:
    """Frame number -> (P, J, 3), sorted; and what was wrong with single people.

    Raises:
      LiftjaxError: a frame comes twice, nobody is there, or people have different joints.
    """
    people: dict[int, list[np.ndarray]] = {}
    problems, empty = [], 0
    for file, number, rows in content.frames:
        if number in people:
            raise LiftjaxError(f"{file}: frame {number} comes twice.")
        people[number] = []
        for row in rows:
            if not len(row):
                empty += 1
                continue
            bad = ~usable(row).all(axis=-1)  # NaN, infinite or too large
            if bad.any():
                joints = ", ".join(map(str, np.flatnonzero(bad)[:6]))
                detail = f"joints {joints}"
                problems.append(Problem("NaN joints", shown(file), number, detail, dropped=0))
            people[number].append(np.where(bad[:, None], 0.0, row))
        if len(set(map(len, people[number]))) > 1:
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
    if empty:
        detail = f"{empty}, left out"
        problems.append(Problem("people without joints", shown(source), None, detail, dropped=0))
    nobody = np.zeros((0, next(iter(counts)), 3))
    return {n: np.stack(rows) if rows else nobody for n, rows in sorted(people.items())}, problems


@contextlib.contextmanager
def _parsing(file: Path) -> Iterator[None]:
    """Refuses a file whose content has another form than the code inside expects."""
    try:
        yield
    except LiftjaxError:
        raise
    except _OTHERWISE as error:
        raise LiftjaxError(
            f"{file} is not a file of detections as OpenPose or MMPose write them, nor COCO "
            f"results ({error!r})."
        ) from None


def _read_source(source: Path) -> _Content:
    if source.is_file():
        return _video_content(source)
    files = sorted(source.glob("*.json")) if source.is_dir() else []
    if len(files) == 1 and _is_video_file(_load(files[0])):
        return _video_content(files[0])
    files = [file for file in files if _NUMBERED.search(file.name)]
    if not files:
        raise LiftjaxError(f"No detections: expected files {source}/NAME.0000.json and so on.")
    frames = []
    numbers = frame_numbers([file.name for file in files], source)
    for number, file in sorted(zip(numbers, files, strict=True)):
        document = _load(file)
        with _parsing(file):
            people = document["people"] if isinstance(document, dict) else document
            frames.append((file, number, _people_joints(people)))
    return _Content(frames)


def _load(file: Path):
    with _parsing(file):
        return json.loads(file.read_text())


def _is_video_file(document) -> bool:
    if isinstance(document, dict):
        return "instance_info" in document
    first = document[0] if document and isinstance(document, list) else None
    return isinstance(first, dict) and ("instances" in first or "image_id" in first)


def _video_content(file: Path) -> _Content:
    document = _load(file)
    with _parsing(file):
        if isinstance(document, dict):
            return _mmpose_demo(file, document)
        if document and "image_id" in document[0]:
            return _coco_results(file, document)
        numbers = [int(frame.get("frame_id", i)) for i, frame in enumerate(document)]
        return _Content(_frames(file, numbers, [frame["instances"] for frame in document]))


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
            f"{file}: detections of {len(kinds)} categories ({', '.join(kinds[:4])}); keep only "
            "those of people."
        )
    found: dict[int, list] = {}
    numbers = frame_numbers([person["image_id"] for person in document], file)
    for number, person in zip(numbers, document, strict=True):
        found.setdefault(number, []).append(person)
    numbers = sorted(found)
    return _Content(_frames(file, numbers, [found[n] for n in numbers]), only_found=True)


def _frames(file: Path, numbers: Sequence[int], people: Sequence) -> list:
    joints = [_people_joints(frame) for frame in people]
    if len({"keypoint_scores" in person for frame in people for person in frame}) > 1:
        raise ValueError("some people have keypoint_scores and others have none")
    return [(file, number, found) for number, found in zip(numbers, joints, strict=True)]


def _people_joints(frame: list[dict]) -> list[np.ndarray]:
    """(J, 3) x, y, confidence of each person in any of the forms; J is 0 if there are no joints."""
    if not isinstance(frame, list):
        raise TypeError(f"the people of a frame are not a list but a {type(frame).__name__}")
    return [_joints(person) for person in frame]


def _joints(person: dict) -> np.ndarray:
    if person == {}:
        return np.zeros((0, 3))
    key = "pose_keypoints_2d" if "pose_keypoints_2d" in person else "keypoints"
    array = as_numbers(person[key])
    if array.ndim == 1:
        return array.reshape(-1, 3)
    if "keypoint_scores" not in person:
        scores = array[:, 2] if array.shape[1] > 2 else np.ones(len(array))
    elif array.shape[1] > 2:
        raise ValueError(f"keypoints of {array.shape[1]} numbers, expected 2 in pixels; is it 3D?")
    else:
        scores = as_numbers(person["keypoint_scores"])
    return np.column_stack([array[:, :2], scores])
