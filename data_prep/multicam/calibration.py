"""Reads camera calibrations; today Qualisys' .qca.txt files."""

import dataclasses
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from liftjax.errors import LiftjaxError

# Qualisys writes lengths on the sensor in sixty-fourths of a pixel.
_SUBPIXELS = 64
# Its camera axes are x right, y up, z backward.
_QUALISYS_TO_OPENCV = np.diag([1.0, -1.0, -1.0])


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera with OpenCV's distortion; lengths in metres and pixels.

    Attributes:
      name: as in the calibration file.
      K: (3, 3). distortion: (5,) k1, k2, p1, p2, k3.
      R: (3, 3), t: (3,): a world point X has camera coordinates R X + t (x right, y down, z
        forward).
      image_size: (width, height) of the pictures that the calibration is for.
    """

    name: str
    K: np.ndarray
    distortion: np.ndarray
    R: np.ndarray
    t: np.ndarray
    image_size: tuple[int, int]


def read_qualisys(path) -> list[Camera]:
    """The cameras of a Qualisys calibration file (.qca.txt, which is XML)."""
    path = Path(path)
    if not path.exists():
        raise LiftjaxError(f"The calibration is missing: expected {path}.")
    try:
        cameras = ElementTree.parse(path).getroot().findall("./cameras/camera")
        if not cameras:
            raise LiftjaxError(f"{path} lists no cameras; is it a Qualisys .qca.txt file?")
        return [_qualisys_camera(camera) for camera in cameras]
    except (ElementTree.ParseError, KeyError, AttributeError, ValueError) as error:
        if isinstance(error, LiftjaxError):
            raise
        raise LiftjaxError(f"{path} is not a Qualisys calibration ({error!r}).") from None


def _qualisys_camera(element: ElementTree.Element) -> Camera:
    lens, pose = element.find("intrinsic").attrib, element.find("transform").attrib
    fx, fy, cx, cy, skew = (
        float(lens[key]) / _SUBPIXELS
        for key in ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV", "skew")
    )
    k1, k2, k3 = (float(lens[f"radialDistortion{i}"]) for i in (1, 2, 3))
    p1, p2 = (float(lens[f"tangentalDistortion{i}"]) for i in (1, 2))
    R = np.array([[float(pose[f"r{i}{j}"]) for j in (1, 2, 3)] for i in (1, 2, 3)])
    if not np.allclose(R @ R.T, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
        raise ValueError(f"the rotation of camera {element.get('serial')} is not a rotation")
    R = _QUALISYS_TO_OPENCV @ R
    center_m = np.array([float(pose[axis]) for axis in "xyz"]) / 1000
    field = element.find("fov_video").attrib
    return Camera(
        name=element.get("serial"),
        K=np.array([[fx, skew, cx], [0, fy, cy], [0, 0, 1]]),
        distortion=np.array([k1, k2, p1, p2, k3]),
        R=R,
        t=-R @ center_m,
        image_size=(
            int(field["right"]) - int(field["left"]) + 1,
            int(field["bottom"]) - int(field["top"]) + 1,
        ),
    )
