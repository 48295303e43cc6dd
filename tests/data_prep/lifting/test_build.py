import json

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.building import build_dataset
from data_prep.human36m.cameras import CAMERAS
from data_prep.lifting.build import plan_lifting
from liftjax import geometry
from liftjax.data.records import PoseDataset, read_metadata
from liftjax.errors import LiftjaxError
from tests.data_prep.lifting import files


def made(out, *arguments, **keywords):
    """The report of the built data set, and its splits."""
    document = build_dataset(plan_lifting(*arguments, **keywords), out)
    return document, {s: PoseDataset.open(out, s) for s in document["splits"]}


def view(dataset, action, trial, camera, subject=None):
    """Rows of one sequence of one camera, in the order of frames."""
    labels = dataset.labels
    here = (labels["action"] == action) & (labels["trial"] == trial) & (labels["camera"] == camera)
    rows = np.flatnonzero(here & (labels["subject"] == subject) if subject else here)
    return rows[np.argsort(labels["frame"][rows])]


def problems(out):
    lines = (out / "problems.csv").read_text().splitlines()[1:]
    return [line.split(",")[0] for line in lines]


def test_poses_are_projected_into_the_four_cameras(tmp_path):
    positions = files.poses()
    source = files.save_3d(tmp_path / "data_3d_h36m.npz", positions)
    document, splits = made(tmp_path / "set", source)
    assert document["splits"]["train"]["counts"]["subject"] == {"S1": 96}
    assert document["splits"]["test"]["counts"]["subject"] == {"S9": 96}
    assert "projection" in read_metadata(tmp_path / "set")["metadata"]["keypoints"]
    train = splits["train"]
    # The file "Directions 1" of S1 is trial 1, "Directions" trial 2.
    for trial, name in ((1, "Directions 1"), (2, "Directions")):
        for camera in CAMERAS:
            rows = view(train, "Directions", trial, camera)
            assert train.labels["frame"][rows].tolist() == list(range(12))
            expected = files.project(positions["S1"][name], "S1", camera)
            np.testing.assert_allclose(train.labels["joints_px"][rows], expected, atol=1e-3)
    labels = train.labels
    world = geometry.camera_to_world(
        labels["pose_m"].astype(float) + labels["root_m"][:, None],
        labels["camera_R"], labels["camera_t"],
    )  # fmt: skip
    rows = view(train, "Directions", 1, CAMERAS[2])
    np.testing.assert_allclose(
        world[rows], positions["S1"]["Directions 1"][:, files.KEPT], atol=1e-5
    )
    assert not labels["has_image"].any()
    assert labels["has_3d"].all()
    assert (labels["pose_m"][:, 0] == 0).all()


def test_detected_keypoints_take_the_place_of_the_projection(tmp_path):
    positions = files.poses()
    source = files.save_3d(tmp_path / "data_3d_h36m.npz", positions)
    moved = files.two_d(positions, lambda px: px + np.float32(3.25))
    keypoints = files.save_2d(tmp_path / "data_2d_h36m_net.npz", moved)
    document, splits = made(tmp_path / "set", source, keypoints)
    rows = view(splits["test"], "Directions", 2, CAMERAS[1])
    labels = splits["test"].labels
    np.testing.assert_array_equal(labels["joints_px"][rows], moved["S9"]["Directions"][1])
    boxes = geometry.box_from_joints(labels["joints_px"].astype(float), labels["image_size"])
    np.testing.assert_array_equal(labels["box_xyxy"], boxes)
    assert document["metadata"]["keypoints"] == "data_2d_h36m_net.npz"
    assert document["problems"] == {}


def test_longer_videos_are_cut_and_said_to_be(tmp_path):
    positions = files.poses(subjects=("S1",))
    source = files.save_3d(tmp_path / "data_3d_h36m.npz", positions)
    longer = files.two_d(positions)
    longer["S1"]["Directions"][3] = np.concatenate([longer["S1"]["Directions"][3]] * 2)
    keypoints = files.save_2d(tmp_path / "data_2d_h36m_net.npz", longer)
    document, splits = made(tmp_path / "set", source, keypoints)
    assert len(splits["train"]) == 96
    assert document["problems"] == {"more keypoints than poses": {"problems": 1, "dropped": 0}}


def test_what_is_missing_or_broken_is_left_out_and_counted(tmp_path):
    positions = files.poses(subjects=("S1", "S2"), frames=20)
    positions["S1"]["Directions 1"][7, 3] = np.nan
    positions["S1"]["Miscellaneous"] = files.person(5)
    positions["S1"]["Eating 2"] = files.person(20)
    source = files.save_3d(tmp_path / "data_3d_h36m.npz", positions)
    seen = files.two_d({"S1": positions["S1"]})
    seen["S1"]["Directions"][0] = None
    seen["S1"]["Directions"][1] = seen["S1"]["Directions"][1][:19]
    seen["S1"]["Directions"][2][4] = np.nan
    del seen["S1"]["Eating 2"]
    keypoints = files.save_2d(tmp_path / "data_2d_h36m_net.npz", seen)
    document, splits = made(tmp_path / "set", source, keypoints)
    assert {kind: count["dropped"] for kind, count in document["problems"].items()} == {
        "NaN joints": 4 + 1,
        "missing camera": 20,
        "fewer keypoints than poses": 1,
        "sequence without keypoints": 80,
        "unknown action": 20,
        "no camera parameters": 160,
    }
    assert len(splits["train"]) == 160 - 5 - 20 - 1


def test_keypoints_of_other_people_are_remarked_on(tmp_path):
    positions = files.poses(subjects=("S1",))
    source = files.save_3d(tmp_path / "data_3d_h36m.npz", positions)
    seen = files.two_d(positions)
    seen["S1"]["Directions"].reverse()
    keypoints = files.save_2d(tmp_path / "data_2d_h36m_net.npz", seen)
    document, _ = made(tmp_path / "set", source, keypoints)
    assert document["problems"]["keypoints far from the poses"] == {"problems": 4, "dropped": 0}


def test_known_misaligned_sequences_are_kept_and_flagged(tmp_path):
    positions = files.poses(subjects=("S9",), sequences=("Waiting 1", "Waiting"))
    made(tmp_path / "set", files.save_3d(tmp_path / "data_3d_h36m.npz", positions))
    assert problems(tmp_path / "set") == ["misaligned sequence"] * 4


def test_a_stride_counts_frame_numbers(tmp_path):
    source = files.save_3d(tmp_path / "data_3d_h36m.npz", files.poses(frames=21))
    _, splits = made(tmp_path / "set", source, stride=5)
    assert np.unique(splits["train"].labels["frame"]).tolist() == [0, 5, 10, 15, 20]


def test_coco_keypoints_become_the_joints_of_the_poses(tmp_path):
    positions = files.poses(subjects=("S1",))
    source = files.save_3d(tmp_path / "data_3d_h36m.npz", positions)
    metadata = {
        "layout_name": "coco",
        "num_joints": 17,
        "keypoints_symmetry": [[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]],
    }
    order = [9, 9, 9, 9, 9, 11, 14, 12, 15, 13, 16, 4, 1, 5, 2, 6, 3]  # COCO's joints in ours
    seen = files.two_d(positions, lambda px: px[:, order])
    keypoints = files.save_2d(tmp_path / "data_2d_h36m_coco.npz", seen, metadata)
    document, splits = made(tmp_path / "set", source, keypoints)
    rows = view(splits["train"], "Directions", 1, CAMERAS[0])
    expected = files.project(positions["S1"]["Directions 1"], "S1", CAMERAS[0])
    found = splits["train"].labels["joints_px"][rows]
    np.testing.assert_array_equal(found[:, 1:7], expected[:, 1:7])
    assert "hip, spine, thorax, head_top derived" in document["metadata"]["keypoints"]


def test_files_that_do_not_fit_are_refused(tmp_path):
    positions = files.poses(subjects=("S1",), frames=40)
    source = files.save_3d(tmp_path / "data_3d_h36m.npz", positions)
    thinned = files.two_d(positions, lambda px: px[::2])
    keypoints = files.save_2d(tmp_path / "data_2d_h36m_half.npz", thinned)
    with pytest.raises(LiftjaxError, match=r"Directions/54138969 has 20 frames, the 3D 40"):
        plan_lifting(source, keypoints)
    metadata = {
        "num_joints": 16,
        "keypoints_symmetry": [[3, 4, 5, 13, 14, 15], [0, 1, 2, 10, 11, 12]],
    }
    sixteen = files.two_d(positions, lambda px: px[:, :16])
    keypoints = files.save_2d(tmp_path / "data_2d_h36m_sh.npz", sixteen, metadata)
    with pytest.raises(LiftjaxError, match=r"sh.npz: No conversion mpii -> human36m"):
        plan_lifting(source, keypoints)
    with pytest.raises(LiftjaxError, match="holds positions_2d, metadata and no positions_3d"):
        plan_lifting(keypoints)
    with pytest.raises(LiftjaxError, match="--stride 0"):
        plan_lifting(source, stride=0)


def test_millimetres_are_refused(tmp_path):
    positions = {"S1": {"Walking": files.person(12) * 1000}}
    source = files.save_3d(tmp_path / "data_3d_h36m.npz", positions)
    with pytest.raises(LiftjaxError, match="another unit"):
        build_dataset(plan_lifting(source), tmp_path / "set")


@pytest.mark.slow
def test_the_command_builds_in_processes(tmp_path, capsys):
    source = files.save_3d(tmp_path / "data_3d_h36m.npz", files.poses())
    arguments = ["--source", str(source), "--out", str(tmp_path / "set"), "--processes", "2"]
    assert main(["lifting", *arguments]) == 0
    assert "96 records" in capsys.readouterr().out
    document = json.loads((tmp_path / "set" / "liftjax.json").read_text())
    assert document["settings"] == {"stride": 1, "keypoints": "projection of the 3D poses"}
