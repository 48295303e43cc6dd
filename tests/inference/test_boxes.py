"""Boxes: by hand and from files, each to its frame."""

import json

import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.inference.boxes import FixedBoxes, overlaps, read_detections, whole_frame
from liftjax.inference.results import Frame
from liftjax.inference.sources import PictureSource


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
    return PictureSource([f"folder/{name}" for name in names], "folder", "folder")


def detections(*ids, score=0.9, **more):
    """A box for each id, its left side telling its place."""
    return [
        {"image_id": image_id, "bbox": [i, 0, 50, 50], "score": score, **more}
        for i, image_id in enumerate(ids)
    ]


def named(*files):
    """A COCO file of pictures of these names, a box in each, its left side telling its place."""
    images = [{"id": i, "file_name": file} for i, file in enumerate(files)]
    return {"images": images, "annotations": detections(*range(len(files)))}


def film(name, count=10):
    source = Film(count)
    source.given = name
    return source


@pytest.fixture
def boxes_of(tmp_path):
    """(content, source) -> the left sides of the boxes by frame."""

    def find(content, source, size=(200, 100), **options):
        (tmp_path / "boxes.json").write_text(json.dumps(content))
        find_boxes = read_detections(tmp_path / "boxes.json", **options)(source)
        found = [find_boxes(frame(i, *size))[0][:, 0].tolist() for i in range(10)]
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
    assert boxes_of(detections("3", "0", "3", "7"), Film()) == {0: [1], 3: [0, 2], 7: [3]}
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


SEQUENCES = [f"images/{name}/{n:06d}.jpg" for name in ("seqA", "seqB") for n in range(3)]


@pytest.mark.parametrize(
    "files",
    [
        SEQUENCES,
        [f"/server/{name}" for name in SEQUENCES],
        [name.replace("/", "\\") for name in SEQUENCES],
    ],
)
def test_pictures_of_equal_names_by_their_folders(boxes_of, files):
    b = PictureSource([f"copy/seqB/{n:06d}.jpg" for n in range(3)], "seqB", "seqB")
    assert boxes_of(named(*files), b) == {0: [3], 1: [4], 2: [5]}
    assert boxes_of(detections(*files), b) == {0: [3], 1: [4], 2: [5]}  # names as image ids
    both = ["seqA/000000.jpg", "seqB/000001.jpg"]
    assert boxes_of(named(*files), PictureSource(both, "pictures", "2")) == {0: [0], 1: [4]}


def test_pictures_of_a_folder_that_the_file_has_not(boxes_of):
    renamed = pictures(*(f"{n:06d}.jpg" for n in range(3)))
    with pytest.raises(LiftjaxError, match=r"0 \(images/seqA/000000\.jpg\).*as folder/000000\.jpg"):
        boxes_of(named(*SEQUENCES), renamed)
    # A longer sequence gives nothing to another's last frames either.
    with pytest.raises(LiftjaxError, match="of no frame of folder"):
        boxes_of(named(*SEQUENCES, "images/seqB/000003.jpg"), pictures("000003.jpg"))


def test_folders_without_boxes_tell_pictures_apart_too(boxes_of):
    content = named(*SEQUENCES)
    content["annotations"] = detections(0, 1, 2)  # of seqA alone
    b = PictureSource([f"seqB/{n:06d}.jpg" for n in range(3)], "seqB", "seqB")
    with pytest.raises(LiftjaxError, match="of no frame of seqB"):
        boxes_of(content, b)
    content = named("000000.jpg", "seqB/000000.jpg")
    content["annotations"] = detections(0)
    with pytest.raises(LiftjaxError, match="of no frame of seqB"):
        boxes_of(content, b)


def test_one_name_for_two_pictures_is_refused(boxes_of):
    two = PictureSource(["a/1.jpg", "b/1.jpg"], "pictures", "2")
    with pytest.raises(LiftjaxError, match=r": 1\.jpg may be a/1\.jpg or b/1\.jpg; give"):
        boxes_of(named("1.jpg"), two)
    assert boxes_of(named("b/1.jpg", "a/1.jpg"), two) == {0: [1], 1: [0]}


def test_a_name_in_another_folder_is_told(boxes_of, capsys):
    assert boxes_of(named("folder/a.jpg", "b.jpg"), pictures("a.jpg", "b.jpg")) == {0: [0], 1: [1]}
    assert capsys.readouterr().err == ""
    assert boxes_of(named("train/a.jpg", "b.jpg"), pictures("a.jpg", "b.jpg")) == {0: [0], 1: [1]}
    said = capsys.readouterr().err
    assert "1 of its pictures" in said
    assert "the boxes of train/a.jpg are used for folder/a.jpg" in said


@pytest.mark.parametrize(
    "files",
    [
        SEQUENCES,
        [f"images/{name}/cam/{n}.png" for name in ("seqA", "seqB") for n in range(3)],
        [f"{name}_{n:03d}.jpg" for name in ("seqA", "seqB") for n in range(3)],
    ],
)
def test_a_video_takes_the_frames_that_have_its_name(boxes_of, files):
    assert boxes_of(named(*files), film("films/seqB.mp4")) == {0: [3], 1: [4], 2: [5]}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            SEQUENCES,
            r"images/seqA/000000\.jpg, has that of seqC\.mp4; call their folder seqC",
        ),
        (SEQUENCES[:3], r"has that of seqC\.mp4"),
        (["a_0.jpg", "b_0.jpg"], r"a_0\.jpg and b_0\.jpg would both be frame 0 of seqC\.mp4"),
        (["seqC/left/7.jpg", "seqC/right/7.jpg"], "would both be frame 7"),
    ],
)
def test_frames_of_another_video_are_refused(boxes_of, files, message):
    with pytest.raises(LiftjaxError, match=message) as error:
        boxes_of(named(*files), film("seqC.mp4"))
    assert "\n" not in str(error.value)


def test_frames_that_count_from_one_are_refused(boxes_of):
    with pytest.raises(LiftjaxError, match=r"are 2 to 10, those of film\.mp4 0 to 9; .* from 1"):
        boxes_of(detections(2, 5, 10), Film())
    with pytest.raises(LiftjaxError, match="are 1 to 3,"):
        boxes_of(named(*(f"seqA/{n}.jpg" for n in (1, 2, 3))), film("seqA.mp4", 3))
    assert boxes_of(detections(2, 5, 9), Film()) == {2: [0], 5: [1], 9: [2]}


def test_boxes_that_are_corners_are_refused(boxes_of):
    corners = [[20, 30, 60, 90], [100, 10, 190, 95], [90, 40, 120, 99], [150, 60, 199, 90],
               [120, 5, 180, 80]]  # fmt: skip
    content = [{"image_id": i, "bbox": box} for i, box in enumerate(corners)]
    with pytest.raises(
        LiftjaxError, match=r"left, top, right, bottom; write bbox as \[x, y, width"
    ):
        boxes_of(content, Film())
    for entry in content:
        x, y, right, bottom = entry["bbox"]
        entry["bbox"] = [x, y, right - x, bottom - y]
    assert len(boxes_of(content, Film())) == 5
    # Boxes may reach beyond the picture; of these some would be upside down as corners.
    beyond = [[150, 50, 90, 90], [120, 5, 150, 140], [180, 20, 60, 70]]
    content = [{"image_id": i, "bbox": box} for i, box in enumerate(beyond)]
    assert len(boxes_of(content, Film())) == 3


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
