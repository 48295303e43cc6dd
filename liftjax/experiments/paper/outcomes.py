"""What one source of keypoints gives on the test samples, kept so that any measure can be taken.

Legend: N samples, K joints. Keypoints are pixels of the original image, poses metres, errors
millimetres.
"""

import dataclasses
import functools
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from liftjax import metrics
from liftjax.data.schema import known_joints
from liftjax.errors import LiftjaxError, check_name
from liftjax.writing import whole_file

Outcomes = Mapping[str, "Outcome"]  # by run id

_KPTS, _POSE = "kpts_px", "pose_m/"
_MOMENT = ("subject", "action", "trial", "frame")  # what the cameras of one instant share


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What one detector (or the labels themselves) gives on the N test samples.

    Errors in 3D are NaN for samples without a 3D label, which count in 2D only.

    Attributes:
      labels: of the test samples, see `PoseDataset.labels`.
      skeleton: name of the joint set.
      kpts_px_NK2: keypoints found.
      poses_m: (N, K, 3) by lifter, lifted from those.
    """

    labels: Mapping[str, np.ndarray]
    skeleton: str
    kpts_px_NK2: np.ndarray
    poses_m: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.kpts_px_NK2)

    @property
    def lifters(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.poses_m)

    @functools.cached_property
    def has_3d_N(self) -> np.ndarray:
        """Samples with a 3D label."""
        return np.asarray(self.labels["has_3d"], bool)

    @functools.cached_property
    def moment_N(self) -> np.ndarray:
        """A number for each instant of each sequence, which all its cameras share."""
        columns = [self.labels[field] for field in _MOMENT if field in self.labels]
        if not columns:
            return np.arange(len(self))
        codes = [np.unique(column, return_inverse=True)[1] for column in columns]
        return np.unique(np.stack(codes, axis=-1), axis=0, return_inverse=True)[1]

    # 3D

    def pose_m(self, lifter: str) -> np.ndarray:
        """(N, K, 3) poses that `lifter` makes of the keypoints."""
        check_name("lifter", lifter, self.poses_m)
        return self.poses_m[lifter]

    def joint_error_mm(self, lifter: str) -> np.ndarray:
        """(N, K) distance of each joint from the truth, root-relative."""
        return self._if_3d(metrics.joint_distances(self.pose_m(lifter), self.labels["pose_m"]))

    def error_mm(self, lifter: str) -> np.ndarray:
        """(N,) MPJPE of each sample."""
        return self.joint_error_mm(lifter).mean(axis=-1)

    def aligned_mm(self, lifter: str) -> np.ndarray:
        """(N,) P-MPJPE of each sample: after similarity alignment to its truth."""
        if lifter not in self._aligned_mm:  # it takes long, and several tables ask for it
            error_m_N = metrics.p_mpjpe(self.pose_m(lifter), self.labels["pose_m"])
            self._aligned_mm[lifter] = self._if_3d(error_m_N)
        return self._aligned_mm[lifter]

    @functools.cached_property
    def median_error_mm(self) -> np.ndarray:
        """(N,) MPJPE of the median over lifters, of each joint and axis by itself."""
        median_m_NK3 = np.median(np.stack(list(self.poses_m.values())), axis=0)
        return self._if_3d(metrics.mpjpe(median_m_NK3, self.labels["pose_m"]))

    @functools.cached_property
    def _aligned_mm(self) -> dict[str, np.ndarray]:
        return {}

    def _if_3d(self, error_m: np.ndarray) -> np.ndarray:
        """Metres (N, ...) as float64 millimetres, NaN where there is no 3D label."""
        error_mm = 1000 * np.asarray(error_m, np.float64)
        error_mm[~self.has_3d_N] = np.nan
        return error_mm

    # 2D

    @functools.cached_property
    def visible_NK(self) -> np.ndarray:
        return np.asarray(self.labels["joint_visible"]) > 0

    @functools.cached_property
    def error_px_NK(self) -> np.ndarray:
        """Distance of each keypoint from its label, whether it is visible or not."""
        distances = metrics.joint_distances(self.kpts_px_NK2, self.labels["joints_px"])
        return np.asarray(distances, np.float64)

    @functools.cached_property
    def mean_error_px_N(self) -> np.ndarray:
        """Mean 2D error over the visible joints."""
        return self.mean_over_visible(self.error_px_NK)

    def mean_over_visible(self, values_NK: np.ndarray) -> np.ndarray:
        """(N,) means over each sample's visible joints; NaN for a sample without any."""
        sum_N, count_N = np.where(self.visible_NK, values_NK, 0).sum(-1), self.visible_NK.sum(-1)
        return np.where(count_N > 0, sum_N / np.maximum(count_N, 1), np.nan)

    @functools.cached_property
    def correct_NK(self) -> np.ndarray:
        """Visible joints within 20 % of the box's longer side, as PCK@0.2 counts them."""
        true_px_NK2, box_xyxy = self.labels["joints_px"], self.labels["box_xyxy"]
        return metrics.correct_by_box(self.kpts_px_NK2, true_px_NK2, box_xyxy, self.visible_NK)

    @functools.cached_property
    def by_torso_NK(self) -> np.ndarray:
        """Visible joints within 20 % of the torso's diagonal, as PDJ@0.2 counts them."""
        return metrics.correct_by_torso(
            self.kpts_px_NK2, self.labels["joints_px"], self.skeleton, **self._torso
        )

    @functools.cached_property
    def with_torso_NK(self) -> np.ndarray:
        """Visible joints of samples whose torso has a known length: those that PDJ@0.2 is of."""
        return metrics.counted_by_torso(self.labels["joints_px"], self.skeleton, **self._torso)

    @property
    def _torso(self) -> dict[str, np.ndarray]:
        return {"visible": self.visible_NK, "known": known_joints(self.labels)}

    @functools.cached_property
    def perfect_N(self) -> np.ndarray:
        """Samples whose visible joints are all correct, of which they have at least one."""
        missed_NK = self.visible_NK & ~self.correct_NK
        return self.visible_NK.any(axis=-1) & ~missed_NK.any(axis=-1)


def save(path, kpts_px_NK2: np.ndarray, poses_m: Mapping[str, np.ndarray]) -> None:
    """Writes keypoints and poses as float32; a reader finds the whole file or none."""
    arrays = {_KPTS: kpts_px_NK2} | {_POSE + name: pose for name, pose in poses_m.items()}
    with whole_file(path) as partial, partial.open("wb") as stream:
        np.savez(stream, **{key: np.asarray(a, np.float32) for key, a in arrays.items()})


def load(path, labels: Mapping[str, np.ndarray], skeleton: str) -> Outcome:
    """The outcome that `save` wrote, of the samples that `labels` are of."""
    path = Path(path)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        kpts_px_NK2 = arrays.pop(_KPTS)
    except FileNotFoundError:
        raise LiftjaxError(f"{path} is missing; run the command again to make it.") from None
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise LiftjaxError(
            f"{path} is damaged ({error}); delete it and run the command again."
        ) from None
    if kpts_px_NK2.shape != np.shape(labels["joints_px"]):
        raise LiftjaxError(
            f"{path} has keypoints {kpts_px_NK2.shape}, the test samples' labels are "
            f"{np.shape(labels['joints_px'])}: it is of other data; delete it and run again."
        )
    poses_m = {key.removeprefix(_POSE): pose for key, pose in arrays.items()}
    return Outcome(labels, skeleton, kpts_px_NK2, poses_m)
