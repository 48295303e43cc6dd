"""Reads camera calibrations: Qualisys' .qca.txt and OpenCV-style .toml files.

The .toml files are those of Pose2Sim, Anipose and Caliscope: one section per camera, [NAME] or
[cameras.NAME], with `name`, `size`, `matrix`, `distortions`, `rotation` (Rodrigues vector or 3 x 3
matrix), `translation` and `fisheye`. Other sections, such as Caliscope's [stereo_0_1], are ignored.

A file may list cameras that cannot be used: not calibrated, switched off, fisheye. That matters
only if such a camera is wanted, so :func:`read_cameras` says what is wrong with each.
"""

import functools
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from data_prep.cameras import CalibratedCamera, check_camera
from liftjax.errors import LiftjaxError
from liftjax.numbers import as_numbers

UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001}  # of a .toml file's translations; .qca.txt has mm
_SUBPIXELS = 64  # Qualisys writes lengths on the sensor in sixty-fourths of a pixel
_NO = ("0", "false")
# TOML has no null: these are the ways in which programs write that a number is not known.
_NOTHING = ([], "", "null", "None", "none")
# Qualisys' camera axes are x right, y up, z backward.
_QUALISYS_TO_OPENCV = np.diag([1.0, -1.0, -1.0])

# A camera's name, its place in the file for messages, and the function that reads it, which raises
# KeyError, ValueError, TypeError or OverflowError if it cannot be used.
_Entry = tuple[str, str, Callable[[], CalibratedCamera]]


def read_cameras(path, unit: str = "m") -> tuple[list[CalibratedCamera], dict[str, str]]:
    """The usable cameras of a file in its order; for the others, name -> what is wrong.

    Args:
      path: NAME.toml or NAME.qca.txt.
      unit: of the translations in a .toml file: "m", "cm" or "mm".
    """
    path = Path(path)
    if not path.is_file():
        raise LiftjaxError(f"The calibration is missing: expected {path}.")
    is_toml = path.suffix == ".toml"
    entries = _toml_entries(path, UNITS_M[unit]) if is_toml else _qualisys_entries(path)
    cameras, unusable = {}, {}
    for name, place, read in entries:
        if name in cameras or name in unusable:
            raise LiftjaxError(f"{path}: two cameras are called {name!r}; rename one.")
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # the check refuses huge numbers
                camera = read()
            check_camera(camera)
            cameras[name] = camera
        except KeyError as error:
            unusable[name] = f"{place}: {error.args[0]} is missing; the camera is not calibrated."
        except (ValueError, TypeError, OverflowError) as error:
            unusable[name] = f"{place}: {error}"
    return list(cameras.values()), unusable


def is_calibration(path: Path) -> bool:
    """Whether a file is named and, if .toml, laid out like a calibration (Config.toml is not)."""
    if path.name.endswith(".qca.txt"):
        return True
    if path.suffix != ".toml":
        return False
    try:
        return bool(_camera_sections(tomllib.loads(path.read_text())))
    except (ValueError, OSError):  # it cannot be read, so the name decides
        return "calib" in path.name.lower()


def _qualisys_entries(path: Path) -> list[_Entry]:
    """The cameras of a Qualisys calibration, which is XML."""
    try:
        elements = ElementTree.parse(path).getroot().findall("./cameras/camera")
    except (ElementTree.ParseError, ValueError) as error:
        raise LiftjaxError(f"{path} is not a Qualisys calibration ({error!r}).") from None
    if not elements:
        raise LiftjaxError(f"{path} lists no cameras; is it a Qualisys .qca.txt file?")
    names = [element.get("serial") or f"number {i + 1}" for i, element in enumerate(elements)]
    return [
        (name, f"camera {name}", functools.partial(_qualisys_camera, element))
        for name, element in zip(names, elements, strict=True)
    ]


def _qualisys_camera(element: ElementTree.Element) -> CalibratedCamera:
    if not element.get("serial"):
        raise ValueError("it has no serial number, which is its name.")
    if any(element.get(key, "").lower() in _NO for key in ("calibrated", "active")):
        raise ValueError("the file says that it is switched off or not calibrated.")
    attributes = {child.tag: child.attrib for child in reversed(element)}  # the first of each tag
    for tag in ("intrinsic", "transform", "fov_video"):
        if tag not in attributes:
            raise KeyError(f"<{tag}>")
    lens, pose, field = (attributes[tag] for tag in ("intrinsic", "transform", "fov_video"))
    left, top, right, bottom = (int(field[side]) for side in ("left", "top", "right", "bottom"))
    fx, fy, cx, cy, skew = (
        float(lens[key]) / _SUBPIXELS
        for key in ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV", "skew")
    )
    k1, k2, k3 = (float(lens[f"radialDistortion{i}"]) for i in (1, 2, 3))
    p1, p2 = (float(lens[f"tangentalDistortion{i}"]) for i in (1, 2))
    R = np.array([[float(pose[f"r{i}{j}"]) for j in (1, 2, 3)] for i in (1, 2, 3)])
    R = _QUALISYS_TO_OPENCV @ R
    return CalibratedCamera(
        name=element.attrib["serial"],
        image_size=(right - left + 1, bottom - top + 1),
        # The centre is a point of the sensor, and the video shows a part of the sensor.
        K=np.array([[fx, skew, cx - left], [0, fy, cy - top], [0, 0, 1]]),
        distortion=np.array([k1, k2, p1, p2, k3]),
        R=R,
        t=-R @ (np.array([float(pose[axis]) for axis in "xyz"]) / 1000),
    )


def _toml_entries(path: Path, unit_m: float) -> list[_Entry]:
    try:
        sections = _camera_sections(tomllib.loads(path.read_text()))
    except ValueError as error:
        raise LiftjaxError(f"{path} is not a TOML file of cameras ({error}).") from None
    if not sections:
        raise LiftjaxError(
            f"{path} lists no cameras: expected sections with matrix, distortions, rotation and "
            "translation."
        )
    entries = []
    for key, section in sections.items():
        own = key.removeprefix("cameras.")
        # Caliscope's sections are numbered, and its cameras are called cam_0, cam_1 ...
        name = str(section.get("name", f"cam_{own}" if own.isdigit() else own))
        entries.append((name, f"[{key}]", functools.partial(_toml_camera, name, section, unit_m)))
    return entries


def _camera_sections(document: dict) -> dict[str, dict]:
    """The sections of single cameras; others that have a rotation are of a pair of cameras.

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


def _toml_camera(name: str, section: dict, unit_m: float) -> CalibratedCamera:
    if section.get("ignore") is True:
        raise ValueError("the file says that it is to be ignored.")
    if section.get("fisheye"):
        raise ValueError(
            "it is a fisheye camera, which records cannot describe. Undistort the videos and give "
            "the calibration of the new pictures."
        )
    given = {key: value for key, value in section.items() if value not in _NOTHING}
    width, height = _numbers(given, "size", (2,))
    K, distortion = _numbers(given, "matrix", (3, 3)), _numbers(given, "distortions").ravel()
    if distortion.size < 4 or distortion[5:].any():
        raise ValueError(
            f"distortions has {distortion.size} numbers, expected 4 or 5: k1 k2 p1 p2 k3."
        )
    if np.shape(given["rotation"]) == (3, 3):
        R = _numbers(given, "rotation", (3, 3))
    else:
        R = cv2.Rodrigues(_numbers(given, "rotation", (3,)))[0]
    return CalibratedCamera(
        name=name,
        image_size=(round(width), round(height)),
        K=K,
        distortion=np.append(distortion, 0.0)[:5],
        R=R,
        t=unit_m * _numbers(given, "translation", (3,)),
    )


def _numbers(section: dict, key: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    try:
        array = as_numbers(section[key])
    except ValueError as error:
        raise ValueError(f"{key} holds {error}.") from None
    if shape and array.shape != shape:
        raise ValueError(f"{key} has shape {array.shape}, expected {shape}.")
    return array
