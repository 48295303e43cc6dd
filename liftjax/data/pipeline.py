"""Batches of crops and labels.

The batch of a training step is a pure function of (seed, step): samples are shuffled anew in every
epoch, epochs follow each other without a gap, and starting at step k gives what skipping k batches
would. Neither worker processes nor the cache change a bit of it.

A batch is a dictionary of NumPy arrays, B samples of K joints, 2D in pixels of the original image:

  image_u8 (B, H, W, 3) uint8 RGB crop; absent where records have no picture
  crop_to_image (B, 2, 3) affine from crop pixels to image pixels; absent without a crop size
  joints_px (B, K, 2), joint_visible (B, K), pose_m (B, K, 3), has_3d (B,)
  image_size (B, 2) width and height, box_xyxy (B, 4)
  index (B,) int32 position in the data set, mask (B,) bool, false where the last batch is padded
"""

import concurrent.futures
import functools
import os
from collections.abc import Iterator

import cv2
import grain
import numpy as np
from absl import flags
from tqdm import tqdm

from liftjax import geometry
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError

Batch = dict[str, np.ndarray]

BOX_SCALE = 1.25  # context around the person's box
_FLOAT_FIELDS = ("joints_px", "joint_visible", "pose_m", "has_3d", "image_size", "box_xyxy")
_FOREVER = 2**62


def train_batches(
    dataset: PoseDataset,
    image_size: tuple[int, int] | None,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    num_workers: int = 0,
    cache: bool = False,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Batches without end, from that of `start_step` on.

    Args:
      dataset: the samples.
      image_size: (height, width) of the crops; None for labels alone.
      batch_size: samples in a batch, over all shards.
      seed: of the order of samples, not negative.
      start_step: the first batch to give.
      num_workers: processes that read and crop pictures; 0 uses threads of this one. A script
        that asks for processes needs the `if __name__ == "__main__"` guard.
      cache: decode and crop every picture once, beforehand, and keep all crops in memory.
      shard: (i, n) gives the i-th of n equal parts of every batch, for one of n hosts.
    """
    source = _Batches(dataset, image_size, batch_size, shard, seed)
    return _iterate(source, start_step, _FOREVER, num_workers, cache)


def evaluation_batches(
    dataset: PoseDataset,
    image_size: tuple[int, int] | None,
    batch_size: int,
    num_workers: int = 0,
    cache: bool = False,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Every sample once, in order; the last batch is filled up with samples whose mask is false.

    Args: as for :func:`train_batches`.
    """
    source = _Batches(dataset, image_size, batch_size, shard, seed=None)
    return _iterate(source, 0, -(-len(dataset) // batch_size), num_workers, cache)


def train_positions(num_samples: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """(batch_size,) samples of the batch of `step`: each epoch is one permutation of them all."""
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, within = np.divmod(places, num_samples)
    samples = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        samples[here] = _permutation(num_samples, seed, int(epoch))[within[here]]
    return samples


@functools.lru_cache(maxsize=4)
def _permutation(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


def cache_crops(dataset: PoseDataset, image_size: tuple[int, int]) -> np.ndarray:
    """(N, H, W, 3) uint8 crops of all records, made once and kept with the data set."""
    size = tuple(image_size)
    if size not in dataset.crops:
        _check_memory(len(dataset) * size[0] * size[1] * 3)
        maps = _image_to_crop(dataset, size)
        crops = np.empty((len(dataset), *size, 3), np.uint8)

        def fill(i):
            crops[i] = _crop(dataset, i, maps[i], size)

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            done = pool.map(fill, range(len(dataset)))
            for _ in tqdm(done, total=len(dataset), desc="cropping", unit="pictures", delay=1):
                pass
        dataset.crops[size] = crops
    return dataset.crops[size]


def _check_memory(needed: int) -> None:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not every system tells
        return
    if needed > 0.8 * total:
        raise LiftjaxError(
            f"The crops need {needed / 1e9:.1f} GB and this machine has {total / 1e9:.1f} GB; "
            "read them without it (--config.data.cache=False)."
        )


def _image_to_crop(dataset: PoseDataset, image_size: tuple[int, int]) -> np.ndarray:
    """(N, 2, 3) float64 affines from image pixels to crop pixels."""
    boxes = dataset.labels["box_xyxy"].astype(np.float64)
    return geometry.crop_affine(boxes, image_size, BOX_SCALE)


def _crop(dataset, i: int, image_to_crop: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 crop of record `i`, black outside the stored picture."""
    affine = geometry.compose_affine(image_to_crop, dataset.labels["stored_to_image"][i])
    height, width = image_size
    return cv2.warpAffine(dataset.image(i), affine, (width, height), flags=cv2.INTER_LINEAR)


class _Batches:
    """The batch of every step; in order, or shuffled if there is a seed. Can be pickled."""

    def __init__(self, dataset, image_size, batch_size, shard, seed):
        if not len(dataset):
            raise LiftjaxError(f"{dataset.directory}: no records are left to make batches of.")
        part, parts = shard
        if batch_size < 1 or batch_size % parts:
            raise LiftjaxError(f"Batch size {batch_size} does not split into {parts} equal parts.")
        if seed is not None and seed < 0:
            raise LiftjaxError(f"The seed must not be negative, got {seed}.")
        self.dataset, self.seed, self.batch_size = dataset, seed, batch_size
        self.rows = slice(part * batch_size // parts, (part + 1) * batch_size // parts)
        self.image_size = image_size and tuple(image_size)
        self.fields = {k: dataset.labels[k].astype(np.float32) for k in _FLOAT_FIELDS}
        if image_size:
            self.maps = _image_to_crop(dataset, self.image_size)
            self.fields["crop_to_image"] = geometry.invert_affine(self.maps).astype(np.float32)
        self.has_pictures = bool(image_size) and _have_pictures(dataset)
        self.crops = None

    def positions(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples of the batch of `step` (of this shard), and which of them count."""
        if self.seed is not None:
            samples = train_positions(len(self.dataset), self.batch_size, self.seed, step)
            return samples[self.rows], np.ones(len(samples[self.rows]), bool)
        samples = np.arange(step * self.batch_size, (step + 1) * self.batch_size)[self.rows]
        return np.minimum(samples, len(self.dataset) - 1), samples < len(self.dataset)

    def __call__(self, step: int) -> Batch:
        samples, mask = self.positions(step)
        batch = {key: array[samples] for key, array in self.fields.items()}
        if self.crops is not None:
            batch["image_u8"] = self.crops[samples]
        elif self.has_pictures:
            crops = [_crop(self.dataset, i, self.maps[i], self.image_size) for i in samples]
            batch["image_u8"] = np.stack(crops)
        return batch | {"index": samples.astype(np.int32), "mask": mask}


def _have_pictures(dataset: PoseDataset) -> bool:
    has_image = dataset.labels["has_image"]
    if has_image.any() and not has_image.all():
        raise LiftjaxError(
            f"{dataset.directory}: {np.sum(~has_image)} of {len(dataset)} records have no picture; "
            "take those that have one with dataset.select(dataset.labels['has_image'])."
        )
    return bool(has_image.all())


def _iterate(batches: _Batches, start: int, stop: int, num_workers: int, cache: bool):
    """The batches of steps `start` to `stop`, read ahead by threads or processes if need be."""
    if batches.has_pictures and cache:
        batches.crops = cache_crops(batches.dataset, batches.image_size)
    if not batches.has_pictures or cache:
        return map(batches, range(start, stop))
    return _read_ahead(batches, start, stop, num_workers)


def _read_ahead(batches: _Batches, start: int, stop: int, num_workers: int) -> Iterator[Batch]:
    steps = grain.MapDataset.range(start, stop).map(batches)
    if num_workers:
        if not flags.FLAGS.is_parsed():  # grain's processes hand on the flags of this one
            flags.FLAGS.mark_as_parsed()
        reading = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
        options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
        iterator = iter(reading.mp_prefetch(options))
    else:
        threads = min(4, os.cpu_count() or 1)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        iterator = iter(steps.to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()
