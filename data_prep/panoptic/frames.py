"""Frames of one camera as records: those that show one body, its root in sight."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep import pictures
from data_prep.building import Problem, Unit
from data_prep.panoptic.calibration import Camera
from data_prep.panoptic.footage import Footage
from data_prep.panoptic.poses import FOLDER, PoseFile, read_bodies
from liftjax import geometry
from liftjax.data.schema import Record
from liftjax.skeletons import PANOPTIC

MIN_CONFIDENCE = 0.1  # a joint of no more is invisible


def relative(problem: Problem, source) -> Problem:
    return dataclasses.replace(problem, file=str(Path(problem.file).relative_to(source)))


@dataclasses.dataclass(frozen=True)
class CameraFrames(Unit):
    """Frames of one camera and sequence; `poses` as `footage.frames`, None where no file is."""

    source: str
    sequence: str
    calibration: str
    camera: Camera
    poses: tuple[PoseFile | None, ...]
    footage: Footage
    full_frames: bool

    @property
    def name(self) -> str:
        first, last = self.footage.frames[0], self.footage.frames[-1]
        return f"{self.sequence}/{self.camera.name}/{first}-{last}"

    @property
    def inputs(self) -> tuple[str, ...]:
        files = dict.fromkeys(file.path for file in self.poses if file)
        return (*files, self.calibration, *self.footage.inputs)

    def records(self) -> Iterator[Record | Problem]:
        frames = self.footage.frames
        labels = [self._label(n, file) for n, file in zip(frames, self.poses, strict=True)]
        pairs = list(zip(frames, labels, strict=True))
        shown = self.footage.pictures([n for n, label in pairs if not isinstance(label, Problem)])
        for number, label in pairs:
            found = label if isinstance(label, Problem) else next(shown)
            if isinstance(found, Problem):
                yield relative(found, self.source)
            else:
                yield self._record(number, label, found)

    def _label(self, number: int, file: PoseFile | None) -> "_Label | Problem":
        if file is None:
            folder = Path(self.source) / self.sequence / FOLDER
            file = PoseFile(str(folder / f"body3DScene_{number:08d}.json"))
        try:
            return _label(file, self.camera)
        except _Useless as useless:
            kind, detail = useless.args
            place = f"camera {self.camera.name}"
            return Problem(kind, file.name, number, f"{detail}, {place}" if detail else place)

    def _record(self, number: int, label: "_Label", picture: np.ndarray) -> Record:
        camera = self.camera
        size = np.array(camera.image_size)
        box = geometry.box_from_joints(label.joints_px, size)
        image, stored_to_image = pictures.store(picture, box, full_frame=self.full_frames)
        root = label.points_m[PANOPTIC.root_index]
        return Record(
            image=image,
            stored_to_image=stored_to_image,
            image_size=size,
            box_xyxy=box,
            joints_px=label.joints_px,
            joint_visible=label.visible,
            pose_m=label.points_m - root,
            root_m=root,
            has_3d=True,
            camera_K=camera.K,
            camera_R=camera.R,
            camera_t=camera.t,
            camera_distortion=camera.distortion,
            distortion_model="opencv",
            skeleton=PANOPTIC.name,
            subject=self.sequence,
            action=self.sequence,
            camera=camera.name,
            frame=number,
        )


@dataclasses.dataclass(frozen=True)
class _Label:
    """A body in a camera: (15, 3) points in its axes, (15, 2) pixels, (15,) visible."""

    points_m: np.ndarray
    joints_px: np.ndarray
    visible: np.ndarray


class _Useless(Exception):
    """A frame of which no record can be made: kind and detail of the problem."""


def _label(file: PoseFile, camera: Camera) -> _Label:
    """The one body of a frame in the joints of the skeleton `panoptic`.

    A joint is visible if it was found with some confidence and lies in the picture; it may well
    be hidden behind something.
    """
    joints = _body(file)[: PANOPTIC.num_joints]
    finite = np.isfinite(joints).all(axis=1)
    if not finite.all():
        raise _Useless("NaN joints", ", ".join(np.array(PANOPTIC.joints)[~finite]))
    # A joint that was not found has confidence -1 and lies at the world's origin.
    lost = (joints[:, 3] < 0) | (joints[:, :3] == 0).all(axis=1)
    if lost.any():
        raise _Useless("joints without 3D", ", ".join(np.array(PANOPTIC.joints)[lost]))
    points = geometry.world_to_camera(joints[:, :3], camera.R, camera.t)
    if (points[:, 2] <= 0).any():
        raise _Useless("joints behind the camera", "")
    joints_px = geometry.project(points, camera.K, camera.distortion)
    confident = joints[:, 3] > MIN_CONFIDENCE
    inside = geometry.inside_image(joints_px, camera.image_size)
    root = PANOPTIC.root_index
    if not confident[root]:
        raise _Useless("root not visible", f"confidence {joints[root, 3]:g}")
    if not inside[root]:
        raise _Useless("root not visible", "outside the picture")
    return _Label(points, joints_px, inside & confident)


def _body(file: PoseFile) -> np.ndarray:
    """(19, 4) of the only body in the frame."""
    try:
        bodies = read_bodies(file.read())
    except FileNotFoundError:
        raise _Useless("missing pose", "") from None
    except (OSError, ValueError) as error:
        raise _Useless("malformed pose file", str(error)) from error
    if not bodies:
        raise _Useless("no body", "")
    if len(bodies) > 1:
        raise _Useless("more than one body", f"{len(bodies)} bodies")
    return bodies[0]
