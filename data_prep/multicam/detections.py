"""Reads 2D poses that a detector wrote; today OpenPose's JSON files, one a frame."""

import json
import re
from pathlib import Path

import numpy as np

from liftjax.errors import LiftjaxError

_FRAME_NUMBER = re.compile(r"(\d+)(?:_keypoints)?\.json$")


def read_openpose(folder, num_joints: int) -> dict[int, np.ndarray]:
    """The people of every frame.

    Args:
      folder: of files NAME.0000.json or NAME_000000_keypoints.json.
      num_joints: of OpenPose's model, 25 for BODY_25 and BODY_25B.

    Returns:
      frame number -> (P, num_joints, 3) x, y in pixels and confidence; P may be 0, and a joint
      that was not found has confidence 0.
    """
    folder = Path(folder)
    files = {}
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        number = _FRAME_NUMBER.search(file.name)
        if number:
            files[int(number[1])] = file
    if not files:
        raise LiftjaxError(f"No OpenPose files: expected {folder}/NAME.0000.json and so on.")
    missing = sorted(set(range(min(files), max(files) + 1)) - set(files))
    if missing:
        near = files[max(n for n in files if n < missing[0])].name
        raise LiftjaxError(
            f"{folder}: the file of frame {missing[0]} is missing ({len(missing)} of "
            f"{len(files) + len(missing)} are), it would come after {near}."
        )
    return {number: _read_people(file, num_joints) for number, file in files.items()}


def _read_people(file: Path, num_joints: int) -> np.ndarray:
    try:
        people = json.loads(file.read_text())["people"]
        rows = [np.asarray(person["pose_keypoints_2d"], float) for person in people]
    except (ValueError, KeyError, TypeError) as error:
        raise LiftjaxError(f"{file} is not an OpenPose file ({error!r}).") from None
    for row in rows:
        if row.shape != (3 * num_joints,):
            raise LiftjaxError(
                f"{file}: a person has {row.size // 3} joints, expected {num_joints}."
            )
        if not np.isfinite(row).all():
            raise LiftjaxError(f"{file}: a joint is NaN or inf; OpenPose writes 0, 0, 0 instead.")
    return np.asarray(rows).reshape(len(rows), num_joints, 3)
