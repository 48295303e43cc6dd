"""The `human36m` command: from Human3.6M, in any of three layouts, to a data set.

Training subjects S1, S5, S6, S7, S8, every 40th frame; test subjects S9, S11, every 100th. Frames
are counted in the original 50 Hz recording from 0, as the released code counts them: 0, 40, 80 ...
The joints are the 17 that everybody uses, of the archive's 32.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data_prep.building import DatasetPlan, Problem, add_build_arguments, build_from_args
from data_prep.human36m import archive, fetch, mmpose
from data_prep.human36m.names import ACTIONS, parse_subject
from data_prep.human36m.sequences import SPLITS, Found, Options, SequenceUnit
from data_prep.human36m.thinning import first_missing, missing_frames, settings_for
from data_prep.pictures import add_picture_arguments
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M

STRIDES = {"train": 40, "test": 100}
SUBJECTS = tuple(subject for subjects in SPLITS.values() for subject in subjects)
_METADATA = {
    "source": "Human3.6M, http://vision.imar.ro/human3.6m",
    "license": "Human3.6M licence: academic use only, no redistribution",
    "citation": "Ionescu, Papava, Olaru, Sminchisescu: Human3.6M. TPAMI 36 (7), 2014",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        required=True,
        help="directory with S1, S5 ... as the official archive or h36m-fetch have them, or with "
        "MMPose's annotation_body3d and images",
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
            help=f"every N-th frame of {', '.join(SPLITS[split])}, counted from 0 at the original "
            "50 Hz (default: %(default)s)",
        )
    parser.add_argument(
        "--frames",
        choices=("wanted", "present"),
        default="wanted",
        help="wanted: refuse a tree that lacks many frames of the strides; present: take those of "
        "them that are there (with stride 1: all that are there)",
    )
    parser.add_argument(
        "--drop-misaligned",
        action="store_true",
        help="leave out the three sequences of S9 whose labels drift off the person",
    )
    add_picture_arguments(parser)
    add_build_arguments(parser)


def run_command(args: argparse.Namespace) -> None:
    chosen = plan(
        args.source,
        subjects=parse_subjects(args.subjects),
        strides={"train": args.train_stride, "test": args.test_stride},
        present=args.frames == "present",
        full_frames=args.full_frames,
        drop_misaligned=args.drop_misaligned,
    )
    build_from_args(chosen, args)


def parse_subjects(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Subjects of "S1,S9" or "S1 S9" in the order of SUBJECTS; all of None."""
    if not texts:
        return SUBJECTS
    names = [name for text in texts for name in re.split(r"[,\s]+", text) if name]
    chosen = {name: parse_subject(name) for name in names}
    for name, subject in chosen.items():
        if subject is None:
            raise LiftjaxError(f"--subjects {name}: choose from {','.join(SUBJECTS)}.")
    return tuple(subject for subject in SUBJECTS if subject in chosen.values())


def plan(
    source,
    *,
    subjects: Sequence[str] = SUBJECTS,
    strides: Mapping[str, int] = STRIDES,
    present: bool = False,
    full_frames: bool = False,
    drop_misaligned: bool = False,
) -> DatasetPlan:
    """What to build from the tree `source`, whose layout shows itself.

    Args:
      source: directory. subjects: names in SUBJECTS. strides: split -> every n-th frame.
      present: take the frames of the strides that are there, however many are missing.
      full_frames: store whole pictures. drop_misaligned: leave out sequences known to be.

    Raises:
      LiftjaxError: an unknown tree, pickles, a missing subject, a thinned tree.
    """
    for split, stride in strides.items():
        if stride < 1:
            raise LiftjaxError(f"--{split}-stride {stride}: give a whole number from 1 on.")
    root = find_root(Path(source).expanduser())
    found = {}
    for split, members in SPLITS.items():
        chosen = [s for s in members if s in subjects]
        options = Options(strides[split], present, full_frames, drop_misaligned)
        if chosen:
            found[split] = _find(root, split, chosen, options)
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
        problems=tuple(_problems(root, found, strides, present)),
    )


def find_root(source: Path) -> Path:
    """The directory with the subjects or the npz files: `source` or the one such folder in it."""
    if not source.is_dir():
        raise LiftjaxError(f"There is no directory {source}.")
    source = source.absolute()
    if parse_subject(source.name) and (archive.holds(source) or fetch.holds(source)):
        raise LiftjaxError(f"{source} is one subject; give {source.parent} and --subjects.")
    if _is_root(source):
        return source
    inside = [folder for folder in sorted(source.iterdir()) if folder.is_dir()]
    inside = [folder for folder in inside if _is_root(folder)]
    if len(inside) == 1:
        return inside[0]
    if inside:
        names = ", ".join(folder.name for folder in inside)
        raise LiftjaxError(f"{source} holds several copies of Human3.6M: {names}; give one.")
    for folder in (source, *(f for f in source.iterdir() if f.is_dir())):
        for subject_folder in _subject_folders(folder).values():
            fetch.refuse_pickles(subject_folder)
    packed = next((f for pattern in ("*.tgz", "*/*.tgz") for f in source.glob(pattern)), None)
    hint = f" Unpack the archives, such as {packed.name}, first." if packed else ""
    raise LiftjaxError(
        f"{source}: no layout of Human3.6M that is known; looked for {archive.LOOKED_FOR}, "
        f"{fetch.LOOKED_FOR} and {mmpose.LOOKED_FOR}.{hint}"
    )


def _is_root(folder: Path) -> bool:
    subjects = _subject_folders(folder).values()
    return any(archive.holds(f) or fetch.holds(f) for f in subjects) or mmpose.holds(folder)


def _subject_folders(root: Path) -> dict[str, Path]:
    folders = (folder for folder in sorted(root.iterdir()) if folder.is_dir())
    named = ((parse_subject(folder.name), folder) for folder in folders)
    return {subject: folder for subject, folder in named if subject}


def _find(root: Path, split: str, subjects: Sequence[str], options: Options) -> dict[str, Found]:
    """What is there of each subject, if anything is."""
    folders, found = _subject_folders(root), {}
    for subject in subjects:
        folder = folders.get(subject)
        if folder is None:
            continue
        if archive.holds(folder):
            found[subject] = archive.plan_units(root, folder, subject, options)
        elif fetch.holds(folder):
            found[subject] = fetch.plan_units(root, folder, subject, options)
        else:
            fetch.refuse_pickles(folder)
    if not found and (file := mmpose.choose_file(root, split, options.stride)):
        everybody = mmpose.plan_units(root, file, options)
        found = {s: everybody[s] for s in subjects if s in everybody}
    return found


def _check_subjects(root: Path, subjects: Sequence[str], found) -> None:
    there = [
        s for of_split in found.values() for s, of_subject in of_split.items() if of_subject.units
    ]
    missing = [subject for subject in subjects if subject not in there]
    if not missing:
        return
    if not there:
        raise LiftjaxError(f"{root}: nothing of {', '.join(missing)} that can be read{_why(found)}")
    raise LiftjaxError(
        f"{root}: {', '.join(missing)} missing; build from those there with "
        f"--subjects {','.join(there)}, or add the missing ones."
    )


def _why(found) -> str:
    """The first problem, if there is one, that left nothing."""
    problems = [p for of_split in found.values() for one in of_split.values() for p in one.problems]
    return f"; {problems[0].kind}: {problems[0].file} {problems[0].detail}" if problems else "."


def _check_frames(root: Path, found, strides: Mapping[str, int]) -> None:
    """Raises if a tree was thinned to other frames than the strides ask for."""
    options, example = [], None
    for split, of_split in found.items():
        held = _held(of_split)
        fitting = settings_for(held, split, strides[split])
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


def _held(of_split: Mapping[str, Found]) -> dict:
    return {unit: frames for found in of_split.values() for unit, frames in found.held.items()}


def _problems(root, found, strides, present: bool) -> Iterator[Problem]:
    for split, of_split in found.items():
        for subject, of_subject in of_split.items():
            yield from of_subject.problems
            yield from _missing_sequences(subject, of_subject)
            if not present:
                files = {unit.name: unit.label_file for unit in of_subject.units}
                yield from missing_frames(of_subject.held, files, strides[split])


def _missing_sequences(subject: str, found: Found) -> Iterator[Problem]:
    there = {(unit.action, unit.trial) for unit in found.units}
    for action in ACTIONS:
        for trial in (1, 2):
            if (action, trial) not in there:
                yield Problem("missing sequence", f"{subject}/{action} {trial}", dropped=0)


def _parts(of_split: Mapping[str, Found]) -> Iterator[tuple[SequenceUnit, ...]]:
    """One part for each subject and action: all trials and cameras."""
    for found in of_split.values():
        for action in ACTIONS:
            units = [unit for unit in found.units if unit.action == action]
            if units:
                yield tuple(sorted(units, key=lambda unit: (unit.trial, unit.camera)))
