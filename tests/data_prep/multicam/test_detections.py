import json

import numpy as np
import pytest

from data_prep.multicam.detections import read_detections
from liftjax.errors import LiftjaxError
from tests.data_prep.multicam import synthetic_recording as synthetic

CAMERA = synthetic.make_cameras()[0]


def write(folder, form, joint_set):
    """Writes camera 1's detections; returns where they are, and the points (F, J, 2)."""
    points = synthetic.project(synthetic.make_world(joint_set=joint_set), CAMERA)
    synthetic.FORMS[form](folder / "cam01_json", "cam01", [[p] for p in points])
    one_file = folder / "cam01.json"
    return one_file if one_file.exists() else folder / "cam01_json", points


@pytest.mark.parametrize(
    ("form", "joint_set"),
    [
        ("openpose", "body25"),
        ("openpose", "body25b"),
        ("openpose", "halpe26"),
        ("openpose_coco", "coco"),
        ("mmpose_frames", "coco"),
        ("mmpose_video", "wholebody"),
        ("mmpose_video", "halpe26"),
        ("mmpose_demo", "coco"),
        ("coco_results", "coco"),
    ],
)
def test_every_format_gives_the_joints_and_their_set(tmp_path, form, joint_set):
    source, points = write(tmp_path, form, joint_set)
    read = read_detections(source, root=tmp_path)
    assert read.joint_set == joint_set
    assert sorted(read.people) == list(range(synthetic.FRAMES))
    for number, found in read.people.items():
        assert found.shape == (1, points.shape[1], 3)
        np.testing.assert_allclose(found[0, :, :2], points[number], atol=1e-9)
        assert (found[..., 2] > 0.5).all()
    assert not read.problems


def test_a_joint_set_that_the_number_does_not_tell_can_be_given(tmp_path):
    source, _ = write(tmp_path, "mmpose_frames", "coco")
    assert read_detections(source, "human36m").joint_set == "human36m"
    with pytest.raises(LiftjaxError, match="17 joints, expected 26"):
        read_detections(source, "halpe26")


def test_25_joints_that_fit_neither_reading_leave_it_open(tmp_path):
    source, _ = write(tmp_path, "openpose", "body25")
    for file in source.iterdir():
        row = [100.0, 100.0, 0.1] * 25
        file.write_text(json.dumps({"people": [{"pose_keypoints_2d": row}]}))
    assert read_detections(source).joint_set is None
    assert read_detections(source, "body25").joint_set == "body25"


def test_nan_joints_and_missing_frames_are_named(tmp_path):
    source, _ = write(tmp_path, "openpose", "body25b")
    file = source / "cam01.0003.json"
    row = json.loads(file.read_text())
    row["people"][0]["pose_keypoints_2d"][3:5] = [float("nan"), None]
    file.write_text(json.dumps(row))
    (source / "cam01.0007.json").unlink()
    (source / "cam01.0008.json").unlink()
    (source / "cam01.0009.json").write_text('{"people": []}')
    read = read_detections(source, root=tmp_path)
    assert read.people[3][0, 1].tolist() == [0, 0, 0]
    assert len(read.people[9]) == 0
    nan, missing = read.problems
    assert (nan.kind, nan.file, nan.frame) == ("NaN joints", "cam01_json/cam01.0003.json", 3)
    assert (missing.kind, missing.file, missing.frame) == ("missing frame", "cam01_json", 7)
    assert missing.detail.startswith("2 ")


def test_a_person_without_joints_is_nobody(tmp_path):
    source, points = write(tmp_path, "openpose", "body25b")
    file = source / "cam01.0002.json"
    people = json.loads(file.read_text())["people"]
    file.write_text(json.dumps({"people": [{"pose_keypoints_2d": []}, {}, *people]}))
    read = read_detections(source)
    np.testing.assert_allclose(read.people[2][:, :, :2], points[2:3], atol=1e-9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"people": [', r"cam01\.0002\.json is not"),
        ('{"persons": []}', r"cam01\.0002\.json is not"),
        ('{"people": [{"pose_keypoints_2d": [1, 2]}]}', r"cam01\.0002\.json is not"),
        (f'{{"people": [{{"keypoints": [{"9" * 400}]}}]}}', r"cam01\.0002\.json is not"),
        ("[" * 100_000, r"cam01\.0002\.json is not"),
        (json.dumps({"people": [{"pose_keypoints_2d": [1.0] * 54}]}), "25 joints .* and of 18"),
        (
            json.dumps({"people": [{"pose_keypoints_2d": [1.0] * n} for n in (54, 75)]}),
            r"cam01\.0002\.json, frame 2: people with different numbers of joints",
        ),
    ],
)
def test_broken_files_are_named(tmp_path, content, message):
    source, _ = write(tmp_path, "openpose", "body25b")
    (source / "cam01.0002.json").write_text(content)
    with pytest.raises(LiftjaxError, match=message):
        read_detections(source)


def test_nothing_to_read_says_what_was_expected(tmp_path):
    (tmp_path / "cam01_json").mkdir()
    with pytest.raises(LiftjaxError, match=r"expected files .*cam01_json/NAME\.0000\.json"):
        read_detections(tmp_path / "cam01_json")
