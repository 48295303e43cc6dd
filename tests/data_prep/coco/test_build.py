"""COCO's files end as records that show the labelled joints, and nothing else as visible."""

import pickle
import re

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.building import Problem
from data_prep.coco import build
from data_prep.coco.build import plan
from liftjax import geometry
from liftjax.data.records import PoseDataset, decode_jpeg
from liftjax.data.schema import Record
from liftjax.errors import LiftjaxError
from liftjax.skeletons import COCO, HUMAN36M, PANOPTIC, get_skeleton

from . import photographs

TRAIN = "annotations/person_keypoints_train2017.json"


@pytest.fixture
def source(tmp_path):
    return photographs.write(tmp_path / "coco")


def items(root, split="train", **options):
    planned = plan(root, **options)
    made = [item for (unit,) in planned.parts[split] for item in unit.records()]
    return [*planned.problems, *made]


def records(*args, **options) -> list[Record]:
    return [item for item in items(*args, **options) if isinstance(item, Record)]


def of(made: list[Record], annotation: int) -> Record:
    return next(record for record in made if record.trial == annotation)


def edit(root, change, subset="train2017") -> None:
    """Applies `change` to the annotation file's content."""
    content = photographs.document(subset)
    change(content)
    photographs.write_annotations(root, subset, content)


def edit_person(root, number, **fields) -> None:
    def change(content):
        next(a for a in content["annotations"] if a["id"] == number).update(fields)

    edit(root, change)


def test_command_builds_both_splits(source, tmp_path, capsys):
    arguments = ["--source", str(source), "--out", str(tmp_path / "out"), "--processes", "1"]
    assert main(["coco", *arguments]) == 0, capsys.readouterr().err
    train, test = (PoseDataset.open(tmp_path / "out", s) for s in ("train", "test"))
    assert train.skeleton is HUMAN36M
    assert train.labels["frame"].tolist() == [1003, 1007, 1007]
    assert train.labels["trial"].tolist() == [398, 77, 412]
    assert test.labels["frame"].tolist() == [2003, 2007, 2007]
    assert set(test.labels["action"]) == {"val2017"}
    assert not train.labels["has_3d"].any()
    assert train.image(0).dtype == np.uint8
    printed = capsys.readouterr().out
    assert "crowd: 2, 2 records left out" in printed
    assert "too few keypoints: 2, 2 records left out" in printed


@pytest.mark.parametrize("folder", ["", "images"])
def test_pictures_may_lie_in_either_place(tmp_path, folder):
    root = photographs.write(tmp_path / "coco", folder)
    assert len(records(root)) == 3


@pytest.mark.parametrize("full_frames", [False, True])
def test_pictures_show_the_joints(source, full_frames):
    for record in records(source, full_frames=full_frames):
        wrist = record.joints_px[HUMAN36M.index("left_wrist")]
        picture = decode_jpeg(record.image).min(axis=-1)
        ys, xs = np.nonzero(picture > 150)
        found = geometry.apply_affine(record.stored_to_image, np.stack([xs, ys], axis=-1))
        near = np.linalg.norm(found - wrist, axis=-1) < 8
        np.testing.assert_allclose(found[near].mean(axis=0), wrist, atol=0.6)


def test_coco_joints_are_copied(source):
    made = records(source, skeleton="coco")
    x, y, v = np.reshape(photographs.keypoints(20.5, 10.25, 40, 80), (17, 3)).T
    record = of(made, 412)
    np.testing.assert_array_equal(record.joints_px, np.stack([x, y], axis=-1))
    assert record.joint_visible.all()  # hidden in the picture, but labelled
    assert v[3] == 1


def test_human36m_joints_follow_from_cocos(source):
    record = of(records(source), 412)
    coco = dict(zip(COCO.joints, of(records(source, skeleton="coco"), 412).joints_px, strict=True))
    joints = dict(zip(HUMAN36M.joints, record.joints_px, strict=True))
    np.testing.assert_allclose(joints["left_knee"], coco["left_knee"])
    hip = (coco["left_hip"] + coco["right_hip"]) / 2
    thorax = (coco["left_shoulder"] + coco["right_shoulder"]) / 2
    np.testing.assert_allclose(joints["hip"], hip)
    np.testing.assert_allclose(joints["thorax"], thorax)
    np.testing.assert_allclose(joints["spine"], (hip + thorax) / 2)
    inside = geometry.inside_image(record.joints_px, photographs.SIZE)
    np.testing.assert_array_equal(record.joint_visible, inside)


def test_joints_without_labelled_sources_are_invisible_and_in_the_box(source):
    record = of(records(source), 398)
    unknown = {"left_hip", "hip", "spine", "head_top"}
    visible = dict(zip(HUMAN36M.joints, record.joint_visible, strict=True))
    assert {joint for joint, seen in visible.items() if not seen} == unknown
    center = (30 + 50 / 2, 12 + 100.5 / 2)
    for joint in unknown:
        np.testing.assert_allclose(record.joints_px[HUMAN36M.index(joint)], center)


def test_panoptic_joints(source):
    record = of(records(source, skeleton="panoptic"), 398)
    assert record.joints_px.shape == (15, 2)
    unseen = {j for j, v in zip(PANOPTIC.joints, record.joint_visible, strict=True) if not v}
    assert unseen == {"hip", "left_hip"}


@pytest.mark.parametrize("skeleton", build.SKELETONS)
def test_what_a_photograph_does_not_tell_is_left_empty(source, skeleton):
    for record in records(source, skeleton=skeleton):
        assert (record.subject, record.action, record.camera) == ("coco", "train2017", "")
        assert not record.has_3d
        assert record.pose_m.shape == (get_skeleton(skeleton).num_joints, 3)
        assert not np.any(record.pose_m)
        assert not np.any(record.root_m)
        np.testing.assert_array_equal(record.camera_K, np.eye(3))
        record.validate()


def test_box_is_cocos_clipped_to_the_image(source):
    edit_person(source, 412, bbox=[-3.5, 60, 50, 200.25])
    record = of(records(source), 412)
    np.testing.assert_allclose(record.box_xyxy, [0, 60, 46.5, 120])


def test_grey_pictures_have_three_channels(source):
    file = source / "train2017" / "000000001003.jpg"
    cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    assert decode_jpeg(of(records(source), 398).image).ndim == 3


def test_min_keypoints(source):
    assert [r.trial for r in records(source, min_keypoints=16)] == [77, 412]
    found = items(source, min_keypoints=16)
    assert Problem("too few keypoints", TRAIN, None, "all annotations of this kind", 2) in found


def test_a_person_none_of_whose_joints_is_wanted(source):
    ears = [j for j in COCO.joints if not j.endswith("ear")]
    edit_person(source, 412, keypoints=photographs.keypoints(20, 10, 40, 80, hidden=ears))
    assert [r.trial for r in records(source)] == [398, 77]
    detail = "none of them gives a joint of human36m"
    assert Problem("no visible joint", TRAIN, None, detail, 1) in items(source)
    assert len(records(source, skeleton="coco")) == 3


def test_parts_keep_images_together_and_are_small(source, monkeypatch):
    monkeypatch.setattr(build, "_PEOPLE_A_PART", 1)
    parts = plan(source).parts["train"]
    assert [[p.annotation for p in unit.people] for (unit,) in parts] == [[398], [77, 412]]
    ((unit,), _) = parts
    assert len(pickle.dumps(unit)) < 2000
    assert unit.inputs == (f"{source}/{TRAIN}", f"{source}/train2017/000000001003.jpg")


def test_one_split_needs_one_subset(source):
    photographs.annotation_file(source, "train2017").unlink()
    assert list(plan(source, splits=["test"]).parts) == ["test"]
    with pytest.raises(LiftjaxError, match=r"missing: expected .*person_keypoints_train2017"):
        plan(source)


# What is wrong with one person or picture is named and passed over.


def no_picture(root):
    (root / "train2017" / "000000001007.jpg").unlink()
    return Problem("missing picture", "train2017/000000001007.jpg", 1007, "", 2)


def cut_picture(root):
    file = root / "train2017" / "000000001007.jpg"
    file.write_bytes(file.read_bytes()[:-100])
    detail = "unreadable or cut short"
    return Problem("broken picture", "train2017/000000001007.jpg", 1007, detail, 2)


def black_picture(root):
    black = np.zeros((120, 160, 3), np.uint8)
    cv2.imwrite(str(root / "train2017" / "000000001007.jpg"), black)
    return Problem("black picture", "train2017/000000001007.jpg", 1007, "", 2)


def turned_picture(root):
    file = root / "train2017" / "000000001007.jpg"
    cv2.imwrite(str(file), np.full((160, 120, 3), 99, np.uint8))
    detail = "120x160, but 160x120 in the annotations"
    return Problem("wrong picture size", "train2017/000000001007.jpg", 1007, detail, 2)


def short_keypoints(root):
    edit_person(root, 412, keypoints=[1, 2, 2] * 16)
    detail = "annotation 412: 48 numbers of keypoints, not 51"
    return Problem("malformed annotation", TRAIN, 1007, detail)


def words_for_keypoints(root):
    edit_person(root, 412, keypoints=["a"] * 51)
    return Problem("malformed annotation", TRAIN, 1007, "annotation 412: keypoints are no numbers")


def no_keypoints(root):
    edit_person(root, 412, keypoints=None)
    detail = "annotation 412: 1 numbers of keypoints, not 51"
    return Problem("malformed annotation", TRAIN, 1007, detail)


def no_box(root):
    edit_person(root, 412, bbox=[])
    detail = "annotation 412: 0 numbers of bbox, not 4"
    return Problem("malformed annotation", TRAIN, 1007, detail)


def nan_joint(root):
    joints = photographs.keypoints(20, 10, 40, 80)
    edit_person(root, 412, keypoints=[float("nan"), *joints[1:]])
    return Problem("NaN joints", TRAIN, 1007, "annotation 412")


def nan_box(root):
    edit_person(root, 412, bbox=[1, 2, float("nan"), 30])
    return Problem("NaN box", TRAIN, 1007, "annotation 412")


def tiny_box(root):
    edit_person(root, 412, bbox=[154, 20, 40, 50])
    return Problem("tiny box", TRAIN, 1007, "annotation 412: 6 x 50 px in the image")


def unknown_image(root):
    edit_person(root, 412, image_id=99)
    return Problem("unknown image", TRAIN, 99, "annotation 412: 99")


def unnumbered(root):
    edit_person(root, 412, id=None)
    return Problem("malformed annotation", TRAIN, 1007, "annotation None: no number")


def no_object(root):
    def change(content):
        content["annotations"][1] = None

    edit(root, change)
    return Problem("malformed annotation", TRAIN, None, "annotation None: no number")


FAULTS = [
    no_picture, cut_picture, black_picture, turned_picture, short_keypoints, words_for_keypoints,
    no_keypoints, no_box, nan_joint, nan_box, tiny_box, unknown_image, unnumbered, no_object,
]  # fmt: skip


@pytest.mark.parametrize("spoil", FAULTS)
def test_faults_are_named_and_nothing_is_lost(source, spoil):
    expected = spoil(source)
    made = items(source, splits=["train"])
    problems = [i for i in made if isinstance(i, Problem)]
    assert expected in problems
    kept = [i.trial for i in made if isinstance(i, Record)]
    assert kept == ([398] if expected.dropped == 2 else [398, 77])
    assert sum(p.dropped for p in problems) + len(kept) == 5


def test_a_number_of_400_digits_is_none(source):
    edit_person(source, 412, keypoints=[10**400] * 51)
    detail = "annotation 412: keypoints are no numbers"
    problem = Problem("malformed annotation", TRAIN, 1007, detail)
    assert problem in items(source, splits=["train"])


def test_second_annotation_of_a_number_is_dropped(source):
    def change(content):
        content["annotations"].append(photographs.annotation(412, 1003, (1, 1, 50, 50)))

    edit(source, change)
    detail = "annotation 412: the first is kept"
    assert Problem("duplicate annotation", TRAIN, 1003, detail) in items(source)
    assert of(records(source), 412).frame == 1007


def test_malformed_image_entries_are_counted(source):
    edit(source, lambda content: content["images"].append({"id": 5}))
    detail = "1 without a number, name or size, or of a number already given"
    assert Problem("malformed image entry", TRAIN, None, detail, 0) in items(source)


# What makes the whole build pointless is refused at once.


def cut_annotations(root):
    file = photographs.annotation_file(root, "train2017")
    file.write_text(file.read_text()[:700])
    return {}, r"person_keypoints_train2017\.json is not a COCO annotation file, or cut short"


def other_document(root):
    photographs.annotation_file(root, "train2017").write_text("[1, 2]")
    return {}, r"is not a COCO annotation file"


def no_annotations(root):
    photographs.annotation_file(root, "train2017").write_text('{"images": []}')
    return {}, r"is not a COCO annotation file, or cut short \(no 'annotations'\)"


def boxes_alone(root):
    def change(content):
        for annotation in content["annotations"]:
            del annotation["keypoints"]

    edit(root, change)
    return {}, r"holds no keypoints; person_keypoints_\*\.json has them"


def other_joints(root):
    edit(root, lambda content: content["categories"][0].update(keypoints=["nose", "neck"]))
    return {}, r"the keypoints of a person are nose, neck; COCO has nose, left_eye"


def no_pictures(root):
    (root / "train2017").rename(root / "photographs")
    return {}, r"train2017 pictures are missing: expected .*/train2017 or .*--splits test"


def nobody(root):
    return {"min_keypoints": 18}, r"holds nobody to train on \(crowd, too few keypoints\)"


REFUSED = [
    cut_annotations, other_document, no_annotations, boxes_alone, other_joints, no_pictures, nobody,
]  # fmt: skip


@pytest.mark.parametrize("spoil", REFUSED)
def test_refused_in_one_line(source, spoil):
    options, message = spoil(source)
    with pytest.raises(LiftjaxError) as error:
        plan(source, **options)
    assert re.search(message, str(error.value))
    assert "\n" not in str(error.value)
