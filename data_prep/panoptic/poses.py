"""The studio's 3D poses, one file a frame: hdPose3d_stage1_coco19/body3DScene_00000168.json.

They are read from that folder, or from the .tar that the studio's server sends, unpacked or not.
"""

import dataclasses
import json
import os
import re
import tarfile
from pathlib import Path

import numpy as np

from data_prep.panoptic.calibration import METRES, TURN
from liftjax.errors import LiftjaxError

FOLDER = "hdPose3d_stage1_coco19"
NUM_JOINTS = 19  # of the file; those of the skeleton `panoptic` come first
_FILE = re.compile(r"body3DScene_(\d+)\.json$")


@dataclasses.dataclass(frozen=True)
class PoseFile:
    """One frame's file, or where it lies in the tar `path`."""

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
        raise LiftjaxError(f"3D poses are missing: expected {folder} or {archive.name} beside it.")
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
        raise LiftjaxError(f"{archive} is cut short or no tar; download it again.") from error
    return found


def read_bodies(data: bytes) -> list[np.ndarray]:
    """Every body of a frame as (19, 4) x, y, z in turned metres and confidence.

    Raises:
      ValueError: the file is malformed; the text says how.
    """
    try:
        bodies = json.loads(data)["bodies"]
        joints = [np.asarray(body["joints19"], float) for body in bodies]
    except KeyError as error:
        raise ValueError(f"no {error}") from error
    except (ValueError, TypeError) as error:
        raise ValueError("not JSON of bodies with joints19; cut short?") from error
    for values in joints:
        if values.size != 4 * NUM_JOINTS:
            raise ValueError(f"joints19 has {values.size} numbers, expected {4 * NUM_JOINTS}")
    return [_turned(values.reshape(NUM_JOINTS, 4)) for values in joints]


def _turned(joints: np.ndarray) -> np.ndarray:
    return np.column_stack([joints[:, :3] @ TURN * METRES, joints[:, 3]])
