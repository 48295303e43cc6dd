"""Reads a picture file as a person would see it: upright, opaque, in colour."""

import contextlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from liftjax.errors import LiftjaxError
from liftjax.inference.files import check_file

# Others are rare, and one, EPS, is a program that Pillow would have run.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
Image.init()  # else it looks for some of them only when the others fail
_BITS_PER_SAMPLE = 258  # the TIFF tag


def read_picture(path) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Turned as its EXIF orientation says, transparent parts laid on white, palettes and grey levels
    turned into colours, 16 bits scaled to 8.

    Raises:
      LiftjaxError: naming the file, if it is missing, empty, no picture, cut short or too large.
    """
    check_file(path, "picture")
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            picture.load()
            with contextlib.suppress(Exception):  # of broken EXIF data: it is upright
                ImageOps.exif_transpose(picture, in_place=True)
            return _rgb8(picture, path)
    except LiftjaxError:
        raise
    except UnidentifiedImageError:
        raise LiftjaxError(
            f"{path}: cannot be read as a picture; it is empty, broken or of another kind. JPEG, "
            "PNG, WebP, BMP and TIFF are read."
        ) from None
    except Image.DecompressionBombError:
        most = f"{2 * Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
        raise LiftjaxError(
            f"{path}: the picture is too large, more than {most}; make it smaller first."
        ) from None
    except MemoryError:
        raise LiftjaxError(f"{path}: the picture does not fit into memory.") from None
    except Exception as error:  # decoders of broken data raise all kinds
        if isinstance(error, OSError) and error.strerror:
            raise LiftjaxError(f"{path}: cannot be read: {error.strerror}.") from None
        raise LiftjaxError(f"{path}: the picture is cut short or broken; copy it again.") from None


def _rgb8(picture: Image.Image, path) -> np.ndarray:
    """(H, W, 3) uint8 of a picture of any mode."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        # Pillow would clip these, not scale them.
        (bits,) = getattr(picture, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
        grey = np.rint(np.asarray(picture) * (255 / (2**bits - 1))).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise LiftjaxError(f"{path}: has 32 bits a pixel; save it with 8 or 16 bits a channel.")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))
