"""One sequence as one camera sees it, as records."""

import dataclasses
import os
from collections.abc import Iterator

import numpy as np

from data_prep.building import Problem, Unit
from data_prep.cameras import make_record
from data_prep.checks import check_leg_lengths, leg_length
from data_prep.human36m.cameras import published_camera
from data_prep.human36m.names import MISALIGNED
from data_prep.human36m.sequences import JOINTS_OF_32, in_picture
from liftjax import geometry
from liftjax.data.schema import Record
from liftjax.skeletons import HUMAN36M

_FAR = 0.2  # of the box's longer side: no detector is so wrong in half of all frames


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceView(Unit):
    """Poses of a sequence for one camera.

    Attributes:
      world_m: (F, 32, 3) metres, world axes; frame n is row n.
      keypoints_px: (up to F, 17, 2) pixels; None to project the poses.
    """

    name: str
    inputs: tuple[str, ...]
    subject: str
    action: str
    trial: int
    camera: str
    stride: int
    world_m: np.ndarray
    keypoints_px: np.ndarray | None

    def records(self) -> Iterator[Record | Problem]:
        view = published_camera(self.subject, self.camera)
        length = len(self.world_m if self.keypoints_px is None else self.keypoints_px)
        frames = np.arange(0, length, self.stride)
        joints_FK3 = view.to_camera(self.world_m[frames][:, JOINTS_OF_32].astype(np.float64))
        in_front = np.where(joints_FK3[..., 2:] > 0, joints_FK3, np.nan)
        px_FK2 = projected_FK2 = view.project(in_front)
        if self.keypoints_px is not None:
            px_FK2 = self.keypoints_px[frames].astype(np.float64)
            yield from self._far_from(px_FK2, projected_FK2)
        if (self.subject, self.action, self.trial) in MISALIGNED:
            detail = f"{self.name}: labels are known to drift off the person in part of it"
            yield Problem("misaligned sequence", self._file(0), None, detail, dropped=0)
        boxes_F4 = geometry.box_from_joints(px_FK2, view.image_size)
        visible_FK = in_picture(px_FK2, view.image_size)
        whole_2d, whole_3d = (np.isfinite(a).all(axis=(1, 2)) for a in (px_FK2, joints_FK3))
        for row, frame in enumerate(frames.tolist()):
            if not whole_3d[row]:
                yield Problem("NaN joints", self._file(0), frame, self.name)
            elif joints_FK3[row, :, 2].min() <= 0:
                yield Problem("behind the camera", self._file(0), frame, self.name)
            elif not whole_2d[row]:
                yield Problem("NaN joints", self._file(-1), frame, self.name)
            else:
                yield make_record(
                    view,
                    joints_FK3[row],
                    px_FK2[row],
                    visible_FK[row],
                    skeleton=HUMAN36M.name,
                    subject=self.subject,
                    action=self.action,
                    frame=frame,
                    trial=self.trial,
                    box_xyxy=boxes_F4[row],
                )

    def check_scale(self) -> None:
        """Raises if the first poses are not of human size in metres."""
        poses = self.world_m[:10, JOINTS_OF_32]
        lengths = [leg_length(p, HUMAN36M.name) for p in poses if np.isfinite(p).all()]
        if lengths:
            check_leg_lengths(lengths, self)

    def _file(self, index: int) -> str:
        return os.path.basename(self.inputs[index])

    def _far_from(self, px_FK2: np.ndarray, projected_FK2: np.ndarray) -> Iterator[Problem]:
        """The remark that 2D and 3D are of different people, cameras or frames."""
        with np.errstate(invalid="ignore"):
            distance_F = np.linalg.norm(px_FK2 - projected_FK2, axis=-1).mean(axis=-1)
            side_F = np.ptp(projected_FK2, axis=1).max(axis=-1)
        whole = np.isfinite(distance_F) & np.isfinite(side_F)
        if whole.any() and np.median(distance_F[whole] / side_F[whole]) > _FAR:
            detail = (
                f"{self.name}: median distance of {np.median(distance_F[whole]):.0f} px between "
                "keypoints and projected poses; is the file of these cameras and frames?"
            )
            yield Problem("keypoints far from the poses", self._file(-1), None, detail, 0)
