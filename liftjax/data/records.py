"""Reads a data set of records: all labels into memory at once, pictures one by one.

A data set is a directory written by `data_prep` with TFDS as ArrayRecord files; neither writing
nor reading needs TensorFlow. K is the joint count of the data set's skeleton, N its length.
"""

import contextlib
import json
import zipfile
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tqdm import tqdm

from liftjax.data.schema import METADATA_FILE, SCHEMA_VERSION, STRING_FIELDS, array_fields
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.skeletons import Skeleton, get_skeleton

_CHUNK = 256
_CURE = "make one, for instance with: python -m data_prep synthetic --out"


class Statistics(NamedTuple):
    """Mean and (population) standard deviation per joint and axis, for z-scored lifters.

    The 3D numbers count samples with a 3D pose only; they are zero where there is none.
    """

    mean_2d_px: np.ndarray  # (K, 2)
    std_2d_px: np.ndarray  # (K, 2)
    mean_3d_m: np.ndarray  # (K, 3)
    std_3d_m: np.ndarray  # (K, 3)


class PoseDataset:
    """Some records of one split, in order.

    Attributes:
      directory, split: where the records are.
      labels: every field of a record but the image, stacked: arrays (N, ...), strings as (N,)
        arrays of str. `has_image` (N,) bool tells which records have a picture.
    """

    def __init__(self, directory, split: str, labels: dict[str, np.ndarray], rows: np.ndarray):
        self.directory = epath.Path(directory)
        self.split = split
        self.labels = labels
        self._rows = rows  # position in the split of each record of this selection
        self.crops: dict[tuple[int, int], np.ndarray] = {}  # by size, see pipeline.cache_crops
        self._source = None  # opened at the first picture, in each process anew

    @classmethod
    def open(cls, directory, split: str) -> "PoseDataset":
        """All records of `split`. Raises LiftjaxError if they are missing or unreadable."""
        metadata = read_metadata(directory)
        builder = _builder(epath.Path(directory))
        if split not in builder.info.splits:
            error = unknown_name("split", split, builder.info.splits)
            raise LiftjaxError(f"{directory} (data set {metadata.get('name')}): {error}")
        for file in builder.info.splits[split].filepaths:
            if not file.exists():
                raise LiftjaxError(f"{file} is missing; copy the data set again or make it anew.")
        labels = _read_labels_file(epath.Path(directory), split)
        if labels is None:
            with _damage_named(directory, split):
                labels = _read_labels(builder, split)
        elif len(labels["frame"]) != builder.info.splits[split].num_examples:
            raise LiftjaxError(
                f"{labels_file(directory, split)} does not belong to these records; delete it, "
                "it is only a quicker way to the labels."
            )
        return cls(directory, split, labels, np.arange(len(labels["frame"])))

    def __len__(self) -> int:
        return len(self._rows)

    def __getstate__(self):
        return {**self.__dict__, "_source": None, "crops": {}}

    @property
    def skeleton(self) -> Skeleton:
        return get_skeleton(str(self.labels["skeleton"][0]))

    def select(self, indices) -> "PoseDataset":
        """The records at `indices` (integers, or a mask (N,) of bool), in that order."""
        labels = {key: array[indices] for key, array in self.labels.items()}
        return PoseDataset(self.directory, self.split, labels, self._rows[indices])

    def where(self, subjects=None, actions=None, cameras=None) -> "PoseDataset":
        """The records of the named subjects, actions and cameras; None means all."""
        keep = np.ones(len(self), bool)
        for field, names in (("subject", subjects), ("action", actions), ("camera", cameras)):
            if names is None:
                continue
            known = np.unique(self.labels[field]).tolist()
            for name in names:
                if name not in known:
                    raise unknown_name(f"{field} in {self.directory}", name, known)
            keep &= np.isin(self.labels[field], list(names))
        if not keep.any():
            raise LiftjaxError(
                f"{self.directory}, split {self.split}: no record has all of subjects {subjects}, "
                f"actions {actions}, cameras {cameras}."
            )
        return self.select(keep)

    def with_pictures(self) -> "PoseDataset":
        """These records, all of which must have a picture."""
        if not self.labels["has_image"].all():
            raise LiftjaxError(
                f"{self.directory}: split {self.split} has poses without pictures, which a "
                "detector needs; name another split, such as train."
            )
        return self

    def name(self, i: int) -> str:
        """What messages call record `i`."""
        subject, action, camera, frame = (
            self.labels[field][i] for field in ("subject", "action", "camera", "frame")
        )
        return f"{subject}/{action}/{camera}/frame {frame}"

    def image_bytes(self, i: int) -> bytes:
        """The stored JPEG of record `i`."""
        with _damage_named(self.directory, self.split):
            if self._source is None:
                self._source = _data_source(_builder(self.directory), self.split)
            return self._source[int(self._rows[i])]["image"]

    def image(self, i: int) -> np.ndarray:
        """The stored picture of record `i`: (H, W, 3) uint8 RGB."""
        data = self.image_bytes(i)
        if not data:
            raise LiftjaxError(f"{self.directory}: record {self.name(i)} has no picture.")
        image = decode_jpeg(data)
        if image is None:
            file = _shard_file(_builder(self.directory), self.split, int(self._rows[i]))
            raise LiftjaxError(
                f"{file}: the JPEG of record {self.name(i)} is broken or cut short "
                f"({len(data)} bytes); make the data set again from its source."
            )
        return image

    def statistics(self) -> Statistics:
        """Mean and standard deviation over the selected records, in float64."""
        joints = self.labels["joints_px"].astype(np.float64)
        poses = self.labels["pose_m"][self.labels["has_3d"]].astype(np.float64)
        if not len(poses):
            poses = np.zeros((1, *self.labels["pose_m"].shape[1:]))
        return Statistics(joints.mean(0), joints.std(0), poses.mean(0), poses.std(0))


def read_metadata(directory) -> dict:
    """The JSON beside the records of a data set; checks that this version can read them."""
    file = epath.Path(directory) / METADATA_FILE
    if not file.exists():
        raise LiftjaxError(f"No data set in {directory}: {file} is missing; {_CURE} {directory}")
    try:
        metadata = json.loads(file.read_text())
        version = int(metadata["schema_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise LiftjaxError(f"{file} is damaged ({error}); make the data set again.") from None
    if version > SCHEMA_VERSION:
        raise LiftjaxError(
            f"{directory} has records of version {version}, this liftjax reads up to "
            f"{SCHEMA_VERSION}: update liftjax, or make the data set again with this one."
        )
    return metadata


def labels_file(directory, split: str) -> epath.Path:
    """A copy of all labels of a split as columns: opening it takes no time.

    It is optional: without it the labels are read from the records, 0.3 ms each.
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
        raise LiftjaxError(
            f"{file} is damaged ({error}); delete it, the labels are in the records too."
        ) from None


def decode_jpeg(data: bytes) -> np.ndarray | None:
    """(H, W, 3) uint8 RGB, or None if the JPEG is broken.

    The decoder fills what a truncated file lacks with grey, so the end marker is looked for.
    """
    if b"\xff\xd9" not in data[-64:]:
        return None
    # The orientation tag of a camera would turn the picture away from its labels.
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _builder(directory):
    return tfds.builder_from_directory(str(directory))


@contextlib.contextmanager
def _damage_named(directory, split: str):
    """Errors of the record reader, which has RuntimeError for all of them, in our words."""
    try:
        yield
    except RuntimeError as error:
        raise LiftjaxError(
            f"{directory}: a record file of split {split} is damaged or cut short ({error}); copy "
            "the data set again or make it anew."
        ) from None


def _data_source(builder, split: str):
    """Random access to the stored fields; the image stays JPEG bytes."""
    return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})


def _read_labels(builder, split: str) -> dict[str, np.ndarray]:
    source = _data_source(builder, split)
    columns = {key: [] for key in builder.info.features if key != "image"}
    has_image = []
    with tqdm(total=len(source), desc=f"labels of {split}", unit="records", delay=2) as bar:
        for start in range(0, len(source), _CHUNK):
            chunk = source.__getitems__(range(start, min(start + _CHUNK, len(source))))
            for record in chunk:
                has_image.append(len(record["image"]) > 0)
                for key, column in columns.items():
                    column.append(record[key])
            bar.update(len(chunk))
    labels = {"has_image": np.asarray(has_image)}
    for key, column in columns.items():
        if key in STRING_FIELDS:
            column = [text.decode() for text in column]
        labels[key] = np.asarray(column)
    expected = array_fields(get_skeleton(str(labels["skeleton"][0])).num_joints)
    for key, (dtype, shape) in expected.items():
        if labels[key].shape[1:] != shape or labels[key].dtype != dtype:
            raise LiftjaxError(
                f"{builder.data_dir}: {key} is {labels[key].dtype} {labels[key].shape[1:]}, "
                f"expected {dtype} {shape}; make the data set again with this version."
            )
    return labels


def _shard_file(builder, split: str, row: int) -> str:
    info = builder.info.splits[split]
    shard = np.searchsorted(np.cumsum(info.shard_lengths), row, side="right")
    return str(info.filepaths[int(shard)])
