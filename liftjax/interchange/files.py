"""Weight files as plain trees of arrays, whoever wrote them; nothing in them is run.

The weights in an ONNX file, alone or in a zip archive, come as MMPose's checkpoint of its network.

A pickle is a program. PyTorch's weights-only reader reads it without running it. Objects of other
packages that real checkpoints hold (message hubs, random states, configurations) become empty
placeholders. NumPy's arrays of plain numbers are made from their bytes, without NumPy's own
functions for pickles. PyTorch is needed for pickled files only, and imported only then.
"""

import json
import os
import pickle
import re
import warnings
import zipfile
import zlib
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from liftjax.errors import LiftjaxError, first_line, needs
from liftjax.interchange import zipped

_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before PyTorch 1.6
_ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22:B]")  # its version, then another field
_MOST_PLACEHOLDERS = 200
_PLAIN_NUMBERS = re.compile("b1|[iu][1248]|f[248]")


class WeightFile(NamedTuple):
    """What a file holds.

    Attributes:
      tree: nested dictionaries; arrays are NumPy arrays or PyTorch tensors.
      metadata: the texts in the header of a safetensors file.
      foreign: package -> how many of its classes were replaced by empty placeholders.
      notes: one line for everything else to report.
    """

    tree: Any
    metadata: dict[str, str]
    foreign: dict[str, int]
    notes: tuple[str, ...] = ()


def read_weight_file(path: str | os.PathLike) -> WeightFile:
    """Reads a .safetensors or ONNX file, or one that torch.save wrote (.pth, .pt, .bin, .tar).

    Args:
      path: of the file, or of a zip archive with one ONNX file inside.

    Raises:
      LiftjaxError: the file is missing, damaged, not a weight file, wants to run a program, or is
        an ONNX file of a network that liftjax does not have.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise LiftjaxError(f"{path} is a directory; give one weight file.")
    if not path.is_file():
        raise LiftjaxError(f"There is no file {path}.")
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise LiftjaxError(f"{path} is empty; download it again.")
    if head.startswith((b"PK", _LEGACY_MAGIC)):
        if path.suffix == ".safetensors":
            raise LiftjaxError(f"{path} is a PyTorch file under a wrong name; rename it to .pth.")
        if head.startswith(b"PK") and not zipped.is_torch_file(path):
            return _read_onnx(path, zipped.read_onnx(path), None)
        return _read_pickled(path)
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return _read_safetensors(path)
    if _ONNX.match(head) or (path.suffix == ".onnx" and not head.isascii()):
        return _read_onnx(path, path.read_bytes(), path.parent)
    if head.startswith(b"\x80"):
        raise LiftjaxError(f"{path} is a pickle, but torch.save did not write it; it is not read.")
    raise LiftjaxError(_not_weights(path, head))


def _not_weights(path: Path, head: bytes) -> str:
    start = head.lstrip()[:20].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"{path} is a web page, not a weight file; the download failed, repeat it."
    if start.startswith(b"version https://git"):
        return f"{path} is a Git LFS pointer, not a weight file; run `git lfs pull`."
    if head.isascii():
        return f"{path} is a text file, not a weight file; download it again."
    return f"{path} is neither a safetensors file, nor one that torch.save wrote, nor an ONNX file."


def _read_onnx(path: Path, content: bytes, folder: Path | None) -> WeightFile:
    """The network as MMPose's checkpoint, with as much of its configuration as the file tells."""
    from liftjax.interchange.onnx_weights import read_onnx_weights

    try:
        weights = read_onnx_weights(content, folder)
    except LiftjaxError as error:
        raise LiftjaxError(f"{path} {error}") from None
    tree = {"state_dict": weights.state}
    if weights.image_size:
        height, width = weights.image_size
        tree["meta"] = {"cfg": f"input_size=({width}, {height})"}
    return WeightFile(tree, {}, {}, weights.notes)


def _read_safetensors(path: Path) -> WeightFile:
    import safetensors
    from safetensors import numpy as safetensors_numpy

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            kinds = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
        if "BF16" in kinds:  # NumPy has no such type
            return WeightFile(_with_torch(path), metadata, {})
        return WeightFile(safetensors_numpy.load_file(path), metadata, {})
    except (safetensors.SafetensorError, json.JSONDecodeError, TypeError) as error:
        raise LiftjaxError(
            f"{path} is not a whole safetensors file ({first_line(error)}); download it again."
        ) from error


def _with_torch(path: Path) -> dict:
    _import_torch(path)
    from safetensors import torch as safetensors_torch

    return safetensors_torch.load_file(path)


def _import_torch(path: Path):
    with needs(f"{path} (unlike .safetensors files)", "PyTorch", "torch"):
        import torch
    return torch


class _Placeholder:
    """Stands for an object of another package; takes any arguments and keeps nothing."""

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


class _PlaceholderDict(_Placeholder):
    """Stands for a kind of dictionary; becomes a plain one, which the reader can fill."""

    def __new__(cls, *args, **kwargs):
        return OrderedDict()


class _PlaceholderList(_Placeholder):
    """Stands for a kind of list; becomes a plain one."""

    def __new__(cls, *args, **kwargs):
        return []


class _DType(_Placeholder):
    """Stands for NumPy's dtype; keeps that of plain numbers."""

    dtype = None

    def __init__(self, code: Any = None, *_):
        plain = isinstance(code, str) and _PLAIN_NUMBERS.fullmatch(code)
        self.dtype = np.dtype(code) if plain else None

    def __setstate__(self, state):
        if self.dtype is not None and state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array(_Placeholder):
    """Stands for NumPy's function that makes an empty array, which the reader then fills."""

    array = None  # stays so if the entries are not plain numbers

    def __setstate__(self, state):
        _, shape, kind, by_columns, data = state
        if isinstance(kind, _DType) and kind.dtype is not None:
            flat = np.frombuffer(data if isinstance(data, bytes) else b"", kind.dtype)
            self.array = flat.reshape(shape, order="F" if by_columns else "C")


_NUMPY = [
    (_Placeholder, "numpy.ndarray"),
    (_Placeholder, "builtins.bytes"),  # none, of an empty array
    (_DType, "numpy.dtype"),
    (_Array, "numpy._core.multiarray._reconstruct"),
    (_Array, "numpy.core.multiarray._reconstruct"),  # NumPy 1
]


def _with_arrays(tree: Any) -> Any:
    """`tree` with arrays in place of `_Array`, in all of its dictionaries."""
    waiting, seen = [tree], set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict) and id(node) not in seen:
            seen.add(id(node))
            node.update({k: v.array for k, v in node.items() if isinstance(v, _Array)})
            waiting += node.values()
    return tree


def _read_pickled(path: Path) -> WeightFile:
    """Tries until all classes are known; each failure names one more that needs a placeholder."""
    torch = _import_torch(path)
    is_zip = _is_sound_zip(path)
    placeholders: dict[str, type] = {}
    for _ in range(_MOST_PLACEHOLDERS):
        stand_ins = _NUMPY + [(placeholder, name) for name, placeholder in placeholders.items()]
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
                warnings.simplefilter("ignore")
                tree = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
        except pickle.UnpicklingError as error:
            name, kind = _unknown(path, str(error))
            if placeholders.get(name, _Placeholder).__base__ is kind:
                raise LiftjaxError(_unreadable(path, name)) from error
            placeholders[name] = _placeholder(name, kind)
        except Exception as error:  # damage can raise any exception
            raise LiftjaxError(
                f"{path} cannot be read ({first_line(error)}); it is damaged or cut short: "
                "download it again."
            ) from error
        else:
            tree = _with_arrays(tree)
            return WeightFile(tree, {}, dict(Counter(n.split(".")[0] for n in placeholders)))
    raise LiftjaxError(_unreadable(path, "too many foreign objects"))


def _is_sound_zip(path: Path) -> bool:
    """Whether the file is a zip archive; raises if a part of it does not match its checksum.

    PyTorch checks no checksum.
    """
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (
        zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError,
    ) as error:  # fmt: skip
        damaged = first_line(error)
    if damaged:
        raise LiftjaxError(f"{path} is damaged or cut short ({damaged}): download it again.")
    return True


def _placeholder(name: str, kind: type) -> type:
    """A class of its own for each name, so that the reader's messages tell which it was."""
    module, _, qualified = name.rpartition(".")
    return type(qualified, (kind,), {"__module__": module})


def _unknown(path: Path, message: str) -> tuple[str, type]:
    """The name that the weights-only reader refused, and the placeholder for it."""
    if found := re.search(r"unsupported GLOBAL (\S+) whose module", message):
        raise LiftjaxError(
            f"{path} would run {found[1]} when unpickled; it is not a weight file. Nothing was run."
        )
    if found := re.search(r"GLOBAL (\S+) was not an allowed global", message):
        name = found[1] if "." in found[1] else f"builtins.{found[1]}"
        if not name.isprintable():
            raise LiftjaxError(_unreadable(path, "an object whose name is not text"))
        return name, _Placeholder
    if found := re.search(r"Can only SETITEMS? .*got <class '([^']+)'>", message, re.DOTALL):
        return found[1], _PlaceholderDict
    if found := re.search(r"Can only (?:append|extend) .*got <class '([^']+)'>", message):
        return found[1], _PlaceholderList
    raise LiftjaxError(_unreadable(path, first_line(message.rpartition("error: ")[2])))


def _unreadable(path: Path, what: str) -> str:
    return (
        f"{path} holds objects that cannot be read without running it ({what}); where it was made, "
        "save the state_dict alone: torch.save(model.state_dict(), FILE)."
    )
