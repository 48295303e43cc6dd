"""One person in several calibrated cameras: 3D poses, their check, and records.

Legend: C cameras, F frames, J joints of the detector, K = 17 joints of human36m.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from data_prep.multicam import video
from data_prep.multicam.calibration import Camera
from data_prep.multicam.follow import MIN_CONFIDENCE, follow_person
from data_prep.multicam.triangulate import drop_outliers, fill_gaps, project
from liftjax import geometry
from liftjax.data.schema import Record
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M, convert, convert_confidence, get_skeleton

MAX_ERROR_PX = 40.0  # a view further off contradicts the others
MAX_GAP = 15  # frames over which a joint is interpolated
_JPEG_QUALITY = 92
_MAX_HEIGHT = 384  # of a stored picture
# The stored picture shows more than any crop that training takes of the box.
_STORED_ASPECT, _STORED_SCALE = 0.8, 1.4


@dataclasses.dataclass(frozen=True)
class Recording:
    """Synchronised footage of one person.

    Attributes:
      cameras: the C calibrated cameras. videos: their files, frame 0 being frame number 0 of
        `people`.
      people: for each camera, frame number -> (P, J, 3) detections in the calibrated picture.
      joint_set: name of the detector's skeleton.
      subject, action: names for the records.
    """

    cameras: Sequence[Camera]
    videos: Sequence[Path]
    people: Sequence[Mapping[int, np.ndarray]]
    joint_set: str
    subject: str
    action: str


@dataclasses.dataclass(frozen=True)
class Poses:
    """What a recording shows of one person.

    Attributes:
      frames: (F,) numbers. world_m: (F, 17, 3) human36m joints, world axes.
      detected_px: (C, F, 17, 2): the detections, converted.
      seen: (C, F, 17) bool: found by that camera's detector, in agreement with the others.
      filled: (F, 17) bool: interpolated in time, since fewer than two cameras agreed.
    """

    frames: np.ndarray
    world_m: np.ndarray
    detected_px: np.ndarray
    seen: np.ndarray
    filled: np.ndarray


def reconstruct(recording: Recording) -> Poses:
    """Follows the person through the recording and triangulates the detector's joints."""
    _check_frames(recording)
    track = follow_person(recording.people, recording.cameras)
    if not track:
        raise LiftjaxError(
            "No person could be followed: in no frame do the detections of the cameras agree. "
            "Is the calibration that of these videos?"
        )
    frames = np.array(sorted(track))
    detected = np.stack([track[number] for number in frames], axis=1)
    px, confidence = detected[..., :2], detected[..., 2]
    weights = np.where(confidence >= MIN_CONFIDENCE, confidence, 0)
    world, weights = drop_outliers(px, weights, recording.cameras, MAX_ERROR_PX)
    filled = fill_gaps(world, frames, MAX_GAP)
    _check_joints(filled, frames, recording.joint_set)

    def to_human36m(points):  # joints that human36m does not use may be unknown: their weight is 0
        return convert(np.nan_to_num(points), recording.joint_set, HUMAN36M.name)

    known = np.isfinite(world).all(axis=-1).astype(float)
    return Poses(
        frames=frames,
        world_m=to_human36m(filled),
        detected_px=to_human36m(px),
        seen=convert_confidence(weights, recording.joint_set, HUMAN36M.name) > 0,
        filled=convert_confidence(known, recording.joint_set, HUMAN36M.name) == 0,
    )


def _check_frames(recording: Recording) -> None:
    counts = [len(frames) for frames in recording.people]
    if len(set(map(frozenset, recording.people))) > 1:
        names = ", ".join(f"{c.name} {n}" for c, n in zip(recording.cameras, counts, strict=True))
        raise LiftjaxError(f"The cameras have detections of different frames: {names}.")


def _check_joints(world: np.ndarray, frames: np.ndarray, joint_set: str) -> None:
    """Raises if a joint that human36m needs was seen by fewer than two cameras."""
    joints = get_skeleton(joint_set).joints
    seen = np.isfinite(world).all(axis=-1).astype(float)
    lost = convert_confidence(seen, joint_set, HUMAN36M.name) == 0
    if lost.any():
        frame, joint = np.argwhere(lost)[0]
        sources = [j for j, s in zip(joints, seen[frame], strict=True) if not s]
        raise LiftjaxError(
            f"Frame {frames[frame]}: {HUMAN36M.joints[joint]} is NaN because no two "
            f"cameras agree on {', '.join(sources)}, for longer than {MAX_GAP} frames; "
            f"{lost.any(axis=1).sum()} of {len(frames)} frames are so. Add a camera, or cut these."
        )


def check(recording: Recording, poses: Poses) -> dict:
    """How well the poses explain the detections: medians in pixels and, at their depth, in mm."""
    filled = dict(zip(HUMAN36M.joints, poses.filled.sum(axis=0).tolist(), strict=True))
    report = {
        "frames": len(poses.frames),
        "frames_without_person": len(recording.people[0]) - len(poses.frames),
        "interpolated": {joint: count for joint, count in filled.items() if count},
        "cameras": {},
    }
    for c, camera in enumerate(recording.cameras):
        seen = poses.seen[c]
        error_px = np.linalg.norm(project(poses.world_m, camera) - poses.detected_px[c], axis=-1)
        depth_m = geometry.world_to_camera(poses.world_m, camera.R, camera.t)[..., 2]
        error_mm = 1000 * error_px * depth_m / camera.K[0, 0]
        report["cameras"][camera.name] = {
            "median_px": _median(error_px[seen]),
            "median_mm": _median(error_mm[seen]),
            "p95_px": _percentile(error_px[seen], 95),
            "joints": {
                joint: {
                    "median_px": _median(error_px[:, k][seen[:, k]]),
                    "median_mm": _median(error_mm[:, k][seen[:, k]]),
                    "seen": int(seen[:, k].sum()),
                }
                for k, joint in enumerate(HUMAN36M.joints)
            },
        }
    return report


def _median(values: np.ndarray) -> float | None:
    return _percentile(values, 50)


def _percentile(values: np.ndarray, q: float) -> float | None:
    return round(float(np.percentile(values, q)), 2) if values.size else None


def make_records(recording: Recording, poses: Poses) -> Iterator[Record]:
    """Records of all poses, camera after camera, frame after frame.

    The 2D joints are the reprojection of the triangulated pose, not the detections, so that 2D
    and 3D agree. A joint is visible if this camera's detector found it, in agreement with the
    other cameras, and it is in the picture.
    """
    rows = {number: row for row, number in enumerate(poses.frames)}
    count = int(poses.frames[-1]) + 1
    for c, camera in enumerate(recording.cameras):
        path = recording.videos[c]
        to_video = video.letterbox_affine(camera.image_size, video.frame_size(path))
        pictures = tqdm(video.read_frames(path, count), camera.name, count, unit="frames", delay=1)
        for number, picture in enumerate(pictures):
            if number in rows:
                yield _record(recording, poses, c, rows[number], picture, to_video)


def _record(recording, poses, c: int, row: int, frame: np.ndarray, to_video) -> Record:
    camera = recording.cameras[c]
    pose = geometry.world_to_camera(poses.world_m[row], camera.R, camera.t)
    joints_px = geometry.project(pose, camera.K, camera.distortion)
    size = np.array(camera.image_size)
    inside = geometry.inside_image(joints_px, size)
    box = geometry.box_from_joints(joints_px, size)
    image, stored_to_video = _stored_picture(frame, box, to_video)
    return Record(
        image=image,
        stored_to_image=geometry.compose_affine(geometry.invert_affine(to_video), stored_to_video),
        image_size=size,
        box_xyxy=box,
        joints_px=joints_px,
        joint_visible=inside & poses.seen[c, row],
        pose_m=pose - pose[HUMAN36M.root_index],
        root_m=pose[HUMAN36M.root_index],
        has_3d=True,
        camera_K=camera.K,
        camera_R=camera.R,
        camera_t=camera.t,
        camera_distortion=camera.distortion,
        distortion_model="opencv",
        skeleton=HUMAN36M.name,
        subject=recording.subject,
        action=recording.action,
        camera=camera.name,
        frame=int(poses.frames[row]),
    )


def _stored_picture(frame: np.ndarray, box, image_to_video) -> tuple[bytes, np.ndarray]:
    """JPEG of the box and its surroundings, and the (2, 3) affine from its pixels to video's."""
    center, size = geometry.crop_region(box, _STORED_ASPECT, _STORED_SCALE)
    corners = np.stack([center - size / 2, center + size / 2])
    corners = geometry.apply_affine(image_to_video, corners)
    limits = np.array(frame.shape[1::-1])
    x0, y0 = np.clip(np.floor(corners[0]), 0, limits - 1).astype(int)
    x1, y1 = np.clip(np.ceil(corners[1]), (x0 + 1, y0 + 1), limits).astype(int)
    region = np.array([x1 - x0, y1 - y0])
    shrink = min(1.0, _MAX_HEIGHT / region[1])
    stored = np.maximum(np.rint(region * shrink), 1).astype(int)
    picture = cv2.resize(frame[y0:y1, x0:x1], stored.tolist(), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    ratio = region / stored
    shift = (x0, y0) + (ratio - 1) / 2
    return data.tobytes(), np.array([[ratio[0], 0, shift[0]], [0, ratio[1], shift[1]]])
