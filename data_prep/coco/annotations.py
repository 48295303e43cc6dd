"""People of COCO's person_keypoints_*.json."""

import collections
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.building import Problem
from liftjax.errors import LiftjaxError
from liftjax.skeletons import COCO


class Person(NamedTuple):
    """One annotated person.

    `box_xyxy` (4,) is COCO's box clipped to the image; `keypoints` (17, 3) are x, y and 0 for not
    labelled, 1 for labelled though hidden, 2 for visible. 2D in pixels of the image.
    """

    annotation: int
    image: int
    file_name: str
    image_size: tuple[int, int]
    box_xyxy: np.ndarray
    keypoints: np.ndarray


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which people to take: labelled joints they must have, and pixels of the box's sides."""

    min_keypoints: int
    min_side: float


class _Useless(Exception):
    """An annotation that makes no record: kind and detail of the problem."""


def read_people(path: Path, name: str, selection: Selection) -> tuple[list[Person], list[Problem]]:
    """People worth training on, by image and annotation number, and what the file has wrong.

    Crowds, and people with too few labelled joints, are not named one by one (COCO's training set
    has some hundred thousand of these) but counted.

    Args:
      path: the file. name: what problems call it.

    Raises:
      LiftjaxError: the file is missing, cut short, or holds no keypoints of people.
    """
    document = _read(path)
    images = {entry["id"]: entry for entry in document["images"] if _is_image(entry)}
    people, problems = {}, []
    counted: collections.Counter[str] = collections.Counter()
    if broken := len(document["images"]) - len(images):
        detail = f"{broken} without a number, name or size, or of a number already given"
        problems.append(Problem("malformed image entry", name, None, detail, 0))
    for annotation in document["annotations"]:
        kind = _passed_over(annotation, selection)
        if kind:
            counted[kind] += 1
            continue
        try:
            person = _person(annotation, images, selection)
            if person.annotation in people:
                raise _Useless("duplicate annotation", "the first is kept")
            people[person.annotation] = person
        except _Useless as useless:
            problems.append(_problem(name, annotation, *useless.args))
    problems += [
        Problem(kind, name, None, "all annotations of this kind", count)
        for kind, count in sorted(counted.items())
    ]
    return sorted(people.values(), key=lambda p: (p.image, p.annotation)), problems


def _read(path: Path) -> dict:
    if not path.exists():
        raise LiftjaxError(f"COCO's annotations are missing: expected {path}.")
    try:
        # Outlines are nine tenths of the numbers; dropped while reading, they take no memory.
        with path.open("rb") as stream:
            document = json.load(stream, object_hook=_without_outline)
        images, annotations = document["images"], document["annotations"]
        keypoints = any(isinstance(a, dict) and "keypoints" in a for a in annotations)
        for category in document.get("categories", ()):
            _check_category(category, path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, LiftjaxError):
            raise
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise LiftjaxError(
            f"{path} is not a COCO annotation file, or cut short ({reason}); unpack it again."
        ) from error
    if not images or not keypoints:
        raise LiftjaxError(f"{path} holds no keypoints; person_keypoints_*.json has them.")
    return document


def _without_outline(entry: dict) -> dict:
    entry.pop("segmentation", None)
    return entry


def _check_category(category: dict, path: Path) -> None:
    joints = category.get("keypoints")
    if category.get("name") == "person" and joints and tuple(joints) != COCO.joints:
        raise LiftjaxError(
            f"{path}: the keypoints of a person are {', '.join(joints)}; COCO has "
            f"{', '.join(COCO.joints)}."
        )


def _is_image(entry) -> bool:
    try:
        return bool(entry["file_name"]) and min(entry["id"], entry["width"], entry["height"]) >= 0
    except (KeyError, TypeError):
        return False


def _passed_over(annotation, selection: Selection) -> str:
    """The kind of an annotation that is sound but not wanted; "" if it is wanted or unsound."""
    if not isinstance(annotation, dict):
        return ""
    if annotation.get("iscrowd"):
        return "crowd"
    if annotation.get("category_id", 1) != 1:
        return "no person"
    flags = annotation.get("keypoints", ())
    sound = isinstance(flags, list) and len(flags) == 3 * COCO.num_joints
    if sound and sum(1 for v in flags[2::3] if v) < selection.min_keypoints:
        return "too few keypoints"
    return ""


def _person(annotation, images: dict[int, dict], selection: Selection) -> Person:
    """The person; raises _Useless if there is something wrong."""
    if not isinstance(annotation, dict) or not isinstance(annotation.get("id"), int):
        raise _Useless("malformed annotation", "no number")
    number = annotation.get("image_id")
    image = images.get(number) if isinstance(number, int) else None
    if image is None:
        raise _Useless("unknown image", str(number))
    size = int(image["width"]), int(image["height"])
    keypoints = _numbers(annotation, "keypoints", 3 * COCO.num_joints).reshape(-1, 3)
    if not np.isfinite(keypoints).all():
        raise _Useless("NaN joints", "")
    x, y, width, height = bbox = _numbers(annotation, "bbox", 4)
    if not np.isfinite(bbox).all():
        raise _Useless("NaN box", "")
    box = np.clip([x, y, x + width, y + height], 0, [*size, *size])
    sides = box[2:] - box[:2]
    if sides.min() < selection.min_side:
        raise _Useless("tiny box", "{:.4g} x {:.4g} px in the image".format(*sides))
    return Person(
        annotation["id"], image["id"], image["file_name"], size, box, keypoints.astype(np.float32)
    )


def _problem(name: str, annotation, kind: str, detail: str) -> Problem:
    entry = annotation if isinstance(annotation, dict) else {}
    image, number = entry.get("image_id"), entry.get("id")
    detail = f"annotation {number}" + (f": {detail}" if detail else "")
    return Problem(kind, name, image if isinstance(image, int) else None, detail)


def _numbers(annotation: dict, key: str, count: int) -> np.ndarray:
    try:
        values = np.asarray(annotation.get(key, ()), float).ravel()
    except (TypeError, ValueError, OverflowError):
        raise _Useless("malformed annotation", f"{key} are no numbers") from None
    if values.size != count:
        raise _Useless("malformed annotation", f"{values.size} numbers of {key}, not {count}")
    return values


def by_image(people: Sequence[Person], at_least: int) -> Iterator[tuple[Person, ...]]:
    """People in groups of `at_least` and a few more, those of an image together."""
    group: list[Person] = []
    for person in people:
        if len(group) >= at_least and person.image != group[-1].image:
            yield tuple(group)
            group = []
        group.append(person)
    if group:
        yield tuple(group)
