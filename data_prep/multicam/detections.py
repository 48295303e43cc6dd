"""Reads the 2D poses of one camera that a detector wrote.

A folder of JSON files, one a frame:

- OpenPose: {"people": [{"pose_keypoints_2d": [x, y, confidence, ...]}]}. RTMPose through Pose2Sim
  writes the same.
- MMPose: [{"keypoints": [[x, y], ...], "keypoint_scores": [...]}, ...], the frame's people.

The file name ends in the frame's number (NAME.0000.json, NAME_000000_keypoints.json). Or one JSON
file for the whole video, beside such folders or alone in one:

- MMPose's inferencer: [{"frame_id": 0, "instances": [people as above]}, ...].
- MMPose's demo scripts: {"meta_info": ..., "instance_info": [{"frame_id": 1, "instances": ...}]},
  which count from 1.
- COCO results: [{"image_id": 0, "keypoints": [x, y, score, ...]}, ...], a person each.

The number of joints tells the joint set, except that 25 are BODY_25 or BODY_25B: the joints' places
decide between them. A joint that is NaN counts as not found, and a person without joints as nobody.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.building import Problem
from liftjax.errors import LiftjaxError
from liftjax.skeletons import get_skeleton

_FRAME_NUMBER = re.compile(r"(\d+)(?:_keypoints)?\.json$")
_JOINT_SETS = {17: "coco", 18: "openpose_coco", 26: "halpe26", 133: "wholebody"}
# OpenPose's COCO model: 0 nose, 1 neck, right then left arm, right then left leg, eyes, ears.
_OPENPOSE_COCO_TO_COCO = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
# How far off, in units of a person's extent, the joint between two others may be. BODY_25B's upper
# neck was measured to be off by 0.04 to 0.07, its joint where BODY_25 has the hip by 0.1 to 0.3.
_OFF_MIDDLE = {"body25": 0.05, "body25b": 0.12}
_ENOUGH_CONFIDENCE = 0.2
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
    """

    people: dict[int, np.ndarray]
    joint_set: str | None
    source: Path
    problems: tuple[Problem, ...] = ()


def read_detections(source, joint_set: str | None = None, root=None) -> Detections:
    """The detections of one camera.

    Args:
      source: a folder of files, one a frame, or one file for the whole video.
      joint_set: skeleton of the joints; None to tell it from their number.
      root: the directory that problems name files relative to.
    """
    source = Path(source)
    problems: list[Problem] = []
    people: dict[int, list[np.ndarray]] = {}
    for file, number, rows in _frames(source):
        name = str(file.relative_to(root)) if root else str(file)
        if number in people:
            raise LiftjaxError(f"{file}: frame {number} comes twice.")
        people[number] = [_without_nan(row, name, number, problems) for row in rows if len(row)]
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
    name = joint_set or _tell_joint_set(stacked, count, source)
    if name == "openpose_coco":
        stacked = {n: p[:, _OPENPOSE_COCO_TO_COCO] for n, p in stacked.items()}
        name = "coco"
    elif name and get_skeleton(name).num_joints != count:
        raise LiftjaxError(
            f"{source}: a person has {count} joints, expected {get_skeleton(name).num_joints} "
            f"({name})."
        )
    problems += _missing_frames(stacked, source, root)
    return Detections(stacked, name, source, tuple(problems))


def _frames(source: Path) -> Iterator[tuple[Path, int, list[np.ndarray]]]:
    """(file, frame number, people as (J, 3) arrays) in order."""
    if source.is_file():
        yield from _read_video_file(source)
        return
    files = sorted(source.glob("*.json")) if source.is_dir() else []
    if len(files) == 1 and _is_video_file(_load(files[0])):
        yield from _read_video_file(files[0])
        return
    numbered = [(int(m[1]), f) for f in files if (m := _FRAME_NUMBER.search(f.name))]
    if not numbered:
        raise LiftjaxError(f"No detections: expected files {source}/NAME.0000.json and so on.")
    for number, file in sorted(numbered):
        document = _load(file)
        try:
            people = document["people"] if isinstance(document, dict) else document
            yield file, number, [_joints(person) for person in people]
        except _OTHERWISE as error:
            raise LiftjaxError(f"{file} is not an OpenPose file ({error!r}).") from None


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


def _read_video_file(file: Path) -> Iterator[tuple[Path, int, list[np.ndarray]]]:
    document = _load(file)
    try:
        for number, people in _video_frames(document):
            yield file, number, [_joints(person) for person in people]
    except _OTHERWISE as error:
        raise LiftjaxError(f"{file} is not a file of MMPose predictions ({error!r}).") from None


def _video_frames(document) -> list[tuple[int, list]]:
    if isinstance(document, dict):
        frames = [(int(f["frame_id"]), f["instances"]) for f in document["instance_info"]]
        base = 1 if min((n for n, _ in frames), default=0) >= 1 else 0
        return [(number - base, people) for number, people in frames]
    if document and "image_id" in document[0]:
        frames: dict[int, list] = {}
        for person in document:
            number = re.search(r"(\d+)\D*$", str(person["image_id"]))
            frames.setdefault(int(number[1]), []).append(person)
        return [(n, frames.get(n, [])) for n in range(max(frames) + 1)]  # empty ones are not listed
    return [(int(f.get("frame_id", i)), f["instances"]) for i, f in enumerate(document)]


def _joints(person: dict) -> np.ndarray:
    """(J, 3) x, y, confidence of a person in any of the formats."""
    flat = person.get("pose_keypoints_2d", person.get("keypoints", [])) if person else []
    array = np.asarray(flat, float)
    if array.ndim == 1:
        return array.reshape(-1, 3)
    scores = person.get("keypoint_scores")
    if scores is None:
        scores = array[:, 2] if array.shape[1] > 2 else np.ones(len(array))
    return np.column_stack([array[:, :2], np.asarray(scores, float)])


def _without_nan(joints: np.ndarray, file: str, frame: int, problems: list) -> np.ndarray:
    """The joints with confidence 0 where a number is NaN or inf, which is noted."""
    bad = ~np.isfinite(joints).all(axis=-1)
    if bad.any():
        numbers = ", ".join(map(str, np.flatnonzero(bad)[:6]))
        problems.append(Problem("NaN joints", file, frame, f"joints {numbers}", 0))
    return np.where(bad[:, None], 0.0, joints)


def _tell_joint_set(people: dict[int, np.ndarray], count: int, source: Path) -> str | None:
    if count in _JOINT_SETS:
        return _JOINT_SETS[count]
    if count != 25:
        raise LiftjaxError(
            f"{source}: people of {count} joints, a joint set not known; say which with "
            "--detections-skeleton NAME."
        )
    everyone = np.concatenate(list(people.values()))
    misfits = {
        "body25": _off_middle(everyone, 8, 9, 12),  # the hip between the hips
        "body25b": _off_middle(everyone, 17, 5, 6),  # the upper neck between the shoulders
    }
    name = min(misfits, key=misfits.get)
    return name if misfits[name] < _OFF_MIDDLE[name] else None


def _off_middle(people: np.ndarray, joint: int, a: int, b: int) -> float:
    """Median distance of a joint from the middle of two, in units of the person's extent."""
    found = people[..., 2] > _ENOUGH_CONFIDENCE
    people = people[found[:, [joint, a, b]].all(axis=1)]
    if not len(people):
        return np.inf
    px = np.where(people[..., 2:] > _ENOUGH_CONFIDENCE, people[..., :2], np.nan)
    extent = np.linalg.norm(np.nanmax(px, axis=1) - np.nanmin(px, axis=1), axis=-1)
    off = np.linalg.norm(px[:, joint] - (px[:, a] + px[:, b]) / 2, axis=-1)
    return float(np.median(off / np.maximum(extent, 1)))


def _missing_frames(people: dict[int, np.ndarray], source: Path, root) -> list[Problem]:
    """A problem for each run of frame numbers that lack between the first and the last."""
    name = str(source.relative_to(root)) if root else str(source)
    numbers = sorted(people)
    return [
        Problem("missing frame", name, a + 1, f"{b - a - 1} without detections after {a}", 0)
        for a, b in itertools.pairwise(numbers)
        if b - a > 1
    ]
