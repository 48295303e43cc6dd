"""What is wrong in a tree is named with file and frame, counted, and left out."""

import shutil

import cv2
import h5py
import numpy as np
import pytest

from data_prep.building import Problem, build
from data_prep.human36m.build import plan_human36m
from liftjax.errors import LiftjaxError
from tests.data_prep.human36m import trees

CAMERA = "54138969"
STRIDE = 2
FOLDER = "S5/Posing-1"
STEM = f"Posing 1.{CAMERA}"


def takes():
    return trees.takes([("S5", "Posing", 1)], frames=9)


def the_take(made):
    return next(take for take in made if take.camera == CAMERA)


def built(root, stride=STRIDE):
    """(frames of CAMERA, problems but for missing sequences)."""
    planned = plan_human36m(root, subjects=("S5",), strides={"train": stride, "test": stride})
    units = [unit for part in planned.parts["train"] for unit in part]
    items = [item for unit in units for item in unit.records()]
    problems = [p for p in planned.problems if p.kind != "missing sequence"]
    problems += [item for item in items if isinstance(item, Problem)]
    records = [item.validate() for item in items if not isinstance(item, Problem)]
    return [r.frame for r in records if r.camera == CAMERA], problems


def only(problems):
    assert len(problems) == 1, problems
    return problems[0]


@pytest.fixture
def archive(tmp_path):
    return trees.write_archive(tmp_path, takes())


@pytest.fixture
def fetch(tmp_path):
    return trees.write_fetch(tmp_path, takes())


@pytest.fixture
def mmpose(tmp_path):
    return trees.write_mmpose(tmp_path, takes())


def edit_h5(root, change):
    """Rewrites the columns of annot.h5: change(columns) alters a dict of arrays."""
    path = root / FOLDER / "annot.h5"
    with h5py.File(path) as h5:
        columns = {key: np.asarray(h5[key]) for key in ("pose/2d", "pose/3d", "camera", "frame")}
    change(columns)
    with h5py.File(path, "w") as h5:
        for key, values in columns.items():
            h5[key] = values


def edit_npz(root, change):
    path = root / "annotation_body3d" / "fps50" / "h36m_train.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, **arrays)


def image(root, frame):
    return root / FOLDER / "imageSequence" / CAMERA / f"img_{frame + 1:06d}.jpg"


# pictures


def test_a_truncated_jpeg(fetch):
    path = image(fetch, 4)
    path.write_bytes(path.read_bytes()[:2000])
    frames, problems = built(fetch)
    assert frames == [0, 2, 6, 8]
    expected = Problem("broken picture", f"{FOLDER}/imageSequence/{CAMERA}/img_000005.jpg", 4)
    assert only(problems) == expected


def test_a_black_picture(fetch):
    trees.write_jpeg(image(fetch, 2), np.zeros((1002, 1000, 3), np.uint8))
    frames, problems = built(fetch)
    assert frames == [0, 4, 6, 8]
    assert (only(problems).kind, only(problems).frame) == ("black picture", 2)
    assert only(problems).file.endswith("img_000003.jpg")


def test_a_missing_picture(fetch):
    image(fetch, 8).unlink()
    frames, problems = built(fetch)
    assert frames == [0, 2, 4, 6]
    problem = only(problems)
    assert (problem.kind, problem.frame, problem.dropped) == ("missing picture", 8, 1)


def test_a_picture_of_another_shape_and_one_scaled(fetch):
    trees.write_jpeg(image(fetch, 2), np.full((500, 800, 3), 90, np.uint8))
    take = the_take(takes())
    small = cv2.resize(take.picture(4), (500, 501), interpolation=cv2.INTER_AREA)
    trees.write_jpeg(image(fetch, 4), small)
    frames, problems = built(fetch)
    assert frames == [0, 4, 6, 8]
    kinds = {p.kind: (p.frame, p.dropped) for p in problems}
    assert kinds == {"picture of another shape": (2, 1), "picture of another size": (4, 0)}


def test_a_scaled_picture_shows_the_joints_where_they_are(fetch):
    take = the_take(takes())
    small = cv2.resize(take.picture(4), (500, 501), interpolation=cv2.INTER_AREA)
    trees.write_jpeg(image(fetch, 4), small)
    planned = plan_human36m(
        fetch, subjects=("S5",), strides={"train": 4, "test": 4}, full_frames=True
    )
    unit = planned.parts["train"][0][0]
    record = next(r for r in unit.records() if not isinstance(r, Problem) and r.frame == 4)
    np.testing.assert_allclose(record.stored_to_image[:, :2], 2 * np.eye(2))
    np.testing.assert_allclose(record.stored_to_image[:, 2], 0.5)


# videos


def test_a_missing_video(archive):
    (archive / "S5" / "Videos" / f"{STEM}.mp4").unlink()
    frames, problems = built(archive)
    assert frames == []
    assert only(problems) == Problem("missing video", f"S5/Videos/{STEM}.mp4", 0, "", 5)


def test_a_truncated_video(archive):
    path = archive / "S5" / "Videos" / f"{STEM}.mp4"
    path.write_bytes(path.read_bytes()[:3000])
    frames, problems = built(archive)
    assert frames == []
    assert only(problems) == Problem("unreadable video", f"S5/Videos/{STEM}.mp4", 0, "", 5)


def test_a_video_cut_after_its_index(archive):
    """Some frames can be decoded; the one at the cut is half made up and must not be taken."""
    made = trees.takes([("S5", "Posing", 1)], frames=30)
    trees.write_archive(archive, made)
    path = archive / "S5" / "Videos" / f"{STEM}.mp4"
    data = trees.index_first(path.read_bytes())
    path.write_bytes(data)
    frames, problems = built(archive)
    assert frames == list(range(0, 30, 2))
    assert problems == []
    path.write_bytes(data[: len(data) * 6 // 10])
    frames, problems = built(archive)
    assert 4 <= len(frames) <= 8
    lost = list(range(0, 30, 2))[len(frames) :]
    assert [(p.kind, p.file, p.frame, p.dropped) for p in problems] == [
        ("broken frame", f"S5/Videos/{STEM}.mp4", frame, 1) for frame in lost
    ]


def test_a_video_shorter_than_the_annotation(archive):
    trees.write_video(archive / "S5" / "Videos" / f"{STEM}.mp4", the_take(takes()), frames=5)
    frames, problems = built(archive)
    assert frames == [0, 2, 4]
    assert [(p.kind, p.frame) for p in problems] == [("video too short", 6), ("video too short", 8)]


def test_a_video_longer_than_the_annotation(archive):
    trees.write_video(archive / "S5" / "Videos" / f"{STEM}.mp4", the_take(takes()), frames=12)
    frames, problems = built(archive)
    assert frames == [0, 2, 4, 6, 8]
    assert (only(problems).kind, only(problems).frame) == ("frame without annotation", 10)
    assert "12 frames, the annotation 9" in only(problems).detail


def test_the_broken_video_that_old_releases_of_the_archive_have(tmp_path):
    trees.write_archive(tmp_path, trees.takes([("S11", "Directions", 2)], 3))
    (tmp_path / "S11" / "Videos" / "Directions.54138969.mp4").write_bytes(b"")
    planned = plan_human36m(tmp_path, subjects=("S11",))
    items = [item for unit in planned.parts["test"][0] for item in unit.records()]
    problem = only([item for item in items if isinstance(item, Problem)])
    assert problem.file == "S11/Videos/Directions.54138969.mp4"
    assert "older releases" in problem.detail


# annotations


def test_annotations_of_different_lengths(archive):
    path = archive / "S5" / "MyPoseFeatures" / "D3_Positions_mono" / f"{STEM}.cdf"
    trees.write_cdf(path, the_take(takes()).mm[:8])
    frames, problems = built(archive)
    assert frames == [0, 2, 4, 6]
    problem = only(problems)
    assert (problem.kind, problem.frame) == ("annotation lengths differ", 8)
    assert problem.file == str(path.relative_to(archive))


def test_a_pose_of_one_record_a_frame(archive):
    """Some tools write the frames as records: (frames, 96)."""
    take = the_take(takes())
    path = archive / "S5" / "MyPoseFeatures" / "D3_Positions_mono" / f"{STEM}.cdf"
    trees.write_cdf(path, take.mm, records=True)
    frames, problems = built(archive)
    assert frames == [0, 2, 4, 6, 8]
    assert problems == []


def test_a_cut_cdf(archive):
    path = archive / "S5" / "MyPoseFeatures" / "D2_Positions" / f"{STEM}.cdf"
    path.write_bytes(path.read_bytes()[:300])
    frames, problems = built(archive)
    assert frames == []
    problem = only(problems)
    assert (problem.kind, problem.dropped) == ("unreadable annotation", 5)
    assert problem.file == str(path.relative_to(archive))


def test_a_missing_cdf_and_a_missing_camera(archive):
    features = archive / "S5" / "MyPoseFeatures"
    (features / "D2_Positions" / f"{STEM}.cdf").unlink()
    for file in archive.rglob("*60457274*"):
        file.unlink()
    _, problems = built(archive)
    assert [(p.kind, p.file, p.dropped) for p in problems] == [
        ("missing annotation", f"S5/MyPoseFeatures/D2_Positions/{STEM}.cdf", 5),
        ("missing camera", "S5/MyPoseFeatures/D2_Positions/Posing 1.60457274.cdf", 5),
    ]


def test_the_archives_all_and_other_spellings_twice(archive):
    features = archive / "S5" / "MyPoseFeatures"
    for folder in ("D2_Positions", "D3_Positions_mono"):
        joints = getattr(the_take(takes()), "px" if folder == "D2_Positions" else "mm")
        trees.write_cdf(features / folder / f"_ALL 1.{CAMERA}.cdf", joints)
        trees.write_cdf(features / folder / f"posing 1.{CAMERA}.cdf", joints)
    frames, problems = built(archive)
    assert frames == [0, 2, 4, 6, 8]
    assert [p.kind for p in problems] == ["duplicate sequence"] * 2


def test_no_positions_in_camera_axes(archive):
    features = archive / "S5" / "MyPoseFeatures"
    (features / "D3_Positions_mono").rename(features / "D3_Positions")
    with pytest.raises(LiftjaxError, match="D3_Positions_mono"):
        built(archive)


def test_nan_joints(archive):
    take = the_take(takes())
    take.mm[4, 25] = np.nan
    take.px[6, 3] = np.nan
    take.px[2, 31] = np.nan  # not one of the 17
    features = archive / "S5" / "MyPoseFeatures"
    trees.write_cdf(features / "D2_Positions" / f"{STEM}.cdf", take.px)
    trees.write_cdf(features / "D3_Positions_mono" / f"{STEM}.cdf", take.mm)
    frames, problems = built(archive)
    assert frames == [0, 2, 8]
    assert [(p.kind, p.frame) for p in problems] == [("NaN joints", 4), ("NaN joints", 6)]
    assert "right_shoulder" in problems[0].detail


def test_a_root_outside_the_picture(fetch):
    def change(columns):
        columns["pose/2d"][2, 0] = (1000.0, 500.0)
        columns["pose/2d"][4, 1] = (-0.5, 500.0)

    edit_h5(fetch, change)
    frames, problems = built(fetch)
    assert frames == [0, 4, 6, 8]
    assert (only(problems).kind, only(problems).frame) == ("root not visible", 2)
    unit = plan_human36m(fetch, subjects=("S5",), strides={"train": 4, "test": 4}).parts["train"][
        0
    ][0]
    record = next(r for r in unit.records() if r.frame == 4)
    assert record.joint_visible.tolist() == [True, False] + 15 * [True]


@pytest.mark.parametrize("layout", ["fetch", "mmpose"])
def test_an_annotation_one_frame_short(layout, request):
    root = request.getfixturevalue(layout)
    if layout == "fetch":
        edit_h5(root, lambda c: c.update({key: v[:-1] for key, v in c.items()}))
    else:
        edit_npz(root, lambda a: a.update({key: v[:-1] for key, v in a.items()}))
    _, problems = built(root)
    problem = only(problems)
    assert (problem.kind, problem.frame, problem.dropped) == ("frame without annotation", 8, 1)
    assert problem.file.endswith("000009.jpg")
    assert "60457274" in problem.file


def test_poses_one_row_shorter_than_frames(fetch):
    edit_h5(fetch, lambda c: c.update({"pose/3d": c["pose/3d"][:-1]}))
    problem = only(built(fetch)[1])
    assert (problem.kind, problem.frame) == ("annotation lengths differ", 8)
    edit_h5(fetch, lambda c: c.update({"pose/2d": c["pose/2d"][:-1]}))
    problem = only(built(fetch)[1])
    assert (problem.kind, problem.frame) == ("frame without annotation", 8)


def test_poses_that_lack_a_row_in_the_middle(fetch):
    """The rows after it pair the 2D of one frame with the 3D of another."""
    before, _ = built(fetch)
    edit_h5(fetch, lambda c: c.update({"pose/3d": np.delete(c["pose/3d"], 3, axis=0)}))
    frames, problems = built(fetch)
    assert frames == [0, 2]
    lost = [(p.frame, p.dropped) for p in problems if CAMERA in p.detail]
    assert lost == [(4, 1), (6, 1), (8, 1)]
    assert sum(p.dropped for p in problems) == 4 * len(before) - 2
    assert {p.kind for p in problems} == {"annotation lengths differ"}


def test_a_pickle_in_one_of_the_folders_is_refused(fetch):
    shutil.copytree(fetch / FOLDER, fetch / "S5" / "Posing-2")
    pickled = fetch / "S5" / "Posing-2" / "annot.pkl"
    pickled.with_name("annot.h5").rename(pickled)
    with pytest.raises(LiftjaxError, match=r"Posing-2/annot\.pkl is a pickle"):
        built(fetch)


def test_frames_out_of_order_are_sorted_with_their_labels(fetch):
    expected, _ = built(fetch)

    def change(columns):
        for values in columns.values():
            values[[2, 6]] = values[[6, 2]]

    edit_h5(fetch, change)
    frames, problems = built(fetch)
    assert frames == expected
    assert (only(problems).kind, only(problems).dropped) == ("frames out of order", 0)
    assert CAMERA in only(problems).detail
    assert only(problems).file == f"{FOLDER}/annot.h5"
    unit = plan_human36m(fetch, subjects=("S5",), strides={"train": 2, "test": 2}).parts["train"][
        0
    ][0]
    for record in unit.records():
        if not isinstance(record, Problem):
            px = the_take(takes()).px[record.frame, list(trees.JOINTS)]
            np.testing.assert_array_equal(record.joints_px, px)


def test_duplicate_rows(fetch):
    edit_h5(fetch, lambda c: c.update({k: np.insert(v, 4, v[4], axis=0) for k, v in c.items()}))
    frames, problems = built(fetch)
    assert frames == [0, 2, 4, 6, 8]
    assert (only(problems).kind, only(problems).frame) == ("duplicate frame", 4)


def test_duplicate_rows_of_mmpose(mmpose):
    edit_npz(mmpose, lambda a: a.update({k: np.concatenate([v, v[4:5]]) for k, v in a.items()}))
    frames, problems = built(mmpose)
    assert frames == [0, 2, 4, 6, 8]
    assert [(p.kind, p.frame) for p in problems] == [
        ("frames out of order", 4), ("duplicate frame", 4),
    ]  # fmt: skip


def test_a_missing_row_between_others(fetch):
    edit_h5(fetch, lambda c: c.update({key: np.delete(v, 4, axis=0) for key, v in c.items()}))
    frames, problems = built(fetch)
    assert frames == [0, 2, 6, 8]
    assert (only(problems).kind, only(problems).frame) == ("frame without annotation", 4)
    image(fetch, 4).unlink()
    frames, problems = built(fetch)
    assert frames == [0, 2, 6, 8]
    assert (only(problems).kind, only(problems).frame) == ("missing frame", 4)


def test_an_impossible_frame_number(fetch):
    edit_h5(fetch, lambda c: c["frame"].__setitem__(0, 0))
    frames, problems = built(fetch)
    assert frames == [2, 4, 6, 8]
    assert [(p.kind, p.frame) for p in problems] == [
        ("impossible frame number", -1), ("frame without annotation", 0),
    ]  # fmt: skip


def test_a_tree_that_counts_from_zero(fetch):
    expected, _ = built(fetch)
    edit_h5(fetch, lambda c: c.update({"frame": c["frame"] - 1}))
    for path in sorted(fetch.rglob("*.jpg")):
        path.rename(path.with_name(f"img_{int(path.stem[4:]) - 1:08d}.jpg"))
    assert built(fetch) == (expected, [])


def test_a_camera_missing_from_h5_and_from_the_pictures(fetch):
    def change(columns):
        rest = columns["camera"] != 55011271
        columns.update({key: v[rest] for key, v in columns.items()})

    edit_h5(fetch, change)
    (fetch / FOLDER / "imageSequence" / "58860488").rename(fetch / "elsewhere")
    frames, problems = built(fetch)
    assert frames == [0, 2, 4, 6, 8]
    assert [(p.kind, p.file, p.dropped) for p in problems] == [
        ("missing camera", f"{FOLDER}/annot.h5", 5),
        ("missing camera", f"{FOLDER}/imageSequence/58860488", 5),
    ]


def test_a_cut_h5(fetch):
    path = fetch / FOLDER / "annot.h5"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(LiftjaxError, match=r"annot\.h5"):
        built(fetch)


def test_an_npz_whose_rows_do_not_match(mmpose):
    edit_npz(mmpose, lambda a: a.update({"imgname": a["imgname"][:-3]}))
    with pytest.raises(LiftjaxError, match=r"33 names of pictures, 36 2D and 36 3D poses"):
        built(mmpose)


def test_an_npz_of_objects_is_not_unpickled(mmpose):
    edit_npz(mmpose, lambda a: a.update({"S": np.array([None, {}], object)}))
    with pytest.raises(LiftjaxError, match="plain arrays") as error:
        built(mmpose)
    assert "\n" not in str(error.value)


def test_an_npz_cut_short(mmpose):
    path = mmpose / "annotation_body3d" / "fps50" / "h36m_train.npz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(LiftjaxError, match=r"h36m_train\.npz"):
        built(mmpose)


def test_windows_separators_in_an_npz(mmpose):
    def change(arrays):
        arrays["imgname"] = np.char.replace(arrays["imgname"], "/", "\\")

    edit_npz(mmpose, change)
    frames, problems = built(mmpose)
    assert frames == [0, 2, 4, 6, 8]
    assert problems == []


def test_metres_in_place_of_millimetres_are_refused(tmp_path):
    made = takes()
    for take in made:
        take.mm /= 1000
    trees.write_archive(tmp_path / "tree", made)
    planned = plan_human36m(tmp_path / "tree", subjects=("S5",))
    with pytest.raises(LiftjaxError, match=r"unit.*(0\.001|1e-0?3)"):
        build(planned, tmp_path / "out", processes=1)
