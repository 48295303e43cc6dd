"""Records of the frames of one camera that show one body with a visible root joint."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.building import Problem, Unit
from data_prep.cameras import CalibratedCamera, make_record
from data_prep.panoptic.footage import Footage
from data_prep.panoptic.poses import FOLDER, PoseFile, read_bodies
from data_prep.problems import Unusable
from liftjax import geometry
from liftjax.data.schema import Record
from liftjax.skeletons import PANOPTIC

MIN_CONFIDENCE = 0.1  # a joint with less or as much is invisible


def relative(problem: Problem, source) -> Problem:
    return dataclasses.replace(problem, file=str(Path(problem.file).relative_to(source)))


@dataclasses.dataclass(frozen=True)
class CameraFrames(Unit):
    """Some frames of one camera and sequence.

    Attributes:
      poses: one file for each of `footage.frames`; None if it is missing.
    """

    source: str
    sequence: str
    calibration: str
    camera: CalibratedCamera
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
        labels = {n: self._label(n, file) for n, file in zip(frames, self.poses, strict=True)}
        labelled = [n for n, label in labels.items() if not isinstance(label, Problem)]
        shown = self.footage.pictures(labelled)
        for number, label in labels.items():
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
        except Unusable as fault:
            detail = f"{fault.detail}, " if fault.detail else ""
            return Problem(fault.kind, file.name, number, f"{detail}camera {self.camera.name}")

    def _record(self, number: int, label: "_Label", picture: np.ndarray) -> Record:
        return make_record(
            self.camera,
            label.points_m,
            label.joints_px,
            label.visible,
            skeleton=PANOPTIC.name,
            subject=self.sequence,
            action=self.sequence,
            frame=number,
            picture=picture,
            full_frame=self.full_frames,
        )


@dataclasses.dataclass(frozen=True)
class _Label:
    """A body before a camera: (15, 3) metres in its axes, (15, 2) pixels, (15,) bool."""

    points_m: np.ndarray
    joints_px: np.ndarray
    visible: np.ndarray


def _label(file: PoseFile, camera: CalibratedCamera) -> _Label:
    """The only body of a frame, with the joints of the joint set `panoptic`.

    A joint counts as visible if it was found with some confidence and lies in the picture, even if
    something hides it.

    Raises:
      Unusable: the frame has no body, several, or one without usable joints.
    """
    joints = _body(file)[: PANOPTIC.num_joints]
    finite = np.isfinite(joints).all(axis=1)
    if not finite.all():
        raise Unusable("NaN joints", ", ".join(np.array(PANOPTIC.joints)[~finite]))
    # A joint that was not found has confidence -1 and lies at the world's origin.
    lost = (joints[:, 3] < 0) | (joints[:, :3] == 0).all(axis=1)
    if lost.any():
        raise Unusable("joints without 3D", ", ".join(np.array(PANOPTIC.joints)[lost]))
    points = camera.to_camera(joints[:, :3])
    if (points[:, 2] <= 0).any():
        raise Unusable("joints behind the camera")
    joints_px = camera.project(points)
    confident = joints[:, 3] > MIN_CONFIDENCE
    inside = geometry.inside_image(joints_px, camera.image_size)
    root = PANOPTIC.root_index
    if not confident[root]:
        raise Unusable("root not visible", f"confidence {joints[root, 3]:g}")
    if not inside[root]:
        raise Unusable("root not visible", "outside the picture")
    return _Label(points, joints_px, inside & confident)


def _body(file: PoseFile) -> np.ndarray:
    """(19, 4) of the only body in the frame."""
    try:
        bodies = read_bodies(file.read())
    except FileNotFoundError:
        raise Unusable("missing pose") from None
    except (OSError, ValueError) as error:
        raise Unusable("malformed pose file", str(error)) from error
    if not bodies:
        raise Unusable("no body")
    if len(bodies) > 1:
        raise Unusable("more than one body", f"{len(bodies)} bodies")
    return bodies[0]
