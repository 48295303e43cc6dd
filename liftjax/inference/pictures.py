"""Reads picture files as a person would see them, upright, opaque and in colour; encodes JPEGs."""

import contextlib

import cv2
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

    The picture is turned as its EXIF orientation says and laid on white where it is transparent;
    palettes and grey levels become colours, 16 bits are scaled to 8.

    Raises:
      LiftjaxError: the file is missing, empty, not a picture, cut short or too large.
    """
    check_file(path, "picture")
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            picture.load()
            with contextlib.suppress(Exception):  # broken EXIF data: taken as upright
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
            f"{path}: the picture has more than {most}; make it smaller first."
        ) from None
    except MemoryError:
        raise LiftjaxError(
            f"{path}: the picture does not fit into memory; make it smaller."
        ) from None
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
        raise LiftjaxError(f"{path}: has 32 bits a channel; save it with 8 or 16 bits.")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """A JPEG file of an image (H, W, 3) uint8 RGB."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    """A copy of an image, `scale` times as large."""
    if scale == 1:
        return image.copy()
    size = tuple(max(1, round(scale * side)) for side in image.shape[1::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=how)
