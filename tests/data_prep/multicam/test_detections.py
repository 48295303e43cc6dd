import json

import numpy as np
import pytest

from data_prep.multicam.detections import read_detections
from liftjax.errors import LiftjaxError
from tests.data_prep.multicam import synthetic_recording as synthetic

CAMERA = synthetic.make_cameras()[0]


def write(folder, form, joint_set):
    """Writes camera 1's detections; returns where they are, and the points (F, J, 2)."""
    points = CAMERA.project_world(synthetic.make_world(joint_set=joint_set))
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
    read = read_detections(source, "human36m")
    assert read.joint_set == "human36m"
    assert [p.detail for p in read.problems] == ["they do not lie as those of human36m do"]
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
    assert [(p.kind, p.detail) for p in read.problems] == [("people without joints", "2, left out")]


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


# What is known from elsewhere


def renamed(source, name):
    """Gives a COCO results file other image ids: `name` is a function of the frame."""
    rows = json.loads(source.read_text())
    for row in rows:
        row["image_id"] = name(row["image_id"])
    source.write_text(json.dumps(rows))
    return source


@pytest.mark.parametrize(
    "name",
    [
        float,
        str,
        "{:06d}.jpg".format,
        "{:06d}_cam2.jpg".format,
        "cam2/{}.jp2".format,
        "{0:04d}_{0}.png".format,
    ],
)
def test_the_number_that_varies_is_the_frames(tmp_path, name):
    source = renamed(write(tmp_path, "coco_results", "coco")[0], name)
    read = read_detections(source)
    assert sorted(read.people) == list(range(synthetic.FRAMES))
    assert {len(people) for people in read.people.values()} == {1}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("take{0}_{1}.jpg", r"not clear from take0_12\.jpg, take1_11\.jpg"),
        ("cam2_000003.jpg", r"not clear from cam2_000003\.jpg; give"),
        ("nose.jpg", r"not clear from nose\.jpg"),
        ("0.5", r"0\.5 is neither the name nor the number"),
        ("null", "None is neither"),
        ("NaN", "nan is neither"),
    ],
)
def test_pictures_that_do_not_tell_the_frame_are_refused(tmp_path, name, message):
    def other(n):
        return name.format(n, 12 - n) if ".jpg" in name else json.loads(name)

    source = renamed(write(tmp_path, "coco_results", "coco")[0], other)
    with pytest.raises(LiftjaxError, match=rf"cam01\.json: .*{message}"):
        read_detections(source)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (lambda n: f"{n or 'first'}.jpg", r"in different ways \(first\.jpg, 11\.jpg\)"),
        (lambda n: "3.jpg" if n else "03.jpg", r"frame 3 comes twice \(03\.jpg, 3\.jpg\)"),
        (lambda n: f"{n}.jpg" if n else n, r"some numbers \(0, '1\.jpg', '2\.jpg'\)"),
    ],
)
def test_frames_named_in_two_ways_are_refused(tmp_path, name, message):
    source, _ = write(tmp_path, "coco_results", "coco")
    with pytest.raises(LiftjaxError, match=message):
        read_detections(renamed(source, name))


def test_a_folders_files_are_numbered_by_what_varies(tmp_path):
    source, _ = write(tmp_path, "openpose", "body25b")
    for n in range(synthetic.FRAMES):
        (source / f"cam01.{n:04d}.json").rename(source / f"{n:04d}_cam01_keypoints.json")
    assert sorted(read_detections(source).people) == list(range(synthetic.FRAMES))


H36M_NAMES = [
    "root", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "spine",
    "thorax", "neck_base", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder",
    "right_elbow", "right_wrist",
]  # fmt: skip
COCO_NAMES = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
]  # fmt: skip
FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
WHOLEBODY_NAMES = [
    *COCO_NAMES,
    *(f"{s}_{p}" for s in ("left", "right") for p in ("big_toe", "small_toe", "heel")),
    *(f"face-{i}" for i in range(68)),
    *(
        name
        for s in ("left", "right")
        for name in (f"{s}_hand_root", *(f"{s}_{f}{i}" for f in FINGERS for i in (1, 2, 3, 4)))
    ),
]


def named(source, names, dataset):
    (file,) = source.iterdir()
    document = json.loads(file.read_text())
    document["meta_info"] = {
        "dataset_name": dataset,
        "keypoint_id2name": {str(i): name for i, name in enumerate(names)},
    }
    file.write_text(json.dumps(document))
    return source


@pytest.mark.parametrize(
    ("written", "names", "dataset", "joint_set"),
    [
        ("coco", H36M_NAMES, "h36m", "human36m"),
        ("coco", H36M_NAMES, None, "human36m"),
        ("coco", (), "h36m", "human36m"),
        ("coco", COCO_NAMES, "Human-Art", "coco"),
        ("wholebody", WHOLEBODY_NAMES, "coco_wholebody", "wholebody"),
    ],
)
def test_joints_are_what_the_file_calls_them(tmp_path, written, names, dataset, joint_set):
    source = named(write(tmp_path, "mmpose_demo", written)[0], names, dataset)
    assert read_detections(source).joint_set == joint_set
    assert read_detections(source, joint_set).joint_set == joint_set


@pytest.mark.parametrize(
    ("names", "dataset"),
    [
        (["L_Eye", "R_Eye", "Nose", "Neck", "Root of tail", *map(str, range(12))], "ap10k"),
        ((), "ap10k"),
        (H36M_NAMES, "ap10k"),
        (COCO_NAMES, "h36m"),
        (H36M_NAMES[::-1], "h36m"),
    ],
)
def test_joints_of_an_unknown_name_are_refused_unless_the_user_decides(tmp_path, names, dataset):
    source = named(write(tmp_path, "mmpose_demo", "coco")[0], names, dataset)
    with pytest.raises(LiftjaxError, match=rf"joints of {dataset}.* known here; say with"):
        read_detections(source)


def test_the_user_may_not_contradict_the_file(tmp_path):
    source = named(write(tmp_path, "mmpose_demo", "coco")[0], H36M_NAMES, "h36m")
    with pytest.raises(LiftjaxError, match="is human36m, but --detections-skeleton says coco"):
        read_detections(source, "coco")
    named(source, ["l_eye", *COCO_NAMES[1:]], "mine")
    (remark,) = read_detections(source, "coco").problems
    assert remark.detail.startswith("the joints of mine (l_eye, left_eye")


def test_17_joints_that_lie_as_human36ms_do_are_not_taken_for_cocos(tmp_path):
    world = synthetic.human36m_world(joint_set="coco")
    points = CAMERA.project_world(world)
    synthetic.FORMS["coco_results"](tmp_path / "cam01_json", "cam01", [[p] for p in points])
    with pytest.raises(LiftjaxError, match=r"do not lie as those of coco do; .*human36m's"):
        read_detections(tmp_path / "cam01.json")
    read = read_detections(tmp_path / "cam01.json", "human36m")
    assert read.joint_set == "human36m"
    assert not read.problems


@pytest.mark.parametrize(
    ("form", "joint_set"), [("mmpose_frames", "coco"), ("openpose", "halpe26")]
)
def test_joints_in_another_order_are_of_another_set(tmp_path, form, joint_set):
    points = CAMERA.project_world(synthetic.make_world(joint_set=joint_set))[:, ::-1]
    synthetic.FORMS[form](tmp_path / "cam01_json", "cam01", [[p] for p in points])
    with pytest.raises(LiftjaxError, match=f"do not lie as those of {joint_set} do"):
        read_detections(tmp_path / "cam01_json")


def changed(source, edit):
    """Applies `edit` to every person of a COCO results file."""
    rows = json.loads(source.read_text())
    for row in rows:
        edit(row)
    source.write_text(json.dumps(rows))
    return source


def times(factor):
    def edit(row):
        row["keypoints"][2::3] = [factor * c for c in row["keypoints"][2::3]]

    return edit


def test_confidences_that_are_none_are_refused(tmp_path):
    source, _ = write(tmp_path, "coco_results", "coco")
    (remark,) = read_detections(changed(source, times(3))).problems
    assert (remark.kind, remark.dropped) == ("confidences above 1", 0)
    with pytest.raises(LiftjaxError, match=r"confidences up to 210, expected 0 to 1"):
        read_detections(changed(source, times(100)))


def test_categories_and_poses_in_3d_are_refused(tmp_path):
    source, _ = write(tmp_path, "coco_results", "coco")
    kinds = iter(range(1, 99))
    changed(source, lambda row: row.update(category_id=next(kinds) % 2))
    with pytest.raises(LiftjaxError, match=r"2 categories \(0, 1\)"):
        read_detections(source)
    source, _ = write(tmp_path, "mmpose_video", "coco")
    document = json.loads(source.read_text())
    document[0]["instances"][0]["keypoints"] = [[0.1, 0.2, 0.3]] * 17
    source.write_text(json.dumps(document))
    with pytest.raises(LiftjaxError, match="keypoints of 3 numbers, expected 2"):
        read_detections(source)
