"""People of COCO's person_keypoints_*.json."""

import collections
import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.coco import files
from data_prep.problems import Problem, Unusable, why_unreadable
from liftjax.data import coco
from liftjax.errors import LiftjaxError
from liftjax.numbers import as_numbers, usable
from liftjax.skeletons import COCO

_LARGEST = 2**63  # records store the numbers of pictures and annotations in 64 bits
_BOX_MARGIN = 0.1  # of a box's side; boxes are not drawn to the pixel


class Person(NamedTuple):
    """One annotated person.

    Attributes:
      file_name: absolute, or relative to the folder of the pictures.
      image_size: (width, height).
      box_xyxy: (4,) COCO's box in pixels, clipped to the image.
      keypoints: (17, 3) x, y in pixels, and 0 (not labelled), 1 (hidden) or 2 (visible).
    """

    annotation: int
    image: int
    file_name: str
    image_size: tuple[int, int]
    box_xyxy: np.ndarray
    keypoints: np.ndarray


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which people to take.

    Attributes:
      min_keypoints: the number of labelled joints that a person must have.
      min_side: the least width and height of the box in pixels.
    """

    min_keypoints: int
    min_side: float


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How a file describes people.

    Attributes:
      person: their category.
      alone: whether there is no other category.
      order: the places of COCO's joints among those of an annotation.
      joints: the number of joints of an annotation.
    """

    person: object
    alone: bool
    order: tuple[int, ...]
    joints: int


def read_people(
    path: Path, source: Path, folder: Path, selection: Selection
) -> tuple[list[Person], list[Problem]]:
    """The people to train on, sorted by image and annotation number, and the file's problems.

    Crowds and people with too few labelled joints are only counted, because COCO's training set has
    more than a hundred thousand of them.

    Args:
      path: the annotation file.
      source: problems name files relative to it.
      folder: of the pictures.
      selection: which people to take.

    Raises:
      LiftjaxError: the file is missing, cut short, or without keypoints of people; or its
        categories, joints or boxes are unclear.
    """
    document, name = _read(path), str(path.relative_to(source))
    layout, problems = _layout(document, path, name)
    images, twice = _images(document["images"])
    people, boxes = {}, {}
    counted: collections.Counter[str] = collections.Counter()
    crowds = [a.get("iscrowd") for a in document["annotations"] if isinstance(a, dict)]
    if 0 in crowds and (wanting := crowds.count(None)):
        detail = f"{wanting} have none though others do; they are taken for single persons"
        problems.append(Problem("annotations without iscrowd", name, None, detail, 0))
    if broken := len(document["images"]) - len(images):
        detail = f"{broken} without a number, name or size, or of a number already given"
        problems.append(Problem("malformed image entry", name, None, detail, 0))
    for annotation in document["annotations"]:
        kind = _passed_over(annotation, layout, selection)
        if kind:
            counted[kind] += 1
            continue
        try:
            person = _person(annotation, layout, images, selection)
            if person.image in twice:
                raise Unusable("number of two pictures", person.file_name)
            if person.annotation in people:
                raise Unusable("duplicate annotation", "the first is kept")
            people[person.annotation] = person
            boxes[person.annotation] = annotation["bbox"]
        except Unusable as fault:
            problems.append(_problem(name, annotation, fault))
    problems += [
        Problem(kind, name, None, "all annotations of this kind", count)
        for kind, count in sorted(counted.items())
    ]
    _check_boxes(people.values(), boxes.values(), path)
    ordered = sorted(people.values(), key=lambda p: (p.image, p.annotation))
    named = (entry["file_name"] for entry in images.values())
    paths, by_end = files.locate((p.file_name for p in ordered), named, source, folder)
    if by_end:
        detail = f"{len(by_end)}, such as {by_end[0]}, which is not on this machine"
        problems.append(Problem("picture found by the end of its path", name, None, detail, 0))
    return [p._replace(file_name=paths[p.file_name]) for p in ordered], problems


def _read(path: Path) -> dict:
    if not path.exists():
        raise LiftjaxError(f"COCO's annotations are missing: expected {path}.")
    try:
        # Outlines are nine tenths of the numbers. They are dropped while reading to save memory.
        with path.open("rb") as stream:
            document = json.load(stream, object_hook=_without_outline)
        images, annotations = list(document["images"]), list(document["annotations"])
        keypoints = any(isinstance(a, dict) and "keypoints" in a for a in annotations)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _not_coco(path, error) from error
    if not images or not keypoints:
        raise LiftjaxError(f"{path} holds no keypoints; person_keypoints_*.json has them.")
    return document


def _not_coco(path: Path, error: Exception) -> LiftjaxError:
    return LiftjaxError(
        f"{path} is not a COCO annotation file, or cut short ({why_unreadable(error)}); unpack it "
        "again."
    )


def _without_outline(entry: dict) -> dict:
    entry.pop("segmentation", None)
    return entry


def _layout(document: dict, path: Path, name: str) -> tuple[_Layout, list[Problem]]:
    """The layout that the categories describe, and a remark if they do not name the joints."""
    entries = [a for a in document["annotations"] if isinstance(a, dict) and "keypoints" in a]
    try:
        categories = list(document.get("categories") or ())
        person = coco.person_category(categories, coco.used_categories(entries), path)
        given = next((c.get("keypoints") for c in categories if c["id"] == person), None)
        # "Left Eye" and "left-eye" are left_eye.
        joints = [re.sub(r"[\s._-]+", "_", str(j).strip().casefold()) for j in given or COCO.joints]
    except (KeyError, TypeError, AttributeError) as error:
        raise _not_coco(path, error) from error
    if any(joints.count(joint) != 1 for joint in COCO.joints):
        raise LiftjaxError(
            f"{path}: the keypoints of a person are {', '.join(joints)}; COCO has "
            f"{', '.join(COCO.joints)}."
        )
    order = tuple(joints.index(joint) for joint in COCO.joints)
    layout = _Layout(person, len(categories) < 2, order, len(joints))
    detail = "no category names the joints; they are taken for COCO's, in COCO's order"
    return layout, [] if given else [Problem("joints without names", name, None, detail, 0)]


def _images(entries: Iterable) -> tuple[dict[int, dict], set[int]]:
    """Sound entries by number, and the numbers that two different pictures have."""
    images, twice = {}, set()
    for entry in filter(_is_image, entries):
        number = _whole(entry["id"])
        first = images.setdefault(number, entry)
        if any(first[key] != entry[key] for key in ("file_name", "width", "height")):
            twice.add(number)
    return images, twice


def _is_image(entry) -> bool:
    try:
        sides = entry["width"], entry["height"]
        sized = all(0 <= side < 2**31 for side in sides)
        number = _whole(entry["id"])
    except (KeyError, TypeError):
        return False
    return sized and number is not None and number >= 0 and files.is_name(entry.get("file_name"))


def _whole(number) -> int | None:
    """The number of an image or annotation, which some programs write as 12.0; None for others."""
    if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
        return int(number)
    whole = isinstance(number, int) and not isinstance(number, bool)
    return number if whole and abs(number) < _LARGEST else None


def _passed_over(annotation, layout: _Layout, selection: Selection) -> str:
    """Why a sound annotation is not wanted; "" if it is wanted or malformed."""
    if not isinstance(annotation, dict):
        return ""
    if annotation.get("iscrowd") == 1:
        return "crowd"
    category = annotation.get("category_id")
    if category is None and not layout.alone:
        return "no category"
    if category not in (layout.person, None):
        return "no person"
    flags = annotation.get("keypoints", ())
    sound = isinstance(flags, list) and len(flags) == 3 * layout.joints
    if sound and sum(1 for i in layout.order if flags[3 * i + 2]) < selection.min_keypoints:
        return "too few keypoints"
    return ""


def _person(annotation, layout: _Layout, images: dict[int, dict], selection: Selection) -> Person:
    """The person of an annotation; raises Unusable if something is wrong with it."""
    own = _whole(annotation.get("id")) if isinstance(annotation, dict) else None
    if own is None:
        raise Unusable("malformed annotation", "no number")
    if annotation.get("iscrowd") not in (None, 0):
        raise Unusable("malformed annotation", "iscrowd is neither 0 nor 1")
    number = _whole(annotation.get("image_id"))
    image = images.get(number)
    if image is None:
        raise Unusable("unknown image", str(annotation.get("image_id")))
    size = int(image["width"]), int(image["height"])
    keypoints = _numbers(annotation, "keypoints", 3 * layout.joints).reshape(-1, 3)
    keypoints = keypoints[list(layout.order)]
    if not usable(keypoints).all():
        raise Unusable("NaN joints")
    if ((keypoints[:, 2] < 0) | (keypoints[:, 2] > 2)).any():
        raise Unusable("malformed annotation", "flags of keypoints are 0, 1 and 2")
    x, y, width, height = bbox = _numbers(annotation, "bbox", 4)
    if not usable(bbox).all():
        raise Unusable("NaN box")
    box = np.clip([x, y, x + width, y + height], 0, [*size, *size])
    sides = box[2:] - box[:2]
    if sides.min() < selection.min_side:
        raise Unusable("tiny box", "{:.4g} x {:.4g} px in the image".format(*sides))
    return Person(own, number, image["file_name"], size, box, keypoints.astype(np.float32))


def _check_boxes(people: Iterable[Person], boxes: Iterable, path: Path) -> None:
    """Raises if the boxes are given as two corners, or are not around the people.

    Args:
      people: those to take.
      boxes: of these people, as the file has them.
      path: the file, for messages.
    """
    people = list(people)
    if not people:
        return
    given = np.array([np.ravel(box) for box in boxes], float)
    if coco.are_corners(given, [person.image_size for person in people]):
        raise LiftjaxError(
            f"{path}: boxes, read as x, y, width, height, reach far beyond their pictures; they "
            "seem to be left, top, right, bottom: write bbox as [x, y, width, height]."
        )
    keypoints = np.stack([person.keypoints for person in people])
    box = np.stack([person.box_xyxy for person in people])[:, None]
    low, high, xy = box[..., :2], box[..., 2:], keypoints[..., :2]
    margin = _BOX_MARGIN * (high - low)
    inside = ((xy >= low - margin) & (xy <= high + margin)).all(axis=-1)
    share = inside[keypoints[..., 2] > 0].mean()
    if share < 0.5:
        raise LiftjaxError(
            f"{path}: only {share:.0%} of the labelled joints lie in their person's box; keypoints "
            "and bbox must both be pixels of the picture."
        )


def _problem(name: str, annotation, fault: Unusable) -> Problem:
    entry = annotation if isinstance(annotation, dict) else {}
    detail = f"annotation {entry.get('id')}" + (f": {fault.detail}" if fault.detail else "")
    return Problem(fault.kind, name, _whole(entry.get("image_id")), detail)


def _numbers(annotation: dict, key: str, count: int) -> np.ndarray:
    try:
        values = as_numbers(annotation.get(key, ())).ravel()
    except ValueError:
        raise Unusable("malformed annotation", f"{key} are no numbers") from None
    if values.size != count:
        raise Unusable("malformed annotation", f"{values.size} numbers of {key}, not {count}")
    return values


def by_image(people: Sequence[Person], at_least: int) -> Iterator[tuple[Person, ...]]:
    """Groups of at least so many people; all people of an image are in one group."""
    group: tuple[Person, ...] = ()
    for _, of_image in itertools.groupby(people, lambda person: person.image):
        group += tuple(of_image)
        if len(group) >= at_least:
            yield group
            group = ()
    if group:
        yield group
