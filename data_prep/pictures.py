"""Pictures as records store them: a JPEG of the person with a margin.

The stored crop is larger than what a detector sees, because augmentation needs a margin, and small
enough to decode in a millisecond. An affine map leads back to the pixels of the original image.
"""

import argparse
import os
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from liftjax import geometry
from liftjax.errors import LiftjaxError

STORED_ASPECT = 3 / 4  # width over height, as detectors' crops
STORED_SCALE = 1.25 * 1.25  # a detector's usual context around the box, and a margin
MAX_HEIGHT = 480  # the largest input of detectors, 384 pixels, and the margin
JPEG_QUALITY = 92
_BLACK = 12  # of 255; no pixel of a broken frame is brighter, but some of a dark room are


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--full-frames",
        action="store_true",
        help="store whole pictures instead of crops of the person, which takes ten times the space "
        "and the time for decoding",
    )


def read_jpeg(path) -> np.ndarray | None:
    """(H, W, 3) uint8 BGR; None if the file is missing, unreadable or cut short."""
    try:  # OpenCV would fill the end of a truncated picture with grey
        with Image.open(path, formats=("JPEG", "PNG")) as picture:
            return cv2.cvtColor(np.array(picture.convert("RGB")), cv2.COLOR_RGB2BGR)
    except Exception:  # decoders of broken data raise all kinds
        return None


def is_black(picture: np.ndarray) -> bool:
    """Whether a picture shows nothing, as after a failure of a decoder."""
    return bool(picture.max() <= _BLACK)


def picture_fault(
    picture: np.ndarray | None, path, image_size: Sequence[int], labels: str
) -> tuple[str, str]:
    """The kind and detail of what is wrong with a picture; the kind is "" if it is sound.

    Args:
      picture: as read from `path`, or None.
      image_size: (width, height) that the labels are for.
      labels: where the labels say so.
    """
    if picture is None and os.path.exists(path):
        return "broken picture", "unreadable or cut short"
    if picture is None:
        return "missing picture", ""
    if picture.shape[1::-1] != tuple(image_size):
        return "wrong picture size", sizes_differ(picture.shape[1::-1], image_size, labels)
    return ("black picture" if is_black(picture) else ""), ""


def sizes_differ(found: Sequence[int], expected: Sequence[int], labels: str) -> str:
    """The detail of a problem: the two (width, height) and who expects the second."""
    return "{}x{}, but {}x{} in the {}".format(*found, *expected, labels)


def encode_jpeg(picture: np.ndarray) -> bytes:
    """The JPEG file of a picture (H, W, 3), uint8 BGR."""
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise LiftjaxError(f"OpenCV could not encode a picture of {picture.shape[1::-1]} pixels.")
    return data.tobytes()


def store(
    picture: np.ndarray, box_xyxy, image_to_picture=None, full_frame: bool = False
) -> tuple[bytes, np.ndarray]:
    """The JPEG of a person, and the (2, 3) affine from its pixels to those of the original image.

    Args:
      picture: (H, W, 3) uint8 BGR, the whole frame as read.
      box_xyxy: (4,) person box in the original image.
      image_to_picture: (2, 3) scale and shift, if the frame is not the original image itself.
      full_frame: store the whole frame instead of a crop.
    """
    if image_to_picture is None:
        image_to_picture = np.eye(3)[:2]
    if full_frame:
        stored, stored_to_picture = picture, np.eye(3)[:2]
    else:
        stored, stored_to_picture = _crop(picture, box_xyxy, image_to_picture)
    picture_to_image = geometry.invert_affine(np.asarray(image_to_picture, float))
    return encode_jpeg(stored), geometry.compose_affine(picture_to_image, stored_to_picture)


def _crop(picture: np.ndarray, box_xyxy, image_to_picture) -> tuple[np.ndarray, np.ndarray]:
    """The box and its surroundings, made smaller if large, and the affine back to the frame."""
    center, size = geometry.crop_region(box_xyxy, STORED_ASPECT, STORED_SCALE)
    corners = np.stack([center - size / 2, center + size / 2])
    corners = geometry.apply_affine(image_to_picture, corners)
    limits = np.array(picture.shape[1::-1])
    x0, y0 = np.clip(np.floor(corners[0]), 0, limits - 1).astype(int)
    x1, y1 = np.clip(np.ceil(corners[1]), (x0 + 1, y0 + 1), limits).astype(int)
    region = np.array([x1 - x0, y1 - y0])
    stored = np.maximum(np.rint(region * min(1.0, MAX_HEIGHT / region[1])), 1).astype(int)
    crop = cv2.resize(picture[y0:y1, x0:x1], stored.tolist(), interpolation=cv2.INTER_AREA)
    ratio = region / stored
    return crop, scale_affine(ratio, (x0, y0))


def scale_affine(scale, shift=0.0) -> np.ndarray:
    """(2, 3) affine that scales pixels by `scale` and then shifts the picture by `shift`.

    Pixel centres are integers, so the picture's corner is at (-1/2, -1/2).

    Args:
      scale: number or (2,) for x and y.
      shift: number or (2,) pixels.
    """
    scale = np.broadcast_to(scale, 2)
    x, y = shift + (scale - 1) / 2
    return np.array([[scale[0], 0, x], [0, scale[1], y]])


def letterbox_affine(image_size: tuple[int, int], video_size: tuple[int, int]) -> np.ndarray:
    """(2, 3) affine from image pixels to the pixels of a video scaled to fit and centred.

    Video software that changes the shape of pictures keeps the aspect and adds black bars.
    """
    image, video = np.asarray(image_size, float), np.asarray(video_size, float)
    scale = (video / image).min()
    return scale_affine(scale, (video - scale * image) / 2)
