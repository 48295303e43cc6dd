"""Joins finished parts to a data set, checks it, and puts it in its place."""

import collections
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data_prep.checks import self_check
from data_prep.contact_sheet import contact_sheet
from data_prep.parts import (
    Note,
    checksum,
    features,
    labels_of_part,
    part_file,
    read_note,
)
from data_prep.problems import Problem, as_csv, count
from liftjax.data.records import PoseDataset, labels_file
from liftjax.data.schema import IDENTITY, METADATA_FILE, SCHEMA_VERSION, record_name
from liftjax.errors import LiftjaxError
from liftjax.skeletons import get_skeleton

PLAN_FILE = "plan.json"
PROBLEMS_FILE = "problems.csv"
SHEET_FILE = "contact_sheet.png"
_SHEET_COLUMNS, _SHEET_ROWS = 8, 2


@dataclasses.dataclass(frozen=True)
class Header:
    """What is known of a data set before any record: stored as plan.json with its parts.

    Attributes:
      parts: split -> number of parts. problems: rows of :class:`Problem` found while planning.
      fingerprint: of settings, units and their files. sheet: whether to draw a contact sheet.
    """

    name: str
    skeleton: str
    settings: dict
    metadata: dict
    parts: dict[str, int]
    problems: list[list]
    fingerprint: str
    sheet: bool


def building_directory(out: Path) -> Path:
    """Where the record files of `out` come to be."""
    return out.with_name(f".{out.name}.building")


def notes_directory(out: Path) -> Path:
    """Where the notes on finished parts of `out` lie until it is whole."""
    return out.with_name(f".{out.name}.parts")


def read_header(out: Path) -> Header | None:
    """The header of the unfinished build of `out`, if there is one."""
    try:
        return Header(**json.loads((notes_directory(out) / PLAN_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def missing_parts(out: Path, header: Header) -> list[str]:
    """Parts without a note, by name."""
    return [
        f"{split} {number}"
        for split, count in header.parts.items()
        for number in range(count)
        if read_note(notes_directory(out), split, number) is None
    ]


def gather(other: Path, out: Path) -> None:
    """Copies the parts of the unfinished build of `other` to that of `out`."""
    theirs, ours = read_header(other), read_header(out)
    for directory, header in ((other, theirs), (out, ours)):
        if header is None:
            raise LiftjaxError(
                f"There is no unfinished build of {directory} (no {notes_directory(directory)})."
            )
    if theirs != ours:
        raise LiftjaxError(
            f"{other} and {out} were built with other settings or from another source; build their "
            "shards with the same command."
        )
    for get in (building_directory, notes_directory):  # notes last: they vouch for their parts
        shutil.copytree(get(other), get(out), dirs_exist_ok=True)


def finish(out: Path) -> dict:
    """Joins the parts of the unfinished build of `out`; returns the new liftjax.json.

    Raises:
      LiftjaxError: a part is missing or damaged, a split is empty, records are there twice.
    """
    header = read_header(out)
    directory, notes = building_directory(out), _read_notes(out, header)
    problems = [Problem(*row) for row in header.problems]
    problems += [Problem(*row) for part in notes.values() for note in part for row in note.problems]
    _check_not_empty(header, notes, problems)
    files = _checked_files(directory, header, notes)
    _write_info(directory, header, notes)
    _write_json(directory, {"schema_version": SCHEMA_VERSION, "name": header.name})
    splits, samples = {}, []
    for split in header.parts:
        labels = _join_labels(out, split, notes[split])
        with labels_file(directory, split).open("wb") as stream:
            np.savez(stream, **labels)
        dataset = PoseDataset.open(directory, split)
        _check_once(dataset)
        splits[split], remarks = _summary(dataset)
        problems += remarks
        if header.sheet:
            samples += _samples(dataset, _SHEET_COLUMNS * _SHEET_ROWS)
    document = {
        "schema_version": SCHEMA_VERSION,
        "name": header.name,
        "fingerprint": header.fingerprint,
        "settings": header.settings,
        "metadata": header.metadata,
        "versions": _versions(),
        "splits": splits,
        "problems": count(problems),
        "files": files,
    }
    (directory / PROBLEMS_FILE).write_text(as_csv(problems), encoding="utf-8")
    if samples:
        (directory / SHEET_FILE).write_bytes(contact_sheet(samples, _SHEET_COLUMNS))
    document["contents"] = sorted(entry.name for entry in directory.iterdir())
    _write_json(directory, document)
    put_in_place(directory, out)
    shutil.rmtree(notes_directory(out), ignore_errors=True)
    return document


def _read_notes(out: Path, header: Header) -> dict[str, list[Note]]:
    missing = missing_parts(out, header)
    if missing:
        total = sum(header.parts.values())
        shown = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
        raise LiftjaxError(
            f"{out}: {len(missing)} of {total} parts are not there yet ({shown}); run the build "
            "with the shards that made none of them, or without --shard."
        )
    return {
        split: [read_note(notes_directory(out), split, i) for i in range(count)]
        for split, count in header.parts.items()
    }


def _check_not_empty(header: Header, notes, problems: list[Problem]) -> None:
    for split, parts in notes.items():
        if not sum(note.records for note in parts):
            counts = count(problems)
            why = "; ".join(f"{kind}: {c['dropped']} left out" for kind, c in counts.items())
            raise LiftjaxError(
                f"The split {split} of {header.name} has no records{f' ({why})' if why else ''}."
            )


def _checked_files(directory: Path, header: Header, notes) -> dict[str, dict]:
    """Checksum and size by record file; raises where a file is not what was written."""
    parts = [(split, i, note) for split in notes for i, note in enumerate(notes[split])]
    digests = {}
    for split, number, note in tqdm(parts, desc="checking", unit="files", delay=2):
        file = directory / part_file(header.name, split, number)
        if not file.exists() or checksum(file) != note.sha256:
            raise LiftjaxError(f"{file} is missing or damaged; delete it and build again.")
        digests[file.name] = {"sha256": note.sha256, "bytes": file.stat().st_size}
    return digests


def _write_info(directory: Path, header: Header, notes) -> None:
    """What TFDS wants to know: features, splits and the lengths of their files."""
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=header.name,
        version=tfds.core.Version(f"{SCHEMA_VERSION}.0.0"),
        data_dir=str(directory),
        module_name="data_prep",
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=f"People in pictures with 2D and 3D joints ({header.skeleton}).",
        features=features(get_skeleton(header.skeleton).num_joints),
    )
    info.set_file_format(file_format="array_record")
    info.set_splits(
        tfds.core.splits.SplitDict(
            [_split_info(directory, header.name, split, parts) for split, parts in notes.items()]
        )
    )
    info.write_to_directory(str(directory))


def _split_info(directory: Path, name: str, split: str, notes: list[Note]):
    template = tfds.core.ShardedFileTemplate(
        dataset_name=name,
        data_dir=str(directory),
        split=split,
        filetype_suffix="array_record",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
    )
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=[note.records for note in notes],
        num_bytes=sum(note.size for note in notes),
        filename_template=template,
    )


def _join_labels(out: Path, split: str, notes: list[Note]) -> dict[str, np.ndarray]:
    columns = collections.defaultdict(list)
    for number in range(len(notes)):
        with np.load(labels_of_part(notes_directory(out), split, number)) as archive:
            for key in archive.files:
                columns[key].append(archive[key])
    return {key: np.concatenate(parts) for key, parts in columns.items()}


def _check_once(dataset: PoseDataset) -> None:
    """Raises if two records have the same identity (within a part they were dropped)."""
    keys = [np.unique(dataset.labels[f], return_inverse=True)[1] for f in IDENTITY]
    order = np.lexsort(keys)
    same = np.all([k[order[1:]] == k[order[:-1]] for k in keys], axis=0)
    if same.any():
        first = order[np.flatnonzero(same)[0]]
        name = record_name(*(dataset.labels[f][first] for f in IDENTITY))
        raise LiftjaxError(
            f"{same.sum()} records of split {dataset.split} are there twice, in two parts of the "
            f"source; the first is {name}. Remove one of the two from the source."
        )


def _samples(dataset: PoseDataset, count: int) -> list:
    """Random records with a picture; all that can be decoded is decoded here once."""
    with_picture = np.flatnonzero(dataset.labels["has_image"])
    chosen = np.random.default_rng(0).permutation(with_picture)[:count]
    return [dataset.record(int(i)) for i in np.sort(chosen)]


def _summary(dataset: PoseDataset) -> tuple[dict, list[Problem]]:
    """Counts, statistics and self-check of one split as JSON values; what the check remarks."""
    statistics = dataset.statistics()._asdict()
    checks, remarks = self_check(dataset.labels, dataset.skeleton)
    summary = {
        "records": len(dataset),
        "with_picture": int(dataset.labels["has_image"].sum()),
        "with_3d": int(dataset.labels["has_3d"].sum()),
        "skeleton": dataset.skeleton.name,
        "counts": {
            field: _counts(dataset.labels[field]) for field in ("subject", "action", "camera")
        },
        "statistics": {key: value.tolist() for key, value in statistics.items()},
        "checks": checks,
    }
    return summary, remarks


def _counts(names: np.ndarray) -> dict[str, int]:
    values, counts = np.unique(names, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("liftjax", "numpy", "opencv-python-headless", "tensorflow-datasets"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _write_json(directory: Path, document: Mapping) -> None:
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    (directory / METADATA_FILE).write_text(text, encoding="utf-8")


def check_replaceable(out) -> None:
    """Raises unless `out` is new, empty or a data set alone: nothing else is ever replaced."""
    out = Path(out)
    if not out.exists():
        return
    if not out.is_dir():
        raise LiftjaxError(f"{out} is a file; choose a directory.")
    entries = {entry.name for entry in out.iterdir()}
    if entries and METADATA_FILE not in entries:
        raise LiftjaxError(f"{out} holds files but no data set; choose a new or empty directory.")
    foreign = sorted(entries - set(_contents(out)) - {METADATA_FILE})
    if entries and foreign:
        raise LiftjaxError(
            f"{out} holds {', '.join(foreign[:4])} beside its data set, which would be lost; move "
            "what is to stay, or choose another directory."
        )


def _contents(out: Path) -> list[str]:
    """The names of the files that a data set brought."""
    try:
        document = json.loads((out / METADATA_FILE).read_text())
        if "contents" in document:
            return document["contents"]
    except (OSError, ValueError, TypeError):
        pass
    patterns = ("*.array_record-*", "labels-*.npz", "*.json", "LICENSE*", "*.png", "*.csv")
    return [file.name for pattern in patterns for file in out.glob(pattern) if file.is_file()]


def _aside(out: Path) -> Path:
    return out.with_name(f".{out.name}.old")


def recover(out: Path) -> None:
    """Ends a replacement that was killed half-way: one of the two data sets stays."""
    old = _aside(out)
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif (old / METADATA_FILE).exists():
        os.rename(old, out)


def is_whole(out: Path) -> bool:
    """Whether the record files of the data set in `out` are there in their sizes."""
    try:
        files = json.loads((out / METADATA_FILE).read_text())["files"]
        return all((out / name).stat().st_size == file["bytes"] for name, file in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def put_in_place(new: Path, out: Path) -> None:
    """Renames `new` to `out`; an old data set stands aside until that has worked."""
    recover(out)
    old = _aside(out)
    if out.exists():
        os.rename(out, old)
    try:
        os.rename(new, out)
    except BaseException:
        if old.exists():
            os.rename(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)
