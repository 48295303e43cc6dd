"""Reads a picture file as a person would see it: upright, opaque, in colour."""

import contextlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from liftjax.errors import LiftjaxError
from liftjax.inference.files import check_file

_PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 274  # the TIFF and EXIF tag
# A marker inside compressed JPEG data: neither a stuffed byte, nor a restart, nor filling.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class _CutShort(Exception):
    """The file ends before its format says so."""


def read_picture(path) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Turned as its EXIF orientation says, transparent parts laid on white, palettes and grey levels
    turned into colours, 16 bits scaled to 8.

    Raises:
      LiftjaxError: naming the file, if it is missing, empty, no picture, cut short or too large.
    """
    check_file(path, "picture")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise LiftjaxError(f"{path}: cannot be read: {error.strerror}.") from None
    if not data:
        raise LiftjaxError(f"{path}: the file is empty; copy it again.")
    try:
        exif = _exif(data)
    except (_CutShort, struct.error, IndexError):
        raise LiftjaxError(f"{path}: the picture is cut short; copy it again.") from None
    return _upright(_rgb8(_decode(path, data), path), _orientation(exif))


def _decode(path, data: bytes) -> np.ndarray:
    """The picture as it is stored: any channels, any depth."""
    try:
        with _quiet():
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error) or "alloc" in str(error):
            raise LiftjaxError(
                f"{path}: the picture is too large: OpenCV takes up to 2^30 pixels and 2^20 a "
                "side, and it must fit into memory; make it smaller first."
            ) from None
        picture = None
    if picture is None:
        raise LiftjaxError(
            f"{path}: cannot be read as a picture; it is broken or of another kind. JPEG, PNG, "
            "WebP, BMP and TIFF are read."
        )
    return picture


def _rgb8(picture: np.ndarray, path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a grey, BGR or BGRA picture (H, W) or (H, W, C)."""
    if picture.dtype == np.uint16:
        picture = cv2.convertScaleAbs(picture, alpha=255 / 65535)
    if picture.dtype != np.uint8:
        raise LiftjaxError(
            f"{path}: its pixels are {picture.dtype}; save it with 8 or 16 bits a channel."
        )
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    if channels == 1:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    if channels == 3:
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    if channels == 4:
        return _on_white(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA))
    raise LiftjaxError(f"{path}: has {channels} channels; a grey or colour picture is expected.")


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8; row by row, so that a large picture needs little further memory."""
    rgb = np.empty((*rgba.shape[:2], 3), np.uint8)
    for row, out in zip(rgba, rgb, strict=True):
        alpha = row[:, 3:].astype(np.uint32)
        out[:] = (row[:, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return rgb


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without OpenCV's own words on a broken file, which would come before ours."""
    logging = getattr(cv2.utils, "logging", cv2)  # OpenCV 5, 4
    level = logging.getLogLevel()
    logging.setLogLevel(0)
    try:
        yield
    finally:
        logging.setLogLevel(level)


# Orientation


def _upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Turns and mirrors a picture as EXIF's eight orientations say."""
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def _orientation(exif: bytes) -> int:
    """1 to 8; 1, upright, where EXIF data do not say or are broken.

    The data are a TIFF header and a list of entries of 12 bytes: tag, type, count, value.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for i in range(count):
            tag, _, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * i)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


# Containers: each of these walks a file to its end, finds the EXIF data and whether all is there.
# The decoders fill what is missing with grey, or say nothing a user could read.


def _exif(data: bytes) -> bytes:
    """The EXIF data, empty if there are none. Raises _CutShort."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg_exif(data)
    if data.startswith(_PNG):
        return _png_exif(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_exif(data)
    if data[:2] == b"BM" and len(data) < struct.unpack_from("<I", data, 2)[0]:
        raise _CutShort
    return b""  # the decoder turns TIFF itself, the others know no EXIF


def _jpeg_exif(data: bytes) -> bytes:
    exif, position = b"", 2
    while True:
        found = _JPEG_MARKER.search(data, position)
        if not found:
            raise _CutShort
        marker, position = data[found.start() + 1], found.end()
        if marker == 0xD9:  # the end; phones append more data to it
            return exif
        (length,) = struct.unpack_from(">H", data, position)
        segment = data[position + 2 : position + length]
        if marker == 0xE1 and segment.startswith(b"Exif\0\0") and not exif:
            exif = segment[6:]
        position += length


def _png_exif(data: bytes) -> bytes:
    exif, position = b"", len(_PNG)
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"eXIf":
            exif = data[position + 8 : position + 8 + length]
        position += 12 + length
        if kind == b"IEND":
            return exif


def _webp_exif(data: bytes) -> bytes:
    (size,) = struct.unpack_from("<I", data, 4)
    if len(data) < size + 8:
        raise _CutShort
    position = 12
    while position + 8 <= size + 8:
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return data[position + 8 : position + 8 + length].removeprefix(b"Exif\0\0")
        position += 8 + length + length % 2
    return b""
