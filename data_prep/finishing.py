"""Joins finished parts to a data set, checks it, and moves it to its place."""

import collections
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data_prep.checks import self_check
from data_prep.contact_sheet import contact_sheet
from data_prep.parts import (
    DatasetPart,
    Note,
    building_directory,
    checksum,
    new_file,
    notes_directory,
    record_features,
)
from data_prep.problems import Problem, count_problems, problems_csv
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
      parts: split -> number of parts.
      problems: rows of :class:`Problem` found while planning.
      fingerprint: of settings, units and the sizes of their files.
      sheet: whether to draw a contact sheet.
    """

    name: str
    skeleton: str
    settings: dict
    metadata: dict
    parts: dict[str, int]
    problems: list[list]
    fingerprint: str
    sheet: bool

    def parts_in(self, out: Path) -> list[DatasetPart]:
        """All parts of the data set `out`, in order."""
        return [
            DatasetPart(out, self.name, split, number)
            for split, count in self.parts.items()
            for number in range(count)
        ]

    def missing_parts(self, out: Path) -> list[str]:
        """Unfinished parts, as messages name them."""
        return [f"{p.split} {p.number}" for p in self.parts_in(out) if p.read_note() is None]


def read_header(out: Path) -> Header | None:
    """The header of the unfinished build of `out`, if there is one."""
    try:
        return Header(**json.loads((notes_directory(out) / PLAN_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_header(out: Path, header: Header) -> None:
    notes = notes_directory(out)
    with new_file(notes / PLAN_FILE, notes) as partial:
        partial.write_text(json.dumps(vars(header)))


def copy_parts(other: Path, out: Path) -> None:
    """Copies the parts of the unfinished build of `other` to that of `out`."""
    headers = {directory: read_header(directory) for directory in (other, out)}
    for directory, header in headers.items():
        if header is None:
            raise LiftjaxError(
                f"{directory} has no unfinished build (no {notes_directory(directory)}); build "
                "with --shard first."
            )
    if headers[other] != headers[out]:
        raise LiftjaxError(
            f"{other} and {out} were built with other settings or from another source; build their "
            "shards with the same command."
        )
    for get in (building_directory, notes_directory):  # a note says that its part is there
        shutil.copytree(get(other), get(out), dirs_exist_ok=True)


def finish_dataset(out: Path) -> dict:
    """Joins the parts of the unfinished build of `out`; returns the new liftjax.json.

    Raises:
      LiftjaxError: a part is missing or damaged, a split is empty, or a record is there twice.
    """
    header = read_header(out)
    _check_complete(out, header)
    notes = {part: part.read_note() for part in header.parts_in(out)}
    problems = [Problem(*row) for row in header.problems]
    problems += [Problem(*row) for note in notes.values() for row in note.problems]
    _check_not_empty(header, notes, problems)
    files = _checked_files(notes)
    directory = building_directory(out)
    _write_info(directory, header, notes)
    _write_json(directory, {"schema_version": SCHEMA_VERSION, "name": header.name})
    splits, samples = {}, []
    for split in header.parts:
        with labels_file(directory, split).open("wb") as stream:
            np.savez(stream, **_join_labels(part for part in notes if part.split == split))
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
        "problems": count_problems(problems),
        "files": files,
    }
    (directory / PROBLEMS_FILE).write_text(problems_csv(problems), encoding="utf-8")
    if samples:
        (directory / SHEET_FILE).write_bytes(contact_sheet(samples, _SHEET_COLUMNS))
    document["contents"] = sorted(entry.name for entry in directory.iterdir())
    _write_json(directory, document)
    put_in_place(directory, out)
    shutil.rmtree(notes_directory(out), ignore_errors=True)
    return document


def _check_complete(out: Path, header: Header) -> None:
    if missing := header.missing_parts(out):
        shown = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
        raise LiftjaxError(
            f"{out}: {len(missing)} of {sum(header.parts.values())} parts are not there yet "
            f"({shown}); run the build with the missing shards, or without --shard."
        )


def _check_not_empty(
    header: Header, notes: Mapping[DatasetPart, Note], problems: list[Problem]
) -> None:
    for split in header.parts:
        if not sum(note.records for part, note in notes.items() if part.split == split):
            counts = count_problems(problems)
            why = "; ".join(f"{kind}: {c['dropped']} left out" for kind, c in counts.items())
            raise LiftjaxError(
                f"The split {split} of {header.name} has no records{f' ({why})' if why else ''}."
            )


def _checked_files(notes: Mapping[DatasetPart, Note]) -> dict[str, dict]:
    """Checksum and size by record file; raises if a file is not as it was written."""
    found = {}
    for part, note in tqdm(notes.items(), desc="checking", unit="files", delay=2):
        file = part.record_file
        if not file.exists() or checksum(file) != note.sha256:
            raise LiftjaxError(f"{file} is missing or damaged; delete it and build again.")
        found[file.name] = {"sha256": note.sha256, "bytes": file.stat().st_size}
    return found


def _write_info(directory: Path, header: Header, notes: Mapping[DatasetPart, Note]) -> None:
    """Writes what TFDS needs: the features, the splits and the lengths of their files."""
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=header.name,
        version=tfds.core.Version(f"{SCHEMA_VERSION}.0.0"),
        data_dir=str(directory),
        module_name="data_prep",
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=f"People in pictures with 2D and 3D joints ({header.skeleton}).",
        features=record_features(get_skeleton(header.skeleton).num_joints),
    )
    info.set_file_format(file_format="array_record")
    splits = []
    for split in header.parts:
        of_split = [note for part, note in notes.items() if part.split == split]
        template = tfds.core.ShardedFileTemplate(
            dataset_name=header.name,
            data_dir=str(directory),
            split=split,
            filetype_suffix="array_record",
            template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
        )
        info_of_split = tfds.core.SplitInfo(
            name=split,
            shard_lengths=[note.records for note in of_split],
            num_bytes=sum(note.size for note in of_split),
            filename_template=template,
        )
        splits.append(info_of_split)
    info.set_splits(tfds.core.splits.SplitDict(splits))
    info.write_to_directory(str(directory))


def _join_labels(parts: Iterable[DatasetPart]) -> dict[str, np.ndarray]:
    columns = collections.defaultdict(list)
    for part in parts:
        with np.load(part.labels_file) as archive:
            for key in archive.files:
                columns[key].append(archive[key])
    return {key: np.concatenate(arrays) for key, arrays in columns.items()}


def _check_once(dataset: PoseDataset) -> None:
    """Raises if two records have the same identity; within a part they were left out already."""
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
    """Random records with a picture."""
    with_picture = np.flatnonzero(dataset.labels["has_image"])
    chosen = np.random.default_rng(0).permutation(with_picture)[:count]
    return [dataset.record(int(i)) for i in np.sort(chosen)]


def _summary(dataset: PoseDataset) -> tuple[dict, list[Problem]]:
    """Counts, statistics and self-check of one split as JSON values, and the check's remarks."""
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
    """Raises unless `out` is new, empty, or a data set and nothing else."""
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
            "them, or choose another directory."
        )


def _contents(out: Path) -> list[str]:
    """The names of the files that belong to the data set in `out`."""
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
    """Ends a replacement that was killed half-way, so that one of the two data sets remains."""
    old = _aside(out)
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif (old / METADATA_FILE).exists():
        os.rename(old, out)


def is_whole(out: Path) -> bool:
    """Whether all record files of the data set in `out` are there and have the right sizes."""
    try:
        files = json.loads((out / METADATA_FILE).read_text())["files"]
        return all((out / name).stat().st_size == file["bytes"] for name, file in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def put_in_place(new: Path, out: Path) -> None:
    """Renames `new` to `out`; an older data set is kept aside until that has worked."""
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
