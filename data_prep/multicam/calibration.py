"""Reads camera calibrations: Qualisys' .qca.txt and OpenCV-style .toml files.

The .toml files are those of Pose2Sim, Anipose and Caliscope: one section a camera with `name`,
`size`, `matrix`, `distortions`, `rotation` (Rodrigues vector), `translation` and `fisheye`.
"""

import dataclasses
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np

from liftjax.errors import LiftjaxError

UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001}  # of a .toml file's translations; .qca.txt has mm
# Qualisys writes lengths on the sensor in sixty-fourths of a pixel.
_SUBPIXELS = 64
# Its camera axes are x right, y up, z backward.
_QUALISYS_TO_OPENCV = np.diag([1.0, -1.0, -1.0])


@dataclasses.dataclass(frozen=True, eq=False)
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


def read_calibration(path, unit: str = "m") -> list[Camera]:
    """The cameras of a calibration file, in its order.

    Args:
      path: NAME.toml or NAME.qca.txt.
      unit: of the translations in a .toml file: "m", "cm" or "mm".
    """
    path = Path(path)
    if not path.is_file():
        raise LiftjaxError(f"The calibration is missing: expected {path}.")
    cameras = _read_toml(path, UNITS_M[unit]) if path.suffix == ".toml" else read_qualisys(path)
    names = [camera.name for camera in cameras]
    for name in names:
        if names.count(name) > 1:
            raise LiftjaxError(f"{path}: two cameras are called {name!r}; rename one.")
    return cameras


def is_calibration(path: Path) -> bool:
    """Whether a file is named and, if .toml, laid out like a calibration (Config.toml is not)."""
    if path.name.endswith(".qca.txt"):
        return True
    if path.suffix != ".toml":
        return False
    try:
        return bool(_camera_sections(tomllib.loads(path.read_text())))
    except (ValueError, OSError):  # unreadable: one, unless its name says something else
        return "calib" in path.name.lower()


def read_qualisys(path) -> list[Camera]:
    """The cameras of a Qualisys calibration file (.qca.txt, which is XML)."""
    path = Path(path)
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
    return _checked(
        Camera(
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
    )


def _read_toml(path: Path, unit_m: float) -> list[Camera]:
    try:
        sections = _camera_sections(tomllib.loads(path.read_text()))
    except ValueError as error:
        raise LiftjaxError(f"{path} is not a TOML file ({error}).") from None
    if not sections:
        raise LiftjaxError(
            f"{path} lists no cameras: expected sections with matrix, distortions, rotation and "
            "translation."
        )
    cameras = []
    for key, section in sections.items():
        try:
            cameras.append(_toml_camera(key, section, unit_m))
        except KeyError as error:
            raise LiftjaxError(f"{path}, [{key}]: {error.args[0]} is missing.") from None
        except (ValueError, TypeError) as error:
            raise LiftjaxError(f"{path}, [{key}]: {error}") from None
    return cameras


def _camera_sections(document: dict) -> dict[str, dict]:
    return {
        key: section
        for key, section in document.items()
        if isinstance(section, dict) and {"matrix", "rotation"} & set(section)
    }


def _toml_camera(key: str, section: dict, unit_m: float) -> Camera:
    if section.get("fisheye"):
        raise ValueError(
            "a fisheye camera; records know OpenCV's pinhole model only. Undistort the videos and "
            "give the calibration of the new pictures."
        )
    width, height = _numbers(section, "size", (2,))
    rotation = _numbers(section, "rotation", (3,))
    return _checked(
        Camera(
            name=str(section.get("name", key)),
            K=_numbers(section, "matrix", (3, 3)),
            distortion=_five(section["distortions"]),
            R=cv2.Rodrigues(rotation)[0],
            t=unit_m * _numbers(section, "translation", (3,)),
            image_size=(round(width), round(height)),
        )
    )


def _five(distortions) -> np.ndarray:
    """(5,) k1, k2, p1, p2, k3 of a list of 4 or 5, or of more whose rest is zero."""
    values = np.asarray(distortions, float).ravel()
    if values.size < 4 or values[5:].any():
        raise ValueError(f"distortions has {values.size} numbers, expected 4 or 5: k1 k2 p1 p2 k3.")
    return np.append(values, 0.0)[:5] if values.size == 4 else values[:5]


def _numbers(section: dict, key: str, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(section[key], float)
    if array.shape != shape:
        raise ValueError(f"{key} has shape {array.shape}, expected {shape}.")
    return array


def _checked(camera: Camera) -> Camera:
    """Raises ValueError if a number is NaN or what makes no camera."""
    for field in ("K", "distortion", "R", "t"):
        if not np.isfinite(getattr(camera, field)).all():
            raise ValueError(f"camera {camera.name}: {field} holds NaN or inf.")
    if camera.K[0, 0] <= 0 or camera.K[1, 1] <= 0:
        raise ValueError(f"camera {camera.name}: the focal length is not positive.")
    if min(camera.image_size) < 1:
        raise ValueError(f"camera {camera.name}: the picture size is {camera.image_size}.")
    return camera
