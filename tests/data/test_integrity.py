"""A data set whose files do not belong together is refused in one line."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from data_prep import parts
from data_prep.building import write_dataset
from liftjax.data import integrity
from liftjax.data.records import PoseDataset, labels_file, read_metadata
from liftjax.data.schema import METADATA_FILE
from liftjax.errors import LiftjaxError
from tests.data.builders import make_dataset, make_record

TRAIN, TEST = (f"toy-{split}.array_record-00000" for split in ("train", "test"))


@pytest.fixture
def folder(tmp_path):
    """Five records to train on, three to test on."""
    records = {"train": range(5), "test": range(5, 8)}
    made = {split: [make_record(i) for i in rows] for split, rows in records.items()}
    write_dataset(tmp_path / "set", "toy", made, {})
    return tmp_path / "set"


def edit(folder, change, file=METADATA_FILE):
    """Changes a JSON file of a data set in place."""
    document = json.loads((folder / file).read_text())
    change(document)
    (folder / file).write_text(json.dumps(document))


def refused(folder, said, split="train"):
    with pytest.raises(LiftjaxError, match=said) as caught:
        PoseDataset.open(folder, split)
    assert "\n" not in str(caught.value)


def swap(folder):
    """The record files of the two splits change places."""
    os.rename(folder / TRAIN, folder / "aside")
    os.rename(folder / TEST, folder / TRAIN)
    os.rename(folder / "aside", folder / TEST)


def test_record_files_of_two_splits_that_changed_places(folder):
    swap(folder)
    refused(folder, "a record file of split train is damaged")  # it has too few records
    refused(folder, "labels-test.npz does not belong to these records", "test")
    for split in ("train", "test"):
        labels_file(folder, split).unlink()
        said = f"damaged or of another data set .toy-{split}.array_record-00000 has another"
        refused(folder, said, split)


def test_a_record_file_of_another_length(folder):
    with (folder / TRAIN).open("ab") as stream:
        stream.write(bytes(8))
    refused(
        folder,
        rf"train is damaged or of another data set \({TRAIN} has \d+ bytes, liftjax.json says \d+",
    )


def test_a_record_file_that_is_not_listed(folder):
    shutil.copy(folder / TRAIN, folder / "toy-train.array_record-00001")
    refused(folder, "set holds toy-train.array_record-00001, which liftjax.json does not list")
    os.rename(folder / "toy-train.array_record-00001", folder / ".toy-train.array_record-00001.tmp")
    PoseDataset.open(folder, "train")  # a copy under way has a name of its own


def test_other_counts_of_records_and_files(folder):
    info = (folder / "dataset_info.json").read_text()
    edit(folder, lambda document: document["splits"]["train"].update(records=4))
    refused(folder, r"are of different builds \(5 and 4 records of train\)")
    edit(folder, lambda document: document["splits"]["train"].update(records=5, with_3d=5))
    refused(folder, r"has 4 with_3d in train, but liftjax.json says 5")
    edit(folder, lambda document: document["splits"]["train"].update(with_3d=4))
    (split,) = (s for s in json.loads(info)["splits"] if s["name"] == "train")
    assert split["shardLengths"] == ["5"]

    def shorter(document):
        for one in document["splits"]:
            one["shardLengths"] = [str(int(n) - 1) for n in one["shardLengths"]]

    edit(folder, shorter, "dataset_info.json")
    refused(folder, r"are of different builds \(4 and 5 records of train\)")
    (folder / "dataset_info.json").write_text(info)
    edit(folder, lambda document: document["files"].pop(TRAIN))
    refused(folder, r"are of different builds \(1 and 0 record files of train\)")


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(files=[]),
        lambda document: document["files"].update({TRAIN: "sum"}),
        lambda document: document.pop("splits"),
    ],
)
def test_a_description_of_another_form_is_named(folder, change):
    edit(folder, change)
    refused(folder, f"{METADATA_FILE} is damaged")


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_what_tfds_reads_by_is_missing_or_damaged(folder, file, content):
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    refused(folder, r"set: dataset_info.json or features.json is missing or damaged")


def test_a_file_of_labels_of_other_joints_or_another_form(folder):
    file = labels_file(folder, "train")
    with np.load(file) as archive:
        labels = dict(archive)
    for changes, said in (
        ({"joints_px": labels["joints_px"] + 1}, "does not belong to these records"),
        ({"frame": labels["frame"][::-1]}, "does not belong to these records"),
        ({"has_image": ~labels["has_image"]}, "does not belong to these records"),
        ({"joints_px": labels["joints_px"].astype(np.float64)}, "joints_px is float64"),
        ({"pose_m": labels["pose_m"][:3]}, r"pose_m is float32 \(3, 17, 3\), expected"),
        ({"subject": np.arange(5)}, "subject is int64"),
        ({"camera_K": None}, "has no camera_K"),
        ({"frame": None}, "has no frame"),
        ({"skeleton": None}, "has no skeleton"),
    ):
        changed = {k: v for k, v in (labels | changes).items() if v is not None}
        np.savez(file, **changed)
        refused(folder, f"labels-train.npz.*{said}.*; delete it")


def test_a_picture_is_of_the_record_that_the_labels_name(folder):
    dataset = PoseDataset.open(folder, "train")
    assert dataset.image_bytes(2) == make_record(2).image
    dataset.labels["frame"][2] = 7
    with pytest.raises(
        LiftjaxError, match=r"has S0/Walking/cam2/frame 2 where the labels have .*/frame 7"
    ):
        dataset.image(2)


def test_a_record_that_is_cut_short_in_a_file_that_is_whole(folder):
    serialize = parts._serializer("human36m")
    data = [serialize(vars(make_record(i).validate())) for i in range(5)]
    writer = parts.array_record_module.ArrayRecordWriter(str(folder / TRAIN), "group_size:1")
    for i, record in enumerate(data):
        writer.write(record[: len(record) // 2] if i == 3 else record)
    writer.close()
    sums = {"bytes": (folder / TRAIN).stat().st_size, "sha256": parts.checksum(folder / TRAIN)}
    edit(folder, lambda document: document["files"].update({TRAIN: sums}))
    said = "set: a record file of split train is damaged or cut short"
    refused(folder, said)
    labels_file(folder, "train").unlink()
    refused(folder, said)


# Fingerprints


def fingerprint(folder, split="train"):
    return integrity.fingerprint(folder, read_metadata(folder), split)


def test_content_has_the_same_fingerprint_wherever_it_lies(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    found = fingerprint(folder)
    assert found["records"] == 5
    assert fingerprint(tmp_path / "copy") == found
    make_dataset(tmp_path / "again", 5)  # has no other split
    assert fingerprint(tmp_path / "again") == found


def test_other_content_has_another_fingerprint(folder, tmp_path):
    found = fingerprint(folder)
    assert fingerprint(folder, "test") != found
    records = [make_record(i) for i in range(5)]
    records[3] = dataclasses.replace(records[3], joints_px=records[3].joints_px + 1)
    write_dataset(tmp_path / "moved", "toy", {"train": records}, {})
    assert fingerprint(tmp_path / "moved")["records"] == 5
    assert fingerprint(tmp_path / "moved") != found
    records = [make_record(i) for i in (0, 1, 3, 2, 4)]
    write_dataset(tmp_path / "order", "toy", {"train": records}, {})
    assert fingerprint(tmp_path / "order") != found


def test_without_checksums_there_is_none(folder):
    edit(folder, lambda document: document.pop("files"))
    assert fingerprint(folder) is None
    assert len(PoseDataset.open(folder, "train")) == 5
