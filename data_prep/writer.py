"""Writes records as a TFDS data set of ArrayRecord files, without TensorFlow.

The new data set is built in a hidden directory beside the target and takes its place in one move,
after it has been read back. Whatever goes wrong before (a bad record, a full disk, Ctrl-C), the
hidden directory goes and a data set that stood there before stays as it was.
"""

import contextlib
import dataclasses
import importlib.metadata
import itertools
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from liftjax.data.records import PoseDataset, labels_file
from liftjax.data.schema import (
    METADATA_FILE,
    SCHEMA_VERSION,
    STRING_FIELDS,
    Record,
    array_fields,
)
from liftjax.errors import LiftjaxError
from liftjax.skeletons import get_skeleton

_RECORDS_PER_FILE = 4096
_CHUNK = 64


def write_dataset(
    out_dir,
    name: str,
    splits: Mapping[str, Iterable[Record]],
    metadata: dict,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Writes every split and replaces what data set `out_dir` held, all or nothing.

    Args:
      out_dir: the data set's directory; new, empty, or an older data set.
      name: of the data set, in snake_case.
      splits: split name -> records, which may be a generator; all of one skeleton.
      metadata: anything JSON can hold (seed, source, ...), stored with counts and statistics.
      files: further files to lie beside the records, by name.

    Raises:
      LiftjaxError: a bad record, a disk that is full or not writable, a directory that holds
        something else.
    """
    out_dir = Path(out_dir).absolute()
    check_replaceable(out_dir)
    with _replacing(out_dir) as directory:
        _write_records(directory, name, splits)
        _write_json(directory, {"schema_version": SCHEMA_VERSION, "name": name})
        summaries = {}
        for split in splits:
            dataset = PoseDataset.open(directory, split)
            summaries[split] = _summary(dataset)
            np.savez(labels_file(directory, split), **dataset.labels)
        document = {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "metadata": metadata,
            "versions": _versions(),
            "splits": summaries,
        }
        _write_json(directory, document)
        for file, content in (files or {}).items():
            (directory / file).write_bytes(content)


def check_replaceable(out_dir) -> None:
    """Raises unless `out_dir` is new, empty or a data set: nothing else is ever replaced."""
    out_dir = Path(out_dir)
    if not out_dir.exists():
        return
    if not out_dir.is_dir():
        raise LiftjaxError(f"{out_dir} is a file; choose a directory.")
    if any(out_dir.iterdir()) and not (out_dir / METADATA_FILE).exists():
        raise LiftjaxError(
            f"{out_dir} holds files but no data set; choose a new or empty directory."
        )


@contextlib.contextmanager
def _replacing(out_dir: Path) -> Iterator[Path]:
    """A hidden directory beside `out_dir` that takes its place if the block succeeds."""
    partial = out_dir.with_name(f".{out_dir.name}.partial")
    aside = _aside(out_dir)
    try:
        if aside.exists() and not out_dir.exists():  # killed between the two renames of a swap
            os.rename(aside, out_dir)
        shutil.rmtree(partial, ignore_errors=True)  # left by a killed run
        partial.mkdir(parents=True)
        yield partial
        _swap(partial, out_dir)
    except LiftjaxError:
        raise
    except (OSError, _WriteError) as error:
        raise LiftjaxError(
            f"Could not write {out_dir}: {_reason(error)}; nothing was changed there. "
            "Free some space or choose another directory."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _swap(new: Path, target: Path) -> None:
    """Renames `new` to `target`; an old target stands aside until that has worked."""
    old = _aside(target)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.rename(target, old)
    try:
        os.rename(new, target)
    except BaseException:
        if old.exists():
            os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


class _WriteError(Exception):
    """The record file could not be written (its writer raises RuntimeError for everything)."""


def _reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return "No space left on device" if "No space left" in text else text.splitlines()[0]


def _features(num_joints: int) -> tfds.features.FeaturesDict:
    features = {"image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")}
    for field, (dtype, shape) in array_fields(num_joints).items():
        # Protocol buffers have no float64 list, so only raw bytes keep every bit of a camera.
        encoding = "bytes" if dtype == np.float64 else "none"
        features[field] = tfds.features.Tensor(shape=shape, dtype=dtype, encoding=encoding)
    features["has_3d"] = tfds.features.Scalar(dtype=np.bool_)
    features["frame"] = tfds.features.Scalar(dtype=np.int64)
    for field in STRING_FIELDS:
        features[field] = tfds.features.Text()
    return tfds.features.FeaturesDict(features)


def _write_records(directory: Path, name: str, splits: Mapping[str, Iterable[Record]]) -> None:
    writer = skeleton = None
    for split, records in splits.items():
        count = 0
        records = iter(tqdm(records, desc=f"writing {split}", unit="records", delay=1))
        while chunk := list(itertools.islice(records, _CHUNK)):
            skeleton = skeleton or chunk[0].skeleton
            examples = [_example(record, skeleton) for record in chunk]
            with _write_errors():
                writer = writer or _open_writer(directory, name, skeleton, list(splits))
                writer.add_examples({split: examples})
            count += len(chunk)
        if not count:
            raise LiftjaxError(f"The split {split} of {name} has no records.")
    with _write_errors():
        writer.close_all()


def _open_writer(directory: Path, name: str, skeleton: str, splits: list[str]):
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=name,
        version=tfds.core.Version(f"{SCHEMA_VERSION}.0.0"),
        data_dir=str(directory),
        module_name=__name__,
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=f"People in pictures with 2D and 3D joints ({skeleton}).",
        features=_features(get_skeleton(skeleton).num_joints),
    )
    writer = tfds.core.SequentialWriter(
        info, max_examples_per_shard=_RECORDS_PER_FILE, file_format="array_record"
    )
    writer.initialize_splits(splits)
    return writer


@contextlib.contextmanager
def _write_errors():
    try:
        yield
    except RuntimeError as error:
        raise _WriteError(str(error)) from error


def _example(record: Record, skeleton: str) -> dict:
    """The record as TFDS wants it; raises LiftjaxError if it is not a good one."""
    record = record.validate()
    if record.skeleton != skeleton:
        raise LiftjaxError(
            f"{record.name}: skeleton {record.skeleton}, but the data set began with {skeleton}; "
            "convert them to one with liftjax.skeletons.convert."
        )
    if record.image and not record.image.startswith(b"\xff\xd8"):
        raise LiftjaxError(f"{record.name}: the image is not a JPEG.")
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}


def _summary(dataset: PoseDataset) -> dict:
    """Counts and statistics of one split as JSON values."""
    statistics = dataset.statistics()._asdict()
    return {
        "records": len(dataset),
        "with_picture": int(dataset.labels["has_image"].sum()),
        "with_3d": int(dataset.labels["has_3d"].sum()),
        "skeleton": dataset.skeleton.name,
        "counts": {
            field: _counts(dataset.labels[field]) for field in ("subject", "action", "camera")
        },
        "statistics": {key: value.tolist() for key, value in statistics.items()},
    }


def _counts(names: np.ndarray) -> dict[str, int]:
    values, counts = np.unique(names, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("liftjax", "numpy", "opencv-python-headless", "tensorflow-datasets"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _write_json(directory: Path, document: dict) -> None:
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    (directory / METADATA_FILE).write_text(text, encoding="utf-8")
