"""A calibrated camera, and the record of a person whom it sees."""

import dataclasses

import numpy as np

from data_prep import pictures
from liftjax import geometry
from liftjax.data.schema import Record
from liftjax.numbers import usable
from liftjax.skeletons import get_skeleton

_LONGEST_SIDE = 2**17  # pixels; no camera has as many


@dataclasses.dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """A calibrated pinhole camera. Lengths are in metres and pixels.

    Attributes:
      name: as the source calls the camera.
      image_size: (width, height) of the pictures that the calibration is for.
      K: (3, 3) camera matrix.
      distortion: (5,) k1, k2, p1, p2, k3.
      R: (3, 3) rotation from world axes to camera axes (x right, y down, z forward).
      t: (3,) translation: a world point X has the camera coordinates R X + t.
      distortion_model: "opencv" or "human36m".
    """

    name: str
    image_size: tuple[int, int]
    K: np.ndarray
    distortion: np.ndarray
    R: np.ndarray
    t: np.ndarray
    distortion_model: str = "opencv"

    @property
    def position(self) -> np.ndarray:
        """(3,) centre of the camera in the world."""
        return -self.R.T @ self.t

    def to_camera(self, world_m: np.ndarray) -> np.ndarray:
        """World points (..., 3) in camera axes."""
        return geometry.world_to_camera(world_m, self.R, self.t)

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in camera axes."""
        return geometry.project(points_m, self.K, self.distortion, self.distortion_model)

    def project_world(self, world_m: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of world points (..., 3)."""
        return self.project(self.to_camera(world_m))

    def rays(self, px: np.ndarray) -> np.ndarray:
        """Undistorted coordinates (x / z, y / z) of pixels (..., 2)."""
        return geometry.pixel_rays(px, self.K, self.distortion, self.distortion_model)

    def record_fields(self) -> dict:
        """The fields of a record that describe the camera."""
        return {
            "image_size": np.array(self.image_size),
            "camera_K": self.K,
            "camera_R": self.R,
            "camera_t": self.t,
            "camera_distortion": self.distortion,
            "distortion_model": self.distortion_model,
            "camera": self.name,
        }


def check_camera(camera: CalibratedCamera) -> None:
    """Raises ValueError if the numbers cannot be those of a camera."""
    for field in ("K", "distortion", "R", "t"):
        if not usable(getattr(camera, field)).all():
            raise ValueError(f"{field} holds NaN, inf or too large numbers.")
    if camera.K[1, 0] or not np.array_equal(camera.K[2], [0, 0, 1]):
        raise ValueError("the matrix is not [[f, s, x], [0, f, y], [0, 0, 1]].")
    if camera.K[0, 0] <= 0 or camera.K[1, 1] <= 0:
        raise ValueError("the focal length is not positive.")
    rotated = camera.R @ camera.R.T
    if not np.allclose(rotated, np.eye(3), atol=1e-3) or np.linalg.det(camera.R) < 0:
        raise ValueError("the rotation is not a rotation matrix.")
    if min(camera.image_size) < 1 or max(camera.image_size) > _LONGEST_SIDE:
        raise ValueError(f"the picture size is {camera.image_size}.")


def make_record(
    camera: CalibratedCamera,
    joints_m: np.ndarray,
    joints_px: np.ndarray,
    visible: np.ndarray,
    *,
    skeleton: str,
    subject: str,
    action: str,
    frame: int,
    trial: int = 1,
    picture: np.ndarray | None = None,
    image_to_picture: np.ndarray | None = None,
    full_frame: bool = False,
    box_xyxy: np.ndarray | None = None,
) -> Record:
    """The record of a person with a 3D pose.

    Args:
      camera: it took the picture.
      joints_m: (K, 3) in camera axes.
      joints_px: (K, 2) in the original image.
      visible: (K,) bool.
      skeleton: name of the K joints.
      picture: (H, W, 3) BGR frame; None makes a record without a picture.
      image_to_picture: (2, 3), for a frame that is not the original image itself.
      full_frame: store the whole frame, not a crop of the person.
      box_xyxy: (4,); None takes the box around the joints.
    """
    if box_xyxy is None:
        box_xyxy = geometry.box_from_joints(joints_px, camera.image_size)
    image, stored_to_image = b"", np.eye(3)[:2]
    if picture is not None:
        image, stored_to_image = pictures.store(picture, box_xyxy, image_to_picture, full_frame)
    root_m = joints_m[get_skeleton(skeleton).root_index]
    return Record(
        image=image,
        stored_to_image=stored_to_image,
        box_xyxy=box_xyxy,
        joints_px=joints_px,
        joint_visible=visible,
        pose_m=joints_m - root_m,
        root_m=root_m,
        has_3d=True,
        skeleton=skeleton,
        subject=subject,
        action=action,
        frame=frame,
        trial=trial,
        **camera.record_fields(),
    )
