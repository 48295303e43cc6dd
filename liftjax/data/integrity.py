"""Checks that the files of a data set belong together, and identifies a split's content.

liftjax.json has counts, sizes and checksums of the record files. TFDS's dataset_info.json, with
which they are read, has their names and lengths. labels-SPLIT.npz has the labels once more, as
columns. Names, sizes and counts are compared whenever a split is opened; checksums only when the
labels are read from the records, because that reads every picture.
"""

import hashlib
import re

import numpy as np
from etils import epath

from liftjax.data.schema import (
    IDENTITY,
    METADATA_FILE,
    STRING_FIELDS,
    array_fields,
    record_name,
)
from liftjax.errors import LiftjaxError
from liftjax.skeletons import get_skeleton

AGAIN = "copy the data set again or build it again"
_RECORD_FILE = re.compile(r"[^.].*\.array_record-\d+")


def fingerprint(directory, metadata: dict, split: str) -> dict | None:
    """{"records", "sha256"} of a split's content, the same in every copy.

    None if `metadata` (see `records.read_metadata`) has no checksums.
    """
    listed = _listed(directory, metadata, split)
    if not listed:
        return None
    checksums = [listed[name]["sha256"] for name in sorted(listed)]
    digest = hashlib.sha256(" ".join(checksums).encode()).hexdigest()
    return {"records": _count(directory, metadata, split), "sha256": digest}


def check_files(directory: epath.Path, metadata: dict, split: str, info) -> None:
    """Raises a LiftjaxError unless the record files and `metadata` are of the same build.

    Args:
      info: TFDS's description of the split.
    """
    files = {file.name: file for file in info.filepaths}
    names = {entry.name for entry in directory.iterdir()}
    for name, file in files.items():
        if name not in names:
            raise LiftjaxError(f"{file} is missing; {AGAIN}.")
    if "files" not in metadata:  # an unfinished build, or one of an older version
        return
    listed = _listed(directory, metadata, split)
    if files.keys() != listed.keys():
        raise _two_builds(directory, f"{len(files)} and {len(listed)} record files of {split}")
    records = _count(directory, metadata, split)
    if info.num_examples != records:
        raise _two_builds(directory, f"{info.num_examples} and {records} records of {split}")
    for name, file in files.items():
        size, wanted = file.stat().length, listed[name]["bytes"]
        if size != wanted:
            found = f"{size} bytes, {METADATA_FILE} says {wanted}"
            raise _another(directory, split, f"{name} has {found}")
    foreign = sorted(n for n in names if _RECORD_FILE.fullmatch(n) and n not in metadata["files"])
    if foreign:
        raise LiftjaxError(
            f"{directory} holds {', '.join(foreign[:4])}, which {METADATA_FILE} does not list: two "
            "data sets are in one folder; copy the one that you want to a folder of its own."
        )


def check_checksums(directory: epath.Path, metadata: dict, split: str) -> None:
    """Raises a LiftjaxError unless the record files have the checksums of `metadata`."""
    for name, listed in _listed(directory, metadata, split).items():
        with (directory / name).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != listed["sha256"]:
                raise _another(directory, split, f"{name} has another checksum")


def _another(directory, split: str, what: str) -> LiftjaxError:
    return LiftjaxError(
        f"{directory}: a record file of split {split} is damaged or of another data set ({what}); "
        f"{AGAIN}."
    )


def _listed(directory, metadata: dict, split: str) -> dict[str, dict]:
    """{"bytes", "sha256"} of the split's record files, by name."""
    start = f"{metadata.get('name')}-{split}.array_record-"
    try:
        listed = {n: f for n, f in metadata.get("files", {}).items() if n.startswith(start)}
        return {n: {key: f[key] for key in ("bytes", "sha256")} for n, f in listed.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(directory, error) from None


def _count(directory, metadata: dict, split: str) -> int:
    try:
        return metadata["splits"][split]["records"]
    except (KeyError, TypeError) as error:
        raise _damaged(directory, error) from None


def _damaged(directory, error: Exception) -> LiftjaxError:
    file = epath.Path(directory) / METADATA_FILE
    return LiftjaxError(f"{file} is damaged ({error!r}); {AGAIN}.")


def _two_builds(directory, what: str) -> LiftjaxError:
    return LiftjaxError(
        f"{directory}: dataset_info.json and {METADATA_FILE} are of different builds ({what}); "
        f"{AGAIN}."
    )


def check_columns(labels: dict[str, np.ndarray], where, cure: str) -> dict[str, np.ndarray]:
    """The columns of a record's fields and of `has_image`, without any others.

    Raises:
      LiftjaxError: a column is missing or of another length, shape or type. `where` and `cure` say
        in the message where it is and what to do.
    """
    missing = [key for key in ("skeleton", "frame") if not len(labels.get(key, ()))]
    if missing:
        raise LiftjaxError(f"{where} has no {missing[0]}; {cure}.")
    count = len(labels["frame"])
    wanted = array_fields(get_skeleton(str(labels["skeleton"][0])).num_joints)
    wanted |= {key: (np.dtype(bool), ()) for key in ("has_3d", "has_image")}
    wanted |= {key: (np.dtype(np.int64), ()) for key in ("frame", "trial")}
    wanted |= {key: (np.dtype(np.str_), ()) for key in STRING_FIELDS}
    labels = {"trial": np.ones(count, np.int64), **labels}  # version 1 has none
    for key, (dtype, shape) in wanted.items():
        found = labels.get(key)
        if found is None:
            raise LiftjaxError(f"{where} has no {key}; {cure}.")
        same = found.dtype.kind == "U" if dtype.kind == "U" else found.dtype == dtype
        if not same or found.shape != (count, *shape):
            raise LiftjaxError(
                f"{where}: {key} is {found.dtype} {found.shape}, expected {dtype} "
                f"{(count, *shape)}; {cure}."
            )
    return {key: labels[key] for key in wanted}


def check_counts(directory, metadata: dict, split: str, labels: dict[str, np.ndarray]) -> None:
    """Raises a LiftjaxError unless the counts in liftjax.json are those of the labels."""
    said = metadata.get("splits", {}).get(split, {})
    found = {
        "records": len(labels["frame"]),
        "with_picture": int(labels["has_image"].sum()),
        "with_3d": int(labels["has_3d"].sum()),
    }
    for key, count in found.items():
        if said.get(key, count) != count:
            raise LiftjaxError(
                f"{directory} has {count} {key} in {split}, but {METADATA_FILE} says {said[key]}; "
                f"{AGAIN}."
            )


def identity(features) -> tuple:
    """The identity of a stored record, given the features of its tf.train.Example."""
    found = []
    for field in IDENTITY:
        if field in STRING_FIELDS:
            found.append(features[field].bytes_list.value[0].decode())
        else:  # version 1 has no trial
            found.append(features[field].int64_list.value[0] if field in features else 1)
    return tuple(found)


def check_identity(found: tuple, labels: dict[str, np.ndarray], i: int, file) -> None:
    """Raises a LiftjaxError unless a stored record's identity is that of row `i` of `labels`."""
    wanted = tuple(labels[field][i] for field in IDENTITY)
    if found != wanted:
        raise LiftjaxError(
            f"{file} has {record_name(*found)} where the labels have {record_name(*wanted)}, so "
            f"they are of different builds; {AGAIN}."
        )
