"""Parts: the pieces in which a data set is built, each a record file of its own.

A part is written by one process, under a name that nobody reads, and gets its own name when it is
whole. Beside it, in another directory, lie its labels and a note of what it was made from: a build
that was killed keeps every part whose note is there and whose inputs have not changed.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from data_prep import checks
from data_prep.problems import Problem, last_parts
from liftjax.data.schema import IDENTITY, STRING_FIELDS, Record, array_fields
from liftjax.errors import LiftjaxError
from liftjax.skeletons import get_skeleton

_OPTIONS = "group_size:1"  # every record on its own: random access decompresses no other


class Unit:
    """What one worker turns into records at a time, such as one sequence of one camera.

    Subclasses are frozen dataclasses that can be pickled.

    Attributes:
      name: for messages. inputs: the files and folders it reads, absolute.
    """

    name: str
    inputs: tuple[str, ...]

    @property
    def pose_file(self) -> str:
        """The file its poses come from, for messages; its name if it reads none."""
        return self.inputs[0] if self.inputs else self.name

    def records(self) -> Iterator[Record | Problem]:
        """Records in a fixed order, and in their places what was wrong."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Note:
    """What is known of a finished part; stored as JSON.

    Attributes:
      records, size: how many, and their bytes before the file's own framing (as TFDS counts).
      sha256: of the record file. inputs: path -> state (see :func:`state_of`).
      problems: rows of :class:`Problem`.
    """

    records: int
    size: int
    sha256: str
    inputs: dict[str, list[int]]
    problems: list[list]


@dataclasses.dataclass(frozen=True)
class Job:
    """A part to write: where, what it is called, and what goes in."""

    directory: Path
    notes: Path
    name: str
    split: str
    number: int
    skeleton: str
    units: Sequence[Unit]
    check_scale: bool = True

    @property
    def file(self) -> Path:
        return self.directory / part_file(self.name, self.split, self.number)


def part_file(name: str, split: str, number: int) -> str:
    """TFDS's name for the record file of a part."""
    return f"{name}-{split}.array_record-{number:05d}"


def note_file(notes: Path, split: str, number: int) -> Path:
    return notes / f"{split}-{number:05d}.json"


def labels_of_part(notes: Path, split: str, number: int) -> Path:
    return notes / f"{split}-{number:05d}.npz"


def features(num_joints: int) -> tfds.features.FeaturesDict:
    """The stored fields of a record, for TFDS."""
    stored = {"image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")}
    for field, (dtype, shape) in array_fields(num_joints).items():
        # Protocol buffers have no float64 list, so only raw bytes keep every bit of a camera.
        encoding = "bytes" if dtype == np.float64 else "none"
        stored[field] = tfds.features.Tensor(shape=shape, dtype=dtype, encoding=encoding)
    stored["has_3d"] = tfds.features.Scalar(dtype=np.bool_)
    for field in ("frame", "trial"):
        stored[field] = tfds.features.Scalar(dtype=np.int64)
    for field in STRING_FIELDS:
        stored[field] = tfds.features.Text()
    return tfds.features.FeaturesDict(stored)


def _serializer(skeleton: str) -> Callable[[dict], bytes]:
    """Fields of a record -> bytes, the same in every process.

    TFDS's own method leaves the order of the fields to chance.
    """
    stored = features(get_skeleton(skeleton).num_joints)
    serializer = tfds.core.example_serializer.ExampleSerializer(stored.get_serialized_info())

    def serialize(fields: dict) -> bytes:
        example = serializer.get_tf_example(stored.encode_example(fields))
        return example.SerializeToString(deterministic=True)

    return serialize


def state_of(path: str) -> list[int]:
    """Size and time of change of a file; count, total size and latest change of a folder's files.

    A missing path has no state: [].
    """
    try:
        stat = os.stat(path)
        if not os.path.isdir(path):
            return [stat.st_size, stat.st_mtime_ns]
        with os.scandir(path) as entries:
            stats = [e.stat() for e in entries if e.is_file()]
    except OSError:
        return []
    latest = max((s.st_mtime_ns for s in stats), default=0)
    return [len(stats), sum(s.st_size for s in stats), latest]


def finished(job: Job) -> Note | None:
    """The note of a part that is whole and made from the inputs as they are now."""
    note = read_note(job.notes, job.split, job.number)
    if note is None or not job.file.exists():
        return None
    return note if note.inputs == _inputs(job.units) else None


def read_note(notes: Path, split: str, number: int) -> Note | None:
    try:
        return Note(**json.loads(note_file(notes, split, number).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _inputs(units: Sequence[Unit]) -> dict[str, list[int]]:
    return {path: state_of(path) for unit in units for path in unit.inputs}


def write(job: Job, count_unit=lambda: None, count_record=lambda: None) -> Note:
    """Writes a part; calls `count_unit` and `count_record` after each."""
    inputs = _inputs(job.units)
    serialize = _serializer(job.skeleton)
    problems, rows, seen, size = [], [], {}, 0
    with _new_file(job.file, job.notes) as partial, _record_writer(partial) as writer:
        for unit in job.units:
            items = _once(unit, seen)
            for item in checks.of_human_size(items, unit) if job.check_scale else items:
                if isinstance(item, Problem):
                    problems.append(item)
                    continue
                fields = vars(_checked(item, job.skeleton))
                data = serialize(fields)
                with _writing():
                    writer.write(data)
                size += len(data)
                rows.append({k: v for k, v in fields.items() if k != "image"})
                rows[-1]["has_image"] = bool(item.image)
                count_record()
            count_unit()
    labels = labels_of_part(job.notes, job.split, job.number)
    with _new_file(labels, job.notes) as partial, _writing(), partial.open("wb") as stream:
        np.savez(stream, **_columns(rows))
    note = Note(
        len(rows), size, checksum(job.file), inputs, [[*vars(p).values()] for p in problems]
    )
    note_path = note_file(job.notes, job.split, job.number)
    with _new_file(note_path, job.notes) as partial, _writing():
        partial.write_text(json.dumps(vars(note)))
    return note


def _checked(record: Record, skeleton: str) -> Record:
    record = record.validate()
    if record.skeleton != skeleton:
        raise LiftjaxError(
            f"{record.name}: skeleton {record.skeleton}, but the data set began with {skeleton}; "
            "convert them to one with liftjax.skeletons.convert."
        )
    if record.image and not record.image.startswith(b"\xff\xd8"):
        raise LiftjaxError(f"{record.name}: the image is not a JPEG.")
    return record


def _once(unit: Unit, seen: dict[tuple, str]) -> Iterator[Record | Problem]:
    """What the unit gives, without records that `seen`, identities by unit name, holds already."""
    for item in unit.records():
        if isinstance(item, Record):
            identity = tuple(getattr(item, field) for field in IDENTITY)
            if identity in seen:
                where = "" if seen[identity] == unit.name else f", the first from {seen[identity]}"
                file = last_parts(unit.pose_file)
                item = Problem("duplicate record", file, item.frame, f"{item.name}{where}")
            else:
                seen[identity] = unit.name
        yield item


def _columns(rows: list[dict]) -> dict[str, np.ndarray]:
    return {key: np.asarray([row[key] for row in rows]) for key in rows[0]} if rows else {}


class WriteError(Exception):
    """A file could not be written."""


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Failures to write as one exception; the record writer has RuntimeError for all of them."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise WriteError(str(error)) from error


@contextlib.contextmanager
def _new_file(path: Path, scratch: Path) -> Iterator[Path]:
    """A file in `scratch` to write; at the end it is synced to the disk and becomes `path`."""
    partial = scratch / f".{path.name}.{os.getpid()}"
    try:
        yield partial
        with _writing():
            with partial.open("rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _record_writer(path: Path):
    with _writing():
        writer = array_record_module.ArrayRecordWriter(str(path), _OPTIONS)
    try:
        yield writer
        with _writing():
            writer.close()
    finally:
        with contextlib.suppress(
            Exception
        ):  # closed already, or the first error is the one to tell
            writer.close()


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
