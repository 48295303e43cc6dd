"""What is wrong in a tree is named with file and frame, counted, and left out."""

import shutil

import cv2
import h5py
import numpy as np
import pytest

from data_prep.building import Problem, build_dataset
from data_prep.human36m.build import plan_human36m
from liftjax.errors import LiftjaxError
from tests.data_prep.human36m import trees

CAMERA = "54138969"
STRIDE = 2
FOLDER = "S5/Posing-1"
PICTURES = f"{FOLDER}/imageSequence/{CAMERA}"
STEM = f"Posing 1.{CAMERA}"
FEATURES = "S5/MyPoseFeatures"
VIDEO = f"S5/Videos/{STEM}.mp4"
NPZ = "annotation_body3d/fps50/h36m_train.npz"


def takes():
    return trees.takes([("S5", "Posing", 1)], frames=9)


def the_take():
    return next(take for take in takes() if take.camera == CAMERA)


def plan(root, stride=STRIDE, **options):
    return plan_human36m(
        root, subjects=("S5",), strides={"train": stride, "test": stride}, **options
    )


def first_unit(root, **options):
    return plan(root, **options).parts["train"][0][0]


def built(root):
    """(frames of CAMERA, problems but for missing sequences)."""
    planned = plan(root)
    units = [unit for part in planned.parts["train"] for unit in part]
    items = [item for unit in units for item in unit.records()]
    problems = [p for p in planned.problems if p.kind != "missing sequence"]
    problems += [item for item in items if isinstance(item, Problem)]
    records = [item.validate() for item in items if not isinstance(item, Problem)]
    return [r.frame for r in records if r.camera == CAMERA], problems


def check(root, frames, *expected):
    """Checks the frames of CAMERA and all problems as (kind, frame); returns the problems."""
    found, problems = built(root)
    assert [(p.kind, p.frame) for p in problems] == list(expected)
    assert found == frames
    return problems


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
    with np.load(root / NPZ) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(root / NPZ, **arrays)


def in_all(edit):
    """A change that edits every array."""
    return lambda arrays: arrays.update({key: edit(values) for key, values in arrays.items()})


def write_labels(root, kind, joints, stem=STEM, **options):
    trees.write_cdf(root / FEATURES / kind / f"{stem}.cdf", joints, **options)


def image(root, frame):
    return root / PICTURES / f"img_{frame + 1:06d}.jpg"


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


# pictures


def test_a_truncated_jpeg(fetch):
    cut(image(fetch, 4), 2000)
    (problem,) = check(fetch, [0, 2, 6, 8], ("broken picture", 4))
    assert problem == Problem("broken picture", f"{PICTURES}/img_000005.jpg", 4)


def test_a_black_picture(fetch):
    trees.write_jpeg(image(fetch, 2), np.zeros((1002, 1000, 3), np.uint8))
    (problem,) = check(fetch, [0, 4, 6, 8], ("black picture", 2))
    assert problem.file.endswith("img_000003.jpg")


def test_a_missing_picture(fetch):
    image(fetch, 8).unlink()
    (problem,) = check(fetch, [0, 2, 4, 6], ("missing picture", 8))
    assert problem.dropped == 1


def write_small(path, frame):
    small = cv2.resize(the_take().picture(frame), (500, 501), interpolation=cv2.INTER_AREA)
    trees.write_jpeg(path, small)


def test_a_picture_of_another_shape_and_one_scaled(fetch):
    trees.write_jpeg(image(fetch, 2), np.full((500, 800, 3), 90, np.uint8))
    write_small(image(fetch, 4), 4)
    kinds = ("picture of another shape", 2), ("picture of another size", 4)
    assert [p.dropped for p in check(fetch, [0, 4, 6, 8], *kinds)] == [1, 0]


def test_a_scaled_picture_shows_the_joints_where_they_are(fetch):
    write_small(image(fetch, 4), 4)
    unit = first_unit(fetch, stride=4, full_frames=True)
    record = next(r for r in unit.records() if not isinstance(r, Problem) and r.frame == 4)
    np.testing.assert_allclose(record.stored_to_image[:, :2], 2 * np.eye(2))
    np.testing.assert_allclose(record.stored_to_image[:, 2], 0.5)


# videos


def test_a_missing_video(archive):
    (archive / VIDEO).unlink()
    (problem,) = check(archive, [], ("missing video", 0))
    assert problem == Problem("missing video", VIDEO, 0, "", 5)


def test_a_truncated_video(archive):
    cut(archive / VIDEO, 3000)
    (problem,) = check(archive, [], ("unreadable video", 0))
    assert problem == Problem("unreadable video", VIDEO, 0, "", 5)


def test_a_video_cut_after_its_index(archive):
    """Some frames can be decoded; the one at the cut is half made up and must not be taken."""
    trees.write_archive(archive, trees.takes([("S5", "Posing", 1)], frames=30))
    data = trees.index_first((archive / VIDEO).read_bytes())
    (archive / VIDEO).write_bytes(data)
    check(archive, list(range(0, 30, 2)))
    cut(archive / VIDEO, len(data) * 6 // 10)
    frames, problems = built(archive)
    assert 4 <= len(frames) <= 8
    lost = list(range(0, 30, 2))[len(frames) :]
    assert [(p.kind, p.file, p.frame, p.dropped) for p in problems] == [
        ("broken frame", VIDEO, frame, 1) for frame in lost
    ]


def test_a_video_shorter_than_the_annotation(archive):
    trees.write_video(archive / VIDEO, the_take(), frames=5)
    check(archive, [0, 2, 4], ("video too short", 6), ("video too short", 8))


def test_a_video_longer_than_the_annotation(archive):
    trees.write_video(archive / VIDEO, the_take(), frames=12)
    (problem,) = check(archive, [0, 2, 4, 6, 8], ("frame without annotation", 10))
    assert "12 frames, the annotation 9" in problem.detail


def test_the_broken_video_that_old_releases_of_the_archive_have(tmp_path):
    trees.write_archive(tmp_path, trees.takes([("S11", "Directions", 2)], 3))
    (tmp_path / "S11" / "Videos" / "Directions.54138969.mp4").write_bytes(b"")
    planned = plan_human36m(tmp_path, subjects=("S11",))
    items = [item for unit in planned.parts["test"][0] for item in unit.records()]
    (problem,) = [item for item in items if isinstance(item, Problem)]
    assert problem.file == "S11/Videos/Directions.54138969.mp4"
    assert "older releases" in problem.detail


# annotations


def test_annotations_of_different_lengths(archive):
    write_labels(archive, "D3_Positions_mono", the_take().mm[:8])
    (problem,) = check(archive, [0, 2, 4, 6], ("annotation lengths differ", 8))
    assert problem.file == f"{FEATURES}/D3_Positions_mono/{STEM}.cdf"


def test_a_pose_of_one_record_a_frame(archive):
    """Some tools write the frames as records: (frames, 96)."""
    write_labels(archive, "D3_Positions_mono", the_take().mm, records=True)
    check(archive, [0, 2, 4, 6, 8])


def test_a_cut_cdf(archive):
    file = f"{FEATURES}/D2_Positions/{STEM}.cdf"
    cut(archive / file, 300)
    (problem,) = check(archive, [], ("unreadable annotation", None))
    assert (problem.file, problem.dropped) == (file, 5)


def test_a_missing_cdf_and_a_missing_camera(archive):
    folder = f"{FEATURES}/D2_Positions"
    (archive / folder / f"{STEM}.cdf").unlink()
    for file in archive.rglob("*60457274*"):
        file.unlink()
    assert [(p.kind, p.file, p.dropped) for p in built(archive)[1]] == [
        ("missing annotation", f"{folder}/{STEM}.cdf", 5),
        ("missing camera", f"{folder}/Posing 1.60457274.cdf", 5),
    ]


def test_the_archives_all_and_other_spellings_twice(archive):
    for kind, joints in (("D2_Positions", the_take().px), ("D3_Positions_mono", the_take().mm)):
        for stem in (f"_ALL 1.{CAMERA}", f"posing 1.{CAMERA}"):
            write_labels(archive, kind, joints, stem)
    check(archive, [0, 2, 4, 6, 8], *[("duplicate sequence", None)] * 2)


def test_no_positions_in_camera_axes(archive):
    features = archive / FEATURES
    (features / "D3_Positions_mono").rename(features / "D3_Positions")
    with pytest.raises(LiftjaxError, match="D3_Positions_mono"):
        plan(archive)


def test_nan_joints(archive):
    take = the_take()
    take.mm[4, 25] = np.nan
    take.px[6, 3] = np.nan
    take.px[2, 31] = np.nan  # not one of the 17
    write_labels(archive, "D2_Positions", take.px)
    write_labels(archive, "D3_Positions_mono", take.mm)
    problems = check(archive, [0, 2, 8], ("NaN joints", 4), ("NaN joints", 6))
    assert "right_shoulder" in problems[0].detail


def test_a_root_outside_the_picture(fetch):
    def change(columns):
        columns["pose/2d"][2, 0] = (1000.0, 500.0)
        columns["pose/2d"][4, 1] = (-0.5, 500.0)

    edit_h5(fetch, change)
    check(fetch, [0, 4, 6, 8], ("root not visible", 2))
    record = next(r for r in first_unit(fetch, stride=4).records() if r.frame == 4)
    assert record.joint_visible.tolist() == [True, False] + 15 * [True]


@pytest.mark.parametrize("layout", ["fetch", "mmpose"])
def test_an_annotation_one_frame_short(layout, request):
    edit = {"fetch": edit_h5, "mmpose": edit_npz}[layout]
    root = request.getfixturevalue(layout)
    edit(root, in_all(lambda values: values[:-1]))
    (problem,) = check(root, [0, 2, 4, 6, 8], ("frame without annotation", 8))
    assert problem.dropped == 1
    assert problem.file.endswith("000009.jpg")
    assert "60457274" in problem.file


def test_poses_one_row_shorter_than_frames(fetch):
    edit_h5(fetch, lambda c: c.update({"pose/3d": c["pose/3d"][:-1]}))
    check(fetch, [0, 2, 4, 6, 8], ("annotation lengths differ", 8))
    edit_h5(fetch, lambda c: c.update({"pose/2d": c["pose/2d"][:-1]}))
    check(fetch, [0, 2, 4, 6, 8], ("frame without annotation", 8))


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
        plan(fetch)


def test_frames_out_of_order_are_sorted_with_their_labels(fetch):
    def change(columns):
        for values in columns.values():
            values[[2, 6]] = values[[6, 2]]

    edit_h5(fetch, change)
    (problem,) = check(fetch, [0, 2, 4, 6, 8], ("frames out of order", 3))
    assert (problem.file, problem.dropped) == (f"{FOLDER}/annot.h5", 0)
    assert CAMERA in problem.detail
    for record in first_unit(fetch).records():
        if not isinstance(record, Problem):
            px = the_take().px[record.frame, list(trees.JOINTS)]
            np.testing.assert_array_equal(record.joints_px, px)


def test_duplicate_rows(fetch):
    edit_h5(fetch, in_all(lambda v: np.insert(v, 4, v[4], axis=0)))
    check(fetch, [0, 2, 4, 6, 8], ("duplicate frame", 4))


def test_duplicate_rows_of_mmpose(mmpose):
    edit_npz(mmpose, in_all(lambda v: np.concatenate([v, v[4:5]])))
    check(mmpose, [0, 2, 4, 6, 8], ("frames out of order", 4), ("duplicate frame", 4))


def test_a_missing_row_between_others(fetch):
    edit_h5(fetch, in_all(lambda v: np.delete(v, 4, axis=0)))
    check(fetch, [0, 2, 6, 8], ("frame without annotation", 4))
    image(fetch, 4).unlink()
    check(fetch, [0, 2, 6, 8], ("missing frame", 4))


def test_an_impossible_frame_number(fetch):
    edit_h5(fetch, lambda c: c["frame"].__setitem__(0, 0))
    kinds = ("impossible frame number", -1), ("frame without annotation", 0)
    check(fetch, [2, 4, 6, 8], *kinds)


def test_a_tree_that_counts_from_zero(fetch):
    edit_h5(fetch, lambda c: c.update({"frame": c["frame"] - 1}))
    for path in sorted(fetch.rglob("*.jpg")):
        path.rename(path.with_name(f"img_{int(path.stem[4:]) - 1:08d}.jpg"))
    check(fetch, [0, 2, 4, 6, 8])


def test_a_camera_missing_from_h5_and_from_the_pictures(fetch):
    def change(columns):
        in_all(lambda values, rest=columns["camera"] != 55011271: values[rest])(columns)

    edit_h5(fetch, change)
    (fetch / FOLDER / "imageSequence" / "58860488").rename(fetch / "elsewhere")
    problems = check(fetch, [0, 2, 4, 6, 8], *[("missing camera", None)] * 2)
    assert [(p.file, p.dropped) for p in problems] == [
        (f"{FOLDER}/annot.h5", 5), (f"{FOLDER}/imageSequence/58860488", 5)
    ]  # fmt: skip


def test_a_cut_h5(fetch):
    cut(fetch / FOLDER / "annot.h5", 500)
    with pytest.raises(LiftjaxError, match=r"annot\.h5"):
        plan(fetch)


def test_an_npz_whose_rows_do_not_match(mmpose):
    edit_npz(mmpose, lambda a: a.update({"imgname": a["imgname"][:-3]}))
    with pytest.raises(LiftjaxError, match=r"33 names of pictures, 36 2D and 36 3D poses"):
        plan(mmpose)


def test_an_npz_of_objects_is_not_unpickled(mmpose):
    edit_npz(mmpose, lambda a: a.update({"S": np.array([None, {}], object)}))
    with pytest.raises(LiftjaxError, match="plain arrays") as error:
        plan(mmpose)
    assert "\n" not in str(error.value)


def test_an_npz_cut_short(mmpose):
    cut(mmpose / NPZ, 5000)
    with pytest.raises(LiftjaxError, match=r"h36m_train\.npz"):
        plan(mmpose)


def test_windows_separators_in_an_npz(mmpose):
    edit_npz(mmpose, lambda a: a.update(imgname=np.char.replace(a["imgname"], "/", "\\")))
    check(mmpose, [0, 2, 4, 6, 8])


def test_metres_in_place_of_millimetres_are_refused(tmp_path):
    made = takes()
    for take in made:
        take.mm /= 1000
    trees.write_archive(tmp_path / "tree", made)
    with pytest.raises(LiftjaxError, match=r"unit.*(0\.001|1e-0?3)"):
        build_dataset(plan(tmp_path / "tree", stride=40), tmp_path / "out", processes=1)
