"""Which frame of its video a detection belongs to: numbers in names, and where counting starts."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from data_prep.building import Problem
from liftjax.errors import LiftjaxError

_NUMBER = re.compile(r"[0-9]+")
_FAR = 1.1  # times as many frames as the video has: more than a miscount


def frame_numbers(names: Sequence, where) -> list[int]:
    """The frame's number in each of some names: the one number that is not the same in all.

    Args:
      names: of pictures or files, as text ("cam2_000003.jpg") or numbers (3, 3.0).
      where: what errors name.
    """
    texts = [_as_text(name, where) for name in names]
    if len({isinstance(name, str) for name in names}) > 1:
        raise LiftjaxError(
            f"{where}: some frames have names and some numbers ({_examples(map(repr, names))}); "
            "use only one of the two."
        )
    forms = {_NUMBER.sub("#", text): text for text in texts}
    if len(forms) > 1:
        raise LiftjaxError(
            f"{where}: frames are named in different ways ({_examples(forms.values())}); give all "
            "names of one form."
        )
    columns = list(zip(*([int(n) for n in _NUMBER.findall(text)] for text in texts), strict=True))
    varying = list({column for column in columns if len(set(column)) > 1})
    if not varying and len(columns) == 1:
        varying = columns
    if len(varying) != 1:
        raise LiftjaxError(
            f"{where}: which number is the frame's is not clear from {_examples(texts)}; give "
            "names in which one number counts the frames and no other varies."
        )
    text_of: dict[int, str] = {}
    for number, text in zip(varying[0], texts, strict=True):
        if text_of.setdefault(number, text) != text:
            raise LiftjaxError(f"{where}: frame {number} comes twice ({text_of[number]}, {text}).")
    return list(varying[0])


def _as_text(name, where) -> str:
    """A name as text. A whole number such as 3.0 becomes "3"."""
    if isinstance(name, str):
        return name
    if isinstance(name, bool) or not isinstance(name, int | float) or name % 1 != 0:
        raise LiftjaxError(f"{where}: {name!r} is neither the name nor the number of a frame.")
    return str(int(name))


def _examples(texts) -> str:
    return ", ".join(list(dict.fromkeys(texts))[:3])


def number_by_video(
    found: Sequence, lengths: Sequence[int], names: Sequence[str], given: int | None = None
) -> tuple[list, list[Problem]]:
    """Detections numbered from 0 as the frames of their videos, and remarks where they were not.

    Args:
      found: :class:`detections.Detections` of each camera.
      lengths: number of frames of each camera's video; 0 if the file does not say.
      names: of the detections.
      given: the number of a video's first frame; None to find it.
    """
    for d, name in zip(found, names, strict=True):
        if given is not None and d.first not in (None, given):
            raise LiftjaxError(
                f"{name}: files of this form count frames from {d.first}, but --first-frame says "
                f"{given}; leave the option out."
            )
    unsaid = [c for c, d in enumerate(found) if d.first is None]
    spans = [(min(found[c].people), max(found[c].people)) for c in unsaid]
    first = first_frame_number(
        spans, [lengths[c] for c in unsaid], [names[c] for c in unsaid], given
    )
    aligned, remarks = [], []
    for d, length, name in zip(found, lengths, names, strict=True):
        people = d.people
        if d.first is None and first:
            people = {number - first: people for number, people in people.items()}
            remarks.append(Problem(f"frames counted from {first}", name, None, "", 0))
        if d.only_found:
            people = _with_empty_frames(people, length)
        aligned.append(dataclasses.replace(d, people=people))
    return aligned, remarks + _compare_lengths(aligned, lengths, names)


def _compare_lengths(
    aligned: Sequence, lengths: Sequence[int], names: Sequence[str]
) -> list[Problem]:
    """A remark if detections end long before the video; raises if all end long after it."""
    ends = [max(d.people) + 1 for d in aligned]
    cameras = list(zip(ends, lengths, names, strict=True))
    if all(end > _FAR * length > 0 for end, length, _ in cameras):
        raise LiftjaxError(
            f"{names[0]}: detections of {ends[0]} frames, but the video has {lengths[0]}, and so "
            "in all cameras; are they of other videos, or of another frame rate? Give the videos "
            "that the detector saw, or say with --first-frame N which number the first frame has."
        )
    kind, doubt = "detections end before the video", "is it of another frame rate?"
    return [
        Problem(kind, name, end, f"{end} frames, the video has {length}: {doubt}", dropped=0)
        for end, length, name in cameras
        if length > _FAR * end
    ]


def _with_empty_frames(people: dict[int, np.ndarray], length: int) -> dict[int, np.ndarray]:
    """Adds frames of nobody for numbers not listed, up to the last person or the video's end."""
    nobody = np.zeros_like(next(iter(people.values()))[:0])
    last = max(people)
    numbers = {*range(min(last + 1, length) if length > 0 else last + 1), *people}
    return {number: people.get(number, nobody) for number in sorted(numbers)}


def first_frame_number(
    spans: Sequence[tuple[int, int]],
    lengths: Sequence[int],
    names: Sequence[str],
    given: int | None = None,
) -> int:
    """The number that the cameras' detections give to the first frames of the videos.

    It is 0 if a number 0 occurs, and 1 if the last number is the video's number of frames. A camera
    that shows neither follows the others; those that do show it must agree.

    Args:
      spans: first and last number of each camera's detections.
      lengths: number of frames of each video; 0 if the file does not say.
      names: of the detections, for errors.
      given: what the user says.

    Raises:
      LiftjaxError: both remain possible, or a number is below the first.
    """

    def told(first: int, last: int, length: int) -> int | None:
        """0 or 1, if the numbers of one camera leave no doubt."""
        if first == 0:
            return 0
        return 1 if first > 0 and last == length else None

    def shown(camera: int) -> str:
        first, last = spans[camera]
        return (
            f"{names[camera]}: its frames have numbers from {first} to {last}, the video has "
            f"{lengths[camera]} frames"
        )

    by_camera = [told(*span, length) for span, length in zip(spans, lengths, strict=True)]
    sure = {number for number in by_camera if number is not None} if given is None else {given}
    if len(sure) != 1 and spans:
        doubtful = by_camera.index(None) if None in by_camera else by_camera.index(1)
        beyond = spans[doubtful][1] > lengths[doubtful] > 0
        cure = "--first-frame N" if beyond else "--first-frame 0 or --first-frame 1"
        raise LiftjaxError(
            f"{shown(doubtful)}: which number the video's first frame has is not clear"
            f"{', nor do the cameras agree' if sure else ''}; say with {cure}."
        )
    number = max(sure, default=0)
    for camera, (first, _) in enumerate(spans):
        if first < number:
            raise LiftjaxError(
                f"{shown(camera)}: the first frame cannot be number {number}; say with "
                "--first-frame N what it is."
            )
    return number
