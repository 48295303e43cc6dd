"""Checks of COCO's JSON files: which category is a person, and how boxes are written."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np

from liftjax.errors import LiftjaxError

PERSON = 1  # COCO's own number, where a file lists no categories
_SOME = 0.1  # share of the boxes
_REACH = 0.1  # of the picture's side: detectors' boxes reach beyond pictures, though not by much


def person_category(
    categories: Sequence[Mapping], used: Iterable[Hashable], path
) -> int | float | str:
    """The number of the category called person; COCO's 1 where a file lists no categories.

    Args:
      categories: the file's list of {"id", "name"}.
      used: category numbers that the file's entries have.
      path: of the file, for errors.

    Raises:
      LiftjaxError: no category is called person, or several may be meant.
    """
    used = set(used)
    if not categories:
        if 0 in used:
            raise LiftjaxError(
                f"{path}: its category_id count from 0, COCO's from 1, and it lists no categories; "
                "give people the number 1, or add categories, one of them called person."
            )
        return PERSON
    names = [(each["id"], str(each["name"]).strip().casefold()) for each in categories]
    if not all(isinstance(number, (int, float, str)) for number, _ in names):
        raise LiftjaxError(f"{path}: the id of a category is not a number; correct it.")
    people = {number for number, name in names if name == "person"}
    if not people:
        raise LiftjaxError(
            f"{path}: none of its categories ({', '.join(name for _, name in names[:8])}) is "
            "called person; rename that of people to person."
        )
    meant = people & used if len(people) > 1 else people
    others = sorted({name for number, name in names if number in meant} - {"person"})
    if len(meant) > 1 or others:
        numbers = ", ".join(sorted(map(str, meant)))
        also = f" and {', '.join(others)}" if others else ""
        raise LiftjaxError(
            f"{path}: category_id {numbers} is called person{also}; give people one number, "
            "which no other category has."
        )
    return next(iter(meant or people))


def used_categories(entries: Iterable) -> set:
    """The category numbers of the entries; with None if an entry has none."""
    found = (entry.get("category_id") for entry in entries if isinstance(entry, Mapping))
    return {number for number in found if number is None or isinstance(number, (int, float, str))}


def are_corners(boxes, sizes) -> bool:
    """Whether boxes that should be x, y, width, height are left, top, right, bottom.

    They are if, read as x, y, width, height, some boxes reach far beyond their pictures, but read
    as corners nearly all lie inside and have a positive size.

    Args:
      boxes: (N, 4) pixels.
      sizes: (N, 2) or (2,) width and height of the pictures.
    """
    boxes, sizes = np.asarray(boxes, float).reshape(-1, 4), np.asarray(sizes, float)
    if not len(boxes):
        return False
    low, high, reach = boxes[:, :2], boxes[:, 2:], _REACH * sizes
    beyond = (low + high > sizes + reach).any(axis=1)
    corners = ((high > low) & (low >= -reach) & (high <= sizes + reach)).all(axis=1)
    return bool(beyond.mean() > _SOME and corners.mean() > 0.99)
