"""Cuts people out of pictures, as detectors take them."""

import concurrent.futures
import os

import cv2
import numpy as np
from tqdm import tqdm

from liftjax import geometry
from liftjax.data.records import PoseDataset
from liftjax.data.workers import available_cores
from liftjax.errors import LiftjaxError

BOX_SCALE = 1.25  # context around the person's box
_LARGEST_BLOCK = 2**12  # more than any picture's side by any crop's; bounds memory for huge boxes
_BAND_BYTES = 2**25  # of the picture averaged at a time
_REDUCTIONS = np.array([1, 2, 4, 8])  # sizes 1/r at which a JPEG can be decoded


def image_to_crop(box_xyxy, image_size: tuple[int, int], scale=1.0, rotation=0.0) -> np.ndarray:
    """(N, 2, 3) float64 affines from image pixels to crop pixels.

    Args:
      box_xyxy: (N, 4).
      image_size: (height, width) of the crop.
      scale: (N,) or number, factor of the region shown.
      rotation: (N,) or number, radians.
    """
    boxes = np.asarray(box_xyxy, np.float64)
    return geometry.crop_affine(boxes, image_size, BOX_SCALE * scale, rotation)


def reductions(stored_to_crop: np.ndarray, zoom: float = 1.0) -> np.ndarray:
    """(N,) factors by which each picture may be decoded smaller without loss in the crop.

    Where a crop has half the resolution of the stored picture or less, the decoder averages blocks
    of pixels, which is faster than a plain warp and avoids its aliasing.

    Args:
      stored_to_crop: (N, 2, 3).
      zoom: factor by which augmentation may enlarge a crop.
    """
    scale = zoom * np.sqrt(np.abs(np.linalg.det(stored_to_crop[:, :, :2])))
    allowed = scale[:, None] * _REDUCTIONS <= 1
    return np.where(allowed, _REDUCTIONS, 1).max(axis=1)


def cut(picture, to_crop, size, block: int = 1, first=(0, 0), out=None) -> np.ndarray:
    """The crop (h, w, 3) uint8 RGB, bilinear, black outside the picture.

    Args:
      picture: (H, W, 3) uint8, part of a picture whose blocks of pixels were averaged into one.
      to_crop: (2, 3) float64 affine, from pixels before averaging to crop pixels.
      size: (h, w) of the crop.
      block: side of the averaged blocks.
      first: (x, y) of the pixel, before averaging, with which `picture` begins.
      out: array (h, w, 3) to fill and return.
    """
    center = (block - 1) / 2  # of a block; pixel centres are integers
    to_whole = np.array([[block, 0.0, first[0] + center], [0.0, block, first[1] + center]])
    to_crop = geometry.compose_affine(to_crop, to_whole)
    # OpenCV warps four channels in less than half the time of three.
    four = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    four = cv2.warpAffine(four, to_crop, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    return cv2.cvtColor(four, cv2.COLOR_RGBA2RGB, dst=out)


def cut_antialiased(picture, to_crop, size) -> np.ndarray:
    """The crop (h, w, 3) of a picture of any size, as :func:`cut` makes it.

    Where the picture shrinks by two or more, square blocks of pixels are averaged first, so that
    fine patterns turn grey, as in a camera further away. Only the part of the picture that the
    crop shows is touched.

    Args:
      picture: (H, W, 3) uint8.
      to_crop: (2, 3) affine from picture pixels to crop pixels, of one scale in all directions.
      size: (h, w) of the crop.
    """
    to_crop = np.asarray(to_crop, np.float64)
    scale = np.sqrt(abs(np.linalg.det(to_crop[:, :2])))
    if not np.isfinite(to_crop).all() or not scale > 0:
        raise ValueError(f"No crop under the map {to_crop.tolist()}.")
    block = min(max(int(1 / scale + 1e-9), 1), _LARGEST_BLOCK)
    x0, y0, x1, y1 = _shown(to_crop, size, picture.shape, margin=2 * block)
    if x0 >= x1 or y0 >= y1:
        return np.zeros((*size, 3), np.uint8)
    return cut(_block_means(picture[y0:y1, x0:x1], block), to_crop, size, block, (x0, y0))


def _shown(to_crop, size, picture_shape, margin: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the pixels that the crop shows, and a margin where there is one."""
    height, width = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) - 0.5
    corners = geometry.apply_affine(geometry.invert_affine(to_crop), corners)
    limits = np.array(picture_shape[1::-1])
    low = np.clip(np.floor(corners.min(axis=0)) - margin, 0, limits)
    high = np.clip(np.ceil(corners.max(axis=0)) + margin + 1, 0, limits)
    return *low.astype(int).tolist(), *high.astype(int).tolist()


def _block_means(picture: np.ndarray, block: int) -> np.ndarray:
    """Means of blocks (block, block) of pixels; blocks at the edge are completed in black."""
    if block == 1:
        return picture
    height, width = picture.shape[:2]
    columns = -(-width // block)
    band_height = block * max(_BAND_BYTES // (3 * block * width), 1)
    bands = []
    for top in range(0, height, band_height):
        band = picture[top : top + band_height]
        rows = -(-len(band) // block)
        missing = rows * block - len(band), columns * block - width
        if any(missing):
            band = cv2.copyMakeBorder(band, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT)
        bands.append(cv2.resize(band, (columns, rows), interpolation=cv2.INTER_AREA))
    return np.concatenate(bands)


def cache_crops(dataset: PoseDataset, stored_to_crop, reduction_N, image_size) -> np.ndarray:
    """(N, H, W, 3) uint8 crops of all records, cut once and kept with the data set."""
    if image_size not in dataset.crops:
        _check_memory(len(dataset) * image_size[0] * image_size[1] * 3)
        crops = np.empty((len(dataset), *image_size, 3), np.uint8)

        def fill(i):
            picture = dataset.image(i, int(reduction_N[i]))
            cut(picture, stored_to_crop[i], image_size, int(reduction_N[i]), out=crops[i])

        _for_all(fill, len(dataset), "cropping")
        dataset.crops[image_size] = crops
    return dataset.crops[image_size]


def cache_pictures(dataset: PoseDataset, reduction_N) -> list[np.ndarray]:
    """All stored pictures, decoded once, from which augmentation cuts its crops."""
    key = reduction_N.tobytes()
    if key not in dataset.crops:
        some = [dataset.image(i, int(reduction_N[i])).size for i in range(min(8, len(dataset)))]
        _check_memory(len(dataset) * np.mean(some))
        pictures = [None] * len(dataset)

        def fill(i):
            pictures[i] = dataset.image(i, int(reduction_N[i]))

        _for_all(fill, len(dataset), "decoding")
        dataset.crops[key] = pictures
    return dataset.crops[key]


def _for_all(function, count: int, what: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(available_cores()) as pool:
        done = pool.map(function, range(count))
        for _ in tqdm(done, total=count, desc=what, unit="pictures", delay=1):
            pass


def _check_memory(needed: float) -> None:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not every system tells
        return
    if needed > 0.8 * total:
        raise LiftjaxError(
            f"The pictures need {needed / 1e9:.1f} GB and this machine has {total / 1e9:.1f} GB; "
            "do not keep them in memory (--config.data.cache=False)."
        )
