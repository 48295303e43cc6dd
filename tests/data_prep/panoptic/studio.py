"""A tiny Panoptic Studio: a person walking before six HD cameras, in the studio's own files."""

import json
import tarfile
from pathlib import Path

import cv2
import numpy as np

SIZE = (320, 180)
FIRST, LAST = 8, 40  # pose files; the video begins at 0
TRAIN, TEST = "171204_pose1", "171026_pose3"
NODES = (3, 6, 12, 13, 23, 5)
LEFT_WRIST = 5

# Centimetres, y down: the nineteen joints of a person of 1.7 m who stands at the origin.
_BODY = np.array(
    [
        [0, -142, 0], [0, -160, -12], [0, -92, 0],
        [17, -141, 0], [26, -114, 2], [30, -90, -4], [9, -91, 0], [10, -50, -2], [11, -9, 3],
        [-17, -141, 0], [-25, -114, 1], [-31, -91, -6], [-9, -91, 0], [-10, -50, 1], [-10, -9, -2],
        [3, -163, -10], [8, -162, -2], [-3, -163, -10], [-8, -162, -2],
    ],
    float,
)  # fmt: skip


def body(frame: int) -> np.ndarray:
    """(19, 4) x, y, z in cm and confidence of the person in a frame."""
    points = _BODY + np.array([3.0 * (frame - 24), 0, 0.5 * frame])
    points[LEFT_WRIST, 1] -= 2.0 * frame % 50
    return np.column_stack([points, np.linspace(0.9, 0.4, len(points))])


def camera(node: int) -> dict:
    """The calibration file's entry of an HD camera, which looks at the middle of the studio."""
    angle = 2 * np.pi * NODES.index(node) / len(NODES) + 0.3
    center = np.array([280 * np.cos(angle), -150 - 10 * (node % 4), 280 * np.sin(angle)])
    forward = np.array([0, -90.0, 0]) - center
    forward /= np.linalg.norm(forward)
    right = np.cross([0, 1.0, 0], forward)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    return {
        "name": f"00_{node:02d}",
        "type": "hd",
        "resolution": list(SIZE),
        "panel": 0,
        "node": node,
        "K": [[232.0 + node, 0, 158.5], [0, 233.0, 91.25], [0, 0, 1]],
        "distCoef": [-0.28, 0.19, 0.0004, -0.0007, 0.01],
        "R": R.tolist(),
        "t": (-R @ center)[:, None].tolist(),
    }


def project(frame: int, node: int) -> np.ndarray:
    """(19, 2) pixels by OpenCV of the raw numbers."""
    c = {k: np.array(v) for k, v in camera(node).items() if k in ("K", "distCoef", "R", "t")}
    points, turn = body(frame)[:, :3].copy(), cv2.Rodrigues(c["R"])[0]
    return cv2.projectPoints(points, turn, c["t"], c["K"], c["distCoef"])[0][:, 0]


def picture(frame: int, node: int) -> np.ndarray:
    """(H, W, 3) with a white disc on the left wrist."""
    image = np.full((SIZE[1], SIZE[0], 3), 60, np.uint8)
    at = np.rint(16 * project(frame, node)[LEFT_WRIST]).astype(int)
    cv2.circle(image, tuple(at.tolist()), 4 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return image


def write(root: Path, name: str, pictures: bool = True, nodes=NODES) -> Path:
    """Writes a sequence with pictures, or else with videos, of the nodes; returns `root`."""
    (root / name).mkdir(parents=True)
    vga = camera(3) | {"name": "01_01", "type": "vga", "resolution": [640, 480]}
    vga |= {"panel": 1, "node": 1}
    calibration = {"calibDataSource": "171204_calib_norm", "cameras": [vga, *map(camera, NODES)]}
    calibration_file(root, name).write_text(json.dumps(calibration))
    for frame in range(FIRST, LAST + 1):
        write_bodies(root, name, frame, [body(frame)])
    for node in nodes:
        (write_pictures if pictures else write_video)(root, name, node)
    return root


def calibration_file(root: Path, name: str) -> Path:
    return root / name / f"calibration_{name}.json"


def pose_file(root: Path, name: str, frame: int) -> Path:
    return root / name / "hdPose3d_stage1_coco19" / f"body3DScene_{frame:08d}.json"


def picture_file(root: Path, name: str, node: int, frame: int) -> Path:
    return root / name / "hdImgs" / f"00_{node:02d}" / f"00_{node:02d}_{frame:08d}.jpg"


def video_file(root: Path, name: str, node: int) -> Path:
    return root / name / "hdVideos" / f"hd_00_{node:02d}.mp4"


def write_bodies(root: Path, name: str, frame: int, bodies) -> None:
    entries = [{"id": i, "joints19": b.ravel().tolist()} for i, b in enumerate(bodies)]
    scene = {"version": 0.7, "univTime": 5e4 + frame, "fpsType": "hd_29_97", "bodies": entries}
    file = pose_file(root, name, frame)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(scene))


def write_pictures(root: Path, name: str, node: int, frames=range(LAST + 1)) -> None:
    for frame in frames:
        file = picture_file(root, name, node, frame)
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), picture(frame, node))


def write_video(root: Path, name: str, node: int, frames=range(LAST + 1), size=SIZE) -> None:
    file = video_file(root, name, node)
    file.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 30, size)
    for frame in frames:
        writer.write(cv2.resize(picture(frame, node), size))
    writer.release()


def pack_poses(root: Path, name: str) -> Path:
    """Puts the pose files back into the tar that the studio's server sends."""
    folder = pose_file(root, name, 0).parent
    archive = folder.with_suffix(".tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, folder.name)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return archive
