"""Reads a data set of records: all labels into memory at once, pictures one by one.

A data set is a directory of ArrayRecord files that `data_prep` writes with TFDS; neither writing
nor reading needs TensorFlow. K is the joint count of the data set's skeleton, N its length.
"""

import contextlib
import dataclasses
import json
import os
import zipfile
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2
from tqdm import tqdm

from liftjax.data import integrity
from liftjax.data.schema import (
    IDENTITY,
    METADATA_FILE,
    SCHEMA_VERSION,
    STRING_FIELDS,
    Record,
    known_joints,
    record_name,
)
from liftjax.errors import LiftjaxError, check_name, first_line, unknown_name
from liftjax.skeletons import Skeleton, get_skeleton

RENDERED = "rendered people (data_prep synthetic)"

_CHUNK = 256
_PROBES = 4  # records that are compared with the file of all labels
_DELETE = "delete it; the labels are in the records too"
_CURE = "make one, for example with: python -m data_prep synthetic --out"


class PoseStatistics(NamedTuple):
    """Mean and (population) standard deviation per joint and axis, for z-scored lifters.

    The 2D numbers are over joints whose place is known, see `schema.known_joints`; for a joint that
    is known in no record they are over all records. The 3D numbers are over samples with a 3D
    pose, and zero if there are none.
    """

    mean_2d_px: np.ndarray  # (K, 2)
    std_2d_px: np.ndarray  # (K, 2)
    mean_3d_m: np.ndarray  # (K, 3)
    std_3d_m: np.ndarray  # (K, 3)


class PoseDataset:
    """Records of one split, in order; of one data set, or of several with one joint set.

    Attributes:
      directories: of the data sets.
      split: the same in all of them.
      labels: every field of a record but the image, stacked: arrays (N, ...), strings as (N,)
        arrays of str. `has_image` (N,) bool tells which records have a picture.
      part: (N,) index in `directories` of each record.
    """

    def __init__(self, directories, split: str, labels: dict[str, np.ndarray], part, rows):
        self.directories = tuple(epath.Path(directory) for directory in directories)
        self.split = split
        self.labels = labels
        self.part = part
        self._rows = rows  # position of each record in the split of its data set
        self.crops: dict[tuple[int, int], np.ndarray] = {}  # by size, see crops.cache_crops
        self._sources = {}  # by part; opened at the first picture, in each process anew

    @classmethod
    def open(cls, directory, split: str) -> "PoseDataset":
        """All records of `split`.

        Args:
          directory: of a data set; of several as a sequence, or as text separated by commas.
          split: such as "train".

        Raises:
          LiftjaxError: they are missing or unreadable.
        """
        directories = split_directories(directory)
        sets = [_open_labels(one, split) for one in directories]
        names = [str(labels["skeleton"][0]) for labels in sets]
        for name, one in zip(names, directories, strict=True):
            if name != names[0]:
                raise LiftjaxError(
                    f"{directories[0]} has {names[0]} joints and {one} has {name}; build both with "
                    "one joint set."
                )
        counts = [len(labels["frame"]) for labels in sets]
        joined = {key: np.concatenate([labels[key] for labels in sets]) for key in sets[0]}
        rows = np.concatenate([np.arange(count) for count in counts])
        return cls(directories, split, joined, np.repeat(np.arange(len(sets)), counts), rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getstate__(self):
        return {**self.__dict__, "_sources": {}, "crops": {}}

    @property
    def directory(self) -> str:
        """The directories, separated by commas, for messages."""
        return ",".join(map(str, self.directories))

    @property
    def skeleton(self) -> Skeleton:
        return get_skeleton(str(self.labels["skeleton"][0]))

    def select(self, indices) -> "PoseDataset":
        """The records at `indices` (integers, or a mask (N,) of bool), in that order."""
        labels = {key: array[indices] for key, array in self.labels.items()}
        part, rows = self.part[indices], self._rows[indices]
        return PoseDataset(self.directories, self.split, labels, part, rows)

    def where(self, subjects=None, actions=None, cameras=None) -> "PoseDataset":
        """The records of the named subjects, actions and cameras; None means all."""
        keep = np.ones(len(self), bool)
        for field, names in (("subject", subjects), ("action", actions), ("camera", cameras)):
            if names is None:
                continue
            known = np.unique(self.labels[field]).tolist()
            for name in names:
                check_name(f"{field} in {self.directory}", name, known)
            keep &= np.isin(self.labels[field], list(names))
        if not keep.any():
            raise LiftjaxError(
                f"{self.directory}, split {self.split}: no record has all of subjects {subjects}, "
                f"actions {actions}, cameras {cameras}."
            )
        return self.select(keep)

    def every(self, stride: int) -> np.ndarray:
        """(N,) bool: which records are every `stride`-th frame of their recording.

        Frame numbers count, from the lowest that any camera of the recording has here. A recording
        has one subject, action and trial.
        """
        if stride == 1:
            return np.ones(len(self), bool)
        names = [self.labels[field] for field in ("subject", "action", "trial")] + [self.part]
        recording = np.zeros(len(self), np.int64)
        for column in names:
            values, number = np.unique(column, return_inverse=True)
            recording = np.unique(recording * len(values) + number, return_inverse=True)[1]
        frame = self.labels["frame"].astype(np.int64)
        first = np.full(recording.max(initial=0) + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, recording, frame)
        return (frame - first[recording]) % stride == 0

    def with_keypoints(self, kpts_px_NK2: np.ndarray) -> "PoseDataset":
        """These records with other 2D joints, such as detected ones."""
        labels = self.labels | {"joints_px": np.asarray(kpts_px_NK2, np.float32)}
        return PoseDataset(self.directories, self.split, labels, self.part, self._rows)

    def with_pictures(self) -> "PoseDataset":
        """These records; raises a LiftjaxError if one has no picture."""
        if not self.labels["has_image"].all():
            raise LiftjaxError(
                f"{self.directory}: split {self.split} has poses without pictures, but a detector "
                "needs pictures; name another split, such as train."
            )
        return self

    def name(self, i: int) -> str:
        """The name of record `i` in messages."""
        return record_name(*(self.labels[field][i] for field in IDENTITY))

    def names(self, indices) -> list[str]:
        """The names of the records at `indices` in messages."""
        return [self.name(i) for i in indices]

    def record(self, i: int) -> Record:
        """Record `i` with its image."""
        fields = {f.name: self.labels[f.name][i] for f in dataclasses.fields(Record)[1:]}
        return Record(image=self.image_bytes(i), **fields)

    def image_bytes(self, i: int) -> bytes:
        """The stored JPEG of record `i`; raises LiftjaxError if the labels are another record's."""
        part, row = int(self.part[i]), int(self._rows[i])
        with _damage_named(self.directories[part], self.split):
            if part not in self._sources:
                self._sources[part] = _raw_source(_builder(self.directories[part]), self.split)
            found, image = _stored(self._sources[part][row])
        integrity.check_identity(found, self.labels, i, self.directories[part])
        return image

    def image(self, i: int, reduce: int = 1) -> np.ndarray:
        """The stored picture of record `i`: (H, W, 3) uint8 RGB.

        Args:
          i: position.
          reduce: decode at 1/1, 1/2, 1/4 or 1/8 of the size, which is quicker.
        """
        data = self.image_bytes(i)
        if not data:
            raise LiftjaxError(f"{self.directory}: record {self.name(i)} has no picture.")
        image = decode_jpeg(data, reduce)
        if image is None:
            builder = _builder(self.directories[int(self.part[i])])
            file = _shard_file(builder, self.split, int(self._rows[i]))
            raise LiftjaxError(
                f"{file}: the JPEG of record {self.name(i)} is broken or cut short "
                f"({len(data)} bytes); build the data set again from its source."
            )
        return image

    def statistics(self) -> PoseStatistics:
        """Mean and standard deviation over the selected records, in float64."""
        joints, known = self.labels["joints_px"].astype(np.float64), known_joints(self.labels)
        known = (known | ~known.any(axis=0))[..., None]  # a mean over no record would be NaN
        poses = self.labels["pose_m"][self.labels["has_3d"]].astype(np.float64)
        if not len(poses):
            poses = np.zeros((1, *self.labels["pose_m"].shape[1:]))
        mean_px, std_px = joints.mean(0, where=known), joints.std(0, where=known)
        return PoseStatistics(mean_px, std_px, poses.mean(0), poses.std(0))


def split_directories(directory) -> tuple[epath.Path, ...]:
    """The directories of "a", "a,b" or a sequence."""
    if isinstance(directory, str):
        directory = [part.strip() for part in directory.split(",") if part.strip()]
    elif isinstance(directory, os.PathLike):
        directory = [directory]
    if not len(directory):
        raise LiftjaxError(f"No data set is named; {_CURE} data/synthetic")
    return tuple(epath.Path(part) for part in directory)


def read_metadata(directory) -> dict:
    """The JSON file of a data set; checks that this version of liftjax can read the records."""
    file = epath.Path(directory) / METADATA_FILE
    if not file.exists():
        raise LiftjaxError(f"No data set in {directory}: {file} is missing; {_CURE} {directory}")
    try:
        metadata = json.loads(file.read_text())
        version = int(metadata["schema_version"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise LiftjaxError(f"{file} is damaged ({error}); build the data set again.") from None
    if version > SCHEMA_VERSION:
        raise LiftjaxError(
            f"{directory} has records of version {version}, but this liftjax reads up to "
            f"{SCHEMA_VERSION}; update liftjax, or build the data set again with this one."
        )
    return metadata


def described(directory) -> str:
    """What a data set holds, in words: its source if it names one, else its own name."""
    metadata = read_metadata(directory)
    if metadata.get("name") == "synthetic_people":
        return RENDERED
    source = str(metadata.get("metadata", {}).get("source") or "")
    return source.partition(", http")[0] or f"the data set {metadata.get('name')}"


def split_names(directory) -> list[str]:
    """The splits of a data set."""
    read_metadata(directory)
    return sorted(_builder(epath.Path(directory)).info.splits)


def labels_file(directory, split: str) -> epath.Path:
    """The file with a copy of all labels of a split as columns, for opening it quickly.

    It is optional; without it the labels are read from the records, 0.3 ms each.
    """
    return epath.Path(directory) / f"labels-{split}.npz"


def _read_labels_file(directory: epath.Path, split: str) -> dict[str, np.ndarray] | None:
    file = labels_file(directory, split)
    if not file.exists():
        return None
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise LiftjaxError(f"{file} is damaged ({error}); {_DELETE}.") from None


_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
_REDUCED |= {8: cv2.IMREAD_REDUCED_COLOR_8}


def decode_jpeg(data: bytes, reduce: int = 1) -> np.ndarray | None:
    """(H, W, 3) uint8 RGB, or None if the JPEG is broken.

    The decoder fills the missing part of a truncated file with grey, so the end marker is checked.

    Args:
      data: a JPEG file.
      reduce: 2, 4 or 8 to average blocks of this side into one pixel.
    """
    if b"\xff\xd9" not in data[-64:]:
        return None
    flags = cv2.IMREAD_COLOR_RGB if reduce == 1 else _REDUCED[reduce]
    try:
        # The orientation tag is ignored, because the labels are of the picture as stored.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return image if reduce == 1 or image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _builder(directory):
    try:
        return tfds.builder_from_directory(str(directory))
    except Exception as error:  # TFDS and its parsers raise many kinds
        raise LiftjaxError(
            f"{directory}: dataset_info.json or features.json is missing or damaged "
            f"({first_line(error)}); {integrity.AGAIN}."
        ) from None


@contextlib.contextmanager
def _damage_named(directory, split: str):
    """Turns errors of reading a record into a LiftjaxError.

    The reader of files raises RuntimeError; the other kinds come from the content of a file.
    """
    try:
        yield
    except LiftjaxError:
        raise
    except (RuntimeError, LookupError, ValueError, TypeError, DecodeError) as error:
        raise LiftjaxError(
            f"{directory}: a record file of split {split} is damaged or cut short "
            f"({first_line(error)}); {integrity.AGAIN}."
        ) from None


def _open_labels(directory: epath.Path, split: str) -> dict[str, np.ndarray]:
    """All labels of one data set's split."""
    metadata = read_metadata(directory)
    builder = _builder(directory)
    if split not in builder.info.splits:
        error = unknown_name("split", split, builder.info.splits)
        raise LiftjaxError(f"{directory} (data set {metadata.get('name')}): {error}")
    info = builder.info.splits[split]
    integrity.check_files(directory, metadata, split, info)
    labels, file = _read_labels_file(directory, split), labels_file(directory, split)
    if labels is None:
        integrity.check_checksums(directory, metadata, split)
        with _damage_named(directory, split):
            labels = _read_labels(builder, split)
        cure = "build the data set again with this version"
        labels = integrity.check_columns(labels, directory, cure)
    else:
        labels = integrity.check_columns(labels, file, _DELETE)
        with _damage_named(directory, split):
            belongs = len(labels["frame"]) == info.num_examples and _agree(builder, split, labels)
        if not belongs:
            raise LiftjaxError(f"{file} does not belong to these records; {_DELETE}.")
    integrity.check_counts(directory, metadata, split, labels)
    return labels


def _agree(builder, split: str, labels: dict[str, np.ndarray]) -> bool:
    """Whether a few records, from the first to the last, have these labels."""
    rows = np.unique(np.linspace(0, len(labels["frame"]) - 1, _PROBES).round().astype(int))
    records = _data_source(builder, split).__getitems__(rows.tolist())
    for row, record in zip(rows, records, strict=True):
        stored = _label_fields(record)
        shared = stored.keys() & labels.keys()
        if not all(np.array_equal(stored[key], labels[key][row]) for key in shared):
            return False
    return True


def _data_source(builder, split: str):
    """Random access to the stored fields; the image stays JPEG bytes."""
    return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})


def _raw_source(builder, split: str):
    """Random access to records as stored."""
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    return builder.as_data_source(split, deserialize_method=raw)


def _stored(record: bytes) -> tuple[tuple, bytes]:
    """Identity and JPEG of a record, ten times faster than TFDS, which decodes all fields."""
    features = tf_example_pb2.Example.FromString(record).features.feature
    return integrity.identity(features), features["image"].bytes_list.value[0]


def _label_fields(record: dict) -> dict:
    """The fields of a record of TFDS, with decoded text, and with `has_image` for the image."""
    fields = {k: v.decode() if k in STRING_FIELDS else v for k, v in record.items()}
    return {"has_image": len(fields.pop("image")) > 0, **fields}


def _read_labels(builder, split: str) -> dict[str, np.ndarray]:
    source = _data_source(builder, split)
    columns = {key: [] for key in ("has_image", *builder.info.features) if key != "image"}
    with tqdm(total=len(source), desc=f"labels of {split}", unit="records", delay=2) as bar:
        for start in range(0, len(source), _CHUNK):
            chunk = source.__getitems__(range(start, min(start + _CHUNK, len(source))))
            for fields in map(_label_fields, chunk):
                for key, column in columns.items():
                    column.append(fields[key])
            bar.update(len(chunk))
    return {key: np.asarray(column) for key, column in columns.items()}


def _shard_file(builder, split: str, row: int) -> str:
    info = builder.info.splits[split]
    shard = np.searchsorted(np.cumsum(info.shard_lengths), row, side="right")
    return str(info.filepaths[int(shard)])
