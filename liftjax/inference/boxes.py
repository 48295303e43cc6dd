"""Where the people in a frame are: the whole frame, boxes by hand, or another program's file.

Each is called with a Frame and returns boxes (N, 4) float32, x0, y0, x1, y1 in pixels of the frame,
and their scores (N,) float32. A box may reach beyond the frame, but not lie wholly outside.
"""

import collections
import functools
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from liftjax.errors import LiftjaxError
from liftjax.inference import coco
from liftjax.inference.results import Frame, Source

Boxes = tuple[np.ndarray, np.ndarray]


def whole_frame(frame: Frame) -> Boxes:
    """One box: the frame."""
    return np.array([[0, 0, *frame.size]], np.float32), np.ones(1, np.float32)


class FixedBoxes:
    """The same boxes in every frame."""

    def __init__(self, texts: Sequence[str]):
        """
        Args:
          texts: "x0,y0,x1,y1" each, pixels: left, top, right and bottom.
        """
        self._boxes = np.array([_parse(text) for text in texts], np.float32).reshape(-1, 4)

    def __call__(self, frame: Frame) -> Boxes:
        """Raises LiftjaxError for a box that lies outside the frame."""
        outside = ~overlaps(self._boxes, frame.size)
        if outside.any():
            raise LiftjaxError(
                f"The box {_text(self._boxes[outside][0])} lies outside {_described(frame)}; a box "
                "is left,top,right,bottom."
            )
        return self._boxes.copy(), np.ones(len(self._boxes), np.float32)


def read_detections(path, score: float = 0.5) -> Callable[[Source], "BoxesFromFile"]:
    """Reads a COCO file once, for one source or several: call the result with each.

    Args:
      path: of the JSON file: see :mod:`liftjax.inference.coco`.
      score: boxes below it are left out; those without a score count as 1.

    Raises:
      LiftjaxError: for a file that is not such, or has no score as good as that.
    """
    found = coco.read(path)
    likely = found.scores >= score
    if len(likely) and not likely.any():
        raise LiftjaxError(
            f"{path}: no box has a score of {score:g} or more, the best has "
            f"{found.scores.max():g}; set the threshold lower."
        )
    return functools.partial(BoxesFromFile, found.select(likely))


class BoxesFromFile:
    """The boxes that another program found in a source.

    In a video `image_id` is the number of the frame, from 0, or, where the COCO file gives the id
    a file name, the last number in that. Pictures are found by this file name; without one, by an
    id that is the picture's name or the last number in it (frame_0012.jpg is 12). A single picture
    takes the boxes of a file that has a single id.
    """

    def __init__(self, found: coco.Detections, source: Source):
        """Raises LiftjaxError if no box is of this source; tells on stderr if some are not."""
        self.path, self._warned = found.path, False
        frames = _frame_numbers(found, source)
        order = np.argsort(frames, kind="stable")[(frames < 0).sum() :]
        self._frames = frames[order]
        self._boxes, self._scores = found.boxes[order], found.scores[order]

    def __call__(self, frame: Frame) -> Boxes:
        """Leaves out, with one warning, boxes that lie outside the frame or have no size."""
        first, last = np.searchsorted(self._frames, [frame.index, frame.index + 1])
        boxes, scores = self._boxes[first:last], self._scores[first:last]
        inside = overlaps(boxes, frame.size)
        if not inside.all() and not self._warned:
            self._warned = True
            print(
                f"{self.path}: the box {_text(boxes[~inside][0])} (left,top,right,bottom) has no "
                f"size or lies outside {_described(frame)}; it is left out, and so are others like "
                "it.",
                file=sys.stderr,
            )
        return boxes[inside], scores[inside]


def overlaps(boxes_xyxy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N,) bool: which boxes (N, 4) have a size and share some of it with a frame (w, h)."""
    low = np.maximum(boxes_xyxy[:, :2], 0)
    high = np.minimum(boxes_xyxy[:, 2:], size)
    return (high > low).all(axis=1)


def _parse(text: str) -> list[float]:
    try:
        sides = [float(part) for part in text.split(",")]
    except ValueError:
        sides = []
    if len(sides) != 4 or not np.isfinite(sides).all():
        raise LiftjaxError(f"Box {text!r}: expected four numbers, left,top,right,bottom in pixels.")
    if sides[2] <= sides[0] or sides[3] <= sides[1]:
        raise LiftjaxError(
            f"Box {text!r}: the right side must be greater than the left, the bottom than the top; "
            "the numbers are left,top,right,bottom, not left,top,width,height."
        )
    return sides


def _text(box: np.ndarray) -> str:
    return ",".join(f"{side:g}" for side in box)


def _described(frame: Frame) -> str:
    width, height = frame.size
    return f"frame {frame.name}, {width} pixels wide and {height} high"


# Which frame an image id means


def _frame_numbers(found: coco.Detections, source: Source) -> np.ndarray:
    """(N,) index of the frame of each box, -1 where the source has none."""
    names = getattr(source, "names", None)  # pictures have names
    if names is None:
        number = _by_number(found, len(source) if source.counted else 0)
    elif len(names) == 1 and len(set(found.ids)) == 1 and not found.files:
        number = {found.ids[0]: 0}
    else:
        number = _by_name(found, names)
    frames = np.array([number.get(image_id, -1) for image_id in found.ids], np.int64)
    unknown = np.flatnonzero(frames < 0)
    if len(unknown):
        _report_unknown(found, unknown, source, names)
    return frames


def _by_number(found: coco.Detections, count: int) -> dict:
    """Frame number by image id, for those in range; `count` 0: any."""
    numbers = {}
    for image_id in set(found.ids):
        name = found.files.get(image_id)
        number = _last_number(name) if name else image_id
        if str(number).isdecimal() and (int(number) < count or not count):
            numbers[image_id] = int(number)
    return numbers


def _by_name(found: coco.Detections, names: Sequence[str]) -> dict:
    """Index of the picture by image id, for those ids that have one."""
    index = {}
    for keys in (map(_last_number, names), [Path(name).stem for name in names], names):
        index |= _unambiguous(keys)
    if found.files:
        meant = {i: Path(found.files[i]).name for i in set(found.ids) if i in found.files}
    else:
        meant = {i: i for i in set(found.ids)}
    return {image_id: index[key] for image_id, key in meant.items() if key in index}


def _unambiguous(keys) -> dict:
    """Place by key, for keys that occur once: what two pictures share tells neither."""
    places = collections.defaultdict(list)
    for i, key in enumerate(keys):
        places[key].append(i)
    return {key: found[0] for key, found in places.items() if len(found) == 1 and key is not None}


def _last_number(name: str) -> int | None:
    digits = re.findall(r"[0-9]+", Path(name).stem)
    return int(digits[-1]) if digits else None


def _report_unknown(found: coco.Detections, unknown: np.ndarray, source: Source, names) -> None:
    """Raises where no box is of the source: the file is another's, or its ids mean something else.

    Some boxes of other pictures are no fault.
    """
    example = found.ids[unknown[0]]
    example = f"{example} ({found.files[example]})" if example in found.files else example
    last = f" to {len(source) - 1}" if len(source) else ""
    frames = f"such as {names[0]}" if names else f"numbered from 0{last}"
    if len(unknown) == len(found.ids):
        raise LiftjaxError(
            f"{found.path}: its image_id, such as {example}, are of no frame of {source.given}, "
            f"which are {frames}."
        )
    print(
        f"{found.path}: {len(unknown)} of {len(found.ids)} boxes are of no frame of "
        f"{source.given}, such as image_id {example}; they are left out.",
        file=sys.stderr,
    )
