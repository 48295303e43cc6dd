"""Recordings of a walking stick figure in known cameras, in every layout and format we read."""

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from data_prep.cameras import CalibratedCamera
from data_prep.multicam import demo_recording
from data_prep.multicam.calibration import read_cameras
from liftjax.errors import LiftjaxError
from liftjax.skeletons import convert, get_skeleton

FRAMES = 12
IMAGE_SIZE = (240, 320)
# The video of camera 2 is scaled and has bars above and below, as two videos of the demo are.
VIDEO_SIZES = (IMAGE_SIZE, (216, 320), IMAGE_SIZE, IMAGE_SIZE)
BALL = "right_wrist"  # drawn into the videos

# Places of joints in metres: to the person's left, forward, up.
_BODY = {
    "hip": (0, 0, 0.95), "neck": (0, 0, 1.45), "nose": (0, 0.1, 1.6), "head_top": (0, 0, 1.78),
    "upper_neck": (0, 0.01, 1.47), "eye": (0.03, 0.09, 1.63), "ear": (0.08, 0, 1.62),
    "shoulder": (0.19, 0, 1.43), "elbow": (0.22, 0, 1.13), "wrist": (0.23, 0.06, 0.88),
    "knee": (0.11, 0.02, 0.5), "ankle": (0.11, 0, 0.09),
    "big_toe": (0.13, 0.2, 0.02), "small_toe": (0.18, 0.17, 0.02), "heel": (0.11, -0.06, 0.02),
}  # fmt: skip
_HIP_WIDTH = 0.11
_ARM, _LEG = ("elbow", "wrist"), ("knee", "ankle", "big_toe", "small_toe", "heel")


@dataclasses.dataclass(frozen=True)
class Spec:
    """What to write.

    Attributes:
      joint_set, form: of the detections; see `FORMS`. calibration: "toml" or "qca".
      noise_px: standard deviation on the detections. lags: frames by which cameras run late.
      start_m: where the person starts. bystanders: whether a second person stands behind, in
        cameras 1 and 2. scale: of the world, 1000 for a calibration in millimetres.
      moved_px: how far off the last camera's detections are.
    """

    frames: int = FRAMES
    joint_set: str = "body25b"
    form: str = "openpose"
    calibration: str = "toml"
    noise_px: float = 0.0
    lags: tuple[int, ...] = (0, 0, 0, 0)
    start_m: tuple[float, float] = (0.0, 0.0)
    bystanders: bool = False
    scale: float = 1.0
    moved_px: tuple[float, float] = (0.0, 0.0)
    videos: bool = True


def make_cameras() -> list[CalibratedCamera]:
    """Four cameras around the origin, looking at a person one metre up."""
    cameras = []
    for i, angle in enumerate(np.radians([0, 70, 150, 240])):
        center = np.array([4 * np.cos(angle), 4 * np.sin(angle), 1.6])
        forward = np.array([0, 0, 1.0]) - center
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(forward, right), forward])
        cameras.append(
            CalibratedCamera(
                name=f"cam_{i + 1:02d}",
                K=np.array([[400.0, 0, 118], [0, 402.0, 161], [0, 0, 1]]),
                distortion=np.array([-0.05, 0.1, 0.001, -0.002, 0]),
                R=R,
                t=-R @ center,
                image_size=IMAGE_SIZE,
            )
        )
    return cameras


def make_world(frames=FRAMES, joint_set="body25b", start_m=(0.0, 0.0)) -> np.ndarray:
    """(frames, J, 3) joints of somebody who walks, in metres, z up.

    Args:
      frames: how many, or the numbers of the frames.
    """
    numbers = np.arange(frames) if np.isscalar(frames) else np.asarray(frames)
    return np.stack([_pose(int(n), joint_set) for n in numbers]) + np.array([*start_m, 0])


def human36m_world(frames=FRAMES, skeleton: str = "human36m", **options) -> np.ndarray:
    return convert(make_world(frames, **options), options.get("joint_set", "body25b"), skeleton)


def _pose(frame: int, joint_set: str) -> np.ndarray:
    phase = 2 * np.pi * frame / 40
    stride = np.array([0.02 * frame - 0.1, 0.008 * frame, 0.02 * np.sin(2 * phase)])
    return np.stack([_joint(j, phase) for j in get_skeleton(joint_set).joints]) + stride


def _joint(name: str, phase: float) -> np.ndarray:
    side, _, part = name.partition("_")
    if side == "face" or part.startswith("hand_"):  # wholebody's, of no interest here
        name, side, part = ("nose", "", "") if side == "face" else (side + "_wrist", side, "wrist")
    if side not in ("left", "right") or name in _BODY:
        return np.array(_BODY[name])
    sign = 1 if side == "left" else -1
    if part == "hip":
        return np.array([sign * _HIP_WIDTH, 0, _BODY["hip"][2]])
    place = np.array(_BODY[part]) * (sign, 1, 1)
    swing = sign * np.sin(phase)
    if part in _ARM:
        return _turned(place, 0.5 * swing, _BODY["shoulder"][2])
    if part in _LEG:
        return _turned(place, -0.4 * swing, _BODY["hip"][2])
    return place


def _turned(place: np.ndarray, angle: float, height: float) -> np.ndarray:
    """The place turned about the left-right axis at a height."""
    x, y, z = place - (0, 0, height)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([x, cos * y - sin * z, sin * y + cos * z + height])


# Files


def write_source(folder: Path, spec: Spec = Spec()) -> Path:
    """One recording with calibration, videos and detections; returns `folder`."""
    write_calibration(folder / "calibration", spec)
    return write_recording(folder, spec)


def write_calibration(folder: Path, spec: Spec = Spec()) -> None:
    folder.mkdir(parents=True)
    if spec.calibration == "qca":
        write_qca(folder / "Calib.qca.txt", make_cameras())
    else:
        write_toml(folder / "Calib.toml", make_cameras(), spec.scale)


def write_recording(folder: Path, spec: Spec = Spec()) -> Path:
    """Videos and detections of four cameras."""
    write_footage(folder, spec, "cam{:02d}.mp4", "cam{:02d}_json")
    return folder


def write_footage(folder: Path, spec: Spec, video: str, pose: str) -> None:
    (folder / "videos").mkdir(parents=True)
    (folder / "pose").mkdir()
    rng = np.random.default_rng(0)
    for i, camera in enumerate(make_cameras()):
        shown = np.arange(spec.frames) - spec.lags[i]
        points = camera.project_world(make_world(shown, spec.joint_set, spec.start_m))
        if spec.videos:
            ball = points[:, get_skeleton(spec.joint_set).index(BALL)]
            write_video(folder / "videos" / video.format(i + 1), ball, VIDEO_SIZES[i])
        points = points + rng.normal(size=points.shape) * spec.noise_px
        if i == 3:
            points = points + spec.moved_px
        people = [[p] for p in points]
        if spec.bystanders and i < 2:
            people = [[_bystander(p[0], i), *p] for p in people]
        FORMS[spec.form](folder / "pose" / pose.format(i + 1), f"cam{i + 1:02d}", people)


def _bystander(points: np.ndarray, camera: int) -> np.ndarray:
    return points[0] + 0.2 * (points - points[0]) + (70 - 90 * camera, 20)


def _rows(people, confidence: float = 0.7) -> list[list[float]]:
    return [np.column_stack([p, np.full(len(p), confidence)]).ravel().tolist() for p in people]


def _openpose(folder: Path, name: str, frames) -> None:
    folder.mkdir()
    for number, people in enumerate(frames):
        content = {"version": 1.3, "people": [{"pose_keypoints_2d": r} for r in _rows(people)]}
        (folder / f"{name}.{number:04d}.json").write_text(json.dumps(content))


def _openpose_coco(folder: Path, name: str, frames) -> None:
    """OpenPose's own 18 joints from COCO's 17: the neck is the shoulders' middle."""
    order = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
    frames = [
        [np.stack([(p[5] + p[6]) / 2 if i is None else p[i] for i in order]) for p in people]
        for people in frames
    ]
    _openpose(folder, name, frames)


def _instances(people) -> list[dict]:
    return [{"keypoints": p.tolist(), "keypoint_scores": [0.8] * len(p)} for p in people]


def _mmpose_frames(folder: Path, name: str, frames) -> None:
    folder.mkdir()
    for number, people in enumerate(frames):
        (folder / f"{number:06d}.json").write_text(json.dumps(_instances(people)))


def _mmpose_video(folder: Path, name: str, frames) -> None:
    content = [{"frame_id": i, "instances": _instances(p)} for i, p in enumerate(frames)]
    folder.with_name(f"{name}.json").write_text(json.dumps(content))


def _mmpose_demo(folder: Path, name: str, frames) -> None:
    content = [{"frame_id": i + 1, "instances": _instances(p)} for i, p in enumerate(frames)]
    folder.mkdir()
    text = json.dumps({"meta_info": {}, "instance_info": content})
    (folder / f"results_{name}.json").write_text(text)


def _coco_results(folder: Path, name: str, frames) -> None:
    content = [
        {"image_id": i, "category_id": 1, "score": 0.9, "keypoints": row}
        for i, people in enumerate(frames)
        for row in _rows(people)
    ]
    folder.with_name(f"{name}.json").write_text(json.dumps(content))


FORMS = {
    "openpose": _openpose,
    "openpose_coco": _openpose_coco,
    "mmpose_frames": _mmpose_frames,
    "mmpose_video": _mmpose_video,
    "mmpose_demo": _mmpose_demo,
    "coco_results": _coco_results,
}


def write_qca(path: Path, cameras: list[CalibratedCamera]) -> None:
    items = []
    for camera in cameras:
        rotation = np.diag([1, -1, -1]) @ camera.R
        x, y, z = -1000 * camera.R.T @ camera.t
        entries = " ".join(
            f'r{i + 1}{j + 1}="{float(rotation[i, j])!r}"' for i in range(3) for j in range(3)
        )
        k1, k2, p1, p2, k3 = camera.distortion
        width, height = camera.image_size
        K = 64 * camera.K
        items.append(
            f'<camera serial="{camera.name}">'
            f'<fov_video left="0" top="0" right="{width - 1}" bottom="{height - 1}"/>'
            f'<transform {entries} x="{x}" y="{y}" z="{z}"/>'
            f'<intrinsic focalLengthU="{K[0, 0]}" focalLengthV="{K[1, 1]}" skew="0"'
            f' centerPointU="{K[0, 2]}" centerPointV="{K[1, 2]}" radialDistortion1="{k1}"'
            f' radialDistortion2="{k2}" radialDistortion3="{k3}" tangentalDistortion1="{p1}"'
            f' tangentalDistortion2="{p2}"/></camera>'
        )
    path.write_text(f"<calibration><cameras>{''.join(items)}</cameras></calibration>")


def write_toml(path: Path, cameras: list[CalibratedCamera], scale: float = 1.0) -> None:
    sections = [
        f'[{camera.name}]\nname = "{camera.name}"\n'
        f"size = {[float(s) for s in camera.image_size]}\nmatrix = {camera.K.tolist()}\n"
        f"distortions = {camera.distortion[:4].tolist()}\n"
        f"rotation = {cv2.Rodrigues(camera.R)[0].ravel().tolist()}\n"
        f"translation = {(scale * camera.t).tolist()}\nfisheye = false\n"
        for camera in cameras
    ]
    path.write_text("\n".join([*sections, "[metadata]\nadjusted = false\nerror = 0.0\n"]))


def write_video(path: Path, ball_px: np.ndarray, size=IMAGE_SIZE, rate: float = 30) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
    scale = size[0] / IMAGE_SIZE[0]
    bar = (size[1] - scale * IMAGE_SIZE[1]) / 2
    for x, y in ball_px:
        picture = np.full((size[1], size[0], 3), 60, np.uint8)
        center = np.array([(x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5 + bar])
        center = tuple(np.rint(16 * center).astype(int).tolist())
        cv2.circle(picture, center, 5 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
        writer.write(picture)
    writer.release()


def read_calibration(path, unit: str = "m") -> list[CalibratedCamera]:
    """The cameras of a file; raises if one cannot be used."""
    cameras, unusable = read_cameras(path, unit)
    for why in unusable.values():
        raise LiftjaxError(f"{path}, {why}")
    return cameras


# The demo's package


def write_demo(root: Path) -> Path:
    """Laid out like the demo's package; returns `root`."""
    spec = Spec(bystanders=True)
    calibration = root / demo_recording.CALIBRATION
    calibration.parent.mkdir(parents=True)
    write_qca(calibration, make_cameras())
    write_recording(root / demo_recording.TRIAL, spec)
    license_file = root / demo_recording.LICENSE
    license_file.parent.mkdir(parents=True)
    license_file.write_text("BSD 3-Clause License")
    return root


def pack(root: Path, wheel: Path) -> Path:
    return Path(shutil.move(shutil.make_archive(str(wheel), "zip", root), wheel))


# Spoiling


def detections_file(recording: Path, camera: int, frame: int) -> Path:
    return recording / "pose" / f"cam{camera:02d}_json" / f"cam{camera:02d}.{frame:04d}.json"


def video_file(recording: Path, camera: int) -> Path:
    return recording / "videos" / f"cam{camera:02d}.mp4"


def edit_person(recording: Path, camera: int, frame: int, edit) -> None:
    """Applies `edit` to the (J, 3) joints of the last person in one file."""
    file = detections_file(recording, camera, frame)
    content = json.loads(file.read_text())
    person = content["people"][-1]
    joints = edit(np.array(person["pose_keypoints_2d"]).reshape(-1, 3))
    person["pose_keypoints_2d"] = joints.ravel().tolist()
    file.write_text(json.dumps(content))


def empty_frame(recording: Path, camera: int, frame: int) -> None:
    detections_file(recording, camera, frame).write_text('{"people": []}')
