"""Records of triangulated poses: one unit is some frames of one camera."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep import pictures, video
from data_prep.building import Problem, Unit
from data_prep.cameras import CalibratedCamera, make_record
from data_prep.multicam.recording import Recording, TriangulatedPoses
from liftjax import geometry
from liftjax.data.schema import Record

FRAMES_OF_A_PART = 300


@dataclasses.dataclass(frozen=True, eq=False)
class CameraUnit(Unit):
    """Frames of one camera of a recording, with their poses.

    Attributes:
      video: the file.
      shown_as: its name in problems.
      frames: (F,) numbers of common time.
      lag: the video shows them at frames + lag.
      world_m: (F, K, 3) joints, world axes.
      seen: (F, K) bool, see :class:`recording.TriangulatedPoses`.
      identity: skeleton, subject, action and trial of the records.
    """

    name: str
    inputs: tuple[str, ...]
    camera: CalibratedCamera
    video: Path
    shown_as: str
    frames: np.ndarray
    lag: int
    world_m: np.ndarray
    seen: np.ndarray
    identity: dict
    full_frames: bool

    def records(self) -> Iterator[Record | Problem]:
        """A record of each frame in which this camera sees the person.

        The 2D joints are the reprojection of the triangulated pose, not the detections, so that 2D
        and 3D agree. A joint is visible if it is in the picture and this camera's detector found
        it, in agreement with the other cameras.
        """
        video_size = video.frame_size(self.video)
        to_video = pictures.letterbox_affine(self.camera.image_size, video_size)
        numbers = (self.frames + self.lag).tolist()
        for row, (number, picture) in enumerate(video.frames_at(self.video, numbers)):
            if picture is None:
                lost = len(numbers) - row
                detail = f"the file ends or breaks; {lost} wanted frames are lost"
                yield Problem("video cut short", self.shown_as, number, detail, lost)
                return
            joints_m = self.camera.to_camera(self.world_m[row])
            if pictures.is_black(picture):
                yield Problem("black picture", self.shown_as, number)
            elif not self.seen[row].any():
                yield Problem("person not seen by this camera", self.shown_as, number)
            elif (joints_m[:, 2] <= 0).any():
                yield Problem("person behind the camera", self.shown_as, number)
            else:
                yield self._record(row, picture, to_video, joints_m)

    def _record(self, row: int, picture, to_video, joints_m: np.ndarray) -> Record | Problem:
        joints_px = self.camera.project(joints_m)
        inside = geometry.inside_image(joints_px, np.array(self.camera.image_size))
        frame, visible = int(self.frames[row]), inside & self.seen[row]
        if not visible.any():
            return Problem("person outside the picture", self.shown_as, frame + self.lag)
        return make_record(
            self.camera,
            joints_m,
            joints_px,
            visible,
            frame=frame,
            picture=picture,
            image_to_picture=to_video,
            full_frame=self.full_frames,
            **self.identity,
        )


def camera_units(
    recording: Recording, poses: TriangulatedPoses, rows: np.ndarray, full_frames: bool
) -> list[CameraUnit]:
    """Units of some of the poses, one camera after another.

    Args:
      rows: indices into `poses.frames`.
      full_frames: store whole pictures.
    """
    files = recording.files
    identity = {
        "skeleton": poses.skeleton,
        "subject": files.subject,
        "action": files.action,
        "trial": files.trial,
    }
    starts = range(0, len(rows), FRAMES_OF_A_PART)
    chunks = [rows[start : start + FRAMES_OF_A_PART] for start in starts]
    return [
        CameraUnit(
            name=f"{files.name}/{camera.name}/{poses.frames[chosen[0]]}",
            inputs=tuple(
                str(path.absolute())
                for path in (files.videos[c], files.calibration, *files.detections)
            ),
            camera=camera,
            video=files.videos[c].absolute(),
            shown_as=files.shown(files.videos[c]),
            frames=poses.frames[chosen],
            lag=poses.lags.frames[c],
            world_m=poses.world_m[chosen],
            seen=poses.seen[c][chosen],
            identity=identity,
            full_frames=full_frames,
        )
        for c, camera in enumerate(files.cameras)
        if poses.seen[c].any()
        for chosen in chunks
    ]
