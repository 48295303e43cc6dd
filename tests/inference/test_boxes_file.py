"""COCO's files, and files that are none."""

import json

import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.inference import boxes_file


def write(tmp_path, content):
    path = tmp_path / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def entry(image_id=0, bbox=(10, 20, 30, 40), **more):
    return {"image_id": image_id, "bbox": list(bbox), **more}


def test_detections(tmp_path):
    content = [
        entry(3, (10, 20, 30, 40), score=0.25, category_id=1),
        entry(5, score=0.5, category_id=2),
        entry(6, (1, 2, 3, 4.5), score=1),
        entry(4, score=0.5, iscrowd=1),
    ]
    found = boxes_file.read_person_boxes(write(tmp_path, content))
    assert found.ids == [3, 6]
    np.testing.assert_array_equal(found.boxes, [[10, 20, 40, 60], [1, 2, 4, 6.5]])
    np.testing.assert_array_equal(found.scores, [0.25, 1])
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.files == {}


def test_whole_floats_and_nulls_are_read(tmp_path):
    """Some programs know no whole numbers, or write a missing value as null."""
    content = [entry(3, category_id=1.0, iscrowd=None), entry(5, category_id=None, iscrowd=None)]
    assert boxes_file.read_person_boxes(write(tmp_path, content)).ids == [3, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([entry(3, score=0.5), entry(5)], "some boxes have a score and others have none"),
        ([entry(3, iscrowd=0), entry(5)], "some boxes have iscrowd 0 and others have no iscrowd"),
        ([entry(3, iscrowd="no")], "iscrowd of a box is neither 0 nor 1"),
        ([entry(3), entry("a.jpg")], "some image_id are numbers and others are text"),
        ([entry(3, category_id="1")], "the category_id '1', which no"),
    ],
)
def test_what_some_boxes_say_in_another_way_is_refused(tmp_path, content, message):
    with pytest.raises(LiftjaxError, match=message):
        boxes_file.read_person_boxes(write(tmp_path, content))


def test_annotations(tmp_path):
    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "annotations": [entry(7, category_id=4), entry(8, category_id=1)],
        "categories": [{"id": 4, "name": "person"}, {"id": 1, "name": "dog"}],
    }
    found = boxes_file.read_person_boxes(write(tmp_path, content))
    assert (found.ids, found.files) == ([7], {7: "a.jpg", 8: "b.jpg"})


@pytest.mark.parametrize("number", [0, 3, "p"])
def test_a_person_is_whom_the_file_calls_so(tmp_path, number):
    content = {
        "annotations": [entry(7, category_id=number), entry(8, category_id=1)],
        "categories": [{"id": 1, "name": "antelope"}, {"id": number, "name": "Person"}],
    }
    assert boxes_file.read_person_boxes(write(tmp_path, content)).ids == [7]


def test_a_name_given_twice_means_the_category_that_boxes_have(tmp_path):
    content = {
        "annotations": [entry(7, category_id=1)],
        "categories": [{"id": 0, "name": "person"}, {"id": 1, "name": "person"}],
    }
    assert boxes_file.read_person_boxes(write(tmp_path, content)).ids == [7]


def of_categories(*names, entries=(0,)):
    """A file of these categories, numbered from 0, and boxes of the numbers `entries`."""
    return {
        "annotations": [entry(category_id=number) for number in entries],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
    }


def test_nobody(tmp_path):
    found = boxes_file.read_person_boxes(write(tmp_path, []))
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON from line 1 on"),
        ('[{"image_id": 1,\n', "not JSON from line 2 on"),
        ("0,10,20,30", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("3", "its content is of another kind"),
        ({"detections": []}, "its content is of another kind"),
        ({"annotations": [], "images": [{"id": 1}]}, "images need id and file_name"),
        ([1, 2], "entry 0 lacks image_id or bbox"),
        ([entry(), {"image_id": 1, "box": [1, 2, 3, 4]}], "entry 1 lacks image_id or bbox"),
        ([entry([1])], "entry 0: image_id is neither a number nor text"),
        ([entry(bbox=(1, 2, 3))], "not four numbers"),
        ([entry(bbox=(1, 2, 3)), entry(bbox=(1, 2, 3, 4, 5))], "not four numbers"),
        ([entry(bbox=("left", 2, 3, 4))], "not four numbers"),
        (
            [entry(), entry(7, bbox=(1, 2, float("nan"), 4))],
            "of image_id 7, or its score, is no usable",
        ),
        ([entry(score=float("inf"))], "no usable number"),
        ([entry(bbox=(1, 2, 1e300, 4))], "no usable number"),
        ([entry(bbox=(1, 2, 10**400, 4))], "not four numbers"),
        (f'[{{"image_id": {"9" * 5000}}}]', "not JSON"),
        ([entry(category_id=3)], "none of its 1 boxes has the category_id 1, person"),
        ([entry(category_id=0), entry(category_id=1)], "count from 0, COCO's from 1"),
        (of_categories("dog", "cat"), r"none of its categories \(dog, cat\) is called person"),
        (of_categories("person", "person", entries=(0, 1)), "category_id 0, 1 is called person;"),
        (
            {"annotations": [], "categories": [{"id": 1, "name": n} for n in ("person", "dog")]},
            "category_id 1 is called person and dog",
        ),
        (of_categories("person", "dog", entries=(0, None)), "some boxes have no category_id"),
        (
            {"annotations": [], "images": [{"id": 1, "file_name": f"{n}.jpg"} for n in "ab"]},
            r"a\.jpg and b\.jpg have the same image id, 1",
        ),
        ([entry(score=0.5), entry(score=87.5)], r"its scores go from 0\.5 to 87\.5"),
        ([entry(score=-0.1)], r"its scores go from -0\.1"),
    ],
)
def test_faults(tmp_path, content, message):
    with pytest.raises(LiftjaxError, match=rf"boxes\.json: .*{message}") as caught:
        boxes_file.read_person_boxes(write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_missing_and_binary(tmp_path):
    with pytest.raises(LiftjaxError, match="file of boxes is missing"):
        boxes_file.read_person_boxes(tmp_path / "boxes.json")
    (tmp_path / "boxes.json").write_bytes(b"\xff\xd8\xff\xe0" * 10)
    with pytest.raises(LiftjaxError, match="not JSON"):
        boxes_file.read_person_boxes(tmp_path / "boxes.json")
