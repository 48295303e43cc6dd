"""Reads the rows of people a piece at a time, as they may be a file larger than memory."""

import itertools
from collections.abc import Iterator

import numpy as np

from liftjax.inference import placing, trust
from liftjax.inference.results import Frame, Result, sizes_px

_ROWS_AT_A_TIME = 4096
_FPS = 25.0
_SHARED = 0.1  # share of frames with several people, from which on they are drawn together


def chunks(rows: np.ndarray, start: int = 0, end: int | None = None) -> Iterator[np.ndarray]:
    """Consecutive pieces of rows[start:end]."""
    end = len(rows) if end is None else end
    for at in range(start, end, _ROWS_AT_A_TIME):
        yield rows[at : min(end, at + _ROWS_AT_A_TIME)]


def evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the rows, from all over the source."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
    return np.array(rows[places]) if len(places) else np.array(rows[:0])


def track_spans(rows: np.ndarray) -> dict[int, tuple[int, int]]:
    """(first row, row after the last) of each track; rows of other tracks may lie between."""
    spans: dict[int, tuple[int, int]] = {}
    start = 0
    for chunk in chunks(rows):
        numbers, first = np.unique(chunk["track"], return_index=True)
        last = len(chunk) - 1 - np.unique(chunk["track"][::-1], return_index=True)[1]
        for track, a, b in zip(numbers.tolist(), first.tolist(), last.tolist(), strict=True):
            spans[track] = spans.get(track, (start + a,))[0], start + b + 1
        start += len(chunk)
    return dict(sorted(spans.items()))


def known_frames(result: Result) -> Iterator[Frame]:
    """The frames of the source that the result knows of."""
    last = len(result.frames)
    return itertools.takewhile(lambda frame: frame.index < last, result.source.frames())


def stand_together(result: Result) -> bool:
    """Whether frames often have several people, so that poses are drawn where they are.

    A person alone is drawn in the middle of the view.
    """
    frames = np.unique(evenly(result.rows, 500)["frame"])
    shared = [len(result.people(frame)) > 1 for frame in frames.tolist()]
    return bool(shared) and np.mean(shared) > _SHARED


def frame_rate(result: Result) -> float:
    """Frames a second; 25 for pictures and where it is unknown."""
    source = result.source
    return float(source.fps) if source.is_video and source.fps > 0 else _FPS


def focal_px(result: Result) -> float | None:
    """The focal length with which all roots were placed; None if pictures differ in it."""
    found = set()
    for chunk in chunks(result.frames):
        found |= set(np.unique(focals_px(chunk, result)).tolist())
    found = {focal for focal in found if np.isfinite(focal)}
    return found.pop() if len(found) == 1 else result.focal_px


def focals_px(frames: np.ndarray, result: Result) -> np.ndarray:
    """The focal lengths (F,) of frames of FRAME_DTYPE; NaN for pictures that could not be read."""
    sizes = sizes_px(frames)
    return np.where(sizes.all(axis=1), placing.focal_px(sizes, result.focal_px), np.nan)


def largest_first(people: np.ndarray) -> np.ndarray:
    """The order (P,) of people by the areas of their boxes."""
    sides = people["box_xyxy"][:, 2:] - people["box_xyxy"][:, :2]
    return np.argsort(-sides.prod(axis=1), kind="stable")


def placed(people: np.ndarray, lifter: int) -> np.ndarray:
    """Joints (P, J, 3) in camera axes, metres; around the origin if the root is unknown."""
    roots = people["root_m"][:, lifter, None]
    return people["pose_m"][:, lifter] + np.where(np.isfinite(roots), roots, 0)


def placed_where_drawn(people: np.ndarray, lifter: int) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`placed`, NaN for people who are not drawn; and how strongly each is drawn (P,)."""
    strength_P = trust.pose_strengths(people["kpt_score"])
    return np.where(strength_P[:, None, None] > 0, placed(people, lifter), np.nan), strength_P
