"""Cuts people out of pictures of any size."""

import cv2
import numpy as np

from liftjax import geometry

_AVERAGE_FROM = 2  # factor of shrinking from which a plain warp would skip pixels
_LARGEST_BLOCK = 2**12  # more than any picture's side by any crop's; bounds memory for absurd boxes
_BAND_BYTES = 2**25  # of the picture averaged at a time


def cut_person(image: np.ndarray, image_to_crop: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The crop (h, w, 3) uint8, bilinear, black outside the picture.

    Where the picture shrinks by two or more, square blocks of pixels are averaged first: fine
    patterns turn grey, as in a camera further away, rather than into false ones. Only the part of
    the picture that the crop shows is touched.

    Args:
      image: (H, W, 3) uint8, any size. image_to_crop: (2, 3), image pixels to crop pixels, of the
        same scale in all directions. size: (h, w) of the crop.
    """
    image_to_crop = np.asarray(image_to_crop, np.float64)
    height, width = size
    scale = np.sqrt(abs(np.linalg.det(image_to_crop[:, :2])))
    if not np.isfinite(image_to_crop).all() or not scale > 0:
        raise ValueError(f"No crop under the map {image_to_crop.tolist()}.")
    block = min(max(int(1 / scale + 1e-9), 1), _LARGEST_BLOCK)
    block = block if block >= _AVERAGE_FROM else 1
    x0, y0, x1, y1 = _shown(image_to_crop, size, image.shape, margin=2 * block)
    if x0 >= x1 or y0 >= y1:
        return np.zeros((height, width, 3), np.uint8)
    part = _block_means(image[y0:y1, x0:x1], block)
    center = (block - 1) / 2  # of a block; pixel centres are integers
    part_to_image = np.array([[block, 0, x0 + center], [0, block, y0 + center]])
    part_to_crop = geometry.compose_affine(image_to_crop, part_to_image)
    # OpenCV warps four channels in less than half the time of three.
    four = cv2.cvtColor(part, cv2.COLOR_RGB2RGBA)
    four = cv2.warpAffine(four, part_to_crop, (width, height), flags=cv2.INTER_LINEAR)
    return cv2.cvtColor(four, cv2.COLOR_RGBA2RGB)


def _shown(image_to_crop, size, image_shape, margin: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the pixels that the crop shows, and a margin where there is one."""
    height, width = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) - 0.5
    corners = geometry.apply_affine(geometry.invert_affine(image_to_crop), corners)
    limits = np.array(image_shape[1::-1])
    low = np.clip(np.floor(corners.min(axis=0)) - margin, 0, limits)
    high = np.clip(np.ceil(corners.max(axis=0)) + margin + 1, 0, limits)
    return *low.astype(int).tolist(), *high.astype(int).tolist()


def _block_means(image: np.ndarray, block: int) -> np.ndarray:
    """Means of blocks (block, block) of pixels; blocks at the edge are completed in black."""
    if block == 1:
        return image
    height, width = image.shape[:2]
    columns = -(-width // block)
    band_height = block * max(_BAND_BYTES // (3 * block * width), 1)
    bands = []
    for top in range(0, height, band_height):
        band = image[top : top + band_height]
        rows = -(-len(band) // block)
        missing = rows * block - len(band), columns * block - width
        if any(missing):
            band = cv2.copyMakeBorder(band, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT)
        bands.append(cv2.resize(band, (columns, rows), interpolation=cv2.INTER_AREA))
    return np.concatenate(bands)
