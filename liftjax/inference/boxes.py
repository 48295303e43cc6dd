"""Where the people in a frame are: the whole frame, boxes by hand, or another program's file.

Each of the three is called with a Frame. It returns boxes (N, 4) float32, x0, y0, x1, y1 in pixels
of the frame, and their scores (N,) float32. A box may reach beyond the frame.
"""

import functools
import sys
from collections.abc import Callable, Sequence

import numpy as np

from liftjax.data.coco import are_corners
from liftjax.errors import LiftjaxError
from liftjax.inference import boxes_file
from liftjax.inference.frame_names import frame_numbers
from liftjax.inference.results import Frame, Source

Boxes = tuple[np.ndarray, np.ndarray]

_FEWEST, _ENOUGH = 5, 50  # boxes from which the order of their four numbers is found


def whole_frame(frame: Frame) -> Boxes:
    """One box, the whole frame."""
    return np.array([[0, 0, *frame.size]], np.float32), np.ones(1, np.float32)


class FixedBoxes:
    """The same boxes in every frame."""

    def __init__(self, texts: Sequence[str]):
        """
        Args:
          texts: "x0,y0,x1,y1" for each box: left, top, right and bottom in pixels.
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
    """Reads a COCO file once, for several sources; call the result with each source.

    Args:
      path: of the JSON file; see :mod:`liftjax.inference.boxes_file`.
      score: boxes with a lower score are left out; those without a score have 1.

    Raises:
      LiftjaxError: the file is of another kind, or has no score as high as that.
    """
    found = boxes_file.read_person_boxes(path)
    likely = found.scores >= score
    if len(likely) and not likely.any():
        raise LiftjaxError(
            f"{path}: no box has a score of {score:g} or more, the best has "
            f"{found.scores.max():g}; lower --min-score."
        )
    return functools.partial(BoxesFromFile, found.select(likely))


class BoxesFromFile:
    """The boxes that another program found in a source; `frame_names` says which are of it."""

    def __init__(self, found: boxes_file.PersonBoxes, source: Source):
        """Raises LiftjaxError if no box is of this source; warns on stderr if some are not."""
        self.path, self._warned = found.path, False
        frames = frame_numbers(found, source)
        order = np.argsort(frames, kind="stable")[(frames < 0).sum() :]
        self._frames = frames[order]
        self._boxes, self._scores = found.boxes[order], found.scores[order]
        self._first: list[tuple[np.ndarray, tuple[int, int]]] = []  # boxes and sizes of frames

    def __call__(self, frame: Frame) -> Boxes:
        """Leaves out, with one warning, boxes that lie outside the frame or have no size.

        Raises:
          LiftjaxError: boxes seem to be left, top, right, bottom, not left, top, width, height.
        """
        first, last = np.searchsorted(self._frames, [frame.index, frame.index + 1])
        boxes, scores = self._boxes[first:last], self._scores[first:last]
        self._check_form(boxes, frame)
        inside = overlaps(boxes, frame.size)
        if not inside.all() and not self._warned:
            self._warned = True
            print(
                f"{self.path}: the box {_text(boxes[~inside][0])} (left,top,right,bottom) has no "
                f"size or lies outside {_described(frame)}; such boxes are left out.",
                file=sys.stderr,
            )
        return boxes[inside], scores[inside]

    def _check_form(self, boxes: np.ndarray, frame: Frame) -> None:
        """Raises a LiftjaxError if the first boxes cannot be x, y, width, height."""
        if len(self._first) >= _ENOUGH or not len(boxes):
            return
        self._first += [(box, frame.size) for box in boxes]
        if len(self._first) < min(_FEWEST, len(self._boxes)):
            return
        xyxy, sizes = (np.array(values, float) for values in zip(*self._first, strict=True))
        given = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
        if are_corners(given, sizes):
            raise LiftjaxError(
                f"{self.path}: read as x, y, width, height, boxes reach far beyond their frames "
                f"(up to {_described(frame)}); they seem to be left, top, right, bottom; write "
                "bbox as [x, y, width, height], within the frame."
            )


def overlaps(boxes_xyxy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(N,) bool: which boxes (N, 4) have a size and overlap a frame of `size` (width, height)."""
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
