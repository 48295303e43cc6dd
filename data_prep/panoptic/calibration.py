"""The studio's cameras, from calibration_SEQUENCE.json."""

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np

from data_prep.cameras import CalibratedCamera, check_camera
from data_prep.problems import why_unreadable
from liftjax.errors import LiftjaxError
from liftjax.numbers import as_numbers

METRES = 0.01  # the studio's files are in centimetres

# The files' y axis points down. A row x y z times this matrix is x z -y: the third axis points up.
# A camera's rotation times the matrix takes turned points to the same place as before.
TURN = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
_DISTANCE_M = (0.3, 15.0)  # from the origin; the dome has a radius of 2.7


def camera_name(panel: int, node: int) -> str:
    """Such as "00_03"."""
    return f"{panel:02d}_{node:02d}"


def read_cameras(path: Path, wanted: Collection[str]) -> dict[str, CalibratedCamera]:
    """The cameras with these names that the file has, in metres and turned axes.

    Raises:
      LiftjaxError: the file is missing or is not a calibration.
    """
    if not path.exists():
        raise LiftjaxError(
            f"The calibration is missing: expected {path}; download it with the sequence."
        )
    try:
        entries = {
            camera_name(entry["panel"], entry["node"]): entry
            for entry in json.loads(path.read_bytes())["cameras"]
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LiftjaxError(
            f"{path} is not a Panoptic calibration ({why_unreadable(error)}); download it again."
        ) from error
    return {name: _camera(name, entries[name], path) for name in wanted if name in entries}


@np.errstate(over="ignore", invalid="ignore")  # huge numbers are refused below
def _camera(name: str, entry: dict, path: Path) -> CalibratedCamera:
    try:
        camera = CalibratedCamera(
            name=name,
            K=as_numbers(entry["K"]).reshape(3, 3),
            distortion=as_numbers(entry["distCoef"]).reshape(5),
            R=as_numbers(entry["R"]).reshape(3, 3) @ TURN,
            t=as_numbers(entry["t"]).reshape(3) * METRES,
            image_size=tuple(int(side) for side in as_numbers(entry["resolution"]).reshape(2)),
        )
        check_camera(camera)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise LiftjaxError(
            f"{path}: camera {name} is malformed ({why_unreadable(error)}); download it again."
        ) from error
    low, high = _DISTANCE_M
    if not low <= np.linalg.norm(camera.t) <= high:
        raise LiftjaxError(
            f"{path}: camera {name} would stand {np.linalg.norm(camera.t):.3g} m from the studio's "
            "origin; t must be in centimetres, as the studio writes it."
        )
    return camera
