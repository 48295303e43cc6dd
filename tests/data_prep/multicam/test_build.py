import json
import re
import shutil

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.multicam import demo_recording
from data_prep.multicam.calibration import read_qualisys
from data_prep.multicam.recording import reconstruct
from liftjax import geometry
from liftjax.data.records import PoseDataset, decode_jpeg, read_metadata
from liftjax.skeletons import HUMAN36M
from tests.data_prep.multicam import synthetic_recording as synthetic


@pytest.fixture(scope="module")
def recording_dir(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("recording"))


@pytest.fixture
def own_dir(recording_dir, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(recording_dir, tmp_path / "recording")


@pytest.fixture(scope="module")
def built(recording_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    wheel = synthetic.pack(recording_dir, folder / "demo.whl")
    assert run(wheel, folder / "out") == 0
    return folder / "out"


def run(wheel, out):
    return main(["multicam", "--demo-recording", "--wheel", str(wheel), "--out", str(out)])


def test_calibration_comes_back(recording_dir):
    read = read_qualisys(recording_dir / demo_recording.CALIBRATION)
    for camera, expected in zip(read, synthetic.make_cameras(), strict=True):
        assert camera.name == expected.name
        assert camera.image_size == expected.image_size
        for field in ("K", "R", "t", "distortion"):
            np.testing.assert_allclose(getattr(camera, field), getattr(expected, field), atol=1e-9)


def test_known_joints_are_recovered_among_bystanders(recording_dir):
    poses = reconstruct(demo_recording.read(recording_dir))
    np.testing.assert_array_equal(poses.frames, np.arange(synthetic.FRAMES))
    np.testing.assert_allclose(poses.world_m, synthetic.human36m_world(), atol=1e-6)
    assert poses.seen.all()
    assert not poses.filled.any()


def test_records_hold_the_truth(built):
    cameras = {c.name: c for c in synthetic.make_cameras()}
    world = synthetic.human36m_world()
    splits = [PoseDataset.open(built, split) for split in ("train", "test")]
    frames = [set(d.labels["frame"].tolist()) for d in splits]
    assert frames == [set(range(7)), set(range(8, 12))]  # a gap between them
    for dataset in splits:
        assert set(dataset.labels["camera"]) == {"cam_01", "cam_02", "cam_04"}
        labels = dataset.labels
        for i in range(len(dataset)):
            camera = cameras[labels["camera"][i]]
            pose = geometry.world_to_camera(world[labels["frame"][i]], camera.R, camera.t)
            np.testing.assert_allclose(labels["root_m"][i], pose[0], atol=1e-5)
            np.testing.assert_allclose(labels["pose_m"][i], pose - pose[0], atol=1e-5)
            projected = geometry.project(
                pose, labels["camera_K"][i], labels["camera_distortion"][i]
            )
            np.testing.assert_allclose(labels["joints_px"][i], projected, atol=1e-3)
        np.testing.assert_array_equal(
            labels["image_size"], np.broadcast_to(synthetic.IMAGE_SIZE, (len(dataset), 2))
        )


def test_stored_pictures_show_the_joint_where_the_label_says(built):
    wrist = HUMAN36M.index("right_wrist")
    dataset = PoseDataset.open(built, "train")
    for i in range(len(dataset)):
        image = dataset.image(i)
        assert image.shape[0] <= 384
        bright = np.maximum(image.astype(float).mean(axis=-1) - 120, 0)
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        found = np.array([(bright * x).sum(), (bright * y).sum()]) / bright.sum()
        found_px = geometry.apply_affine(dataset.labels["stored_to_image"][i], found)
        np.testing.assert_allclose(found_px, dataset.labels["joints_px"][i, wrist], atol=0.4)


def test_report_licence_and_contact_sheet_lie_beside_the_records(built):
    report = json.loads((built / "report.json").read_text())
    assert report["frames"] == synthetic.FRAMES
    for camera in report["cameras"].values():
        assert camera["median_px"] < 0.01
        assert camera["joints"]["left_knee"]["seen"] == synthetic.FRAMES
    assert "BSD" in (built / "LICENSE-pose2sim.txt").read_text()
    sheet = cv2.imread(str(built / "contact_sheet.png"))
    assert sheet.shape == (3 * 360, 8 * 288, 3)
    assert read_metadata(built)["metadata"]["last_train_frame"] == 6


def test_a_short_gap_is_filled_and_reported(own_dir):
    def lose_nose(joints):
        joints[0] = 0
        return joints

    for camera in (1, 2, 4):
        synthetic.edit_person(own_dir, camera, 5, lose_nose)
    poses = reconstruct(demo_recording.read(own_dir))
    nose = HUMAN36M.index("nose")
    assert np.argwhere(poses.filled).tolist() == [[5, nose]]
    assert not poses.seen[:, 5, nose].any()
    np.testing.assert_allclose(poses.world_m, synthetic.human36m_world(), atol=1e-6)


def test_frames_without_the_person_are_left_out(own_dir):
    for camera in (1, 2, 4):
        file = synthetic.detections_file(own_dir, camera, 3)
        file.write_text('{"people": []}')
    poses = reconstruct(demo_recording.read(own_dir))
    assert poses.frames.tolist() == [0, 1, 2, *range(4, 12)]


def lose_calibration(root):
    (root / demo_recording.CALIBRATION).unlink()
    return r"calibration is missing: expected .*Calib\.qca\.txt"


def break_calibration(root):
    file = root / demo_recording.CALIBRATION
    file.write_text(file.read_text()[:300])
    return r"Calib\.qca\.txt is not a Qualisys calibration"


def truncate_video(root):
    file = synthetic.video_file(root, 2)
    file.write_bytes(file.read_bytes()[:2000])
    return r"cam02\.mp4: cannot be read as a video, 0 frames"


def shorten_video(root):
    points = np.full((7, 2), 100.0)
    synthetic._write_video(synthetic.video_file(root, 4), points, synthetic.IMAGE_SIZE)
    return r"cam04\.mp4: only 7 of 12 frames can be read"


def lose_video(root):
    synthetic.video_file(root, 1).unlink()
    return r"video is missing: expected .*cam01\.mp4"


def lose_detections(root):
    synthetic.detections_file(root, 1, 4).unlink()
    return r"cam01_json: the file of frame 4 is missing \(1 of 12 are\).*after cam01\.0003\.json"


def lose_last_detections(root):
    synthetic.detections_file(root, 4, 11).unlink()
    return "detections of different frames: cam_01 12, cam_02 12, cam_04 11"


def break_detections(root):
    synthetic.detections_file(root, 2, 0).write_text('{"people": [')
    return r"cam02\.0000\.json is not an OpenPose file"


def nan_joint(root):
    synthetic.edit_person(root, 1, 2, lambda joints: joints * np.nan)
    return r"cam01\.0002\.json: a joint is NaN"


def wrong_joint_count(root):
    file = synthetic.detections_file(root, 1, 2)
    file.write_text(json.dumps({"people": [{"pose_keypoints_2d": [1.0] * 54}]}))
    return r"cam01\.0002\.json: a person has 18 joints, expected 25"


def lose_a_joint(root):
    def edit(joints):
        joints[0, 2] = 0
        return joints

    for frame in range(synthetic.FRAMES):
        for camera in (1, 2):
            synthetic.edit_person(root, camera, frame, edit)
    return "Frame 0: nose is NaN because no two cameras agree on nose"


def other_peoples_calibration(root):
    file = root / demo_recording.CALIBRATION
    file.write_text(re.sub(' y="[^"]*"', ' y="9000"', file.read_text()))
    return "No person could be followed"


SPOILERS = [
    lose_calibration, break_calibration, truncate_video, shorten_video, lose_video,
    lose_detections, lose_last_detections, break_detections, nan_joint, wrong_joint_count,
    lose_a_joint, other_peoples_calibration,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILERS)
def test_bad_input_is_one_line_and_nothing_is_written(own_dir, tmp_path, capfd, spoil):
    message = spoil(own_dir)
    wheel = synthetic.pack(own_dir, tmp_path / "demo.whl")
    before = sorted(tmp_path.iterdir())
    assert run(wheel, tmp_path / "out") == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert re.search(message, errors[0])
    assert "/tmp" not in errors[0].replace(str(tmp_path), "")
    assert sorted(tmp_path.iterdir()) == before


def test_a_cut_download_is_named(recording_dir, tmp_path, capsys):
    wheel = synthetic.pack(recording_dir, tmp_path / "demo.whl")
    wheel.write_bytes(wheel.read_bytes()[:-1000])
    assert run(wheel, tmp_path / "out") == 2
    assert "delete it and download it again" in capsys.readouterr().err
    assert run(tmp_path / "none.whl", tmp_path / "out") == 2
    assert "No such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch, capsys):
    def no_network(command, **_):
        assert "pose2sim==0.6.0" in command
        return demo_recording.subprocess.CompletedProcess(command, 1, "", "ERROR: no network")

    monkeypatch.setattr(demo_recording.subprocess, "run", no_network)
    arguments = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    assert main(["multicam", "--demo-recording", *arguments]) == 2
    assert "no network" in (error := capsys.readouterr().err)
    assert "--wheel FILE" in error


def test_stored_jpegs_are_whole(built):
    dataset = PoseDataset.open(built, "test")
    assert all(decode_jpeg(dataset.image_bytes(i)) is not None for i in range(len(dataset)))
