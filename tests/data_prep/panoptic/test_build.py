"""The studio's files end as records that agree with OpenCV and with the pictures."""

import json
import pickle
import re
import shutil

import cv2
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.building import Problem, build_dataset
from data_prep.panoptic.build import CAMERAS, plan_panoptic
from data_prep.panoptic.poses import read_bodies
from liftjax import geometry
from liftjax.data.records import PoseDataset, decode_jpeg, read_metadata
from liftjax.data.schema import Record
from liftjax.errors import LiftjaxError
from liftjax.skeletons import PANOPTIC

from . import studio
from .studio import TEST, TRAIN

FRAMES = [8, 23, 38]


@pytest.fixture(scope="module")
def with_pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    studio.write(root, TRAIN)
    return studio.write(root, TEST, nodes=(3,))


@pytest.fixture(scope="module")
def with_videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    return studio.write(root, TRAIN, pictures=False)


@pytest.fixture
def own(with_pictures, tmp_path):
    """A copy to spoil: one sequence with pictures of 00_03 and 00_06, and a video of 00_12."""
    root = tmp_path / "studio"
    shutil.copytree(
        with_pictures / TRAIN,
        root / TRAIN,
        ignore=lambda _, names: {n for n in names if n in ("00_05", "00_12", "00_13", "00_23")},
    )
    studio.write_video(root, TRAIN, 12)
    return root


def items(root, split="train", **options):
    """Records and problems of a plan, those of planning first."""
    planned = plan_panoptic(root, **({"sequences": [TRAIN]} | options))
    made = [item for (unit,) in planned.parts[split] for item in unit.records()]
    return [*planned.problems, *made]


def records(*args, **options) -> list[Record]:
    return [item for item in items(*args, **options) if isinstance(item, Record)]


def test_command_builds_both_splits(with_pictures, tmp_path, capsys):
    arguments = ["--source", str(with_pictures), "--out", str(tmp_path / "out")]
    chosen = ["--sequences", TRAIN, TEST, "--cameras", "00_03", "00_06", "--processes", "1"]
    assert main(["panoptic", *arguments, *chosen]) == 0, capsys.readouterr().err
    train, test = (PoseDataset.open(tmp_path / "out", s) for s in ("train", "test"))
    assert train.labels["frame"].tolist() == FRAMES * 2
    assert set(train.labels["camera"]) == {"00_03", "00_06"}
    assert test.labels["frame"].tolist() == FRAMES
    assert set(test.labels["action"]) == {TEST}
    assert train.skeleton is PANOPTIC
    assert "missing camera: 1, 3 records left out" in capsys.readouterr().out


def test_default_cameras_and_stride(with_pictures):
    made = records(with_pictures)
    assert [(r.camera, r.frame) for r in made] == [(c, f) for c in CAMERAS for f in FRAMES]


def test_projection_is_opencvs(with_pictures):
    for record in records(with_pictures):
        expected = studio.project(record.frame, int(record.camera[3:]))[:15]
        np.testing.assert_allclose(record.joints_px, expected, atol=1e-6)
        points = record.pose_m + record.root_m
        R = cv2.Rodrigues(np.eye(3))[0]
        again = cv2.projectPoints(
            points, R, np.zeros(3), record.camera_K, record.camera_distortion
        )[0]
        np.testing.assert_allclose(again[:, 0], expected, atol=1e-6)


def test_world_is_in_metres_with_z_up(with_pictures):
    for record in records(with_pictures):
        camera = record.camera_R, record.camera_t
        world = geometry.camera_to_world(record.pose_m + record.root_m, *camera)
        x, y, z = studio.body(record.frame)[:15, :3].T / 100
        np.testing.assert_allclose(world, np.stack([x, z, -y], axis=-1), atol=1e-9)
        nose, ankle = PANOPTIC.index("nose"), PANOPTIC.index("left_ankle")
        assert 1.4 < world[nose, 2] - world[ankle, 2] < 1.6
        assert np.linalg.det(record.camera_R) == pytest.approx(1)
        above = geometry.camera_to_world(np.zeros(3), *camera)
        assert 1.4 < above[2] < 2


def test_pose_is_root_relative_camera_space(with_pictures):
    record = records(with_pictures)[0]
    camera = studio.camera(3)
    raw = studio.body(record.frame)[:15, :3] @ np.array(camera["R"]).T + np.ravel(camera["t"])
    np.testing.assert_allclose(record.root_m, raw[2] / 100, atol=1e-9)
    np.testing.assert_allclose(record.pose_m, (raw - raw[2]) / 100, atol=1e-9)
    assert record.has_3d
    assert record.distortion_model == "opencv"


@pytest.mark.parametrize("tree", ["with_pictures", "with_videos"])
@pytest.mark.parametrize("full_frames", [False, True])
def test_pictures_show_the_joints(tree, full_frames, request):
    for record in records(request.getfixturevalue(tree), full_frames=full_frames):
        found = np.argwhere(decode_jpeg(record.image).max(axis=-1) > 160)[:, ::-1].mean(axis=0)
        found_px = geometry.apply_affine(record.stored_to_image, found)
        np.testing.assert_allclose(found_px, record.joints_px[studio.LEFT_WRIST], atol=0.7)


def test_videos_give_the_labels_of_pictures(with_pictures, with_videos):
    pairs = zip(records(with_pictures), records(with_videos), strict=True)
    for one, other in pairs:
        for field in vars(one).keys() - {"image"}:
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_poses_are_read_from_the_servers_tar(own):
    before = records(own, cameras=["00_03"])
    studio.pack_poses(own, TRAIN)
    after = records(own, cameras=["00_03"])
    assert [pickle.dumps(r) for r in before] == [pickle.dumps(r) for r in after]
    archive = studio.pose_file(own, TRAIN, 0).parent.with_suffix(".tar")
    archive.write_bytes(archive.read_bytes()[:10240])
    with pytest.raises(LiftjaxError, match=r"coco19\.tar is cut short"):
        records(own)


def test_visible_is_confident_and_in_the_picture(own):
    joints = studio.body(8)
    joints[4, 3] = 0.1
    joints[8, 3] = -1
    joints[14, :3] = (0, 20, 0)
    studio.write_bodies(own, TRAIN, 8, [joints])
    for record in records(own, cameras=["00_03", "00_06"]):
        x, y = record.joints_px.T
        inside = (x >= 0) & (x <= studio.SIZE[0] - 1) & (y >= 0) & (y <= studio.SIZE[1] - 1)
        if record.frame == 8:
            inside[[4, 8]] = False
        np.testing.assert_array_equal(record.joint_visible, inside)


def test_box_surrounds_all_joints(with_pictures):
    for record in records(with_pictures):
        low, high = record.joints_px.min(axis=0), record.joints_px.max(axis=0)
        margin = 0.075 * (high - low)
        corners = [np.clip(c, 0, studio.SIZE) for c in (low - margin, high + margin)]
        np.testing.assert_array_equal(record.box_xyxy, np.trunc(np.concatenate(corners)))


def test_a_missing_pose_file_shifts_no_frame(own):
    studio.pose_file(own, TRAIN, 12).unlink()
    assert [r.frame for r in records(own, cameras=["00_03"])] == FRAMES


def test_stride_counts_from_the_first_pose(own):
    assert [r.frame for r in records(own, cameras=["00_03"], stride=10)] == [8, 18, 28, 38]


def test_png_pictures_are_read(own):
    for frame in range(studio.LAST + 1):
        file = studio.picture_file(own, TRAIN, 3, frame)
        cv2.imwrite(str(file.with_suffix(".png")), cv2.imread(str(file)))
        file.unlink()
    assert [r.frame for r in records(own, cameras=["00_03"])] == FRAMES


def test_video_serves_where_pictures_are_not_all_there(own):
    studio.write_video(own, TRAIN, 3)
    studio.picture_file(own, TRAIN, 3, 23).unlink()
    assert [r.frame for r in records(own, cameras=["00_03"])] == FRAMES


def test_units_are_small_and_name_their_files(with_pictures):
    (unit,) = plan_panoptic(with_pictures, sequences=[TRAIN]).parts["train"][0]
    assert len(pickle.dumps(unit)) < 4000
    names = [file.removeprefix(f"{with_pictures}/{TRAIN}/") for file in unit.inputs]
    assert names[0] == "hdPose3d_stage1_coco19/body3DScene_00000008.json"
    assert names[3:5] == [f"calibration_{TRAIN}.json", "hdImgs/00_03/00_03_00000008.jpg"]


# What is wrong with one frame, or one camera, is named and passed over.


def body_with(joint, column, value):
    body = studio.body(23)
    body[joint, column] = value
    return body


# The bodies of frame 23, and the problem: kind and detail before "camera 00_03".
SPOILT_BODIES = [
    ([studio.body(23), studio.body(20)], "more than one body", "2 bodies, "),
    ([], "no body", ""),
    ([body_with(2, 3, 0.05)], "root not visible", "confidence 0.05, "),
    ([studio.body(23) + np.array([0, 200, 0, 0])], "root not visible", "outside the picture, "),
    ([body_with(8, slice(3), (2000, 0, 600))], "joints behind the camera", ""),
    ([body_with(4, 1, np.nan)], "NaN joints", "left_elbow, "),
    ([studio.body(23)[:15]], "malformed pose file", "joints19 has 60 numbers, expected 76, "),
    ([body_with(3, slice(4), (0, 0, 0, -1))], "joints without 3D", "left_shoulder, "),
]


def null_joint(root):
    file = studio.pose_file(root, TRAIN, 23)
    scene = json.loads(file.read_text())
    scene["bodies"][0]["joints19"][0] = None
    file.write_text(json.dumps(scene))
    return Problem("NaN joints", _pose(23), 23, "neck, camera 00_03")


def cut_pose_file(root):
    file = studio.pose_file(root, TRAIN, 23)
    file.write_text(file.read_text()[:80])
    detail = "not JSON of bodies with joints19; cut short?, camera 00_03"
    return Problem("malformed pose file", _pose(23), 23, detail)


def other_joint_set(root):
    studio.pose_file(root, TRAIN, 23).write_text('{"bodies": [{"id": 0, "joints15": [1, 2]}]}')
    return Problem("malformed pose file", _pose(23), 23, "no 'joints19', camera 00_03")


def no_pose_file(root):
    studio.pose_file(root, TRAIN, 23).unlink()
    return Problem("missing pose", _pose(23), 23, "camera 00_03")


def no_picture(root):
    studio.picture_file(root, TRAIN, 3, 23).unlink()
    return Problem("missing picture", _picture(23), 23)


def cut_picture(root):
    file = studio.picture_file(root, TRAIN, 3, 23)
    file.write_bytes(file.read_bytes()[:-200])
    return Problem("broken picture", _picture(23), 23, "unreadable or cut short")


def empty_picture(root):
    studio.picture_file(root, TRAIN, 3, 23).write_bytes(b"")
    return Problem("broken picture", _picture(23), 23, "unreadable or cut short")


def black_picture(root):
    file = studio.picture_file(root, TRAIN, 3, 23)
    cv2.imwrite(str(file), np.zeros((180, 320, 3), np.uint8))
    return Problem("black picture", _picture(23), 23)


def small_picture(root):
    file = studio.picture_file(root, TRAIN, 3, 23)
    cv2.imwrite(str(file), np.full((90, 160, 3), 99, np.uint8))
    detail = "160x90, but 320x180 in the calibration"
    return Problem("wrong picture size", _picture(23), 23, detail)


def short_video(root):
    _to_video(root, frames=range(20))
    detail = "the video ends or breaks before it"
    return Problem("missing frame", f"{TRAIN}/hdVideos/hd_00_03.mp4", 23, detail)


def cut_video(root):
    file = _to_video(root)
    file.write_bytes(file.read_bytes()[:3000])
    detail = "cannot be opened: cut short or broken"
    return Problem("broken video", f"{TRAIN}/hdVideos/hd_00_03.mp4", None, detail, 3)


def small_video(root):
    _to_video(root, size=(160, 90))
    detail = "160x90, but 320x180 in the calibration"
    return Problem("wrong picture size", f"{TRAIN}/hdVideos/hd_00_03.mp4", None, detail, 3)


def no_footage(root):
    shutil.rmtree(root / TRAIN / "hdImgs" / "00_03")
    detail = "neither pictures in hdImgs/00_03 nor hdVideos/hd_00_03.mp4"
    return Problem("missing camera", TRAIN, None, detail, 3)


def no_calibration_of_camera(root):
    _edit_calibration(root, lambda cameras: [c for c in cameras if c["name"] != "00_03"])
    return Problem("missing camera", f"{TRAIN}/calibration_{TRAIN}.json", None, "no 00_03", 3)


def _pose(frame):
    return f"{TRAIN}/hdPose3d_stage1_coco19/body3DScene_{frame:08d}.json"


def _picture(frame):
    return f"{TRAIN}/hdImgs/00_03/00_03_{frame:08d}.jpg"


def _to_video(root, **options):
    shutil.rmtree(root / TRAIN / "hdImgs" / "00_03")
    studio.write_video(root, TRAIN, 3, **options)
    return studio.video_file(root, TRAIN, 3)


def _edit_calibration(root, edit):
    file = studio.calibration_file(root, TRAIN)
    content = json.loads(file.read_text())
    content["cameras"] = edit(content["cameras"])
    file.write_text(json.dumps(content))


FAULTS = [
    null_joint, cut_pose_file, other_joint_set, no_pose_file, no_picture, cut_picture,
    empty_picture, black_picture, small_picture, short_video, cut_video, small_video, no_footage,
    no_calibration_of_camera,
]  # fmt: skip


@pytest.mark.parametrize(("bodies", "kind", "detail"), SPOILT_BODIES)
def test_a_frame_without_one_sound_body_is_named_and_left_out(own, bodies, kind, detail):
    studio.write_bodies(own, TRAIN, 23, bodies)
    made = items(own, cameras=["00_03"])
    assert Problem(kind, _pose(23), 23, f"{detail}camera 00_03") in made
    assert [i.frame for i in made if isinstance(i, Record)] == [8, 38]


@pytest.mark.parametrize("spoil", FAULTS)
def test_faults_are_named_and_nothing_is_lost(own, spoil):
    # The other sequence has all cameras, so that none of them is missing everywhere.
    studio.write(own, TEST, nodes=(3,))
    expected = spoil(own)
    # A camera that is missing in one sequence only: both sequences are planned together.
    made = items(own, sequences=[TRAIN, TEST], cameras=["00_03", "00_12"])
    problems = [i for i in made if isinstance(i, Problem) and not i.file.startswith(TEST)]
    assert expected in problems
    kept = [(i.camera, i.frame) for i in made if isinstance(i, Record)]
    lost = [] if expected.frame is None else [23, 38] if spoil is short_video else [23]
    if expected.frame is None:
        lost = FRAMES
    assert [f for c, f in kept if c == "00_03"] == [f for f in FRAMES if f not in lost]
    assert sum(p.dropped for p in problems) + len(kept) == 6


# What makes the whole build pointless is refused at once.


def no_calibration(root):
    studio.calibration_file(root, TRAIN).unlink()
    studio.write(root, TEST, nodes=())
    return {}, rf"calibration is missing: expected .*calibration_{TRAIN}\.json"


def empty_source(root):
    shutil.rmtree(root / TRAIN)
    return {}, r"holds no Panoptic sequence with a calibration; expected for instance"


def cut_calibration(root):
    file = studio.calibration_file(root, TRAIN)
    file.write_text(file.read_text()[:500])
    return {}, r"calibration_171204_pose1\.json is not a Panoptic calibration"


def calibration_of_something_else(root):
    studio.calibration_file(root, TRAIN).write_text("{}")
    return {}, r"is not a Panoptic calibration \(no 'cameras'\)"


def four_distortions(root):
    _edit_calibration(root, lambda cs: [c | {"distCoef": c["distCoef"][:3]} for c in cs])
    return {}, r"camera 00_03 is malformed"


def scaled_rotation(root):
    _edit_calibration(root, lambda cs: [c | {"R": (2 * np.array(c["R"])).tolist()} for c in cs])
    return {}, r"camera 00_03 is malformed \(the rotation is not a rotation matrix"


def nan_translation(root):
    _edit_calibration(root, lambda cs: [c | {"t": [np.nan, 0, 0]} for c in cs])
    return {}, r"camera 00_03 is malformed \(t holds NaN"


def missing_defaults(root):
    return {"sequences": None}, rf"lacks the sequences 161029_piano2, .*--sequences {TRAIN}$"


def misspelt_sequence(root):
    return {"sequences": ["171204_pose11"]}, rf"did you mean '{TRAIN}'"


def misspelt_test_sequence(root):
    return {"test_sequences": ["171204_posel"]}, rf"test sequence .* did you mean '{TRAIN}'"


def unknown_camera(root):
    return {"cameras": ["00_03", "00_99"]}, r"No sequence has camera 00_99 .*--cameras 00_03$"


def no_camera_at_all(root):
    return {"cameras": ["00_13"]}, r"has none of the cameras 00_13: missing camera"


def no_poses(root):
    shutil.rmtree(studio.pose_file(root, TRAIN, 0).parent)
    return {}, r"3D poses are missing: expected .*hdPose3d_stage1_coco19"


def empty_poses(root):
    for file in studio.pose_file(root, TRAIN, 0).parent.iterdir():
        file.unlink()
    return {}, r"holds no body3DScene"


def thinned_poses(root):
    for frame in range(studio.FIRST, studio.LAST + 1):
        if (frame - studio.FIRST) % 10:
            studio.pose_file(root, TRAIN, frame).unlink()
    return {}, r"only one frame in 10 from 8 on, and so not frame 23; ask for --stride 30"


def thinned_pictures(root):
    for frame in range(studio.LAST + 1):
        if frame % 2:
            studio.picture_file(root, TRAIN, 3, frame).unlink()
    return {}, r"00_03 has only one frame in 2 from 0 on, and so not frame 23; ask for"


def zero_stride(root):
    return {"stride": 0}, "--stride 0: give 1 or more"


def test_a_number_of_400_digits_is_none(own):
    bodies = {"bodies": [{"joints19": [10**400] * 76}]}
    with pytest.raises(ValueError, match="not JSON of bodies"):
        read_bodies(json.dumps(bodies).encode())
    _edit_calibration(own, lambda cameras: [c | {"t": [10**400] * 3} for c in cameras])
    with pytest.raises(LiftjaxError, match="camera 00_03 is malformed"):
        plan_panoptic(own, sequences=[TRAIN], cameras=["00_03"])


REFUSED = [
    no_calibration, empty_source, cut_calibration, calibration_of_something_else, four_distortions,
    scaled_rotation, nan_translation, missing_defaults, misspelt_sequence, misspelt_test_sequence,
    unknown_camera, no_camera_at_all, no_poses, empty_poses, thinned_poses, thinned_pictures,
    zero_stride,
]  # fmt: skip


@pytest.mark.parametrize("spoil", REFUSED)
def test_refused_in_one_line(own, spoil):
    options, message = spoil(own)
    with pytest.raises(LiftjaxError) as error:
        plan_panoptic(own, **({"sequences": [TRAIN], "cameras": ["00_03"]} | options))
    assert re.search(message, str(error.value))
    assert "\n" not in str(error.value)


def test_directory_of_one_sequence_is_refused(own):
    with pytest.raises(LiftjaxError, match="give the directory above"):
        plan_panoptic(own / TRAIN)


def test_poses_in_another_unit_are_refused(own, tmp_path, capsys):
    for frame in range(studio.FIRST, studio.LAST + 1):
        metres = studio.body(frame) * (0.01, 0.01, 0.01, 1)
        studio.write_bodies(own, TRAIN, frame, [metres])
    arguments = ["--source", str(own), "--out", str(tmp_path / "out"), "--processes", "1"]
    assert main(["panoptic", *arguments, "--sequences", TRAIN, "--cameras", "00_03"]) == 2
    error = capsys.readouterr().err
    assert "body3DScene_00000008.json" in error
    assert "must be in centimetres" in error


def test_a_calibration_in_another_unit_is_refused(own):
    file = studio.calibration_file(own, TRAIN)
    calibration = json.loads(file.read_text())
    for camera in calibration["cameras"]:
        camera["t"] = [[value / 100] for (value,) in camera["t"]]
    file.write_text(json.dumps(calibration))
    with pytest.raises(LiftjaxError, match=r"calibration_.*camera 00_03 would stand 0\.0"):
        plan_panoptic(own, sequences=[TRAIN], cameras=["00_03"])


def test_one_body_in_another_unit_is_left_out(own, tmp_path):
    studio.write_bodies(own, TRAIN, 23, [studio.body(23) * (0.01, 0.01, 0.01, 1)])
    build_dataset(plan_panoptic(own, sequences=[TRAIN], cameras=["00_03"]), tmp_path / "out")
    assert PoseDataset.open(tmp_path / "out", "train").labels["frame"].tolist() == [8, 38]
    counts = read_metadata(tmp_path / "out")["problems"]
    assert counts["limbs of no human length"] == {"problems": 1, "dropped": 1}


def test_pictures_after_the_last_pose_are_remarked(own):
    for frame in range(30, studio.LAST + 1):
        studio.pose_file(own, TRAIN, frame).unlink()
    found = items(own, cameras=["00_03"])
    (problem,) = [item for item in found if isinstance(item, Problem)]
    assert (problem.kind, problem.dropped) == ("pictures without pose", 0)
    assert "1 pictures of the stride, 38 to 38" in problem.detail
