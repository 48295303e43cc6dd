"""A calibrated camera, as builders hand it to records."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """A pinhole camera with OpenCV's distortion; lengths in metres and pixels.

    Attributes:
      image_size: (width, height) of its pictures.
      K: (3, 3).
      distortion: (5,) k1, k2, p1, p2, k3.
      R: (3, 3) and t: (3,); a world point X has camera coordinates R X + t.
    """

    name: str
    image_size: tuple[int, int]
    K: np.ndarray
    distortion: np.ndarray
    R: np.ndarray
    t: np.ndarray

    @property
    def position(self) -> np.ndarray:
        """(3,) centre of the camera in the world."""
        return -self.R.T @ self.t

    def record_fields(self) -> dict:
        """The fields of a record that tell the camera."""
        return {
            "image_size": np.array(self.image_size),
            "camera_K": self.K,
            "camera_R": self.R,
            "camera_t": self.t,
            "camera_distortion": self.distortion,
            "distortion_model": "opencv",
            "camera": self.name,
        }
