"""Zip archives with one ONNX file inside, as MMPose publishes its networks.

torch.save writes zip archives too. The names inside tell the two apart. Nothing is unpacked to the
disk.
"""

import json
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from liftjax.errors import LiftjaxError, first_line

_LONGEST = 1 << 20  # bytes of a description
_STATED = (("Resize", "size"), ("Normalize", "mean"))
_LARGEST = 2 << 30  # bytes; no ONNX file is larger, by its format
_FAULTS = (  # RuntimeError: a password is needed, or the compression is unknown
    zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError,
)  # fmt: skip


def is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def is_torch_file(path: Path) -> bool:
    """Whether torch.save wrote the archive, as far as its names can be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except _FAULTS:
        return False


def read_onnx(path: Path) -> bytes:
    """The one ONNX file in a zip archive.

    Raises:
      LiftjaxError: the archive is damaged, or holds none or several.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = [name for name in archive.namelist() if not name.endswith("/")]
            names = [name for name in files if name.endswith(".onnx")]
            if len(names) != 1:
                raise LiftjaxError(_not_one(names or files, path))
            size = archive.getinfo(names[0]).file_size
            if size > _LARGEST:
                raise LiftjaxError(
                    f"{path}: {names[0]} would have {size:,} bytes, more than any ONNX file."
                )
            return archive.read(names[0])
    except LiftjaxError:
        raise
    except _FAULTS as error:
        raise LiftjaxError(
            f"{path} is damaged or cut short ({first_line(error)}): download it again."
        ) from error


def _not_one(names: list[str], path: Path) -> str:
    shown = ", ".join(names[:4]) + ", ..." * (len(names) > 4)
    if names and names[0].endswith(".onnx"):
        return f"{path} holds {len(names)} ONNX files, {shown}; unpack it and give one of them."
    return f"{path} holds no ONNX file, but {shown or 'nothing'}; give the file of the weights."


class Preparation(NamedTuple):
    """How pictures are prepared for a network, as far as its archive says.

    Attributes:
      size: the two sides to which a picture is resized.
      mean: the colour that is subtracted.
    """

    size: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()


def stated_preparation(path: Path) -> Preparation:
    """What MMDeploy's pipeline.json in a zip archive says."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.rpartition("/")[2] == "pipeline.json"]
            text = archive.open(names[0]).read(_LONGEST) if names else ""
        tasks = json.loads(text)["pipeline"]["tasks"]
        steps = {step["type"]: step for task in tasks for step in task.get("transforms", ())}
        size, mean = (steps.get(a, {}).get(b, ()) for a, b in _STATED)
        return Preparation(tuple(map(int, size)), tuple(map(float, mean)))
    except (*_FAULTS, KeyError, TypeError, AttributeError):
        return Preparation()
