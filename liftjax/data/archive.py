"""Reads arrays and plain containers from pickles and .npz files without running code in them.

A pickle may call any function that it names. Here the names that NumPy's arrays need are replaced
by parts of this file, which build arrays of numbers and text from bytes; any other name is refused
before it is looked up (see "Restricting Globals" in the documentation of `pickle`).
"""

import contextlib
import pickle
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from liftjax.errors import LiftjaxError

_NUMBER_OR_TEXT = re.compile(r"[<>|=]?([fiu][1248]|b1|[SU]\d+)")


def read_archive(path) -> dict[str, Any]:
    """Every member of an .npz by name: arrays, dictionaries, lists, tuples, numbers, text.

    An object array of one element, which is how NumPy stores a dictionary, becomes that element.

    Raises:
      LiftjaxError: the file is missing, damaged, or names a function to call.
    """
    with _named(path, "not an .npz file"), zipfile.ZipFile(path) as archive:
        members = [n for n in archive.namelist() if n.endswith(".npy")]
        return {name.removesuffix(".npy"): _member(archive, name) for name in members}


def read_pickle(path) -> Any:
    """The content of a pickle file; limits and errors as for :func:`read_archive`."""
    with _named(path, "not a pickle"), open(path, "rb") as stream:
        return _unpickled(stream)


@contextlib.contextmanager
def _named(path, otherwise: str) -> Iterator[None]:
    """Turns any error of reading a file into a LiftjaxError that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise LiftjaxError(f"There is no file {path}.") from None
    except _Refused as refused:
        raise LiftjaxError(
            f"{path} calls {refused}, which no array of numbers needs; nothing in it was run. Get "
            "the file from another source."
        ) from None
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise LiftjaxError(f"{path} is {otherwise} or damaged ({reason}); copy it again.") from None


_DAMAGE = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    SyntaxError, tokenize.TokenError, RuntimeError, MemoryError, struct.error, zlib.error,
    zipfile.BadZipFile, pickle.UnpicklingError,
)  # fmt: skip


class _Refused(Exception):
    """A pickle names a function that arrays do not need."""


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        dtype = header[version[0]](stream)[2]
        if dtype.hasobject:
            return _to_the_end(stream, _single(_unpickled(stream)))
    with archive.open(name) as stream:
        return _to_the_end(stream, np.lib.format.read_array(stream, allow_pickle=False))


def _to_the_end(stream, value: Any) -> Any:
    """`value`, if nothing follows it. Reading to the end also checks the member's checksum."""
    if stream.read(1):
        raise ValueError("there is more in a member than its array")
    return value


def _single(value: Any) -> Any:
    is_boxed = isinstance(value, np.ndarray) and value.dtype == object and value.size == 1
    return value.reshape(-1)[0] if is_boxed else value


class _Dtype:
    """Replaces numpy.dtype, for numbers, text and objects, but no compound types."""

    def __init__(self, code, align=False, copy=False):
        self.is_object = str(code) in ("O", "O8", "|O")
        if not self.is_object and not _NUMBER_OR_TEXT.fullmatch(str(code)):
            raise ValueError(f"an array of type {code!r}")
        self.dtype = np.dtype(object if self.is_object else str(code))

    def __setstate__(self, state):
        _, order, subtype, names, fields = state[:5]
        if subtype is not None or names is not None or fields is not None:
            raise ValueError("an array of a compound type")
        if order in ("<", ">") and not self.is_object:
            self.dtype = self.dtype.newbyteorder(order)

    def read(self, data) -> np.ndarray:
        """The flat array in `data`."""
        if self.is_object:
            raise ValueError("objects given as bytes")
        return np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, self.dtype)


class _Array:
    """Replaces an array while it is unpickled; `value` is the array in the end."""

    value: np.ndarray | None = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        if dtype.is_object:
            flat = np.empty(len(data), object)
            flat[:] = [_plain(item) for item in data]
        else:
            flat = dtype.read(data)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _reconstruct(subtype, shape, code) -> _Array:
    return _Array()


def _from_buffer(data, dtype: _Dtype, shape, order) -> _Array:
    array = _Array()
    array.value = dtype.read(data).reshape(shape, order=order)
    return array


def _scalar(dtype: _Dtype, data):
    return dtype.read(data)[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes written as {encoding}")
    return text.encode("latin1")


def _empty() -> bytes:
    return b""


# The class of arrays is only passed on, to _reconstruct.
_STAND_INS = {("numpy", "dtype"): _Dtype, ("numpy", "ndarray"): None}
# Protocols 0 to 2 have no bytes and write them as text; empty bytes are a call.
_STAND_INS[("_codecs", "encode")] = _encode
_STAND_INS[("__builtin__", "bytes")] = _empty
_STAND_INS[("collections", "OrderedDict")] = dict
for _core in ("numpy.core", "numpy._core"):  # before NumPy 2 and since
    _STAND_INS[(f"{_core}.multiarray", "_reconstruct")] = _reconstruct
    _STAND_INS[(f"{_core}.multiarray", "scalar")] = _scalar
    _STAND_INS[(f"{_core}.numeric", "_frombuffer")] = _from_buffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in _STAND_INS:
            raise _Refused(f"{module}.{name}")
        return _STAND_INS[module, name]


def _unpickled(stream) -> Any:
    return _plain(_Unpickler(stream, encoding="latin1").load())


def _plain(value: Any) -> Any:
    """`value` with each _Array replaced by its array."""
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        return value.value
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray):
        return value
    raise ValueError(f"a {type(value).__name__} among the data")
