"""Reads camera calibrations: Qualisys' .qca.txt and OpenCV-style .toml files.

The .toml files are those of Pose2Sim, Anipose and Caliscope: one section a camera, [NAME] or
[cameras.NAME], with `name`, `size`, `matrix`, `distortions`, `rotation` (Rodrigues vector or 3 x 3
matrix), `translation` and `fisheye`. Other sections, such as Caliscope's [stereo_0_1], are passed
over.

A file may list cameras that are of no use: not calibrated, switched off, fisheye. That concerns
only who wants them, so :func:`read_cameras` says what is wrong with each.
"""

import dataclasses
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np

from liftjax.errors import LiftjaxError
from liftjax.numbers import as_numbers, usable

UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001}  # of a .toml file's translations; .qca.txt has mm
# Qualisys writes lengths on the sensor in sixty-fourths of a pixel.
_SUBPIXELS = 64
_NO = ("0", "false")
_LONGEST_SIDE = 2**17  # pixels; no camera has as many
# TOML knows no null: how programs write that a number is not known.
_NOTHING = ([], "", "null", "None", "none")
# Qualisys' camera axes are x right, y up, z backward.
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
    """The cameras of a calibration file, in its order; all must be whole.

    Args:
      path: NAME.toml or NAME.qca.txt.
      unit: of the translations in a .toml file: "m", "cm" or "mm".
    """
    cameras, unusable = read_cameras(path, unit)
    for why in unusable.values():
        raise LiftjaxError(f"{path}, {why}")
    return cameras


def read_cameras(path, unit: str = "m") -> tuple[list[Camera], dict[str, str]]:
    """The whole cameras of a file, and the names of the others with what is wrong with each.

    Args:
      path, unit: as for :func:`read_calibration`.
    """
    path = Path(path)
    if not path.is_file():
        raise LiftjaxError(f"The calibration is missing: expected {path}.")
    found = _read_toml(path, UNITS_M[unit]) if path.suffix == ".toml" else _read_qualisys(path)
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise LiftjaxError(f"{path}: two cameras are called {name!r}; rename one.")
    return (
        [camera for _, camera in found if isinstance(camera, Camera)],
        {name: why for name, why in found if isinstance(why, str)},
    )


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


def _read_qualisys(path: Path) -> list[tuple[str, Camera | str]]:
    """Names and cameras of a Qualisys calibration (which is XML), or what is wrong with one."""
    try:
        elements = ElementTree.parse(path).getroot().findall("./cameras/camera")
    except (ElementTree.ParseError, ValueError) as error:
        raise LiftjaxError(f"{path} is not a Qualisys calibration ({error!r}).") from None
    if not elements:
        raise LiftjaxError(f"{path} lists no cameras; is it a Qualisys .qca.txt file?")
    found: list[tuple[str, Camera | str]] = []
    for i, element in enumerate(elements):
        name = element.get("serial") or f"number {i + 1}"
        try:
            found.append((name, _qualisys_camera(element)))
        except KeyError as error:
            why = f"{error.args[0]} is missing; it is not calibrated."
            found.append((name, f"camera {name}: {why}"))
        except (ValueError, OverflowError) as error:
            found.append((name, f"camera {name}: {error}"))
    return found


@np.errstate(over="ignore", invalid="ignore")  # huge numbers are refused below
def _qualisys_camera(element: ElementTree.Element) -> Camera:
    if not element.get("serial"):
        raise ValueError("it has no serial number, which is its name.")
    if element.get("calibrated", "").lower() in _NO or element.get("active", "").lower() in _NO:
        raise ValueError("it is switched off or not calibrated, the file says.")
    lens, pose, field = (
        _attributes(element, tag) for tag in ("intrinsic", "transform", "fov_video")
    )
    left, top, right, bottom = (int(field[side]) for side in ("left", "top", "right", "bottom"))
    fx, fy, cx, cy, skew = (
        float(lens[key]) / _SUBPIXELS
        for key in ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV", "skew")
    )
    k1, k2, k3 = (float(lens[f"radialDistortion{i}"]) for i in (1, 2, 3))
    p1, p2 = (float(lens[f"tangentalDistortion{i}"]) for i in (1, 2))
    R = np.array([[float(pose[f"r{i}{j}"]) for j in (1, 2, 3)] for i in (1, 2, 3)])
    _check_rotation(R)
    R = _QUALISYS_TO_OPENCV @ R
    center_m = np.array([float(pose[axis]) for axis in "xyz"]) / 1000
    return _checked(
        Camera(
            name=element.attrib["serial"],
            # The centre is a point of the sensor, of which the video shows a part.
            K=np.array([[fx, skew, cx - left], [0, fy, cy - top], [0, 0, 1]]),
            distortion=np.array([k1, k2, p1, p2, k3]),
            R=R,
            t=-R @ center_m,
            image_size=(right - left + 1, bottom - top + 1),
        )
    )


def _attributes(element: ElementTree.Element, tag: str) -> dict[str, str]:
    found = element.find(tag)
    if found is None:
        raise KeyError(f"<{tag}>")
    return found.attrib


def _read_toml(path: Path, unit_m: float) -> list[tuple[str, Camera | str]]:
    """Names and cameras, or what is wrong with one."""
    try:
        sections = _camera_sections(tomllib.loads(path.read_text()))
    except ValueError as error:
        raise LiftjaxError(f"{path} is not a TOML file of cameras ({error}).") from None
    if not sections:
        raise LiftjaxError(
            f"{path} lists no cameras: expected sections with matrix, distortions, rotation and "
            "translation."
        )
    found: list[tuple[str, Camera | str]] = []
    for key, section in sections.items():
        name = _toml_name(key, section)
        try:
            found.append((name, _toml_camera(name, section, unit_m)))
        except KeyError as error:
            why = f"{error.args[0]} is missing; the camera is not calibrated."
            found.append((name, f"[{key}]: {why}"))
        except (ValueError, TypeError, OverflowError) as error:
            found.append((name, f"[{key}]: {error}"))
    return found


def _camera_sections(document: dict) -> dict[str, dict]:
    """The sections that are of cameras; what else has a rotation is of a pair of cameras.

    Raises:
      ValueError: a camera's numbers stand outside of any section.
    """
    if "matrix" in document:
        raise ValueError("a matrix stands before the first section")
    inner = document.get("cameras")
    nested = {f"cameras.{key}": s for key, s in inner.items()} if isinstance(inner, dict) else {}
    return {
        key: section
        for key, section in (document | nested).items()
        if isinstance(section, dict)
        and ("matrix" in section or np.shape(section.get("size")) == (2,))
    }


def _toml_name(key: str, section: dict) -> str:
    """The name that a section gives, else that of the section; Caliscope's numbers are cam_0 ..."""
    own = key.removeprefix("cameras.")
    return str(section.get("name", f"cam_{own}" if own.isdigit() else own))


def _toml_camera(name: str, section: dict, unit_m: float) -> Camera:
    if section.get("ignore") is True:
        raise ValueError("it is to be ignored, the file says.")
    if section.get("fisheye"):
        raise ValueError(
            "a fisheye camera; records know OpenCV's pinhole model only. Undistort the videos and "
            "give the calibration of the new pictures."
        )
    given = {key: value for key, value in section.items() if value not in _NOTHING}
    width, height = _numbers(given, "size", (2,))
    return _checked(
        Camera(
            name=name,
            K=_numbers(given, "matrix", (3, 3)),
            distortion=_five(_array(given, "distortions")),
            R=_rotation(given),
            t=unit_m * _numbers(given, "translation", (3,)),
            image_size=(round(width), round(height)),
        )
    )


def _rotation(section: dict) -> np.ndarray:
    """(3, 3) of a Rodrigues vector or of a matrix."""
    if np.shape(section["rotation"]) != (3, 3):
        return cv2.Rodrigues(_numbers(section, "rotation", (3,)))[0]
    R = _numbers(section, "rotation", (3, 3))
    _check_rotation(R)
    return R


@np.errstate(over="ignore", invalid="ignore")  # huge numbers: no rotation either
def _check_rotation(R: np.ndarray) -> None:
    if not np.allclose(R @ R.T, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
        raise ValueError("the rotation is not a rotation matrix.")


def _five(distortions: np.ndarray) -> np.ndarray:
    """(5,) k1, k2, p1, p2, k3 of 4 or 5 numbers, or of more whose rest is zero."""
    values = distortions.ravel()
    if values.size < 4 or values[5:].any():
        raise ValueError(f"distortions has {values.size} numbers, expected 4 or 5: k1 k2 p1 p2 k3.")
    return np.append(values, 0.0)[:5] if values.size == 4 else values[:5]


def _array(section: dict, key: str) -> np.ndarray:
    try:
        return as_numbers(section[key])
    except ValueError as error:
        raise ValueError(f"{key} holds {error}.") from None


def _numbers(section: dict, key: str, shape: tuple[int, ...]) -> np.ndarray:
    array = _array(section, key)
    if array.shape != shape:
        raise ValueError(f"{key} has shape {array.shape}, expected {shape}.")
    return array


def _checked(camera: Camera) -> Camera:
    """Raises ValueError if a number is NaN or what makes no camera."""
    for field in ("K", "distortion", "R", "t"):
        if not usable(getattr(camera, field)).all():
            raise ValueError(f"camera {camera.name}: {field} holds NaN, inf or too large numbers.")
    if camera.K[1, 0] or not np.array_equal(camera.K[2], [0, 0, 1]):
        raise ValueError(
            f"camera {camera.name}: the matrix is not [[f, s, x], [0, f, y], [0, 0, 1]]."
        )
    if camera.K[0, 0] <= 0 or camera.K[1, 1] <= 0:
        raise ValueError(f"camera {camera.name}: the focal length is not positive.")
    if min(camera.image_size) < 1 or max(camera.image_size) > _LONGEST_SIDE:
        raise ValueError(f"camera {camera.name}: the picture size is {camera.image_size}.")
    return camera
