import dataclasses
import json
import shutil

import numpy as np
import pytest

from data_prep.multicam.layout import find_recordings
from data_prep.multicam.numbering import first_frame_number
from data_prep.multicam.recording import read_recording, reconstruct
from data_prep.multicam.synchronise import estimate_lags
from data_prep.pictures import letterbox_affine
from liftjax import geometry
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M
from tests.data_prep.multicam import synthetic_recording as synthetic
from tests.data_prep.multicam.synthetic_recording import Spec
from tests.inference.films import set_matrix
from tests.slow import slow


def read(folder, joint_set=None, **options):
    (found,), _ = find_recordings(folder, **options)
    return read_recording(found, joint_set)


def write(folder, **options):
    return synthetic.write_source(folder / "walk", Spec(videos=True, **options))


def refused(folder, message):
    with pytest.raises(LiftjaxError, match=message):
        reconstruct(read(folder))


def error_mm(poses, world):
    return 1000 * np.linalg.norm(poses.world_m - world, axis=-1)


@pytest.mark.parametrize(
    ("calibration", "form", "joint_set"),
    [
        ("qca", "openpose", "body25b"),
        slow("toml", "openpose", "body25"),
        slow("toml", "openpose", "halpe26"),
        ("toml", "mmpose_video", "coco"),
        slow("qca", "mmpose_demo", "wholebody"),
    ],
)
@pytest.mark.parametrize("skeleton", ["human36m", slow("panoptic")])
def test_known_joints_are_recovered(tmp_path, calibration, form, joint_set, skeleton):
    folder = write(tmp_path, calibration=calibration, form=form, joint_set=joint_set)
    poses = reconstruct(read(folder), skeleton)
    np.testing.assert_array_equal(poses.frames, np.arange(synthetic.FRAMES))
    world = synthetic.human36m_world(joint_set=joint_set, skeleton=skeleton)
    np.testing.assert_allclose(poses.world_m, world, atol=1e-6)
    assert poses.seen.all()
    assert not poses.filled.any()
    assert not poses.problems


def hide_hips_and_neck(joints):
    joints[[1, 8], 2] = 0
    return joints


def test_a_camera_that_leaves_the_joint_set_open_has_the_others(tmp_path):
    folder = write(tmp_path, joint_set="body25")
    for frame in range(synthetic.FRAMES):
        synthetic.edit_person(folder, 1, frame, hide_hips_and_neck)
    recording = read(folder)
    assert recording.joint_set == "body25"
    for camera in (2, 3, 4):
        for frame in range(synthetic.FRAMES):
            synthetic.edit_person(folder, camera, frame, hide_hips_and_neck)
    with pytest.raises(LiftjaxError, match="body25 or body25b; say which with --detections-skel"):
        read(folder)
    with pytest.raises(LiftjaxError, match="no frame has all joints"):
        reconstruct(read(folder, "body25"))


def test_detectors_of_different_joints_are_refused(tmp_path):
    folder = write(tmp_path, joint_set="coco")
    other = write(tmp_path / "other", joint_set="halpe26")
    shutil.rmtree(folder / "pose" / "cam02_json")
    shutil.copytree(other / "pose" / "cam02_json", folder / "pose" / "cam02_json")
    with pytest.raises(LiftjaxError, match=r"different joints \(coco and halpe26; 17, 26\)"):
        read(folder)


def test_noise_of_a_pixel_stays_within_millimetres(tmp_path):
    poses = reconstruct(read(write(tmp_path, noise_px=0.5)))
    errors = error_mm(poses, synthetic.human36m_world())
    assert np.median(errors) < 6  # a pixel is 10 mm wide at the person
    assert errors.max() < 25


@pytest.mark.parametrize(
    ("lags", "bystanders"),
    [
        slow((0, 0, 4, 0), False),
        slow((0, -3, 0, 7), False),
        slow((5, 0, 0, 0), False),
        slow((0, 0, 4, 0), True),
        ((0, -3, 0, 7), True),
        slow((5, 0, 0, 0), True),
    ],
)
def test_lags_are_found_and_undone(tmp_path, lags, bystanders):
    folder = write(tmp_path, frames=48, lags=lags, noise_px=0.3, bystanders=bystanders)
    poses = reconstruct(read(folder))
    assert poses.lags.frames == lags
    assert poses.lags.least_error == lags
    late = lags.index(max(lags, key=abs))
    assert poses.lags.after_px[late] < 0.5 * poses.lags.before_px[late]
    np.testing.assert_array_equal(poses.frames, np.arange(max(0, -min(lags)), 48 - max(0, *lags)))
    errors = error_mm(poses, synthetic.human36m_world(poses.frames))
    assert np.median(errors) < 5
    cut = [p for p in poses.problems if p.kind == "frames not in all cameras"]
    assert sum(p.dropped for p in cut) == 4 * (48 + max(lags) - min(lags) - len(poses.frames))


def test_two_cameras_are_synchronised_too(tmp_path):
    folder = write(tmp_path, frames=48, lags=(0, 6, 0, 0), noise_px=0.3)
    poses = reconstruct(read(folder, cameras=["cam_01", "cam_02"]))
    assert poses.lags.frames == (0, 6)


def test_somebody_who_stands_still_shows_no_lag(tmp_path):
    recording = read(write(tmp_path, frames=20, noise_px=0.5))
    still = [dict.fromkeys(camera, camera[0]) for camera in recording.people]
    rng = np.random.default_rng(0)
    for camera in still:
        for n in camera:
            camera[n] = camera[n] + rng.normal(size=camera[n].shape) * (0.5, 0.5, 0)
    lags = estimate_lags(still, recording.cameras, recording.joint_set, 6)
    assert lags.frames == (0, 0, 0, 0)


@pytest.mark.slow
def test_without_synchronisation_lags_stay(tmp_path):
    recording = read(write(tmp_path, frames=40, lags=(0, 0, 3, 0), noise_px=0.3))
    poses = reconstruct(recording, max_lag=0)
    assert poses.lags.frames == (0, 0, 0, 0)
    assert poses.frames.tolist() == list(range(40))
    synchronised = reconstruct(recording).seen[2].mean()
    assert poses.seen[2].mean() < synchronised == 1


def test_a_camera_that_was_moved_is_left_out_and_not_taken_for_late(tmp_path):
    poses = reconstruct(read(write(tmp_path, frames=40, moved_px=(4.5, -3), noise_px=0.3)))
    assert poses.lags.frames == (0, 0, 0, 0)
    assert not poses.seen[3].any()
    assert np.median(error_mm(poses, synthetic.human36m_world(40))) < 5
    (problem,) = [p for p in poses.problems if p.kind == "camera stands out"]
    assert problem.file == "videos/cam04.mp4"
    assert problem.dropped == 40


def test_one_wrong_view_of_a_joint_goes(tmp_path):
    folder = write(tmp_path)

    def throw(joints):
        joints[9, :2] += (60, -40)
        return joints

    synthetic.edit_person(folder, 2, 5, throw)
    poses = reconstruct(read(folder))
    np.testing.assert_allclose(poses.world_m, synthetic.human36m_world(), atol=1e-6)
    elbow = HUMAN36M.index("left_wrist")
    assert np.argwhere(~poses.seen).tolist() == [[1, 5, elbow]]


def second_person(folder, frames, shift_m, first=True):
    """Adds somebody else to all cameras' detections in some frames."""
    world = synthetic.make_world() + np.array([*shift_m, 0])
    for c, camera in enumerate(synthetic.make_cameras()):
        for frame in frames:
            file = synthetic.detections_file(folder, c + 1, frame)
            content = json.loads(file.read_text())
            row = np.column_stack([camera.project_world(world[frame]), np.full(25, 0.9)])
            content["people"].insert(0 if first else 1, {"pose_keypoints_2d": row.ravel().tolist()})
            file.write_text(json.dumps(content))


def test_of_two_people_the_one_seen_longer_is_followed(tmp_path):
    folder = write(tmp_path)
    second_person(folder, range(2, 9), (0.5, -0.6))
    for frame in (4, 5):  # the one we follow is absent
        for camera in range(1, 5):
            file = synthetic.detections_file(folder, camera, frame)
            content = json.loads(file.read_text())
            file.write_text(json.dumps({"people": content["people"][:1]}))
    poses = reconstruct(read(folder))
    kept = [n for n in range(synthetic.FRAMES) if n not in (4, 5)]
    assert poses.frames.tolist() == kept
    np.testing.assert_allclose(poses.world_m, synthetic.human36m_world()[kept], atol=1e-6)
    assert [(p.kind, p.frame, p.dropped) for p in poses.problems] == [
        ("another person", 2, 0), ("person not found", 4, 4), ("person not found", 5, 4)
    ]  # fmt: skip


def test_empty_frames_are_left_out_and_named(tmp_path):
    folder = write(tmp_path)
    for camera in range(1, 5):
        synthetic.empty_frame(folder, camera, 3)
    poses = reconstruct(read(folder))
    assert poses.frames.tolist() == [0, 1, 2, *range(4, 12)]
    (problem,) = poses.problems
    assert (problem.frame, problem.detail, problem.dropped) == (3, "no detections", 4)


def test_nobody_in_the_frames_in_common_is_an_error_of_one_line(tmp_path):
    folder = write(tmp_path)
    for camera in range(1, 5):
        for frame in range(synthetic.FRAMES):
            if frame != camera:
                synthetic.empty_frame(folder, camera, frame)
            elif camera > 1:
                synthetic.detections_file(folder, 1, frame).unlink()
    refused(folder, r"walk: no person could be followed")


def lose(joint, folder, frames, cameras=(1, 2, 3, 4)):
    def edit(joints):
        joints[joint] = 0
        return joints

    for frame in frames:
        for camera in cameras:
            synthetic.edit_person(folder, camera, frame, edit)


def test_a_short_gap_is_filled(tmp_path):
    folder = write(tmp_path)
    lose(0, folder, [5])
    poses = reconstruct(read(folder))
    nose = HUMAN36M.index("nose")
    assert np.argwhere(poses.filled).tolist() == [[5, nose]]
    assert not poses.seen[:, 5, nose].any()
    np.testing.assert_allclose(poses.world_m, synthetic.human36m_world(), atol=2e-3)


def test_a_joint_that_stays_lost_costs_its_frames_and_is_named(tmp_path):
    folder = write(tmp_path)
    lose(0, folder, [0, 1], cameras=(1, 2, 3))
    poses = reconstruct(read(folder))
    assert poses.frames.tolist() == list(range(2, 12))
    assert [(p.kind, p.frame, p.detail) for p in poses.problems] == [
        ("joint not seen by two cameras", n, "nose") for n in (0, 1)
    ]
    lose(0, folder, range(12))
    refused(folder, "no frame has all joints; nose is NaN in 12 of 12")


def test_frames_that_a_camera_lacks_are_left_out_in_all(tmp_path):
    folder = write(tmp_path)
    for frame in (4, 11):
        synthetic.detections_file(folder, 2, frame).unlink()
    recording = read(folder)
    poses = reconstruct(recording)
    assert poses.frames.tolist() == [0, 1, 2, 3, *range(5, 11)]
    (problem,) = poses.problems
    assert (problem.file, problem.frame, problem.dropped) == ("pose/cam02_json", 4, 8)
    assert [p.kind for p in recording.problems if p.dropped] == []


def test_every_nth_frame(tmp_path):
    poses = reconstruct(read(write(tmp_path)), stride=5)
    assert poses.frames.tolist() == [0, 5, 10]
    np.testing.assert_allclose(poses.world_m, synthetic.human36m_world()[::5], atol=1e-6)


def test_a_calibration_in_millimetres_is_recognised(tmp_path):
    folder = write(tmp_path, scale=1000.0)
    refused(folder, r"limbs are .* long .*is it in millimetres.*calibration-")
    poses = reconstruct(read(folder, unit="mm"))
    np.testing.assert_allclose(poses.world_m, synthetic.human36m_world(), atol=1e-6)


def test_another_rooms_calibration_finds_nobody(tmp_path):
    folder = write(tmp_path)
    cameras = synthetic.make_cameras()
    for i, camera in enumerate(cameras):
        camera.t[:] += (0, 3 * i, 0)
    synthetic.write_toml(folder / "calibration" / "Calib.toml", cameras)
    refused(folder, r"walk: no person could be followed")


@pytest.mark.parametrize("order", [(0, 1, 3, 2), (0, 2, 3, 1), (2, 1, 3, 0), (3, 1, 2, 0)])
def test_exchanged_cameras_are_refused(tmp_path, order):
    folder = write(tmp_path)
    cameras = synthetic.make_cameras()
    mixed = [
        dataclasses.replace(cameras[i], name=camera.name)
        for i, camera in zip(order, cameras, strict=True)
    ]
    synthetic.write_toml(folder / "calibration" / "Calib.toml", mixed)
    refused(folder, "see nobody where the other cameras do")


def test_detections_counted_from_one_are_noticed(tmp_path):
    folder = write(tmp_path)
    for camera in range(1, 5):
        for frame in reversed(range(synthetic.FRAMES)):
            synthetic.detections_file(folder, camera, frame).rename(
                synthetic.detections_file(folder, camera, frame + 1)
            )
    recording = read(folder)
    assert [p.kind for p in recording.problems if "camera" not in p.kind][-1].endswith("from 1")
    np.testing.assert_allclose(
        reconstruct(recording).world_m, synthetic.human36m_world(), atol=1e-6
    )


@pytest.mark.parametrize(
    ("spans", "lengths", "first"),
    [
        ([(0, 11), (0, 11)], [12, 12], 0),
        ([(1, 12), (1, 12)], [12, 12], 1),
        ([(2, 12), (1, 11)], [12, 12], 1),  # the first file is missing, the last
        ([(0, 11), (1, 11)], [12, 12], 0),
        ([(0, 11), (1, 12)], [12, 0], 0),  # a video that does not say how long it is
        ([(0, 14), (0, 11)], [12, 12], 0),  # a video that was cut short
    ],
)
def test_the_first_number_is_known_from_the_ends_of_all_cameras(spans, lengths, first):
    assert first_frame_number(spans, lengths, ["a", "b"]) == first


@pytest.mark.parametrize(
    ("spans", "lengths", "given", "message"),
    [
        (
            [(1, 11), (1, 11)],
            [12, 12],
            None,
            "from 1 to 11, .*say with --first-frame",
        ),
        ([(5, 8), (0, 11), (1, 12)], [12] * 3, None, "from 5 to 8, .*say with --first-frame"),
        ([(1, 12), (0, 11)], [12, 12], None, "from 1 to 12, .*nor do the cameras agree; say with"),
        ([(100, 199), (100, 199)], [100, 100], None, "from 100 to 199, .* --first-frame N"),
        ([(0, 11), (1, 11)], [12, 12], 1, "from 0 to 11, .* cannot be number 1"),
        ([(-1, 11), (0, 11)], [12, 12], None, "from -1 to 11, .* cannot be number 0"),
    ],
)
def test_a_first_number_that_is_not_known_is_asked_for(spans, lengths, given, message):
    names = [f"cam{i}" for i in range(len(spans))]
    with pytest.raises(LiftjaxError, match=message):
        first_frame_number(spans, lengths, names, given=given)


def test_the_user_may_say_what_the_first_number_is():
    spans, lengths, names = [(1, 11), (2, 11)], [12, 12], ["a", "b"]
    assert first_frame_number(spans, lengths, names, given=1) == 1
    assert first_frame_number(spans, lengths, names, given=0) == 0
    assert first_frame_number([(100, 111)] * 2, lengths, names, given=100) == 100


def picture_names(folder, start, skipped=()):
    """Names the images of COCO results as ffmpeg does, from `start` on."""
    for file in (folder / "pose").iterdir():
        rows = [row for row in json.loads(file.read_text()) if row["image_id"] not in skipped]
        for row in rows:
            row["image_id"] = f"{row['image_id'] + start:06d}.jpg"
        file.write_text(json.dumps(rows))


@pytest.mark.parametrize("start", [0, 1])
def test_pictures_counted_from_one_are_the_videos_frames(tmp_path, start):
    folder = write(tmp_path, form="coco_results", joint_set="coco")
    picture_names(folder, start, skipped=[0] if start else [11])  # frames with nobody in them
    poses = reconstruct(read(folder))
    kept = list(range(1, 12)) if start else list(range(11))
    assert poses.frames.tolist() == kept
    world = synthetic.human36m_world(joint_set="coco")[kept]
    np.testing.assert_allclose(poses.world_m, world, atol=1e-6)


def test_pictures_of_an_unknown_start_are_refused_until_it_is_given(tmp_path):
    folder = write(tmp_path, form="coco_results", joint_set="coco")
    picture_names(folder, 1, skipped=[11])
    with pytest.raises(LiftjaxError, match=r"pose/cam01\.json: .* 1 to 11, .* --first-frame 1\.$"):
        read(folder)
    (found,), _ = find_recordings(folder)
    poses = reconstruct(read_recording(found, first_frame=1))
    assert poses.frames.tolist() == list(range(11))
    world = synthetic.human36m_world(joint_set="coco")[:11]
    np.testing.assert_allclose(poses.world_m, world, atol=1e-6)


def test_a_form_that_counts_from_one_may_lack_its_first_frame(tmp_path):
    folder = write(tmp_path, form="mmpose_demo", joint_set="coco")
    for file in (folder / "pose").glob("*/*.json"):
        document = json.loads(file.read_text())
        document["instance_info"] = document["instance_info"][2:-1]
        file.write_text(json.dumps(document))
    assert [(min(p), max(p)) for p in read(folder).people] == [(2, 10)] * 4
    (found,), _ = find_recordings(folder)
    assert read_recording(found, first_frame=1).people[0].keys() == set(range(2, 11))
    with pytest.raises(LiftjaxError, match="count frames from 1, but --first-frame says 0"):
        read_recording(found, first_frame=0)


def scaled(folder, factor):
    for file in (folder / "pose").iterdir():
        rows = json.loads(file.read_text())
        for row in rows:
            row["keypoints"] = [
                v if i % 3 == 2 else factor * v for i, v in enumerate(row["keypoints"])
            ]
        file.write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (2.0, r"cam01\.json: \d+% of the joints lie outside the picture of cam_01 \(240x320\)"),
        (1 / 320, "all joints lie within 3 pixels .*fractions"),
        (0.5, "see nobody where the other cameras do: .* in the calibrated picture's pixels"),
    ],
)
def test_detections_in_a_picture_of_another_size_are_refused(tmp_path, factor, message):
    folder = write(tmp_path, form="coco_results", joint_set="coco")
    scaled(folder, factor)
    refused(folder, message)


def test_videos_of_half_the_frame_rate_are_refused(tmp_path):
    folder = write(tmp_path)
    for i in range(4):
        points = np.full((6, 2), 50.0)
        synthetic.write_video(synthetic.video_file(folder, i + 1), points, synthetic.VIDEO_SIZES[i])
    with pytest.raises(LiftjaxError, match=r"cam01_json: detections of 12 frames, .* video has 6"):
        read(folder)


def test_detections_that_end_before_their_video_are_told(tmp_path):
    folder = write(tmp_path)
    for frame in range(6, 12):
        synthetic.detections_file(folder, 2, frame).unlink()
    (problem,) = [p for p in read(folder).problems if p.kind.startswith("detections end")]
    assert (problem.file, problem.frame) == ("pose/cam02_json", 6)


def test_a_video_of_another_size_is_scaled_or_refused(tmp_path):
    folder = write(tmp_path)
    points = np.full((synthetic.FRAMES, 2), 50.0)
    synthetic.write_video(synthetic.video_file(folder, 1), points, (120, 160))
    (problem,) = [p for p in read(folder).problems if "cam01" in p.file]
    assert (problem.kind, problem.dropped) == ("video of another size", 0)
    assert problem.detail.startswith("video 120x160, calibration 240x320")
    synthetic.write_video(synthetic.video_file(folder, 1), points, (320, 240))
    with pytest.raises(LiftjaxError, match=r"cam01\.mp4: video 320x240, .* is the video turned"):
        read(folder)


def test_a_mirrored_video_is_refused(tmp_path):
    """Whether the detections are of the mirror image, nothing says."""
    folder = write(tmp_path)
    set_matrix(synthetic.video_file(folder, 2), -1, 0, 0, 1)
    with pytest.raises(LiftjaxError, match=r"cam02\.mp4: its display matrix mirrors the pictures"):
        read(folder)


def test_detections_in_the_videos_own_pixels(tmp_path):
    folder = write(tmp_path)
    for frame in range(synthetic.FRAMES):  # camera 2's video is narrower, with bars
        to_video = letterbox_affine(synthetic.IMAGE_SIZE, synthetic.VIDEO_SIZES[1])

        def move(joints, to_video=to_video):
            joints[:, :2] = geometry.apply_affine(to_video, joints[:, :2])
            return joints

        synthetic.edit_person(folder, 2, frame, move)
    (found,), _ = find_recordings(folder)
    poses = reconstruct(read_recording(found, on_video=True))
    np.testing.assert_allclose(poses.world_m, synthetic.human36m_world(), atol=1e-6)
    assert poses.seen.all()


def test_different_frame_rates_are_named(tmp_path):
    folder = write(tmp_path)
    points = np.full((synthetic.FRAMES, 2), 50.0)
    synthetic.write_video(synthetic.video_file(folder, 3), points, rate=60)
    (problem,) = [p for p in read(folder).problems if p.kind == "different frame rates"]
    assert problem.file == "videos/cam03.mp4"
    assert problem.detail == "60 frames a second, cam01.mp4 has 30"
