import pytest

from data_prep.multicam.layout import find_recordings
from liftjax.errors import LiftjaxError
from tests.data_prep.multicam import synthetic_recording as synthetic

NAMES = ["cam_01", "cam_02", "cam_03", "cam_04"]


def touch(folder, videos, poses, calibration="calibration/Calib.toml", root=None):
    """A source whose videos are empty files and whose folders of detections are empty."""
    for name in videos:
        file = folder / "videos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for name in poses:
        (folder / "pose" / name).mkdir(parents=True)
    if calibration:
        file = (root or folder) / calibration
        file.parent.mkdir(parents=True, exist_ok=True)
        write = synthetic.write_qca if file.suffix == ".txt" else synthetic.write_toml
        write(file, synthetic.make_cameras())
    return folder


def numbered(pattern, numbers=range(1, 5)):
    return [pattern.format(i) for i in numbers]


@pytest.mark.parametrize(
    ("video", "pose"),
    [
        ("cam{:02d}.mp4", "cam{:02d}_json"),
        ("cam_{:02d}.MP4", "pose_cam{}_json"),
        ("cam{}.avi", "cam_{:02d}"),
        ("walk_cam{:02d}.mp4", "walk_cam{:02d}_json"),
        ("20240105-Miqus-{}.mov", "video{}"),
    ],
)
def test_files_are_matched_to_cameras_by_name(tmp_path, video, pose):
    touch(tmp_path, numbered(video), numbered(pose))
    (found,), problems = find_recordings(tmp_path)
    assert not problems
    assert not found.problems
    assert [camera.name for camera in found.cameras] == NAMES
    assert [path.name for path in found.videos] == numbered(video)
    assert [path.name for path in found.detections] == numbered(pose)


def test_ten_is_not_one(tmp_path):
    touch(tmp_path, numbered("take{}.mp4", (1, 2, 3, 10)), numbered("take{}", (1, 2, 3, 10)))
    with pytest.raises(LiftjaxError, match=r"cameras cam_01, .*; files take1, take10, take2"):
        find_recordings(tmp_path)
    (found,), _ = find_recordings(tmp_path, cameras=["cam_02", "cam_04=take10"])
    assert [path.name for path in found.videos] == ["take2.mp4", "take10.mp4"]


def test_recordings_are_found_below_with_the_nearest_calibration(tmp_path):
    for person, walk in (("Ann", "Walk"), ("Ann", "Run"), ("Bo", "Walk")):
        touch(
            tmp_path / person / walk, numbered("cam{}.mp4"), numbered("cam{}_json"), calibration=""
        )
    synthetic.write_calibration(tmp_path / "Calibration", synthetic.Spec())
    (tmp_path / "Bo" / "Walk" / "Config.toml").write_text("[project]\nframe_rate = 60\n")
    synthetic.write_toml(tmp_path / "Bo" / "cameras.toml", synthetic.make_cameras())
    found, _ = find_recordings(tmp_path)
    assert [f.name for f in found] == ["Ann/Run", "Ann/Walk", "Bo/Walk"]
    assert [(f.subject, f.action) for f in found] == [
        ("Ann", "Run"), ("Ann", "Walk"), ("Bo", "Walk")
    ]  # fmt: skip
    names = [f.calibration.relative_to(tmp_path).as_posix() for f in found]
    assert names == ["Calibration/Calib.toml"] * 2 + ["Bo/cameras.toml"]


def test_a_camera_without_footage_and_a_recording_without_detections_are_named(tmp_path):
    touch(tmp_path / "a", numbered("cam{}.mp4", (1, 2)), numbered("cam{}", (1, 2)), root=tmp_path)
    touch(tmp_path / "b", numbered("cam{}.mp4"), [], calibration="")
    (found,), (skipped,) = find_recordings(tmp_path)
    assert [camera.name for camera in found.cameras] == NAMES[:2]
    assert [(p.kind, p.detail) for p in found.problems] == [
        ("camera without footage", "cam_03"), ("camera without footage", "cam_04")
    ]  # fmt: skip
    assert (skipped.kind, skipped.file) == ("recording without detections", "b")


def lose_video(folder):
    (folder / "videos" / "cam1.mp4").unlink()
    return r"video of camera cam_01 is missing: .*beside cam1_json in .*which has cam2\.mp4, cam3"


def lose_detections(folder):
    (folder / "pose" / "cam4_json").rmdir()
    return r"folder of detections of camera cam_04 is missing: .*--cameras with the names"


def strange_video(folder):
    (folder / "videos" / "cam1.mp4").rename(folder / "videos" / "left.mp4")
    return r"do not pair off: cameras cam_01, .*; files cam2, cam3, cam4, left\. Say .*CAMERA=FILE"


def lose_calibration(folder):
    (folder / "calibration" / "Calib.toml").unlink()
    return r"calibration is missing: expected .*calibration/NAME\.toml or NAME\.qca\.txt"


def two_calibrations(folder):
    synthetic.write_toml(folder / "calibration" / "other.toml", synthetic.make_cameras())
    return r"holds 2 calibrations \(Calib\.toml, other\.toml\); .*--calibration FILE"


def lose_poses(folder):
    for path in (folder / "pose").iterdir():
        path.rmdir()
    (folder / "pose").rmdir()
    return r"pose is missing: expected a folder of 2D detections for each camera"


def lose_everything(folder):
    lose_poses(folder)
    (folder / "videos").rename(folder / "films")
    return r"holds no recording: expected folders videos/ and pose/"


@pytest.mark.parametrize(
    "spoil",
    [
        lose_video, lose_detections, strange_video, lose_calibration, two_calibrations, lose_poses,
        lose_everything,
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_a_cure(tmp_path, spoil):
    touch(tmp_path, numbered("cam{}.mp4"), numbered("cam{}_json"))
    message = spoil(tmp_path)
    with pytest.raises(LiftjaxError, match=message):
        find_recordings(tmp_path)


def test_a_toml_wins_over_the_qca_it_was_made_from(tmp_path):
    touch(tmp_path, numbered("cam{}.mp4"), numbered("cam{}_json"))
    synthetic.write_qca(tmp_path / "calibration" / "Calib.qca.txt", synthetic.make_cameras())
    (found,), _ = find_recordings(tmp_path)
    assert found.calibration.name == "Calib.toml"


def test_unknown_cameras_and_a_missing_source_are_refused(tmp_path):
    touch(tmp_path, numbered("cam{}.mp4"), numbered("cam{}_json"))
    with pytest.raises(LiftjaxError, match="no camera 'cam_5'; its cameras are cam_01, cam_02"):
        find_recordings(tmp_path, cameras=["cam_5"])
    with pytest.raises(LiftjaxError, match="triangulation needs two"):
        find_recordings(tmp_path, cameras=["cam_02"])
    with pytest.raises(LiftjaxError, match="No such directory"):
        find_recordings(tmp_path / "none")


def test_a_camera_that_is_not_calibrated_matters_only_if_it_is_wanted(tmp_path):
    touch(tmp_path, numbered("cam{}.mp4"), numbered("cam{}_json"))
    file = tmp_path / "calibration" / "Calib.toml"
    fifth = '[cam_05]\nname = "cam_05"\nsize = [240, 320]\nrotation = []\n'
    file.write_text(file.read_text() + fifth)
    for cameras in ([], NAMES):
        (found,), _ = find_recordings(tmp_path, cameras=cameras)
        assert [camera.name for camera in found.cameras] == NAMES
        (problem,) = found.problems
        assert (problem.kind, problem.dropped) == ("camera left out", 0)
        assert problem.detail.startswith("cam_05: [cam_05]: ")
    message = r"Calib\.toml, \[cam_05\]: matrix is missing; .*leave the camera out: --cameras"
    with pytest.raises(LiftjaxError, match=message):
        find_recordings(tmp_path, cameras=[*NAMES, "cam_05"])
    touch(tmp_path, ["cam5.mp4"], [], calibration="")
    with pytest.raises(LiftjaxError, match=message):
        find_recordings(tmp_path)
    (found,), _ = find_recordings(tmp_path, cameras=NAMES)
    assert [camera.name for camera in found.cameras] == NAMES
