"""BVH files, read back by forward kinematics that share no code with the writer."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.inference.outputs import bvh
from liftjax.inference.results import row_dtype
from liftjax.skeletons import SKELETONS, get_skeleton
from tests.inference.outputs.sample_result import HUMAN36M, pose_of, root_of, sample_result, without


@dataclasses.dataclass
class Joint:
    name: str
    parent: int
    offset: np.ndarray
    channels: tuple[str, ...] = ()


def parse(path) -> tuple[list[Joint], np.ndarray, float]:
    """Joints, motion (T, channels) and the time of a frame."""
    words = iter(path.read_text(encoding="ascii").split())
    assert next(words) == "HIERARCHY"
    joints, stack = [], []
    for word in words:
        if word in ("ROOT", "JOINT"):
            joints.append(Joint(next(words), stack[-1] if stack else -1, np.zeros(3)))
        elif word == "End":
            assert next(words) == "Site"
            joints.append(Joint("", stack[-1], np.zeros(3)))
        elif word == "{":
            stack.append(len(joints) - 1)
        elif word == "}":
            stack.pop()
        elif word == "OFFSET":
            joints[stack[-1]].offset = np.array([float(next(words)) for _ in range(3)])
        elif word == "CHANNELS":
            count = int(next(words))
            joints[stack[-1]].channels = tuple(next(words) for _ in range(count))
        else:
            assert word == "MOTION"
            break
    assert not stack
    assert next(words) == "Frames:"
    count = int(next(words))
    assert [next(words), next(words)] == ["Frame", "Time:"]
    frame_time = float(next(words))
    numbers = np.array([float(word) for word in words])
    channels = sum(len(joint.channels) for joint in joints)
    assert len(numbers) == count * channels
    return joints, numbers.reshape(count, channels), frame_time


def turn(axis: str, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    return np.array(
        {
            "X": [[1, 0, 0], [0, c, -s], [0, s, c]],
            "Y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            "Z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        }[axis]
    )


def positions(joints: list[Joint], line: np.ndarray) -> dict[str, np.ndarray]:
    """By joint, its place: channels act in the order in which they are listed."""
    values = iter(line)
    frames, found = [], {}
    for joint in joints:
        move, rotation = joint.offset.copy(), np.eye(3)
        for channel in joint.channels:
            value = next(values)
            if channel.endswith("position"):
                move["XYZ".index(channel[0])] += value
            else:
                rotation = rotation @ turn(channel[0], value)
        if joint.parent >= 0:
            parents_rotation, parents_place = frames[joint.parent]
            move = parents_place + parents_rotation @ move
            rotation = parents_rotation @ rotation
        frames.append((rotation, move))
        if joint.name:
            found[joint.name] = move
    return found


def in_camera_axes(found: dict[str, np.ndarray], skeleton=HUMAN36M) -> np.ndarray:
    return np.array([found[name] for name in skeleton.joints]) * [1, -1, -1]


def one(paths):
    (path,) = paths
    return path


def test_people_stand_where_they_were(tmp_path):
    result = sample_result(40)
    for path, (track, scale) in zip(
        bvh.write_bvh(result, tmp_path / "walk"),
        [(0, 1), (0, 1.05), (1, 1), (1, 1.05)],
        strict=True,
    ):
        joints, motion, _ = parse(path)
        assert len(motion) == 40
        for frame in range(0, 40, 3):
            found = in_camera_axes(positions(joints, motion[frame]))
            wanted = scale * pose_of(track, frame) + root_of(track, frame)
            np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_bones_point_as_in_the_poses_when_lengths_waver(tmp_path):
    result = sample_result(30, people=1, lifters=("mixste",))
    random = np.random.default_rng(0)
    result.rows["pose_m"] += random.normal(0, 0.02, result.rows["pose_m"].shape)
    joints, motion, _ = parse(one(bvh.write_bvh(result, tmp_path / "walk")))
    poses = result.rows["pose_m"][:, 0] - result.rows["pose_m"][:, 0, :1]
    children = [a for a, _ in HUMAN36M.edges]
    for frame in range(30):
        found = in_camera_axes(positions(joints, motion[frame]))
        for a, b in HUMAN36M.edges:
            if children.count(a) == 1:
                ways = [pose[b] - pose[a] for pose in (found, poses[frame])]
                ways = [way / np.linalg.norm(way) for way in ways]
                np.testing.assert_allclose(*ways, atol=1e-3)
        found -= found[0]
        assert np.linalg.norm(found - poses[frame], axis=-1).max() < 0.2
    for child in joints:
        if child.parent >= 0 and child.name:
            parent = HUMAN36M.index(joints[child.parent].name)
            bone = poses[:, HUMAN36M.index(child.name)] - poses[:, parent]
            mean = np.linalg.norm(bone, axis=-1).mean()
            np.testing.assert_allclose(np.linalg.norm(child.offset), mean, atol=1e-4)


def test_the_rest_pose_is_a_t_pose_that_faces_z(tmp_path):
    joints, _, _ = parse(bvh.write_bvh(sample_result(20), tmp_path / "walk")[0])
    rest = positions(joints, np.zeros(6 + 3 * 16))
    assert np.allclose(rest["hip"], 0)
    left, right, head = rest["left_wrist"], rest["right_wrist"], rest["head_top"]
    assert left[0] > 0.5
    assert right[0] < -0.5
    assert abs(left[1] - rest["left_shoulder"][1]) < 1e-6
    assert head[1] > 0.7
    assert abs(head[0]) < 0.01
    assert rest["nose"][2] > 0.02  # in front
    for side in ("left", "right"):
        assert rest[f"{side}_ankle"][1] < -0.8
        np.testing.assert_allclose(rest[f"{side}_ankle"][[0, 2]], rest[f"{side}_hip"][[0, 2]])


def test_channels_names_and_time(tmp_path):
    joints, motion, frame_time = parse(bvh.write_bvh(sample_result(5), tmp_path / "walk")[0])
    named = [joint for joint in joints if joint.name]
    assert {joint.name for joint in named} == set(HUMAN36M.joints)
    assert named[0].name == "hip"
    assert named[0].channels == (
        "Xposition", "Yposition", "Zposition", "Zrotation", "Xrotation", "Yrotation",
    )  # fmt: skip
    assert {joint.channels for joint in named[1:]} == {("Zrotation", "Xrotation", "Yrotation")}
    assert motion.shape == (5, 6 + 3 * 16)
    assert frame_time == pytest.approx(1 / 30, abs=1e-6)
    leaves = {joints[joint.parent].name for joint in joints if not joint.name}
    assert leaves == {
        "head_top",
        *(f"{s}_{j}" for s in ("left", "right") for j in ("wrist", "ankle")),
    }
    assert all(np.linalg.norm(joint.offset) > 0.01 for joint in joints if not joint.name)


def test_files_are_called_after_person_and_lifter(tmp_path):
    several = bvh.write_bvh(sample_result(3), tmp_path / "several" / "walk")
    assert [path.name for path in several] == [
        "walk_person0_mixste.bvh", "walk_person0_videopose3d.bvh",
        "walk_person1_mixste.bvh", "walk_person1_videopose3d.bvh",
    ]  # fmt: skip
    single = bvh.write_bvh(sample_result(3, lifters=("mixste",)), tmp_path / "single" / "walk")
    assert [path.name for path in single] == ["walk_person0.bvh", "walk_person1.bvh"]
    assert sorted(path.name for path in (tmp_path / "single").iterdir()) == [p.name for p in single]


def test_gaps_are_bridged(tmp_path):
    gap = tuple(range(5, 9))
    result = sample_result(20, lifters=("mixste",), absent={0: (0, 1, *gap), 1: (19,)})
    joints, motion, _ = parse(bvh.write_bvh(result, tmp_path / "walk")[0])
    assert len(motion) == 18  # from the first frame with the person
    roots = motion[:, :3] * [1, -1, -1]
    np.testing.assert_allclose(roots[0], root_of(0, 2), atol=1e-4)
    before, after = root_of(0, 4), root_of(0, 9)
    for step in range(6):
        wanted = before + step / 5 * (after - before)
        np.testing.assert_allclose(roots[2 + step], wanted, atol=1e-4)
    found = in_camera_axes(positions(joints, motion[7]))
    np.testing.assert_allclose(found, pose_of(0, 9) + root_of(0, 9), atol=1e-4)


def test_rows_that_miss_a_number_count_as_gaps(tmp_path):
    whole = sample_result(12, people=1, lifters=("mixste",))
    broken = sample_result(12, people=1, lifters=("mixste",))
    broken.rows["pose_m"][4, 0, 3] = np.nan
    broken.rows["root_m"][7, 0] = np.nan
    _, wanted, _ = parse(one(bvh.write_bvh(whole, tmp_path / "whole" / "walk")))
    _, found, _ = parse(one(bvh.write_bvh(broken, tmp_path / "broken" / "walk")))
    assert found.shape == wanted.shape
    kept = np.setdiff1d(np.arange(12), (4, 7))
    np.testing.assert_allclose(found[kept], wanted[kept], atol=1e-4)
    assert np.abs(found - wanted)[:, :3].max() < 0.1
    broken.rows["pose_m"] = np.nan
    assert bvh.write_bvh(broken, tmp_path / "none" / "walk") == []
    assert not (tmp_path / "none").exists()


def test_pieces_make_no_difference(tmp_path, monkeypatch):
    result = sample_result(40, absent={0: (3, 4, 5, 17), 1: tuple(range(8, 30))})
    texts = []
    for size in (10_000, 3):
        monkeypatch.setattr("liftjax.inference.outputs.people._ROWS_AT_A_TIME", size)
        monkeypatch.setattr("liftjax.inference.outputs.bvh._FRAMES_AT_A_TIME", size)
        texts.append([path.read_text() for path in bvh.write_bvh(result, tmp_path / "walk")])
    for large, small in zip(*texts, strict=True):
        assert large == small


def test_memory_does_not_grow_with_frames(tmp_path, monkeypatch):
    monkeypatch.setattr("liftjax.inference.outputs.people._ROWS_AT_A_TIME", 64)
    monkeypatch.setattr("liftjax.inference.outputs.bvh._FRAMES_AT_A_TIME", 64)
    monkeypatch.setattr("liftjax.inference.outputs.bvh._MEASURED", 50)
    peaks = []
    for frames in (300, 1200):
        result = sample_result(frames, people=1, lifters=("mixste",))
        tracemalloc.start()
        bvh.write_bvh(result, tmp_path / "walk")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_angles_do_not_jump(tmp_path):
    """Somebody turns round and round; programs interpolate the angles between frames."""
    result = sample_result(300, lifters=("mixste",))
    _, motion, _ = parse(bvh.write_bvh(result, tmp_path / "walk")[1])
    assert np.abs(np.diff(motion[:, 3:6], axis=0)).max() < 30


def test_an_unknown_rate_is_25(tmp_path):
    _, _, frame_time = parse(bvh.write_bvh(sample_result(2, fps=0.0), tmp_path / "walk")[0])
    assert frame_time == 0.04


def test_everybody_in_a_picture_is_a_file(tmp_path):
    result = sample_result(2, is_video=False, lifters=("mixste",))
    paths = bvh.write_bvh(result, tmp_path / "walk")
    assert [path.name for path in paths] == [
        "photo_000_person0.bvh", "photo_000_person1.bvh",
        "photo_001_person0.bvh", "photo_001_person1.bvh",
    ]  # fmt: skip
    joints, motion, frame_time = parse(paths[3])
    assert len(motion) == 1
    assert frame_time == pytest.approx(1 / 25)
    found = in_camera_axes(positions(joints, motion[0]))
    np.testing.assert_allclose(found, pose_of(1, 1) + root_of(1, 1), atol=1e-4)


@pytest.mark.parametrize("name", SKELETONS)
def test_every_joint_set_is_written_or_refused(name, tmp_path):
    skeleton = get_skeleton(name)
    whole = sample_result(4, people=1, lifters=("mixste",))
    rows = np.zeros(4, row_dtype(17, 1, skeleton.num_joints))
    rows["frame"] = range(4)
    rows["pose_m"] = np.random.default_rng(0).normal(0, 0.5, rows["pose_m"].shape)
    rows["root_m"] = [0, 0, 4]
    result = without(whole, rows=rows, skeleton_3d=skeleton)
    if name in ("human36m", "panoptic", "mpii", "humaneva15"):
        joints, motion, _ = parse(one(bvh.write_bvh(result, tmp_path / "walk")))
        assert {joint.name for joint in joints} - {""} == set(skeleton.joints)
        assert np.isfinite(motion).all()
    else:
        with pytest.raises(LiftjaxError, match=f"{name}"):
            bvh.write_bvh(result, tmp_path / "walk")
        assert not list(tmp_path.iterdir())


def test_straight_opposites_and_folded_bones_have_an_answer(tmp_path):
    """Legs straight up, as at rest turned by half a circle, and a bone without length."""
    result = sample_result(3, people=1, lifters=("mixste",))
    pose = result.rows["pose_m"][:, 0]
    for side in ("left", "right"):
        hip, knee, ankle = (HUMAN36M.index(f"{side}_{j}") for j in ("hip", "knee", "ankle"))
        pose[:, knee] = pose[:, hip] - [0, 0.44, 0]
        pose[:, ankle] = pose[:, knee] - [0, 0.43, 0]
    pose[:, HUMAN36M.index("head_top")] = pose[:, HUMAN36M.index("nose")]
    joints, motion, _ = parse(one(bvh.write_bvh(result, tmp_path / "walk")))
    found = in_camera_axes(positions(joints, motion[1]))
    np.testing.assert_allclose(found - found[0], pose[1], atol=1e-4)


def test_without_lifters_there_is_nothing_to_animate(tmp_path):
    assert bvh.write_bvh(sample_result(3, lifters=()), tmp_path / "walk") == []
