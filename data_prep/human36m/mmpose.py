"""What MMPose's preprocess_h36m.py makes: annotation_body3d/fps10/h36m_train.npz and images.

The arrays have one row for each picture: imgname "S1/S1_Directions_1.54138969/S1_Directions_1.
54138969_000001.jpg" (file name of the archive with _ for blanks; number from 1), part (rows, 17, 3)
pixels and a one, S (rows, 17, 4) metres in camera axes and a one. fps50 has every frame, fps10
every fifth. cameras.pkl beside them is not read: a pickle may run code, and the cameras are
published.
"""

import dataclasses
import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from data_prep.building import Problem
from data_prep.human36m.cameras import CAMERAS, parse_view
from data_prep.human36m.folders import FolderUnit, add_unit, first_picture_number
from data_prep.human36m.names import (
    SPLITS,
    file_numbers,
    in_order_of_trials,
    known_cause,
    parse_subject,
)
from data_prep.human36m.sequences import (
    SequenceLabels,
    SequenceOptions,
    SubjectSequences,
    sort_frames,
)
from liftjax.errors import LiftjaxError

LOOKED_FOR = "annotation_body3d/fps*/h36m_train.npz (MMPose)"
_ORIGINAL_FPS = 50
_ARRAYS = {"part": (17, 3), "S": (17, 4)}
_NAME = re.compile(r"(?:.*/)?(?P<folder>[^/]+)/(?P<stem>[^/]+)_(?P<number>\d+)\.\w+")


@dataclasses.dataclass(frozen=True, eq=False)
class MMPoseUnit(FolderUnit):
    """One camera's rows of an npz file and its folder of pictures.

    Attributes:
      labels: those of the stride.
      problems: what was wrong with the rows.
      frames: the numbers of all its rows.
    """

    labels: SequenceLabels
    problems: tuple[Problem, ...]
    frames: np.ndarray

    def read_labels(self) -> tuple[SequenceLabels, list[Problem]]:
        return self.labels, list(self.problems)

    def unlabelled(self, frames: np.ndarray) -> list[Problem]:
        return super().unlabelled(self.frames)


def annotation_files(root: Path, split: str) -> list[Path]:
    """The npz files of a split, those of the fewest frames per second first."""
    places = ("annotation_body3d/fps*", "annotation_body3d", "fps*", ".")
    files = [f for place in places for f in sorted(root.glob(f"{place}/h36m_{split}.npz"))]
    return sorted(set(files), key=lambda file: (_fps(file), file))


def holds(root: Path) -> bool:
    """Whether a directory is in this layout."""
    return any(annotation_files(root, split) for split in SPLITS)


def choose_file(root: Path, split: str, stride: int) -> Path | None:
    """The smallest file of a split that has every frame of the stride, else the one with most."""
    files = annotation_files(root, split)
    whole = [f for f in files if stride % (_ORIGINAL_FPS // _fps(f)) == 0]
    return (whole or files[-1:] or [None])[0]


def _fps(file: Path) -> int:
    match = re.fullmatch(r"fps(\d+)", file.parent.name)
    return min(max(int(match[1]), 1), _ORIGINAL_FPS) if match else _ORIGINAL_FPS


def plan_units(root: Path, file: Path, options: SequenceOptions) -> dict[str, SubjectSequences]:
    """The sequences of each subject in a file."""
    names, px, metres = _load(file)
    relative = os.path.relpath(file, root)
    rows_of, problems = _sequences(names, relative)
    found = {}
    for subject in sorted({key[0] for key in rows_of}):
        found[subject] = of_subject = SubjectSequences(problems=problems)
        problems = []  # those of the whole file are told once
        sequences = (key[1:3] for key in rows_of if key[0] == subject)
        for action, number, trial in in_order_of_trials(subject, sequences):
            sequence = f"{subject} {action} {number}".strip()
            if number not in file_numbers(subject, action):
                detail = f"{sequence}: the archive has no such file; read as trial {trial}"
                problem = Problem("unexpected sequence", relative, None, detail, 0)
                of_subject.problems.append(problem)
            for name in CAMERAS:
                if (subject, action, number, name) not in rows_of:
                    cause = known_cause(subject, action, trial, name)
                    detail = f"no rows of {sequence} {name}. {cause}".rstrip()
                    problem = Problem("missing camera", relative, None, detail, 0)
                    of_subject.problems.append(problem)
                    continue
                folder, pictured, rows = rows_of[subject, action, number, name]
                place = _pictures(root, subject, folder)
                frames = pictured - first_picture_number(place)
                labels = SequenceLabels(frames, px[rows, :, :2], metres[rows, :, :3])
                labels, unsorted = sort_frames(labels, options.stride, relative)
                unit = MMPoseUnit(
                    *(str(root), subject, action, trial, name, options, str(file), str(place)),
                    labels.of_stride(options.stride),
                    tuple(unsorted),
                    frames,
                )
                add_unit(of_subject, unit, frames)
    return found


def _load(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """imgname, part and S of a file. Raises LiftjaxError unless they belong together."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = [archive[key] for key in ("imgname", *_ARRAYS)]
    except KeyError as error:
        raise LiftjaxError(
            f"{file}: it has no array {error}; expected imgname, part, S."
        ) from error
    except Exception as error:  # zipfile and zlib raise their own kinds for a truncated file
        raise LiftjaxError(
            f"{file}: not a whole npz file of plain arrays ({error}); run preprocess_h36m.py again."
        ) from error
    names, px, metres = arrays
    for key, array in zip(_ARRAYS, (px, metres), strict=True):
        if array.ndim != 3 or array.shape[1] != 17 or array.shape[2] < _ARRAYS[key][1] - 1:
            raise LiftjaxError(
                f"{file}: {key} has shape {array.shape}, expected (rows, 17, {_ARRAYS[key][1]})."
            )
    if not len(names) == len(px) == len(metres):
        raise LiftjaxError(
            f"{file}: {len(names)} names of pictures, {len(px)} 2D and {len(metres)} 3D poses, so "
            "that from some sequence on rows belong to other pictures, as happens when a video "
            "cannot be read to its end; run preprocess_h36m.py again on whole videos."
        )
    return names.astype("U"), *(a.astype(np.float64, copy=False) for a in (px, metres))


def _sequences(names: np.ndarray, file: str):
    """(subject, action, file number, camera) -> folder, its pictures' numbers and rows."""
    rows, problems = defaultdict(list), []
    for row, name in enumerate(names.tolist()):
        match = _NAME.fullmatch(name.replace("\\", "/"))
        if match is None:
            problems.append(Problem("unexpected name", file, None, f"row {row}: {name}"))
        else:
            rows[match["folder"]].append((row, int(match["number"])))
    found = {}
    for folder, pairs in rows.items():
        subject, _, view = folder.partition("_")
        subject, parsed = parse_subject(subject), parse_view(view)
        if subject is None or parsed is None:
            if "_ALL" not in folder:
                detail = f"sequence {folder}"
                problems.append(Problem("unexpected name", file, None, detail, len(pairs)))
            continue
        key = (subject, *parsed)
        chosen = np.array(pairs)
        if key in found:
            _, pictured, earlier = found[key]
            chosen = np.concatenate([np.stack([earlier, pictured], axis=1), chosen])
        found[key] = folder, chosen[:, 1], chosen[:, 0]
    return found, problems


def _pictures(root: Path, subject: str, folder: str) -> Path:
    """The folder of a sequence's pictures; if there is none, where it is expected."""
    places = [root / top / subject / folder for top in ("images", ".", "../images")]
    return next((place for place in places if place.is_dir()), places[0])
