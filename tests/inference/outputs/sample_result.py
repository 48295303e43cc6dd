"""What prediction finds of two people who walk, made with a little trigonometry.

Bones keep their length, hips and shoulders their shape, keypoints are the poses seen by a pinhole
camera. The second lifter sees everybody a little larger.
"""

import dataclasses
from collections.abc import Iterator

import cv2
import numpy as np

from liftjax.inference.results import FRAME_DTYPE, Frame, Result, row_dtype
from liftjax.skeletons import Skeleton, get_skeleton

SIZE = (320, 240)  # width, height
HUMAN36M = get_skeleton("human36m")
LARGER = 1.05  # poses of the second lifter


def _limb(start, angles, lengths, side):
    """Joints of a limb that swings forward by `angles` from below; axes left, up, forward."""
    joints = [start]
    for angle, length in zip(angles, lengths, strict=True):
        way = np.array([0.06 * side, -np.cos(angle), np.sin(angle)])
        joints.append(joints[-1] + length * way / np.linalg.norm(way))
    return joints[1:]


def walking_pose(phase: float, yaw: float) -> np.ndarray:
    """(17, 3) metres, camera axes, root at the origin; yaw 0 faces the camera."""
    joints = {"hip": np.zeros(3)}
    lean = 0.08 + 0.03 * np.sin(2 * phase)
    joints["spine"] = np.array([0, 0.23 * np.cos(lean / 2), 0.23 * np.sin(lean / 2)])
    trunk = np.array([0, np.cos(lean), np.sin(lean)])
    front = np.array([0, -np.sin(lean), np.cos(lean)])
    joints["thorax"] = joints["spine"] + 0.25 * trunk
    joints["nose"] = joints["thorax"] + 0.17 * trunk + 0.08 * front
    nod = 0.1 * np.sin(phase)
    joints["head_top"] = joints["nose"] + 0.14 * np.array([0, np.cos(nod), -np.sin(nod)])
    for side, sign in (("left", 1), ("right", -1)):
        swing = sign * np.sin(phase)
        joints[f"{side}_hip"] = np.array([0.13 * sign, 0, 0])
        bend = 0.35 + 0.35 * np.cos(phase + (0.6 if sign > 0 else 0.6 + np.pi))
        legs = _limb(joints[f"{side}_hip"], (0.45 * swing, 0.45 * swing - bend), (0.44, 0.43), sign)
        joints[f"{side}_knee"], joints[f"{side}_ankle"] = legs
        joints[f"{side}_shoulder"] = joints["thorax"] - 0.03 * trunk + [0.17 * sign, 0, 0]
        arm = (-0.4 * swing, -0.4 * swing + 0.5 - 0.2 * swing)
        arms = _limb(joints[f"{side}_shoulder"], arm, (0.29, 0.25), sign)
        joints[f"{side}_elbow"], joints[f"{side}_wrist"] = arms
    body = np.array([joints[name] for name in HUMAN36M.joints])
    left = [np.cos(yaw), 0, np.sin(yaw)]
    forward = [np.sin(yaw), 0, -np.cos(yaw)]
    return body @ np.array([left, [0, -1, 0], forward])


def root_of(track: int, frame: int) -> np.ndarray:
    """Where somebody's hip is: one walks to and fro across, the other round and round."""
    if track == 0:
        return np.array([0.9 * np.sin(0.05 * frame) - 0.3, 0.05, 4.2])
    return np.array([0.8 + 0.4 * np.cos(0.06 * frame), 0.05, 4.6 + 0.4 * np.sin(0.06 * frame)])


def pose_of(track: int, frame: int) -> np.ndarray:
    yaw = np.pi / 2 * np.cos(0.05 * frame) if track == 0 else np.pi - 0.06 * frame
    return walking_pose(0.25 * frame + track, yaw)


def seen(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points (..., 3) in pixels; the focal length is the frame's width."""
    return size[0] * points[..., :2] / points[..., 2:] + (np.array(size) - 1) / 2


@dataclasses.dataclass(frozen=True)
class SampleSource:
    """Pictures of grey people in a room. `opened`: how often it was read."""

    is_video: bool
    count: int
    size: tuple[int, int] = SIZE
    fps: float = 30.0
    name: str = "walk"
    given: str = "films/walk.mp4"
    people: int = 2
    opened: list = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return self.count

    def frames(self) -> Iterator[Frame]:
        self.opened.append(True)
        for index in range(self.count):
            name = picture_name(index) if not self.is_video else str(index)
            yield Frame(index, name, self._picture(index))

    def _picture(self, frame: int) -> np.ndarray:
        width, height = self.size
        image = np.empty((height, width, 3), np.uint8)
        image[:] = np.linspace((196, 206, 214), (150, 156, 160), height)[:, None]
        image[round(0.62 * height) :] = (128, 122, 112)
        order = sorted(range(self.people), key=lambda track: -root_of(track, frame)[2])
        for track in order:
            points = seen(pose_of(track, frame) + root_of(track, frame), self.size)
            points = [tuple(map(int, point)) for point in points]
            thick = max(2, round(0.09 * width / root_of(track, frame)[2]))
            for a, b in HUMAN36M.edges:
                cv2.line(image, points[a], points[b], (70 + 40 * track, 74, 84), thick, cv2.LINE_AA)
        return image


def picture_name(index: int) -> str:
    return f"photo_{index:03}.jpg"


def sample_result(
    frames: int = 12,
    *,
    is_video: bool = True,
    people: int = 2,
    lifters: tuple[str, ...] = ("mixste", "videopose3d"),
    absent: dict[int, tuple[int, ...]] | None = None,
    skeleton_2d: Skeleton = HUMAN36M,
    **source,
) -> Result:
    """Everybody in all frames, but for `absent`: by track, frames that miss the person."""
    source = SampleSource(is_video, frames, people=people, **source)
    absent = absent or {}
    there = [
        (frame, track)
        for frame in range(frames)
        for track in range(people)
        if frame not in absent.get(track, ())
    ]
    rows = np.zeros(len(there), row_dtype(skeleton_2d.num_joints, len(lifters), 17))
    for row, (frame, track) in zip(rows, there, strict=True):
        pose, root = pose_of(track, frame), root_of(track, frame)
        kpts = seen(pose + root, source.size)[: skeleton_2d.num_joints]
        row["frame"], row["track"] = frame, track
        row["kpts_px"], row["kpt_score"] = kpts, 0.9
        margin = 0.1 * np.ptp(kpts[:, 1])
        row["box_xyxy"] = [*(kpts.min(axis=0) - margin), *(kpts.max(axis=0) + margin)]
        row["box_score"] = 0.8
        for index in range(len(lifters)):
            row["pose_m"][index] = pose * (LARGER if index else 1)
            row["root_m"][index] = root
    sizes = np.zeros(frames, FRAME_DTYPE)
    sizes["width"], sizes["height"] = source.size
    return Result(
        source=source,
        rows=rows,
        frames=sizes,
        names=() if is_video else tuple(map(picture_name, range(frames))),
        detector="hrnet_w32",
        lifters=lifters,
        skeleton_2d=skeleton_2d,
        skeleton_3d=HUMAN36M if lifters else skeleton_2d,
        focal_px=float(source.size[0]),
        about={"beta": 100.0, "checkpoints": {"hrnet_w32": "runs/hrnet"}},
    )


def without(result: Result, **changes) -> Result:
    """The result with some of its parts exchanged."""
    return dataclasses.replace(result, **changes)
