"""Follows people through a video by the overlap of their boxes."""

import dataclasses

import numpy as np
from scipy.optimize import linear_sum_assignment

_NEW_SPEED = 0.5  # weight of the latest step in a box's speed; detected boxes jitter


@dataclasses.dataclass
class _Track:
    number: int
    box: np.ndarray  # (4,) float64 x0, y0, x1, y1, when last seen
    speed: np.ndarray | None = None  # (2,) pixels a frame of its centre, once seen twice
    missed: int = 0  # frames since

    def expected(self) -> np.ndarray:
        """Where the box is in the next frame, at constant speed."""
        if self.speed is None:
            return self.box
        return self.box + np.tile(self.speed, 2) * (self.missed + 1)

    def see(self, box: np.ndarray) -> None:
        moved = (box - self.box).reshape(2, 2).mean(axis=0) / (self.missed + 1)
        old = moved if self.speed is None else self.speed
        self.speed = old + _NEW_SPEED * (moved - old)
        self.box, self.missed = box, 0


class Tracker:
    """Gives each person of a video a number that stays the same.

    Each person's box is expected to move on at constant speed. New boxes are matched to the
    expected ones so that the sum of overlaps is greatest (SORT, Bewley et al. 2016, with a simpler
    filter).
    """

    def __init__(self, patience: int = 15, min_iou: float = 0.2):
        """
        Args:
          patience: a person missing for more frames than this gets a new number.
          min_iou: a box with less intersection over union with the expected box is another person.
        """
        self._patience, self._min_iou = patience, min_iou
        self._tracks: list[_Track] = []
        self._next = 0

    def update(self, boxes_xyxy: np.ndarray, scores: np.ndarray | None = None) -> np.ndarray:
        """Numbers (N,) int32 of the people in the next frame.

        New people get the next unused numbers, the best scores first. Call it for frames without
        people too.

        Args:
          boxes_xyxy: (N, 4) pixels; N may be 0.
          scores: (N,); None if all are equal.
        """
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
        numbers = np.full(len(boxes), -1, np.int32)
        seen = set()
        for i, track in self._match(boxes):
            track.see(boxes[i])
            numbers[i] = track.number
            seen.add(track.number)
        for track in self._tracks:
            track.missed += track.number not in seen
        self._tracks = [t for t in self._tracks if t.missed <= self._patience]
        scores = np.zeros(len(boxes)) if scores is None else np.asarray(scores)
        for i in np.argsort(-scores, kind="stable"):
            if numbers[i] < 0:
                numbers[i] = self._next
                self._tracks.append(_Track(self._next, boxes[i]))
                self._next += 1
        return numbers

    def _match(self, boxes: np.ndarray) -> list[tuple[int, _Track]]:
        if not self._tracks or not len(boxes):
            return []
        overlap = iou(boxes, np.stack([track.expected() for track in self._tracks]))
        possible = overlap >= self._min_iou
        rows, columns = linear_sum_assignment(np.where(possible, 1 - overlap, 1.0))
        return [(i, self._tracks[j]) for i, j in zip(rows, columns, strict=True) if possible[i, j]]


def iou(boxes_N4: np.ndarray, others_M4: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union of boxes x0, y0, x1, y1; 0 for boxes without a size."""
    a, b = boxes_N4[:, None], others_M4[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    union = _area(a) + _area(b) - shared
    return shared / np.maximum(union, 1e-9)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(axis=-1)
