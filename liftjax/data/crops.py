"""Cuts the person out of stored pictures, as the detector wants to see them."""

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
_REDUCTIONS = np.array([1, 2, 4, 8])  # sizes 1/r at which a JPEG can be decoded


def image_to_crop(box_xyxy, image_size: tuple[int, int], scale=1.0, rotation=0.0) -> np.ndarray:
    """(N, 2, 3) float64 affines from image pixels to crop pixels.

    Args:
      box_xyxy: (N, 4). image_size: (height, width) of the crop.
      scale: (N,) or number, factor of the region shown. rotation: (N,) or number, radians.
    """
    boxes = np.asarray(box_xyxy, np.float64)
    return geometry.crop_affine(boxes, image_size, BOX_SCALE * scale, rotation)


def reductions(stored_to_crop: np.ndarray, zoom: float = 1.0) -> np.ndarray:
    """(N,) how much smaller each picture may be decoded: no smaller than the crop needs.

    Where a crop has half the resolution of the stored picture or less, the decoder averages blocks
    of pixels, in a fraction of the time and without the aliasing of a plain warp.

    Args:
      stored_to_crop: (N, 2, 3). zoom: factor by which augmentation may enlarge a crop.
    """
    scale = zoom * np.sqrt(np.abs(np.linalg.det(stored_to_crop[:, :, :2])))
    allowed = scale[:, None] * _REDUCTIONS <= 1
    return np.where(allowed, _REDUCTIONS, 1).max(axis=1)


def cut(picture, stored_to_crop, reduction: int, out, color=None) -> None:
    """Writes the crop (H, W, 3) uint8 RGB into `out`, black outside the picture.

    Args:
      picture: (h, w, 3) the stored picture, decoded at 1 / `reduction`.
      stored_to_crop: (2, 3) float64, from pixels of the stored picture at full size.
      out: array to fill. color: (3, 4) map of colours or None.
    """
    if reduction > 1:
        offset = (reduction - 1) / 2  # pixel centres are integers
        to_stored = np.array([[reduction, 0.0, offset], [0.0, reduction, offset]])
        stored_to_crop = geometry.compose_affine(stored_to_crop, to_stored)
    height, width = out.shape[:2]
    # OpenCV warps four channels in less than half the time of three.
    four = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    four = cv2.warpAffine(four, stored_to_crop, (width, height), flags=cv2.INTER_LINEAR)
    cv2.cvtColor(four, cv2.COLOR_RGBA2RGB, dst=out)
    if color is not None:
        cv2.transform(out, color, dst=out)


def cache_crops(dataset: PoseDataset, stored_to_crop, reduction_N, image_size) -> np.ndarray:
    """(N, H, W, 3) uint8 crops of all records, made once and kept with the data set."""
    if image_size not in dataset.crops:
        _check_memory(len(dataset) * image_size[0] * image_size[1] * 3)
        crops = np.empty((len(dataset), *image_size, 3), np.uint8)

        def fill(i):
            picture = dataset.image(i, int(reduction_N[i]))
            cut(picture, stored_to_crop[i], int(reduction_N[i]), crops[i])

        _for_all(fill, len(dataset), "cropping")
        dataset.crops[image_size] = crops
    return dataset.crops[image_size]


def cache_pictures(dataset: PoseDataset, reduction_N) -> list[np.ndarray]:
    """All stored pictures, decoded: what augmentation cuts its crops from."""
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
            "read them without it (--config.data.cache=False)."
        )
