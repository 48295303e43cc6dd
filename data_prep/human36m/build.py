"""The `human36m` command: from Human3.6M, in any of three layouts, to a data set.

Training subjects S1, S5, S6, S7, S8 give every 40th frame, test subjects S9, S11 every 100th.
Frames are counted in the original 50 Hz recording from 0, as in the released code: 0, 40, 80 ...
The joints are the usual 17 of the archive's 32.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data_prep.building import DatasetPlan, Problem, add_build_arguments, build_from_args
from data_prep.human36m import archive, h36m_fetch, mmpose
from data_prep.human36m.names import ACTIONS, SPLITS, SUBJECTS, parse_subject
from data_prep.human36m.sequences import SequenceOptions, SequenceUnit, SubjectSequences
from data_prep.human36m.thinning import first_missing, fitting_options, missing_frames
from data_prep.pictures import add_picture_arguments
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M

STRIDES = {"train": 40, "test": 100}
_METADATA = {
    "source": "Human3.6M, http://vision.imar.ro/human3.6m",
    "license": "Human3.6M licence: academic use only, no redistribution",
    "citation": "Ionescu, Papava, Olaru, Sminchisescu: Human3.6M. TPAMI 36 (7), 2014",
}

# Split -> subject -> what is there of the subject.
_Found = dict[str, dict[str, SubjectSequences]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m data_prep human36m`."""
    parser.add_argument(
        "--source",
        required=True,
        help="directory with S1, S5 ... in the layout of the official archive or of h36m-fetch, or "
        "with MMPose's annotation_body3d and images",
    )
    parser.add_argument(
        "--subjects",
        nargs="+",
        metavar="S",
        help=f"subjects to take, such as S1,S9; default: all ({','.join(SUBJECTS)})",
    )
    for split, stride in STRIDES.items():
        parser.add_argument(
            f"--{split}-stride",
            type=int,
            default=stride,
            metavar="N",
            help=f"take every N-th frame of {', '.join(SPLITS[split])}, counted from 0 in the "
            "original 50 Hz recording; default: %(default)s",
        )
    parser.add_argument(
        "--frames",
        choices=("wanted", "present"),
        default="wanted",
        help="wanted: refuse a tree that lacks many frames of the strides; present: take the "
        "frames of the strides that are there; default: %(default)s",
    )
    parser.add_argument(
        "--drop-misaligned",
        action="store_true",
        help="leave out the three sequences of S9 whose labels drift off the person",
    )
    add_picture_arguments(parser)
    add_build_arguments(parser)


def run_command(args: argparse.Namespace) -> None:
    """Builds the data set that parsed arguments describe."""
    plan = plan_human36m(
        args.source,
        subjects=parse_subjects(args.subjects),
        strides={"train": args.train_stride, "test": args.test_stride},
        present=args.frames == "present",
        full_frames=args.full_frames,
        drop_misaligned=args.drop_misaligned,
    )
    build_from_args(plan, args)


def parse_subjects(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Subjects of "S1,S9" or "S1 S9" in the order of SUBJECTS; None means all."""
    if not texts:
        return SUBJECTS
    names = [name for text in texts for name in re.split(r"[,\s]+", text) if name]
    chosen = {name: parse_subject(name) for name in names}
    for name, subject in chosen.items():
        if subject is None:
            raise LiftjaxError(f"--subjects {name}: choose from {','.join(SUBJECTS)}.")
    return tuple(subject for subject in SUBJECTS if subject in chosen.values())


def plan_human36m(
    source,
    *,
    subjects: Sequence[str] = SUBJECTS,
    strides: Mapping[str, int] = STRIDES,
    present: bool = False,
    full_frames: bool = False,
    drop_misaligned: bool = False,
) -> DatasetPlan:
    """What to build from the tree `source`, whose layout is recognised.

    Args:
      source: directory.
      subjects: names in SUBJECTS.
      strides: split -> take every n-th frame.
      present: take the frames of the strides that are there, however many are missing.
      full_frames: store whole pictures.
      drop_misaligned: leave out the sequences whose labels are known to be misaligned.

    Raises:
      LiftjaxError: an unknown tree, pickles, a missing subject, a thinned tree.
    """
    for split, stride in strides.items():
        if stride < 1:
            raise LiftjaxError(f"--{split}-stride {stride}: give 1 or more.")
    root = find_root(Path(source).expanduser())
    found: _Found = {}
    for split, members in SPLITS.items():
        chosen = [subject for subject in members if subject in subjects]
        options = SequenceOptions(strides[split], present, full_frames, drop_misaligned)
        if chosen:
            found[split] = _find_sequences(root, split, chosen, options)
    _check_subjects(root, subjects, found)
    if not present:
        _check_frames(root, found, strides)
    return DatasetPlan(
        name="human36m",
        skeleton=HUMAN36M.name,
        settings={
            "subjects": list(subjects),
            "strides": dict(strides),
            "frames": "present" if present else "wanted",
            "full_frames": full_frames,
            "drop_misaligned": drop_misaligned,
        },
        parts={split: list(_parts(of_split)) for split, of_split in found.items() if of_split},
        metadata=_METADATA,
        problems=tuple(_problems(found, strides, present)),
    )


def find_root(source: Path) -> Path:
    """The directory with the subjects or the npz files: `source` or the one such folder in it."""
    if not source.is_dir():
        raise LiftjaxError(f"There is no directory {source}.")
    source = source.absolute()
    if parse_subject(source.name) and (archive.holds(source) or h36m_fetch.holds(source)):
        raise LiftjaxError(f"{source} is one subject; give {source.parent} and --subjects.")
    if _is_root(source):
        return source
    folders = [folder for folder in sorted(source.iterdir()) if folder.is_dir()]
    inside = [folder for folder in folders if _is_root(folder)]
    if len(inside) == 1:
        return inside[0]
    if inside:
        names = ", ".join(folder.name for folder in inside)
        raise LiftjaxError(f"{source} holds several copies of Human3.6M: {names}; give one.")
    for folder in (source, *folders):
        for subject_folder in _subject_folders(folder).values():
            h36m_fetch.refuse_pickles(subject_folder)
    packed = next((f for pattern in ("*.tgz", "*/*.tgz") for f in source.glob(pattern)), None)
    hint = f" Unpack the archives, such as {packed.name}, first." if packed else ""
    raise LiftjaxError(
        f"{source}: not a known layout of Human3.6M; looked for {archive.LOOKED_FOR}, "
        f"{h36m_fetch.LOOKED_FOR} and {mmpose.LOOKED_FOR}.{hint}"
    )


def _is_root(folder: Path) -> bool:
    subjects = _subject_folders(folder).values()
    return any(archive.holds(f) or h36m_fetch.holds(f) for f in subjects) or mmpose.holds(folder)


def _subject_folders(root: Path) -> dict[str, Path]:
    folders = (folder for folder in sorted(root.iterdir()) if folder.is_dir())
    named = ((parse_subject(folder.name), folder) for folder in folders)
    return {subject: folder for subject, folder in named if subject}


def _find_sequences(
    root: Path, split: str, subjects: Sequence[str], options: SequenceOptions
) -> dict[str, SubjectSequences]:
    """What is there of each subject. A subject without anything is left out."""
    folders, found = _subject_folders(root), {}
    for subject in subjects:
        folder = folders.get(subject)
        if folder is None:
            continue
        for layout in (archive, h36m_fetch):
            if layout.holds(folder):
                found[subject] = layout.plan_units(root, folder, subject, options)
                break
        else:
            h36m_fetch.refuse_pickles(folder)
    if not found and (file := mmpose.choose_file(root, split, options.stride)):
        everybody = mmpose.plan_units(root, file, options)
        found = {subject: everybody[subject] for subject in subjects if subject in everybody}
    return found


def _check_subjects(root: Path, subjects: Sequence[str], found: _Found) -> None:
    """Raises if one of the subjects has no sequence."""
    everybody = {s: of_subject for of_split in found.values() for s, of_subject in of_split.items()}
    there = [subject for subject, of_subject in everybody.items() if of_subject.units]
    missing = ", ".join(subject for subject in subjects if subject not in there)
    if missing and there:
        raise LiftjaxError(
            f"{root}: {missing} missing; build from those there with --subjects "
            f"{','.join(there)}, or add the missing ones."
        )
    if missing:
        problems = [p for of_subject in everybody.values() for p in of_subject.problems]
        first = "; {0.kind}: {0.file} {0.detail}".format(problems[0]) if problems else "."
        raise LiftjaxError(f"{root}: nothing of {missing} that can be read{first}")


def _check_frames(root: Path, found: _Found, strides: Mapping[str, int]) -> None:
    """Raises if a tree was thinned to other frames than the strides ask for."""
    options, example = [], None
    for split, of_split in found.items():
        held = {unit: frames for one in of_split.values() for unit, frames in one.held.items()}
        fitting = fitting_options(held, split, strides[split])
        if fitting is not None:
            example = example or first_missing(held, strides[split])
            options += [option for option in fitting if option not in options]
    if options or example:
        such = ", such as frame {1} of {0}".format(*example) if example else ""
        cure = f"use {' '.join(options)}, or" if options else "use"
        raise LiftjaxError(
            f"{root} has been thinned and lacks frames that the strides ask for{such}; {cure} a "
            "tree with all frames."
        )


def _problems(found: _Found, strides: Mapping[str, int], present: bool) -> Iterator[Problem]:
    for split, of_split in found.items():
        for subject, of_subject in of_split.items():
            yield from of_subject.problems
            there = {(unit.action, unit.trial) for unit in of_subject.units}
            for action in ACTIONS:
                for trial in (1, 2):
                    if (action, trial) not in there:
                        yield Problem("missing sequence", f"{subject}/{action} {trial}", dropped=0)
            if not present:
                files = {unit.name: unit.label_file for unit in of_subject.units}
                yield from missing_frames(of_subject.held, files, strides[split])


def _parts(of_split: Mapping[str, SubjectSequences]) -> Iterator[tuple[SequenceUnit, ...]]:
    """One part for each subject and action: all trials and cameras."""
    for found in of_split.values():
        for action in ACTIONS:
            units = [unit for unit in found.units if unit.action == action]
            if units:
                yield tuple(sorted(units, key=lambda unit: (unit.trial, unit.camera)))
