"""A tiny recording laid out like the demo's package: known joints in four known cameras."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from data_prep.multicam import demo_recording
from data_prep.multicam.calibration import Camera
from data_prep.multicam.triangulate import project
from liftjax.skeletons import BODY25B, HUMAN36M, convert

FRAMES = 12
IMAGE_SIZE = (240, 320)
# The video of camera 2 is scaled and has bars above and below, as two videos of the demo are.
VIDEO_SIZES = (IMAGE_SIZE, (216, 320), IMAGE_SIZE, IMAGE_SIZE)
BALL = BODY25B.index("right_wrist")  # drawn into the videos


def make_cameras() -> list[Camera]:
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
            Camera(
                name=f"cam_{i + 1:02d}",
                K=np.array([[400.0, 0, 118], [0, 402.0, 161], [0, 0, 1]]),
                distortion=np.array([-0.05, 0.1, 0.001, -0.002, 0]),
                R=R,
                t=-R @ center,
                image_size=IMAGE_SIZE,
            )
        )
    return cameras


def make_world() -> np.ndarray:
    """(FRAMES, 25, 3) BODY_25B joints in metres, drifting to one side."""
    rng = np.random.default_rng(0)
    body = np.stack([rng.uniform(-0.3, 0.3, 25), rng.uniform(-0.3, 0.3, 25)], axis=-1)
    body = np.concatenate([body, rng.uniform(0.2, 1.8, (25, 1))], axis=-1)
    return body + np.linspace(0, 0.2, FRAMES)[:, None, None] * np.array([1.0, 0.5, 0])


def human36m_world() -> np.ndarray:
    return convert(make_world(), "body25b", HUMAN36M.name)


def write(root: Path) -> Path:
    """Writes calibration, detections, videos and licence below `root`; returns `root`."""
    cameras = make_cameras()
    _write_calibration(root / demo_recording.CALIBRATION, cameras)
    trial = root / demo_recording.TRIAL
    (trial / "videos").mkdir(parents=True)
    for i, camera in enumerate(cameras):
        points = project(make_world(), camera)
        _write_detections(trial / "pose" / f"cam{i + 1:02d}_json", i, points)
        _write_video(trial / "videos" / f"cam{i + 1:02d}.mp4", points[:, BALL], VIDEO_SIZES[i])
    license_file = root / demo_recording.LICENSE
    license_file.parent.mkdir(parents=True)
    license_file.write_text("BSD 3-Clause License")
    return root


def pack(root: Path, wheel: Path) -> Path:
    return Path(shutil.move(shutil.make_archive(str(wheel), "zip", root), wheel))


def detections_file(root: Path, camera: int, frame: int) -> Path:
    folder = root / demo_recording.TRIAL / "pose" / f"cam{camera:02d}_json"
    return folder / f"cam{camera:02d}.{frame:04d}.json"


def video_file(root: Path, camera: int) -> Path:
    return root / demo_recording.TRIAL / "videos" / f"cam{camera:02d}.mp4"


def edit_person(root: Path, camera: int, frame: int, edit) -> None:
    """Applies `edit` to the (25, 3) joints of the person in one file."""
    file = detections_file(root, camera, frame)
    content = json.loads(file.read_text())
    person = content["people"][-1]
    joints = edit(np.array(person["pose_keypoints_2d"]).reshape(25, 3))
    person["pose_keypoints_2d"] = joints.ravel().tolist()
    file.write_text(json.dumps(content))


def _write_calibration(path: Path, cameras: list[Camera]) -> None:
    path.parent.mkdir(parents=True)
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


def _write_detections(folder: Path, camera: int, points_px: np.ndarray) -> None:
    """The person, and before it a bystander in cameras 1 and 2."""
    folder.mkdir(parents=True)
    for frame, points in enumerate(points_px):
        people = [points]
        if camera < 2:
            people.insert(0, points[0] + 0.2 * (points - points[0]) + (70 - 90 * camera, 20))
        rows = [np.column_stack([p, np.full(25, 0.7)]).ravel().tolist() for p in people]
        content = {"version": 1.3, "people": [{"pose_keypoints_2d": row} for row in rows]}
        file = folder / f"cam{camera + 1:02d}.{frame:04d}.json"
        file.write_text(json.dumps(content))


def _write_video(path: Path, ball_px: np.ndarray, size: tuple[int, int]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30, size)
    scale = size[0] / IMAGE_SIZE[0]
    bar = (size[1] - scale * IMAGE_SIZE[1]) / 2
    for x, y in ball_px:
        picture = np.full((size[1], size[0], 3), 60, np.uint8)
        center = np.array([(x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5 + bar])
        center = tuple(np.rint(16 * center).astype(int).tolist())
        cv2.circle(picture, center, 5 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
        writer.write(picture)
    writer.release()
