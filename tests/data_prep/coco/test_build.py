"""COCO's files end as records that show the labelled joints, and nothing else as visible."""

import pickle
import re

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.building import Problem
from data_prep.coco import build
from data_prep.coco.build import plan_coco
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
    planned = plan_coco(root, **options)
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
    parts = plan_coco(source).parts["train"]
    assert [[p.annotation for p in unit.people] for (unit,) in parts] == [[398], [77, 412]]
    ((unit,), _) = parts
    assert len(pickle.dumps(unit)) < 2000
    assert unit.inputs == (f"{source}/{TRAIN}", f"{source}/train2017/000000001003.jpg")


def test_one_split_needs_one_subset(source):
    photographs.annotation_file(source, "train2017").unlink()
    assert list(plan_coco(source, splits=["test"]).parts) == ["test"]
    with pytest.raises(LiftjaxError, match=r"missing: expected .*person_keypoints_train2017"):
        plan_coco(source)


# Files of labelling tools


def renumber(content, number) -> None:
    """Gives the category of people another number."""
    content["categories"][0]["id"] = number
    for annotation in content["annotations"]:
        annotation["category_id"] = number


@pytest.mark.parametrize("number", [0, 3])
def test_people_are_the_category_of_that_name(source, number):
    def change(content):
        renumber(content, number)
        animal = [f"k{i}" for i in range(17)]
        content["categories"].append({"id": 1, "name": "antelope", "keypoints": animal})
        antelope = photographs.annotation(1, 1003, (1, 1, 60, 60))
        content["annotations"].append(antelope | {"keypoints": [9, 9, 2] * 17})
        del content["annotations"][1]["category_id"]  # 412

    edit(source, change)
    assert [r.trial for r in records(source)] == [398, 77]
    found = items(source)
    assert Problem("no person", TRAIN, None, "all annotations of this kind", 1) in found
    assert Problem("no category", TRAIN, None, "all annotations of this kind", 1) in found


def test_joints_in_another_order_go_by_their_names(source):
    expected = of(records(source, skeleton="coco"), 398)

    def change(content):
        category = content["categories"][0]
        names = [name.replace("_", " ").title() for name in category["keypoints"]]
        category["keypoints"] = ["Neck", *names[::-1]]
        for annotation in content["annotations"]:
            joints = np.reshape(annotation["keypoints"], (17, 3))[::-1]
            annotation["keypoints"] = [0, 0, 0, *joints.ravel().tolist()]

    edit(source, change)
    record = of(records(source, skeleton="coco"), 398)
    np.testing.assert_array_equal(record.joints_px, expected.joints_px)
    np.testing.assert_array_equal(record.joint_visible, expected.joint_visible)


def test_joints_without_names_are_told(source):
    edit(source, lambda content: content.pop("categories"))
    detail = "no category names the joints; they are taken for COCO's, in COCO's order"
    assert Problem("joints without names", TRAIN, None, detail, 0) in items(source)
    assert [r.trial for r in records(source)] == [398, 77, 412]


@pytest.mark.parametrize("number", [float, lambda n: n + 10_000_010_000_000])
def test_numbers_may_be_large_or_floats(source, tmp_path, number):
    def change(content):
        for entry in content["images"]:
            entry["id"] = number(entry["id"])
        for annotation in content["annotations"]:
            annotation["image_id"] = number(annotation["image_id"])
            annotation["id"] = number(annotation["id"])

    edit(source, change)
    out = str(tmp_path / "out")
    words = ["--source", str(source), "--out", out, "--splits", "train", "--processes", "1"]
    assert main(["coco", *words]) == 0
    labels = PoseDataset.open(out, "train").labels
    assert labels["frame"].tolist() == [int(number(n)) for n in (1003, 1007, 1007)]
    assert labels["trial"].tolist() == [int(number(n)) for n in (398, 77, 412)]


def rename_picture(root, name, number=1007) -> None:
    def change(content):
        next(i for i in content["images"] if i["id"] == number)["file_name"] = name

    edit(root, change)


@pytest.mark.parametrize(
    "name",
    [
        "/label-studio/data/upload/1/0a1b-000000001007.jpg",
        "C:\\pictures\\other.jpg",
        "https://example.org/other.jpg",
        "train2017/other.jpg",
        "9" * 300 + ".jpg",
    ],
)
def test_a_picture_that_is_not_there_is_named(source, name):
    rename_picture(source, name)
    made = items(source, splits=["train"])
    missing = [i for i in made if isinstance(i, Problem) and i.kind == "missing picture"]
    last = re.split(r"[/\\]", name)[-1]
    assert [(p.file.endswith(last), p.frame, p.dropped) for p in missing] == [(True, 1007, 2)]
    assert [i.trial for i in made if isinstance(i, Record)] == [398]


@pytest.mark.parametrize(
    "name",
    [
        "/label-studio/data/upload/1/000000001007.jpg",
        "D:\\coco\\train2017\\000000001007.jpg",
        "https://example.org/upload/000000001007.jpg",
    ],
)
def test_a_picture_of_another_machine_is_found_by_the_end_of_its_path(source, name):
    rename_picture(source, name)
    made = items(source, splits=["train"])
    assert [i.trial for i in made if isinstance(i, Record)] == [398, 77, 412]
    detail = f"1, such as {name}, which is not on this machine"
    remark = Problem("picture found by the end of its path", TRAIN, None, detail, 0)
    assert remark in made


def test_an_end_that_two_pictures_have_finds_neither(source):
    content = photographs.document("train2017")
    content["images"][0]["file_name"] = "/a/000000001007.jpg"
    other = {"id": 5, "file_name": "/b/000000001007.jpg", "width": 160, "height": 120}
    content["images"].append(other)
    photographs.write_annotations(source, "train2017", content)
    assert [r.trial for r in records(source, splits=["train"])] == [398]
    # The folder tells them apart, where it is there.
    (source / "train2017" / "a").mkdir()
    picture = source / "train2017" / "000000001007.jpg"
    picture.rename(picture.parent / "a" / picture.name)
    assert [r.trial for r in records(source, splits=["train"])] == [398, 77, 412]


@pytest.mark.parametrize("name", ["train2017/000000001007.jpg", "train2017\\000000001007.jpg"])
def test_a_file_name_may_begin_above_the_pictures(source, name):
    rename_picture(source, name)
    made = items(source, splits=["train"])
    assert [i.trial for i in made if isinstance(i, Record)] == [398, 77, 412]
    assert "picture found by the end of its path" not in {
        i.kind for i in made if isinstance(i, Problem)
    }


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


def number_of_two_pictures(root):
    def change(content):
        content["images"].append(content["images"][1] | {"file_name": "other.jpg"})

    edit(root, change)
    detail = "annotation 398: 000000001003.jpg"
    return Problem("number of two pictures", TRAIN, 1003, detail)


def no_object(root):
    def change(content):
        content["annotations"][1] = None

    edit(root, change)
    return Problem("malformed annotation", TRAIN, None, "annotation None: no number")


NAN, JOINTS = float("nan"), photographs.keypoints(20, 10, 40, 80)
# Changed fields of annotation 412, and the problem: kind, image, detail after "annotation".
MALFORMED = "malformed annotation"
SPOILT_PEOPLE = [
    ({"keypoints": [1, 2, 2] * 16}, MALFORMED, 1007, "412: 48 numbers of keypoints, not 51"),
    ({"keypoints": None}, MALFORMED, 1007, "412: 1 numbers of keypoints, not 51"),
    ({"keypoints": ["a"] * 51}, MALFORMED, 1007, "412: keypoints are no numbers"),
    ({"keypoints": [10**400] * 51}, MALFORMED, 1007, "412: keypoints are no numbers"),
    ({"keypoints": [*JOINTS[:-1], 7]}, MALFORMED, 1007, "412: flags of keypoints are 0, 1 and 2"),
    ({"keypoints": [NAN, *JOINTS[1:]]}, "NaN joints", 1007, "412"),
    ({"bbox": []}, MALFORMED, 1007, "412: 0 numbers of bbox, not 4"),
    ({"bbox": [1, 2, NAN, 30]}, "NaN box", 1007, "412"),
    ({"bbox": [154, 20, 40, 50]}, "tiny box", 1007, "412: 6 x 50 px in the image"),
    ({"image_id": 99}, "unknown image", 99, "412: 99"),
    ({"id": None}, MALFORMED, 1007, "None: no number"),
    ({"id": 2**63}, MALFORMED, 1007, f"{2**63}: no number"),
    ({"iscrowd": "no"}, MALFORMED, 1007, "412: iscrowd is neither 0 nor 1"),
]


def test_people_without_iscrowd_are_told_and_kept(source):
    edit_person(source, 77, iscrowd=None)  # null counts as missing
    made = items(source, splits=["train"])
    detail = "1 have none though others do; they are taken for single persons"
    assert Problem("annotations without iscrowd", TRAIN, None, detail, 0) in made
    assert [i.trial for i in made if isinstance(i, Record)] == [398, 77, 412]


@pytest.mark.parametrize(("fields", "kind", "image", "detail"), SPOILT_PEOPLE)
def test_a_spoilt_person_is_named_and_left_out(source, fields, kind, image, detail):
    edit_person(source, 412, **fields)
    check_lost(source, Problem(kind, TRAIN, image, f"annotation {detail}"), [398, 77])


@pytest.mark.parametrize(
    ("spoil", "kept"),
    [
        (no_picture, [398]),
        (cut_picture, [398]),
        (black_picture, [398]),
        (turned_picture, [398]),
        (number_of_two_pictures, [77, 412]),
        (no_object, [398, 77]),
    ],
)
def test_faults_are_named_and_nothing_is_lost(source, spoil, kept):
    check_lost(source, spoil(source), kept)


def check_lost(source, expected: Problem, kept: list[int]) -> None:
    """All five annotations are records or counted by a problem, and the problem is there."""
    made = items(source, splits=["train"])
    problems = [i for i in made if isinstance(i, Problem)]
    assert expected in problems
    assert [i.trial for i in made if isinstance(i, Record)] == kept
    assert sum(p.dropped for p in problems) + len(kept) == 5


def test_second_annotation_of_a_number_is_dropped(source):
    def change(content):
        content["annotations"].append(photographs.annotation(412, 1003, (1, 1, 50, 50)))

    edit(source, change)
    detail = "annotation 412: the first is kept"
    assert Problem("duplicate annotation", TRAIN, 1003, detail) in items(source)
    assert of(records(source), 412).frame == 1007


def test_malformed_image_entries_are_counted(source):
    def change(content):
        content["images"] += [
            {"id": 5},
            {"id": 6, "file_name": 7, "width": 9, "height": 9},
            {"id": 8, "file_name": "\0.jpg", "width": 9, "height": 9},
            {"id": 9, "file_name": "\ud800.jpg", "width": 9, "height": 9},
            {"id": 10, "file_name": "a.jpg", "width": float("nan"), "height": 9},
        ]

    edit(source, change)
    detail = "5 without a number, name or size, or of a number already given"
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


def nobody_called_person(root):
    edit(root, lambda content: content["categories"][0].update(name="people"))
    return {}, r"none of its categories \(people\) is called person; rename"


def two_called_person(root):
    def change(content):
        content["categories"].append(content["categories"][0] | {"id": 2})
        content["annotations"][1]["category_id"] = 2

    edit(root, change)
    return {}, r"category_id 1, 2 is called person; give people one number"


def categories_from_zero(root):
    def change(content):
        renumber(content, 0)
        del content["categories"]

    edit(root, change)
    return {}, r"its category_id count from 0, COCO's from 1, and it lists no categories"


def corners(root):
    def change(content):
        for annotation in content["annotations"]:
            x, y, width, height = annotation["bbox"]
            annotation["bbox"] = [x, y, x + width, y + height]

    edit(root, change)
    return {}, r"boxes, read as x, y, .*; they seem to be left, top, right, bottom: write bbox as"


def keypoints_in_per_cent(root):
    def change(content):
        for annotation in content["annotations"]:
            joints = np.reshape(annotation["keypoints"], (17, 3)) * (0.01, 0.01, 1)
            annotation["keypoints"] = joints.ravel().tolist()

    edit(root, change)
    return {}, r"only 0% of the labelled joints lie in their person's box"


def no_pictures(root):
    (root / "train2017").rename(root / "photographs")
    return {}, r"train2017 pictures are missing: expected .*/train2017 or .*--splits test"


def nobody(root):
    return {"min_keypoints": 18}, r"holds nobody to train on \(crowd, too few keypoints\)"


REFUSED = [
    cut_annotations, other_document, no_annotations, boxes_alone, other_joints, no_pictures, nobody,
    nobody_called_person, two_called_person, categories_from_zero, corners, keypoints_in_per_cent,
]  # fmt: skip


@pytest.mark.parametrize("spoil", REFUSED)
def test_refused_in_one_line(source, spoil):
    options, message = spoil(source)
    with pytest.raises(LiftjaxError) as error:
        plan_coco(source, **options)
    assert re.search(message, str(error.value))
    assert "\n" not in str(error.value)
