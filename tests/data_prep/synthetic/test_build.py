import argparse

import cv2
import numpy as np
import pytest

from data_prep import __main__ as command
from data_prep.contact_sheet import contact_sheet
from data_prep.synthetic import build
from data_prep.synthetic.build import PeopleSettings, RecordRange, build_synthetic_people
from liftjax.data.records import PoseDataset
from liftjax.data.windows import find_clips
from liftjax.errors import LiftjaxError

CROP = (32, 24)


def records_of(split, start, count, seed=0):
    settings = PeopleSettings(seed=seed, crop_size=CROP)
    return list(RecordRange(settings, split, start, count).records())


def test_a_record_is_a_function_of_seed_split_and_index():
    first = records_of("test", 0, 2, seed=3)
    again = records_of("test", 1, 2, seed=3)
    assert first[1].image == again[0].image
    np.testing.assert_array_equal(first[1].joints_px, again[0].joints_px)
    other = records_of("test", 0, 2, seed=4)
    assert other[0].image != first[0].image


@pytest.mark.slow
def test_records_are_valid_and_show_something():
    for record in records_of("train", 0, 4):
        record.validate()
        picture = cv2.imdecode(np.frombuffer(record.image, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (*CROP, 3)
        assert picture.std() > 5


def test_poses_have_labels_only():
    records = records_of("poses", 0, 50)
    assert len(records) == 50
    assert all(record.validate().image == b"" for record in records)


def test_built_data_set_opens(tmp_path):
    build_synthetic_people(tmp_path / "set", num_train=2, num_test=2, num_poses=30, crop_size=CROP)
    train, test, poses = (
        PoseDataset.open(tmp_path / "set", split) for split in ("train", "test", "poses")
    )
    assert (len(train), len(test), len(poses)) == (2, 2, 30)
    assert train.image(0).shape == (*CROP, 3)
    assert set(test.labels["subject"]) <= {"S9", "S11"}


def test_clips_are_smooth_motions_before_one_camera_in_one_room(tmp_path):
    build_synthetic_people(
        tmp_path, num_train=8, num_test=0, num_poses=80, crop_size=CROP, clip_frames=8
    )
    (train, poses) = (PoseDataset.open(tmp_path, split) for split in ("train", "poses"))
    clips = find_clips(poses.labels)
    assert set(clips.lengths) == {8}
    assert clips.step == 1
    pose_m = (poses.labels["pose_m"] + poses.labels["root_m"][:, None])[clips.records]
    moved_m = np.linalg.norm(np.diff(pose_m, axis=0), axis=-1).mean(axis=-1)
    inside = np.arange(1, len(pose_m)) % 8 > 0
    # 5 m/s at 50 frames a second is what a hand may do; between clips it is other people.
    assert moved_m[inside].max() < 0.1 < np.median(moved_m[~inside])
    pictures = [train.image(i).astype(float) for i in range(8)]
    assert len(set(train.labels["trial"])) == len(set(train.labels["camera"])) == 1
    corners = [p[:3, :3].mean() for p in pictures]
    assert np.ptp(corners) < 40  # the same wall, but for what film grain and a moving crop do


def test_contact_sheet():
    png = contact_sheet(records_of("train", 0, 2), columns=3)
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (280, 3 * 216, 3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--train", "-1"], "positive number"),
        (["--train", "0", "--test", "0", "--poses", "0"], "positive number"),
        (["--width", "4"], "16 is the least"),
        (["--clip-frames", "0"], "1 is the least"),
        (["--occluded", "1.5"], "between 0 and 1"),
        (["--seed", "-1"], "seed is -1"),
    ],
)
def test_mistakes_are_named(tmp_path, flags, message):
    parser = argparse.ArgumentParser()
    build.add_arguments(parser)
    with pytest.raises(LiftjaxError, match=message):
        build.run_command(parser.parse_args(["--out", str(tmp_path / "set"), *flags]))
    assert not (tmp_path / "set").exists()


def test_no_process_is_refused(tmp_path, capsys):
    assert command.main(["synthetic", "--out", str(tmp_path / "set"), "--processes", "0"]) == 2
    assert "--processes 0: give 1 or more" in capsys.readouterr().err
