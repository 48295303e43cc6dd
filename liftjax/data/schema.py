"""The record of all data sets: a person in a picture.

2D is in pixels of the original image (integers are pixel centres, x right, y down). 3D is in
metres and camera axes (x right, y down, z forward), with the root joint at the origin.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from liftjax.errors import LiftjaxError
from liftjax.geometry import DISTORTION_MODELS
from liftjax.skeletons import get_skeleton

SCHEMA_VERSION = 2  # of the stored fields; a data set with a larger one is refused
METADATA_FILE = "liftjax.json"  # beside the records: version, counts, statistics


@dataclasses.dataclass(frozen=True)
class Record:
    """One person in one image, with labels. K is the joint count of `skeleton`.

    Attributes:
      image: JPEG bytes, of the whole picture or of a crop around the person; b"" for a pose
        without a picture, which is enough to train lifters.
      stored_to_image: (2, 3) affine from pixels of the stored JPEG to pixels of the original image.
      image_size: (2,) width and height of the original image.
      box_xyxy: (4,) person box in the original image.
      joints_px: (K, 2).
      joint_visible: (K,) bool.
      pose_m: (K, 3) root-relative; zeros if `has_3d` is false.
      root_m: (3,) root position.
      camera_K: (3, 3).
      camera_R, camera_t: (3, 3) and (3,) take world to camera axes: R X + t, metres.
      camera_distortion: (5,) k1, k2, p1, p2, k3.
      distortion_model: "opencv" or "human36m".
      subject, action, camera: names.
      frame: number in the original recording.
      trial: number of the subject's repetition of the action, from 1.
    """

    image: bytes
    stored_to_image: np.ndarray
    image_size: np.ndarray
    box_xyxy: np.ndarray
    joints_px: np.ndarray
    joint_visible: np.ndarray
    pose_m: np.ndarray
    root_m: np.ndarray
    has_3d: bool
    camera_K: np.ndarray
    camera_R: np.ndarray
    camera_t: np.ndarray
    camera_distortion: np.ndarray
    distortion_model: str
    skeleton: str
    subject: str
    action: str
    camera: str
    frame: int
    trial: int = 1

    @property
    def name(self) -> str:
        """What error messages call this record."""
        return record_name(self.subject, self.action, self.trial, self.camera, self.frame)

    def validate(self) -> "Record":
        """The record with the stored dtypes; raises a LiftjaxError for wrong shapes or values."""
        joints = get_skeleton(self.skeleton).num_joints
        arrays = {}
        for field, (dtype, shape) in array_fields(joints).items():
            array = np.asarray(getattr(self, field), dtype)
            if array.shape != shape:
                raise LiftjaxError(
                    f"{self.name}: {field} has shape {array.shape}, {self.skeleton} needs {shape}."
                )
            if not np.isfinite(array).all():
                raise LiftjaxError(
                    f"{self.name}: {field} holds NaN or inf; drop the frame or fill the gap."
                )
            arrays[field] = array
        if self.distortion_model not in DISTORTION_MODELS:
            raise LiftjaxError(
                f"{self.name}: distortion model {self.distortion_model!r} is not one of "
                f"{', '.join(DISTORTION_MODELS)}."
            )
        return dataclasses.replace(self, **arrays)


def record_name(subject: str, action: str, trial: int, camera: str, frame: int) -> str:
    """What error messages call a record, by the fields of IDENTITY."""
    repetition = f" {trial}" if trial != 1 else ""
    return f"{subject}/{action}{repetition}/{camera}/frame {frame}"


def array_fields(num_joints: int) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """dtype and shape of every array field of a record with `num_joints` joints."""
    f32, f64 = np.dtype(np.float32), np.dtype(np.float64)
    return {
        "stored_to_image": (f64, (2, 3)),
        "image_size": (np.dtype(np.int32), (2,)),
        "box_xyxy": (f32, (4,)),
        "joints_px": (f32, (num_joints, 2)),
        "joint_visible": (np.dtype(bool), (num_joints,)),
        "pose_m": (f32, (num_joints, 3)),
        "root_m": (f32, (3,)),
        "camera_K": (f64, (3, 3)),
        "camera_R": (f64, (3, 3)),
        "camera_t": (f64, (3,)),
        "camera_distortion": (f64, (5,)),
    }


def known_joints(labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N, K) bool: joints of N records whose true place in the picture is known.

    They are the visible joints, and all joints of a record with 3D, which are projections. Other
    joints are not labelled and may be anywhere.
    """
    visible_NK = np.asarray(labels["joint_visible"]) > 0
    return visible_NK | np.asarray(labels["has_3d"], bool)[:, None]


IDENTITY = ("subject", "action", "trial", "camera", "frame")
"""Fields that together tell a record from all others of its data set."""

STRING_FIELDS = ("distortion_model", "skeleton", "subject", "action", "camera")
