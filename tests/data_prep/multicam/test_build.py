import csv
import json
import re
import shutil

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.multicam import demo_recording
from liftjax import geometry
from liftjax.data.records import PoseDataset, decode_jpeg, read_metadata
from liftjax.skeletons import HUMAN36M
from tests.data_prep.multicam import synthetic_recording as synthetic
from tests.data_prep.multicam.synthetic_recording import Spec


@pytest.fixture(scope="module")
def recording_dir(tmp_path_factory):
    return synthetic.write_source(tmp_path_factory.mktemp("recording"), Spec(bystanders=True))


@pytest.fixture(scope="module")
def built(recording_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "out"
    assert run(recording_dir, out, "--cameras", "cam_01", "cam_02", "cam_04") == 0
    return out


@pytest.fixture
def own_dir(recording_dir, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(recording_dir, tmp_path / "recording")


def run(source, out, *arguments):
    arguments = ["--source", str(source), "--out", str(out), "--processes", "1", *arguments]
    return main(["multicam", *arguments])


def problems(out):
    with (out / "problems.csv").open() as stream:
        return list(csv.DictReader(stream))


def check_truth(dataset, cameras, world):
    """Labels of the records against the known poses."""
    labels = dataset.labels
    for i in range(len(dataset)):
        camera = cameras[labels["camera"][i]]
        pose = geometry.world_to_camera(world[labels["frame"][i]], camera.R, camera.t)
        np.testing.assert_allclose(labels["root_m"][i], pose[0], atol=1e-5)
        np.testing.assert_allclose(labels["pose_m"][i], pose - pose[0], atol=1e-5)
        projected = geometry.project(pose, labels["camera_K"][i], labels["camera_distortion"][i])
        np.testing.assert_allclose(labels["joints_px"][i], projected, atol=1e-3)
    np.testing.assert_array_equal(
        labels["image_size"], np.broadcast_to(synthetic.IMAGE_SIZE, (len(dataset), 2))
    )


def check_pictures(dataset):
    """The ball in every picture is where the label of the wrist says."""
    wrist = HUMAN36M.index(synthetic.BALL)
    for i in range(len(dataset)):
        image = dataset.image(i)
        bright = np.maximum(image.astype(float).mean(axis=-1) - 120, 0)
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        found = np.array([(bright * x).sum(), (bright * y).sum()]) / bright.sum()
        found_px = geometry.apply_affine(dataset.labels["stored_to_image"][i], found)
        np.testing.assert_allclose(found_px, dataset.labels["joints_px"][i, wrist], atol=0.5)


def test_records_hold_the_truth(built):
    cameras = {c.name: c for c in synthetic.make_cameras()}
    splits = [PoseDataset.open(built, split) for split in ("train", "test")]
    frames = [set(d.labels["frame"].tolist()) for d in splits]
    assert frames == [set(range(7)), set(range(8, 12))]  # a gap between them
    for dataset in splits:
        assert set(dataset.labels["camera"]) == {"cam_01", "cam_02", "cam_04"}
        check_truth(dataset, cameras, synthetic.human36m_world())
        assert all(decode_jpeg(dataset.image_bytes(i)) is not None for i in range(len(dataset)))


def test_stored_pictures_show_the_joint_where_the_label_says(built):
    check_pictures(PoseDataset.open(built, "train"))


def test_report_and_contact_sheet_lie_beside_the_records(built):
    report = json.loads((built / "report.json").read_text())["recordings"]
    (report,) = report.values()
    assert report["frames"] == synthetic.FRAMES
    for camera in report["cameras"].values():
        assert camera["median_px"] < 0.01
        assert camera["lag_frames"] == 0
        assert camera["joints"]["left_knee"]["seen"] == synthetic.FRAMES
    assert cv2.imread(str(built / "contact_sheet.png")) is not None
    kinds = {p["kind"] for p in problems(built)}
    assert kinds == {"camera without footage", "video of another size"}


@pytest.mark.slow
def test_several_recordings_and_who_is_tested(tmp_path):
    source = tmp_path / "source"
    synthetic.write_calibration(source / "calibration")
    for i, name in enumerate(("Ann/Walk", "Ann/Run", "Bo/Walk", "again/Bo/Walk")):
        synthetic.write_recording(source / name, Spec(start_m=(0.05 * i, 0)))
    assert (
        run(
            source, tmp_path / "out", "--test", "Bo/Walk", "again/Bo/Walk", "--skeleton", "panoptic"
        )
        == 0
    )
    train, test = (PoseDataset.open(tmp_path / "out", split) for split in ("train", "test"))
    assert train.skeleton.name == "panoptic"
    counted = set(zip(train.labels["subject"], train.labels["action"], strict=True))
    assert counted == {("Ann", "Walk"), ("Ann", "Run")}
    assert len(train) == 2 * 4 * synthetic.FRAMES
    assert set(test.labels["subject"]) == {"Bo"}
    assert sorted(set(test.labels["trial"].tolist())) == [1, 2]
    assert run(source, tmp_path / "cut") == 0
    assert set(PoseDataset.open(tmp_path / "cut", "test").labels["subject"]) == {"Ann", "Bo"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test", "Wlak"], "Unknown recording 'Wlak'; did you mean"),
        (["--test", "Walk"], "--test names all recordings"),
        (["--stride", "0"], "--stride 0: give 1 or more"),
        (["--first-frame", "-1"], "--first-frame -1: give 0 or more"),
        (["--first-frame", "1"], "the first frame cannot be number 1"),
        (["--detections-skeleton", "halpe26"], "has 25 joints, expected 26"),
        (["--cameras", "cam_9"], "has no camera 'cam_9'"),
        (["--calibration", "none.toml"], r"calibration is missing: expected none\.toml"),
    ],
)
def test_wrong_options_are_one_line(recording_dir, tmp_path, capsys, arguments, message):
    shutil.copytree(recording_dir, tmp_path / "source" / "Walk")
    assert run(tmp_path / "source", tmp_path / "out", *arguments) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_late_cameras_are_shown_at_the_right_moment(tmp_path):
    source = synthetic.write_source(tmp_path / "walk", Spec(frames=40, lags=(0, 0, 3, -2)))
    assert run(source, tmp_path / "out", "--full-frames") == 0
    train = PoseDataset.open(tmp_path / "out", "train")
    check_truth(train, {c.name: c for c in synthetic.make_cameras()}, synthetic.human36m_world(40))
    check_pictures(train)
    (lags,) = read_metadata(tmp_path / "out")["metadata"]["lags"].values()
    assert lags == {"cam_01": 0, "cam_02": 0, "cam_03": 3, "cam_04": -2}


def test_a_cut_short_video_costs_its_frames_and_is_named(own_dir, tmp_path):
    points = np.full((7, 2), 100.0)
    synthetic.write_video(synthetic.video_file(own_dir, 4), points)
    assert run(own_dir, tmp_path / "out") == 0
    (problem,) = [p for p in problems(tmp_path / "out") if p["kind"] == "video cut short"]
    assert (problem["file"], problem["frame"], problem["dropped"]) == ("videos/cam04.mp4", "8", "4")
    test = PoseDataset.open(tmp_path / "out", "test")
    assert set(test.labels["camera"]) == {"cam_01", "cam_02", "cam_03"}


def test_a_camera_that_sees_nobody_for_a_moment_gives_no_record_then(own_dir, tmp_path):
    synthetic.empty_frame(own_dir, 3, 2)
    assert run(own_dir, tmp_path / "out") == 0
    train = PoseDataset.open(tmp_path / "out", "train")
    here = train.labels["frame"] == 2
    assert set(train.labels["camera"][here]) == {"cam_01", "cam_02", "cam_04"}
    kinds = {p["kind"]: p["frame"] for p in problems(tmp_path / "out")}
    assert kinds["person not seen by this camera"] == "2"


def test_changed_detections_are_built_anew_and_unchanged_ones_are_not(own_dir, tmp_path, capsys):
    assert run(own_dir, tmp_path / "out") == 0
    assert run(own_dir, tmp_path / "out") == 0
    assert "is complete" in capsys.readouterr().out
    file = synthetic.detections_file(own_dir, 1, 1)
    text = file.read_text()
    file.write_text(text[:-8] + text[-8:].replace("0.7", "0.6"))
    assert run(own_dir, tmp_path / "out") == 0
    assert "is complete" not in capsys.readouterr().out


# The demo recording


@pytest.fixture(scope="module")
def demo_dir(tmp_path_factory):
    return synthetic.write_demo(tmp_path_factory.mktemp("demo"))


def run_demo(wheel, out):
    return main(["multicam", "--demo-recording", "--wheel", str(wheel), "--out", str(out)])


def test_the_demo_recording_is_a_preset(demo_dir, tmp_path):
    wheel = synthetic.pack(demo_dir, tmp_path / "demo.whl")
    assert run_demo(wheel, tmp_path / "out") == 0
    train = PoseDataset.open(tmp_path / "out", "train")
    assert set(train.labels["camera"]) == {"cam_01", "cam_02", "cam_04"}
    names = zip(train.labels["subject"], train.labels["action"], strict=True)
    assert set(names) == {("P00", "Balancing")}
    check_truth(train, {c.name: c for c in synthetic.make_cameras()}, synthetic.human36m_world())
    check_pictures(train)
    assert "BSD" in (tmp_path / "out" / "LICENSE-pose2sim.txt").read_text()


def lose_calibration(root):
    (root / demo_recording.CALIBRATION).unlink()
    return r"calibration is missing: expected .*Calib\.qca\.txt"


def break_calibration(root):
    file = root / demo_recording.CALIBRATION
    file.write_text(file.read_text()[:300])
    return r"Calib\.qca\.txt is not a Qualisys calibration"


def truncate_video(root):
    file = synthetic.video_file(root / demo_recording.TRIAL, 2)
    file.write_bytes(file.read_bytes()[:2000])
    return r"cam02\.mp4: cannot be read as a video, 0 frames"


def lose_video(root):
    synthetic.video_file(root / demo_recording.TRIAL, 1).unlink()
    return r"video of camera cam_01 is missing: expected beside cam01_json"


def break_detections(root):
    file = synthetic.detections_file(root / demo_recording.TRIAL, 2, 0)
    file.write_text('{"people": [')
    return r"cam02\.0000\.json is not a file of detections"


SPOILERS = [lose_calibration, break_calibration, truncate_video, lose_video, break_detections]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_bad_input_is_one_line_and_nothing_is_written(demo_dir, tmp_path, capfd, spoil):
    own_dir = shutil.copytree(demo_dir, tmp_path / "demo")
    message = spoil(own_dir)
    wheel = synthetic.pack(own_dir, tmp_path / "demo.whl")
    before = sorted(tmp_path.iterdir())
    assert run_demo(wheel, tmp_path / "out") == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert re.search(message, errors[0])
    assert "/tmp" not in errors[0].replace(str(tmp_path), "")
    assert sorted(tmp_path.iterdir()) == before


def test_a_cut_download_is_named(demo_dir, tmp_path, capsys):
    wheel = synthetic.pack(demo_dir, tmp_path / "demo.whl")
    wheel.write_bytes(wheel.read_bytes()[:-1000])
    assert run_demo(wheel, tmp_path / "out") == 2
    assert "delete it and download it again" in capsys.readouterr().err
    assert run_demo(tmp_path / "none.whl", tmp_path / "out") == 2
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
