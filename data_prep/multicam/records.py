"""Records of triangulated poses: one unit is some frames of one camera."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep import pictures, video
from data_prep.building import Problem, Unit
from data_prep.multicam.calibration import Camera
from data_prep.multicam.letterbox import image_to_video
from data_prep.multicam.recording import Poses, Recording
from liftjax import geometry
from liftjax.data.schema import Record
from liftjax.skeletons import get_skeleton

FRAMES_OF_A_PART = 300


@dataclasses.dataclass(frozen=True, eq=False)
class CameraUnit(Unit):
    """Frames of one camera of a recording, with their poses.

    Attributes:
      video: its file; `shown_as` is the name for problems.
      frames: (F,) numbers of common time. lag: the video shows them at frames + lag.
      world_m: (F, K, 3) joints, world axes. seen: (F, K) bool, see :class:`recording.Poses`.
    """

    name: str
    inputs: tuple[str, ...]
    camera: Camera
    video: Path
    shown_as: str
    frames: np.ndarray
    lag: int
    world_m: np.ndarray
    seen: np.ndarray
    skeleton: str
    subject: str
    action: str
    trial: int
    full_frames: bool

    def records(self) -> Iterator[Record | Problem]:
        """A record of each frame in which this camera sees the person.

        The 2D joints are the reprojection of the triangulated pose, not the detections, so that 2D
        and 3D agree. A joint is visible if this camera's detector found it, in agreement with the
        other cameras, and it is in the picture.
        """
        to_video = image_to_video(self.camera.image_size, video.frame_size(self.video))
        numbers = (self.frames + self.lag).tolist()
        for row, (number, picture) in enumerate(video.frames_at(self.video, numbers)):
            if picture is None:
                detail = f"the file ends or breaks; {len(numbers) - row} wanted frames are lost"
                yield Problem("video cut short", self.shown_as, number, detail, len(numbers) - row)
                return
            if pictures.is_black(picture):
                yield Problem("black picture", self.shown_as, number)
            elif not self.seen[row].any():
                yield Problem("person not seen by this camera", self.shown_as, number)
            else:
                yield from self._record(row, picture, to_video)

    def _record(self, row: int, picture, to_video) -> Iterator[Record | Problem]:
        camera = self.camera
        pose = geometry.world_to_camera(self.world_m[row], camera.R, camera.t)
        number = int(self.frames[row]) + self.lag
        if (pose[:, 2] <= 0).any():
            yield Problem("person behind the camera", self.shown_as, number)
            return
        root = get_skeleton(self.skeleton).root_index
        joints_px = geometry.project(pose, camera.K, camera.distortion)
        size = np.array(camera.image_size)
        visible = geometry.inside_image(joints_px, size) & self.seen[row]
        if not visible.any():
            yield Problem("person outside the picture", self.shown_as, number)
            return
        box = geometry.box_from_joints(joints_px, size)
        image, stored_to_image = pictures.store(picture, box, to_video, self.full_frames)
        yield Record(
            image=image,
            stored_to_image=stored_to_image,
            image_size=size,
            box_xyxy=box,
            joints_px=joints_px,
            joint_visible=visible,
            pose_m=pose - pose[root],
            root_m=pose[root],
            has_3d=True,
            camera_K=camera.K,
            camera_R=camera.R,
            camera_t=camera.t,
            camera_distortion=camera.distortion,
            distortion_model="opencv",
            skeleton=self.skeleton,
            subject=self.subject,
            action=self.action,
            camera=camera.name,
            frame=int(self.frames[row]),
            trial=self.trial,
        )


def units(
    recording: Recording, poses: Poses, rows: np.ndarray, full_frames: bool
) -> list[CameraUnit]:
    """Units of some of the poses, camera after camera.

    Args:
      rows: indices into `poses.frames`.
    """
    files = recording.files
    where = (files.calibration, *files.detections)
    made = []
    for c, camera in enumerate(files.cameras):
        if not poses.seen[c].any():
            continue
        for start in range(0, len(rows), FRAMES_OF_A_PART):
            chosen = rows[start : start + FRAMES_OF_A_PART]
            made.append(
                CameraUnit(
                    name=f"{files.name}/{camera.name}/{poses.frames[chosen[0]]}",
                    inputs=tuple(str(p.absolute()) for p in (files.videos[c], *where)),
                    camera=camera,
                    video=files.videos[c].absolute(),
                    shown_as=files.shown(files.videos[c]),
                    frames=poses.frames[chosen],
                    lag=poses.lags.frames[c],
                    world_m=poses.world_m[chosen],
                    seen=poses.seen[c][chosen],
                    skeleton=poses.skeleton,
                    subject=files.subject,
                    action=files.action,
                    trial=files.trial,
                    full_frames=full_frames,
                )
            )
    return made
