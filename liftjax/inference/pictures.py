"""Reads a picture file as a person would see it: upright, opaque, in colour."""

import contextlib
import struct
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from liftjax.errors import LiftjaxError
from liftjax.inference.files import check_file

_MAX_PIXELS = 2**30  # of Pillow's own limit phones take more

# What Pillow raises for a file that begins as a picture, or its metadata, and does not go on so.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


def read_picture(path) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Turned as its EXIF orientation says, transparent parts laid on white, palettes and grey levels
    turned into colours, 16 bits scaled to 8.

    Raises:
      LiftjaxError: naming the file, if it is missing, empty, no picture, cut short or too large.
    """
    check_file(path, "picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata are read as far as they go
            return _read(path)
    except LiftjaxError:
        raise
    except UnidentifiedImageError:
        raise LiftjaxError(
            f"{path}: cannot be read as a picture; it is empty, broken or of another kind. JPEG, "
            "PNG, WebP, BMP and TIFF are read."
        ) from None
    except MemoryError:
        raise LiftjaxError(f"{path}: the picture does not fit into memory.") from None
    except _BROKEN as error:
        if isinstance(error, OSError) and error.strerror:
            raise LiftjaxError(f"{path}: cannot be read: {error.strerror}.") from None
        raise LiftjaxError(f"{path}: the picture is cut short or broken; copy it again.") from None


def _read(path) -> np.ndarray:
    with _open(path) as picture:
        width, height = picture.size
        if width * height > _MAX_PIXELS:
            raise LiftjaxError(
                f"{path}: the picture is too large ({width} x {height}; 2^30 pixels are read); "
                "make it smaller first."
            )
        picture.load()
        with contextlib.suppress(*_BROKEN):  # broken EXIF data: it is upright
            ImageOps.exif_transpose(picture, in_place=True)
        return _rgb8(picture, path)


def _open(path) -> Image.Image:
    """The header is read; without Pillow's limit, which stands for the whole program."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(path)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _rgb8(picture: Image.Image, path) -> np.ndarray:
    """(H, W, 3) uint8 of a picture of any mode."""
    if picture.mode.startswith("I;16"):  # which Pillow would clip, not scale
        grey = np.asarray(picture).astype(np.uint32)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise LiftjaxError(f"{path}: has 32 bits a pixel; save it with 8 or 16 bits a channel.")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))
