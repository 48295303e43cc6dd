"""The arrays of the .npz."""

import json
import tracemalloc
import zipfile

import numpy as np
import pytest

from liftjax.inference.outputs import npz
from liftjax.inference.results import row_dtype
from tests.inference.outputs.sample_result import HUMAN36M, sample_result, without


def written(result, folder) -> dict[str, np.ndarray]:
    (path,) = npz.write_npz(result, folder / "walk")
    assert path == folder / "walk.npz"
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.mark.parametrize("piece", [3, 4096])
def test_arrays_are_the_rows(tmp_path, monkeypatch, piece):
    monkeypatch.setattr("liftjax.inference.outputs.people._ROWS_AT_A_TIME", piece)
    result = sample_result(6, absent={0: (1,), 1: (1, 2)})
    arrays, rows = written(result, tmp_path), result.rows
    for name, field in {
        "frame": "frame", "track": "track", "box_xyxy": "box_xyxy", "box_score": "box_score",
        "keypoints_px": "kpts_px", "keypoint_scores": "kpt_score",
    }.items():  # fmt: skip
        np.testing.assert_array_equal(arrays[name], rows[field])
        assert arrays[name].dtype == rows[field].dtype
    for index, lifter in enumerate(result.lifters):
        np.testing.assert_array_equal(arrays[f"pose_m_{lifter}"], rows["pose_m"][:, index])
        np.testing.assert_array_equal(arrays[f"root_m_{lifter}"], rows["root_m"][:, index])
    np.testing.assert_array_equal(arrays["image_size"], [(320, 240)] * 6)
    assert tuple(arrays["joints_2d"]) == tuple(arrays["joints_3d"]) == HUMAN36M.joints
    assert tuple(map(tuple, arrays["bones_3d"])) == HUMAN36M.bones
    assert arrays["skeleton_3d"] == "human36m"
    assert arrays["lifters"].tolist() == ["mixste", "videopose3d"]
    assert arrays["fps"] == 30
    assert arrays["is_video"]
    assert arrays["focal_px"] == 320
    assert arrays["frame_names"].shape == (0,)
    assert json.loads(str(arrays["about"]))["beta"] == 100


def test_every_array_is_described(tmp_path):
    names = written(sample_result(1, lifters=("mixste",)), tmp_path)
    assert all(name.replace("mixste", "LIFTER") in npz.__doc__ for name in names)


def test_pictures_and_what_is_unknown(tmp_path):
    result = without(sample_result(2, is_video=False, lifters=()), focal_px=None)
    arrays = written(result, tmp_path)
    assert arrays["frame_names"].tolist() == ["photo_000.jpg", "photo_001.jpg"]
    assert arrays["focal_px"] == np.float32(1.15 * 320)
    np.testing.assert_array_equal(arrays["frame_focal_px"], np.float32([1.15 * 320] * 2))
    assert not arrays["focal_given"]
    assert arrays["lifters"].shape == (0,)
    assert not any(name.startswith("pose_m") for name in arrays)


def test_nobody_is_arrays_without_rows(tmp_path):
    arrays = written(sample_result(3, people=0), tmp_path)
    assert arrays["keypoints_px"].shape == (0, 17, 2)
    assert arrays["pose_m_mixste"].shape == (0, 17, 3)
    assert arrays["image_size"].shape == (3, 2)


def test_the_same_result_gives_the_same_file(tmp_path):
    paths = [npz.write_npz(sample_result(3), tmp_path / name)[0] for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        assert archive.testzip() is None


def test_memory_does_not_grow_with_rows_on_disk(tmp_path):
    dtype = row_dtype(17, 1, 17)
    rows = np.memmap(tmp_path / "rows", dtype, "w+", shape=60_000)
    rows["frame"] = np.arange(len(rows))
    result = without(sample_result(1, lifters=("mixste",)), rows=rows)
    tracemalloc.start()
    (path,) = npz.write_npz(result, tmp_path / "walk")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 0.9 * rows.nbytes
    assert peak < 0.1 * rows.nbytes
