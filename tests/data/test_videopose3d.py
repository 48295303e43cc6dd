import zipfile

import numpy as np
import pytest

from liftjax.data import videopose3d
from liftjax.errors import LiftjaxError

H36M = {
    "layout_name": "h36m",
    "num_joints": 17,
    "keypoints_symmetry": [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]],
}
COCO = {
    "layout_name": "coco",
    "num_joints": 17,
    "keypoints_symmetry": [[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]],
}
MPII = {  # in the disorder of VideoPose3D's own script, and without a name
    "num_joints": 16,
    "keypoints_symmetry": [[3, 4, 5, 13, 14, 15], [0, 1, 2, 10, 11, 12]],
}


def keypoints(joints=17, frames=(5, 5, 6, 5), axes=2):
    rng = np.random.default_rng(1)
    views = [rng.random((n, joints, axes)).astype(np.float32) for n in frames]
    return {"S1": {"Directions 1": views}}


def save(path, positions, metadata):
    np.savez_compressed(path, positions_2d=positions, metadata=metadata)
    return path


@pytest.mark.parametrize(
    ("metadata", "joints", "skeleton"),
    [
        (H36M, 17, "human36m"),
        ({k: v for k, v in H36M.items() if k != "layout_name"}, 17, "human36m"),
        (COCO, 17, "coco"),
        (MPII, 16, "mpii"),
    ],
)
def test_the_joint_set_is_told_by_name_or_symmetry(tmp_path, metadata, joints, skeleton):
    given = keypoints(joints)
    found = videopose3d.read_keypoints(save(tmp_path / "a.npz", given, metadata))
    assert found.skeleton == skeleton
    for a, b in zip(
        found.positions["S1"]["Directions 1"], given["S1"]["Directions 1"], strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_scores_are_cut_and_a_missing_camera_stays_missing(tmp_path):
    given = keypoints(axes=3)
    given["S1"]["Directions 1"][2] = None
    views = videopose3d.read_keypoints(save(tmp_path / "a.npz", given, H36M)).positions
    assert [v if v is None else v.shape for v in views["S1"]["Directions 1"]] == [
        (5, 17, 2), (5, 17, 2), None, (5, 17, 2),
    ]  # fmt: skip


def test_joints_of_another_order_are_refused(tmp_path):
    other = save(tmp_path / "a.npz", keypoints(), {**COCO, "layout_name": "h36m"})
    with pytest.raises(LiftjaxError, match="the joints are h36m, 17 of them, with symmetry"):
        videopose3d.read_keypoints(other)
    unknown = save(tmp_path / "b.npz", keypoints(), {**H36M, "layout_name": "openpose"})
    with pytest.raises(LiftjaxError, match="the joints are openpose"):
        videopose3d.read_keypoints(unknown)


def test_misshapen_files_are_refused_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", positions_3d={"S1": {"Eating": np.zeros((4, 17, 3))}})
    with pytest.raises(LiftjaxError, match=r"S1/Eating is an array \(4, 17, 3\), not \(frames, 32"):
        videopose3d.read_positions_3d(tmp_path / "a.npz")
    with pytest.raises(LiftjaxError, match=r"a.npz holds positions_3d and no positions_2d"):
        videopose3d.read_keypoints(tmp_path / "a.npz")
    three = {"S1": {"Eating": keypoints()["S1"]["Directions 1"][:3]}}
    save(tmp_path / "b.npz", three, H36M)
    with pytest.raises(LiftjaxError, match="not a list of 4 cameras"):
        videopose3d.read_keypoints(tmp_path / "b.npz")
    save(tmp_path / "c.npz", keypoints(16), H36M)
    with pytest.raises(LiftjaxError, match=r"an array \(5, 16, 2\), not \(frames, 17, 2\)"):
        videopose3d.read_keypoints(tmp_path / "c.npz")


def test_what_is_written_numpy_and_the_reader_read_alike(tmp_path):
    given = keypoints()
    videopose3d.write_keypoints(tmp_path / "a.npz", given, "human36m")
    with np.load(tmp_path / "a.npz", allow_pickle=True) as archive:
        assert archive.files == ["positions_2d", "metadata"]
        assert archive["metadata"].item() == H36M
        views = archive["positions_2d"].item()["S1"]["Directions 1"]
    for a, b in zip(views, given["S1"]["Directions 1"], strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32
    again = videopose3d.read_keypoints(tmp_path / "a.npz")
    assert again.skeleton == "human36m"
    np.testing.assert_array_equal(again.positions["S1"]["Directions 1"][3], views[3])


def test_the_file_is_readable_by_an_older_numpy_and_the_same_every_time(tmp_path):
    for name in ("a.npz", "b.npz"):
        videopose3d.write_keypoints(tmp_path / name, keypoints(), "human36m")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert b"numpy._core" not in archive.read("positions_2d.npy")
