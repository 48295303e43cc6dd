"""Reads person boxes from COCO's JSON files: detections, or images with annotations."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from liftjax.data.coco import person_category, used_categories
from liftjax.errors import LiftjaxError
from liftjax.inference.files import check_file
from liftjax.numbers import as_numbers

_ABOVE_ONE = 1e-3  # a score in float16 may exceed 1 by this
_KINDS = {"image_id": (int, str), "category_id": (int, float, str, type(None))}
_EXPECTED = (
    'expected COCO detections, [{"image_id": 0, "bbox": [x, y, width, height], "score": 0.9}, '
    "...], or a COCO file with images and annotations"
)


@dataclasses.dataclass(frozen=True)
class PersonBoxes:
    """The persons of a file.

    Attributes:
      path: of the file.
      ids: (N,) image ids, numbers or names.
      files: names of pictures by image id; empty if the file has none.
      boxes: (N, 4) float32 x0, y0, x1, y1.
      scores: (N,) float32; 1 where the file has none.
    """

    path: Path
    ids: list
    files: Mapping[object, str]
    boxes: np.ndarray
    scores: np.ndarray

    def select(self, kept: np.ndarray) -> "PersonBoxes":
        """The persons for which `kept` (N,) is true."""
        ids = [image_id for image_id, keep in zip(self.ids, kept, strict=True) if keep]
        return dataclasses.replace(self, ids=ids, boxes=self.boxes[kept], scores=self.scores[kept])


def read_person_boxes(path) -> PersonBoxes:
    """All persons of the file, without crowds and other categories.

    Raises:
      LiftjaxError: the file is missing, not JSON or of another structure, does not say which
        category is a person, or has boxes that are not finite or scores outside 0 to 1.
    """
    path = Path(path)
    content = _load(path)
    entries, files, categories = content, {}, []
    if isinstance(content, Mapping):
        entries = content.get("annotations")
        files, categories = _names(content, path)
    if not isinstance(entries, list):
        raise LiftjaxError(f"{path}: its content is of another kind; {_EXPECTED}.")
    _check_entries(entries, path)
    used = used_categories(entries)
    person = person_category(categories, used, path)
    listed = {c["id"] for c in categories} or {n for n in used if isinstance(n, int | float)}
    if unlisted := used - listed - {None}:
        raise LiftjaxError(
            f"{path}: some boxes have the category_id {min(map(repr, unlisted))}, which no "
            "category of the file or of COCO has; correct it."
        )
    if None in used and len(categories) > 1:
        raise LiftjaxError(
            f"{path}: some boxes have no category_id, and there are {len(categories)} categories; "
            "give each box one."
        )
    persons = [entry for entry in entries if entry.get("category_id") in (person, None)]
    if entries and not persons:
        raise LiftjaxError(
            f"{path}: none of its {len(entries)} boxes has the category_id {person}, person."
        )
    persons = [entry for entry in persons if not entry.get("iscrowd")]
    ids = [entry["image_id"] for entry in persons]
    return PersonBoxes(path, ids, files, *_arrays(persons, path))


def _load(path: Path):
    check_file(path, "file of boxes")
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise LiftjaxError(f"{path}: cannot be read: {error.strerror}.") from None
    except json.JSONDecodeError as error:
        raise LiftjaxError(f"{path}: not JSON from line {error.lineno} on; {_EXPECTED}.") from None
    except (ValueError, RecursionError):  # bytes that are not text, numbers of thousands of digits
        raise LiftjaxError(f"{path}: not JSON; {_EXPECTED}.") from None


def _names(content: Mapping, path: Path) -> tuple[dict, list[Mapping]]:
    """(file names by image id, the categories)."""
    try:
        images = content.get("images") or []
        named = [(image["id"], str(image["file_name"])) for image in images]
        files = {number: name for number, name in named if name}
        categories = [{"id": c["id"], "name": c["name"]} for c in content.get("categories") or []]
    except (TypeError, KeyError):
        raise LiftjaxError(
            f"{path}: images need id and file_name, categories id and name; {_EXPECTED}."
        ) from None
    for number, name in named:
        if files.get(number, name) != name:
            raise LiftjaxError(
                f"{path}: {name} and {files[number]} have the same image id, {number}; give each "
                "image an id of its own."
            )
    return files, categories


def _check_entries(entries: list, path: Path) -> None:
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or not {"image_id", "bbox"} <= entry.keys():
            raise LiftjaxError(f"{path}: entry {number} lacks image_id or bbox; {_EXPECTED}.")
        for key, kinds in _KINDS.items():
            if key in entry and type(entry[key]) not in kinds:
                raise LiftjaxError(f"{path}: entry {number}: {key} is neither a number nor text.")
    scored = sum("score" in entry for entry in entries)
    if 0 < scored < len(entries):
        raise LiftjaxError(
            f"{path}: some boxes have a score and others have none; give all of them one, or none."
        )
    crowds = [entry.get("iscrowd") for entry in entries]
    if any(crowd not in (None, 0, 1) for crowd in crowds):
        raise LiftjaxError(f"{path}: iscrowd of a box is neither 0 nor 1; correct it.")
    if 0 in crowds and None in crowds:
        raise LiftjaxError(
            f"{path}: some boxes have iscrowd 0 and others have no iscrowd; give all of them one."
        )
    if len({type(entry["image_id"]) for entry in entries}) > 1:
        raise LiftjaxError(
            f"{path}: some image_id are numbers and others are text; use one of the two."
        )


def _arrays(entries: list[Mapping], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) and scores (N,)."""
    try:
        values = [[*entry["bbox"], entry.get("score", 1.0)] for entry in entries]
        table = as_numbers(values).reshape(len(entries), 5)
    except (TypeError, ValueError):
        raise LiftjaxError(
            f"{path}: a bbox is not four numbers, or a score is not a number; {_EXPECTED}."
        ) from None
    broken = np.flatnonzero(~(np.abs(table) < 1e9).all(axis=1))  # nan too
    if len(broken):
        first = entries[broken[0]]
        raise LiftjaxError(
            f"{path}: the box {first['bbox']} of image_id {first['image_id']}, or its score, is no "
            f"usable number, nor are {len(broken) - 1} more; leave these boxes out."
        )
    scores = table[:, 4]
    if len(scores) and (scores.min() < 0 or scores.max() > 1 + _ABOVE_ONE):
        raise LiftjaxError(
            f"{path}: its scores go from {scores.min():g} to {scores.max():g}; give scores from 0 "
            "to 1, or none."
        )
    table[:, 2:4] += table[:, :2]
    return table[:, :4].astype(np.float32), table[:, 4].astype(np.float32)
