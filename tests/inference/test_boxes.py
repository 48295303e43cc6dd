"""Boxes: by hand and from files, each to its frame."""

import json

import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.inference.boxes import FixedBoxes, overlaps, read_detections, whole_frame
from liftjax.inference.results import Frame
from liftjax.inference.sources import Pictures


def frame(index=0, width=200, height=100):
    return Frame(index, f"{index}", np.zeros((height, width, 3), np.uint8))


class Film:
    """A source of frames without names."""

    given, is_video, fps = "film.mp4", True, 25.0

    def __init__(self, count=10, counted=True):
        self.count, self.counted = count, counted

    def __len__(self):
        return self.count


def pictures(*names):
    return Pictures([f"folder/{name}" for name in names], "folder", "folder")


def detections(*ids, score=0.9, **more):
    """A box for each id, its left side telling its place."""
    return [
        {"image_id": image_id, "bbox": [i, 0, 50, 50], "score": score, **more}
        for i, image_id in enumerate(ids)
    ]


@pytest.fixture
def boxes_of(tmp_path):
    """(content, source) -> the left sides of the boxes by frame."""

    def find(content, source, **options):
        (tmp_path / "boxes.json").write_text(json.dumps(content))
        find_boxes = read_detections(tmp_path / "boxes.json", **options)(source)
        found = [find_boxes(frame(i))[0][:, 0].tolist() for i in range(10)]
        return {i: sides for i, sides in enumerate(found) if sides}

    return find


def test_whole_frame():
    boxes, scores = whole_frame(frame())
    np.testing.assert_array_equal(boxes, [[0, 0, 200, 100]])
    np.testing.assert_array_equal(scores, [1])
    assert boxes.dtype == scores.dtype == np.float32


def test_overlaps():
    boxes = np.array([[0, 0, 5, 5], [-9, -9, 1, 1], [-9, 0, 0, 9], [200, 0, 300, 9], [5, 5, 5, 9]])
    assert overlaps(boxes, (200, 100)).tolist() == [True, True, False, False, False]


def test_fixed_boxes():
    find = FixedBoxes(["10,20,30,40.5", "-50, -60, 500, 600"])
    for _ in range(2):
        boxes, scores = find(frame())
        np.testing.assert_array_equal(boxes, [[10, 20, 30, 40.5], [-50, -60, 500, 600]])
        assert scores.tolist() == [1, 1]
        boxes += 1  # the caller's own
    with pytest.raises(LiftjaxError, match=r"box 10,20,30,40\.5 lies outside frame 3, 8 pix"):
        find(frame(3, width=8))


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1;2;3;4", "0,0,nan,9"])
def test_boxes_that_are_no_four_numbers(text):
    with pytest.raises(LiftjaxError, match="expected four numbers, left,top,right,bottom"):
        FixedBoxes([text])


@pytest.mark.parametrize("text", ["100,20,50,80", "10,20,10,80", "10,90,50,80"])
def test_boxes_the_wrong_way_round(text):
    with pytest.raises(LiftjaxError, match="not left,top,width,height"):
        FixedBoxes([text])


def test_a_video_by_frame_number(boxes_of):
    assert boxes_of(detections(3, 0, 3, "7"), Film()) == {0: [1], 3: [0, 2], 7: [3]}
    assert boxes_of(detections(3, 0), Film(count=0)) == {0: [1], 3: [0]}
    assert boxes_of(detections(3, 0), Film(count=2)) == {0: [1]}
    assert boxes_of(detections(3, 0), Film(count=2, counted=False)) == {0: [1], 3: [0]}


def test_a_video_by_the_numbers_of_named_frames(boxes_of):
    """Ids may count from one where the names count from zero."""
    content = {
        "images": [{"id": i + 1, "file_name": f"film/frame_{i:06d}.png"} for i in range(5)],
        "annotations": detections(1, 4),
    }
    assert boxes_of(content, Film()) == {0: [0], 3: [1]}


def test_pictures_by_file_name(boxes_of):
    content = {
        "images": [
            {"id": 2, "file_name": "train/a.jpg"},
            {"id": 1, "file_name": "b.jpg"},
            {"id": 3, "file_name": "c.jpg"},
        ],
        "annotations": detections(1, 2),
    }
    assert boxes_of(content, pictures("a.jpg", "b.jpg")) == {0: [1], 1: [0]}


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("000005.jpg", "000012.jpg"), (5, 12)),
        (("COCO_val2014_000000000005.jpg", "COCO_val2014_000000000012.jpg"), (5, 12)),
        (("a.jpg", "b.jpg"), ("a", "b")),
        (("a.jpg", "b.jpg"), ("a.jpg", "b.jpg")),
    ],
)
def test_pictures_by_their_names(boxes_of, names, ids):
    assert boxes_of(detections(*ids[::-1]), pictures(*names)) == {0: [1], 1: [0]}


def test_a_number_that_two_pictures_have_is_no_name(boxes_of):
    with pytest.raises(LiftjaxError, match="of no frame of folder"):
        boxes_of(detections(1), pictures("a_1.jpg", "b_1.jpg"))


def test_a_single_picture_with_a_single_id(boxes_of):
    assert boxes_of(detections(42, 42), pictures("me.jpg")) == {0: [0, 1]}


def test_scores(boxes_of):
    content = detections(1, score=0.4) + detections(2, 2, score=0.6)
    assert boxes_of(content, Film()) == {2: [0, 1]}
    assert boxes_of(content, Film(), score=0.3) == {1: [0], 2: [0, 1]}
    with pytest.raises(
        LiftjaxError, match=r"no box has a score of 0\.9 or more, the best has 0\.6"
    ):
        boxes_of(content, Film(), score=0.9)


def test_nobody(boxes_of):
    assert boxes_of([], Film()) == {}


def test_ids_of_no_frame(boxes_of, capsys):
    with pytest.raises(LiftjaxError, match=r"image_id, such as 10, .* numbered from 0 to 9\.$"):
        boxes_of(detections(10, 11), Film())
    with pytest.raises(LiftjaxError, match=r"such as 7, are of no frame of folder, .* such as a\."):
        boxes_of(detections(7, 8), pictures("a.jpg", "b.jpg"))
    assert capsys.readouterr().err == ""
    assert boxes_of(detections(9, 10, 11), Film()) == {9: [0]}
    assert (
        "2 of 3 boxes are of no frame of film.mp4, such as image_id 10" in capsys.readouterr().err
    )


def test_boxes_outside_the_frame_are_left_out_with_one_warning(boxes_of, capsys):
    content = [
        {"image_id": 0, "bbox": [10, 10, 20, 20]},
        {"image_id": 0, "bbox": [500, 10, 20, 20]},
        {"image_id": 1, "bbox": [190, 90, 80, 80]},
        {"image_id": 2, "bbox": [30, 10, 0, 20]},
    ]
    assert boxes_of(content, Film()) == {0: [10], 1: [190]}
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "500,10,520,30" in printed
