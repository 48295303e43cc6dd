import argparse

import cv2
import numpy as np
import pytest

from data_prep.contact_sheet import contact_sheet
from data_prep.synthetic import build
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError

CROP = (32, 24)


def test_a_record_is_a_function_of_seed_split_and_index():
    first = list(build.records(3, "test", 2, CROP))
    again = list(build.records(3, "test", 2, CROP, start=1))
    assert first[1].image == again[0].image
    np.testing.assert_array_equal(first[1].joints_px, again[0].joints_px)
    other = list(build.records(4, "test", 2, CROP))
    assert other[0].image != first[0].image


def test_records_are_valid_and_show_something():
    for record in build.records(0, "train", 4, CROP):
        record.validate()
        picture = cv2.imdecode(np.frombuffer(record.image, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (*CROP, 3)
        assert picture.std() > 5


def test_poses_have_labels_only():
    records = list(build.records(0, "poses", 50, CROP))
    assert len(records) == 50
    assert all(record.validate().image == b"" for record in records)


def test_built_data_set_opens(tmp_path):
    build.build(tmp_path / "set", num_train=2, num_test=2, num_poses=30, crop_size=CROP)
    train, test, poses = (
        PoseDataset.open(tmp_path / "set", split) for split in ("train", "test", "poses")
    )
    assert (len(train), len(test), len(poses)) == (2, 2, 30)
    assert train.image(0).shape == (*CROP, 3)
    assert set(test.labels["subject"]) <= {"S9", "S11"}


def test_contact_sheet():
    png = contact_sheet(list(build.records(0, "train", 2, CROP)), columns=3)
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (280, 3 * 216, 3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--train", "-1"], "positive number"),
        (["--train", "0", "--test", "0", "--poses", "0"], "positive number"),
        (["--width", "4"], "16 is the least"),
        (["--occluded", "1.5"], "between 0 and 1"),
        (["--seed", "-1"], "seed is -1"),
    ],
)
def test_mistakes_are_named(tmp_path, flags, message):
    parser = argparse.ArgumentParser()
    build.add_arguments(parser)
    with pytest.raises(LiftjaxError, match=message):
        build.run(parser.parse_args(["--out", str(tmp_path / "set"), *flags]))
    assert not (tmp_path / "set").exists()
