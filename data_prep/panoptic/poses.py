"""Reads the studio's 3D poses, one file per frame, from their folder or from the server's tar.

A file is named hdPose3d_stage1_coco19/body3DScene_00000168.json.
"""

import dataclasses
import json
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_prep.checks import LEG_BONE_M, leg_length
from data_prep.panoptic.calibration import METRES, TURN
from liftjax.errors import LiftjaxError
from liftjax.numbers import as_numbers, usable
from liftjax.skeletons import PANOPTIC

FOLDER = "hdPose3d_stage1_coco19"
_SAMPLED = 20  # files that are read to check the unit of length before the build
NUM_JOINTS = 19  # of the file; the first 15 are those of the joint set `panoptic`
_FILE = re.compile(r"body3DScene_(\d+)\.json$")


@dataclasses.dataclass(frozen=True)
class PoseFile:
    """The file of one frame, or its place in the tar `path`."""

    path: str
    member: str = ""
    offset: int = 0
    size: int = -1

    @property
    def name(self) -> str:
        return f"{self.path}/{self.member}" if self.member else self.path

    def read(self) -> bytes:
        with open(self.path, "rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


def pose_files(sequence: Path) -> dict[int, PoseFile]:
    """The pose files of a sequence by frame number, in order.

    Raises:
      LiftjaxError: there are none, or the tar is cut short.
    """
    folder, archive = sequence / FOLDER, sequence / f"{FOLDER}.tar"
    if folder.is_dir():
        matches = [match for name in os.listdir(folder) if (match := _FILE.match(name))]
        found = {int(match[1]): PoseFile(f"{folder}/{match[0]}") for match in matches}
    elif archive.exists():
        found = _archived(archive)
    else:
        raise LiftjaxError(
            f"3D poses are missing: expected {folder} or {archive.name} beside it; download them "
            "with the sequence."
        )
    if not found:
        raise LiftjaxError(f"{folder} holds no body3DScene_*.json; unpack {archive.name} again.")
    return dict(sorted(found.items()))


def _archived(archive: Path) -> dict[int, PoseFile]:
    found = {}
    try:
        with tarfile.open(archive, "r:") as tar:
            for entry in tar:
                name = entry.name.rpartition("/")[2]
                if match := _FILE.match(name):
                    place = PoseFile(str(archive), name, entry.offset_data, entry.size)
                    found[int(match[1])] = place
    except (tarfile.TarError, OSError, EOFError) as error:
        raise LiftjaxError(f"{archive} is cut short or not a tar; download it again.") from error
    return found


def read_bodies(data: bytes) -> list[np.ndarray]:
    """Every body of a frame: (19, 4) x, y, z in turned axes and metres, and confidence.

    Raises:
      ValueError: the file is malformed; the message says how.
    """
    try:
        bodies = json.loads(data)["bodies"]
        if not isinstance(bodies, list):
            raise TypeError("bodies is not a list")
        joints = [as_numbers(body["joints19"]) for body in bodies]
    except KeyError as error:
        raise ValueError(f"no {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError("not JSON of bodies with joints19; cut short?") from error
    for values in joints:
        if values.size != 4 * NUM_JOINTS:
            raise ValueError(f"joints19 has {values.size} numbers, expected {4 * NUM_JOINTS}")
    return [_turned(values.reshape(NUM_JOINTS, 4)) for values in joints]


def check_unit(files: Mapping[int, PoseFile]) -> None:
    """Raises if the legs in a few files of the sequence have no human length in centimetres."""
    lengths, chosen = [], list(files.values())
    for file in chosen[:: max(1, len(chosen) // _SAMPLED)]:
        try:
            bodies = read_bodies(file.read())
        except (OSError, ValueError):  # reported when the frame is read
            continue
        for body in bodies:
            joints = body[: PANOPTIC.num_joints]
            found = np.isfinite(joints).all(axis=1) & (joints[:, 3] > 0)
            lengths.append(leg_length(joints[:, :3], PANOPTIC.name, found))
    lengths = [length for length in lengths if length is not None]
    low, high = LEG_BONE_M
    if lengths and not low <= np.median(lengths) <= high:
        raise LiftjaxError(
            f"{chosen[0].name}: thighs and shins would be {np.median(lengths):.3g} m long (median "
            f"of the sequence), people's are {low} to {high} m; the files must be in centimetres, "
            "as the studio writes them."
        )


def _turned(joints: np.ndarray) -> np.ndarray:
    joints = np.where(usable(joints), joints, np.nan)
    return np.column_stack([joints[:, :3] @ TURN * METRES, joints[:, 3]])
