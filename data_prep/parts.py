"""Writes the parts of a data set. Each part is one record file, written by one process.

A part is written under a temporary name and gets its own name when it is complete. Its labels and a
note of what it was made from lie in another directory. A build that was killed keeps every part
that has a note and whose inputs have not changed.
"""

import contextlib
import dataclasses
import functools
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

_OPTIONS = "group_size:1"  # every record by itself: reading one decompresses no other


def building_directory(out: Path) -> Path:
    """Where the record files of the data set `out` are written."""
    return out.with_name(f".{out.name}.building")


def notes_directory(out: Path) -> Path:
    """Where the notes and labels of finished parts lie until the data set `out` is complete."""
    return out.with_name(f".{out.name}.parts")


class Unit:
    """What a worker turns into records at a time, such as one sequence of one camera.

    Subclasses are frozen dataclasses that can be pickled.

    Attributes:
      name: for messages.
      inputs: absolute paths of the files and folders that it reads.
    """

    name: str
    inputs: tuple[str, ...]

    @property
    def pose_file(self) -> str:
        """The file that the poses come from, for messages; the name if no file is read."""
        return self.inputs[0] if self.inputs else self.name

    def records(self) -> Iterator[Record | Problem]:
        """Records in a fixed order; where one cannot be made, the problem."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Note:
    """What is known of a finished part; stored as JSON.

    Attributes:
      records: how many there are.
      size: their bytes without the framing of the file, as TFDS counts them.
      sha256: of the record file.
      inputs: path -> state, see :func:`state_of`.
      problems: rows of :class:`Problem`.
    """

    records: int
    size: int
    sha256: str
    inputs: dict[str, list[int]]
    problems: list[list]


@dataclasses.dataclass(frozen=True)
class DatasetPart:
    """The place of a part: data set `name` in directory `out`, split and number of the part."""

    out: Path
    name: str
    split: str
    number: int

    @property
    def record_file(self) -> Path:
        """Named as TFDS expects it."""
        file = f"{self.name}-{self.split}.array_record-{self.number:05d}"
        return building_directory(self.out) / file

    @property
    def note_file(self) -> Path:
        return notes_directory(self.out) / f"{self.split}-{self.number:05d}.json"

    @property
    def labels_file(self) -> Path:
        return self.note_file.with_suffix(".npz")

    def read_note(self) -> Note | None:
        """The note of the part, if it is finished."""
        try:
            return Note(**json.loads(self.note_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None


@dataclasses.dataclass(frozen=True)
class Job:
    """A part to write, and the units that go in."""

    part: DatasetPart
    skeleton: str
    units: Sequence[Unit]
    check_scale: bool = True

    def is_done(self) -> bool:
        """Whether the part is complete and was made from the inputs as they are now."""
        note = self.part.read_note()
        complete = note is not None and self.part.record_file.exists()
        return complete and note.inputs == self.state_of_inputs()

    def state_of_inputs(self) -> dict[str, list[int]]:
        return {path: state_of(path) for unit in self.units for path in unit.inputs}


def record_features(num_joints: int) -> tfds.features.FeaturesDict:
    """The stored fields of a record, for TFDS."""
    stored = {"image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")}
    for field, (dtype, shape) in array_fields(num_joints).items():
        # Protocol buffers have no float64 list; raw bytes keep every bit of a camera.
        encoding = "bytes" if dtype == np.float64 else "none"
        stored[field] = tfds.features.Tensor(shape=shape, dtype=dtype, encoding=encoding)
    stored["has_3d"] = tfds.features.Scalar(dtype=np.bool_)
    for field in ("frame", "trial"):
        stored[field] = tfds.features.Scalar(dtype=np.int64)
    for field in STRING_FIELDS:
        stored[field] = tfds.features.Text()
    return tfds.features.FeaturesDict(stored)


def _serializer(skeleton: str) -> Callable[[dict], bytes]:
    """Returns a function from the fields of a record to the same bytes in every process.

    TFDS's own method does not fix the order of the fields.
    """
    stored = record_features(get_skeleton(skeleton).num_joints)
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


def write_part(job: Job, count_unit=lambda: None, count_record=lambda: None) -> None:
    """Writes a part; calls `count_unit` and `count_record` after each unit and record."""
    inputs = job.state_of_inputs()
    serialize = _serializer(job.skeleton)
    problems, rows, seen, size = [], [], {}, 0
    scratch = job.part.note_file.parent
    with new_file(job.part.record_file, scratch) as partial, _record_writer(partial) as write:
        for unit in job.units:
            items = _without_duplicates(unit, seen)
            for item in checks.of_human_size(items, unit) if job.check_scale else items:
                if isinstance(item, Problem):
                    problems.append([*vars(item).values()])
                    continue
                fields = vars(_checked(item, job.skeleton))
                data = serialize(fields)
                write(data)
                size += len(data)
                rows.append({k: v for k, v in fields.items() if k != "image"})
                rows[-1]["has_image"] = bool(item.image)
                count_record()
            count_unit()
    with new_file(job.part.labels_file, scratch) as partial, partial.open("wb") as stream:
        keys = rows[0] if rows else ()
        np.savez(stream, **{key: np.asarray([row[key] for row in rows]) for key in keys})
    note = Note(len(rows), size, checksum(job.part.record_file), inputs, problems)
    with new_file(job.part.note_file, scratch) as partial:
        partial.write_text(json.dumps(vars(note)))


def _checked(record: Record, skeleton: str) -> Record:
    record = record.validate()
    if record.skeleton != skeleton:
        raise LiftjaxError(
            f"{record.name}: joint set {record.skeleton}, but the data set has {skeleton}; convert "
            "all records to one with liftjax.skeletons.convert."
        )
    if record.image and not record.image.startswith(b"\xff\xd8"):
        raise LiftjaxError(f"{record.name}: the image is not a JPEG; encode it as one.")
    return record


def _without_duplicates(unit: Unit, seen: dict[tuple, str]) -> Iterator[Record | Problem]:
    """What the unit gives, with a problem for each record whose identity is already in `seen`.

    Args:
      seen: identity of each record so far -> name of its unit; records of this unit are added.
    """
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


@contextlib.contextmanager
def new_file(path: Path, scratch: Path) -> Iterator[Path]:
    """Gives a path in `scratch` to write to; at the end it is synced to the disk and renamed."""
    partial = scratch / f".{path.name}.{os.getpid()}"
    try:
        yield partial
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _record_writer(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Gives the function that appends a record."""
    writer = _or_os_error(array_record_module.ArrayRecordWriter, str(path), _OPTIONS)
    try:
        yield functools.partial(_or_os_error, writer.write)
        _or_os_error(writer.close)
    finally:
        with contextlib.suppress(Exception):  # it is closed, or there is an error to report already
            writer.close()


def _or_os_error(call: Callable, *args):
    """ArrayRecord raises RuntimeError for all that goes wrong with a file."""
    try:
        return call(*args)
    except RuntimeError as error:
        raise OSError(str(error)) from error


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
