"""Batches of crops and labels.

The batch of a training step is a pure function of (seed, step): its samples (see
`liftjax.data.order`) and how augmentation changes them. Starting at step k equals skipping k
batches, and neither worker processes nor the cache change a bit of a batch.

A batch is a dictionary of NumPy arrays, B samples of K joints, 2D in pixels of the original image:

  image_u8 (B, H, W, 3) uint8 RGB crop; absent where records have no picture
  crop_to_image (B, 2, 3) affine from crop pixels to image pixels; absent without a crop size
  joints_px (B, K, 2), joint_visible (B, K), pose_m (B, K, 3), has_3d (B,)
  image_size (B, 2) width and height, box_xyxy (B, 4)
  index (B,) int32 position in the data set, mask (B,) bool, false where the last batch is padded
  on request root_m (B, 3), camera_K (B, 3, 3), camera_R (B, 3, 3), camera_t (B, 3) and
    camera_distortion (B, 5)

Where samples consist of several frames, all arrays have an axis of frames after B. With
augmentation they then also have:

  image_to_view (B, F, 2, 3) affine from pixels of the image to those of the changed one, and
    mirrored (B, F)
"""

from collections.abc import Iterator, Mapping, Sequence

import cv2
import grain
import numpy as np
from absl import flags

from liftjax import geometry
from liftjax.data import crops
from liftjax.data.augment import Augment, draw_changes, transform_view
from liftjax.data.order import as_shares, mixed_positions, part_of_batch, train_positions
from liftjax.data.records import PoseDataset
from liftjax.data.workers import available_cores, follow_the_parent
from liftjax.errors import LiftjaxError

Batch = dict[str, np.ndarray]

_FIELDS = ("joints_px", "joint_visible", "pose_m", "has_3d", "image_size", "box_xyxy")
_CAMERA_FIELDS = ("root_m", "camera_K", "camera_R", "camera_t", "camera_distortion")
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
    augment: Augment | Mapping[str, float] | None = None,
    shares: Sequence[float] = (),
    cameras: bool = False,
    frames: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Endless batches, from that of `start_step` on.

    Args:
      dataset: the samples.
      image_size: (height, width) of the crops; None for labels alone.
      batch_size: samples in a batch, over all shards.
      seed: of the order of samples, not negative.
      start_step: step of the first batch.
      num_workers: processes that read and crop pictures; 0 uses threads. A script that uses
        processes needs the `if __name__ == "__main__"` guard.
      cache: decode every picture once, beforehand, and keep all crops in memory; with
        augmentation, which cuts new crops each time, the stored pictures.
      shard: (i, n) gives the i-th of n equal parts of every batch, for one of n hosts.
      augment: random changes of the samples, see `liftjax.data.augment`.
      shares: share of each data set of `dataset` in a batch; none to treat all samples alike.
      cameras: whether to give roots and cameras too.
      frames: (S, F) positions of the frames of each sample, which are changed alike; default: every
        position is a sample.
    """
    source = Batches(
        dataset, image_size, batch_size, shard, seed, Augment.of(augment), shares, cameras, frames
    )
    return _iterate(source, start_step, _FOREVER, num_workers, cache)


def train_samples(
    dataset: PoseDataset, batch_size: int, seed: int, step: int, shares: Sequence[float] = ()
) -> np.ndarray:
    """(batch_size,) samples of the whole batch of `step`, over all shards.

    Args: as for :func:`train_batches`.
    """
    mixture = _mixture(dataset, dataset.part, shares)
    return _positions(len(dataset), mixture, batch_size, seed, step)


def evaluation_batches(
    dataset: PoseDataset,
    image_size: tuple[int, int] | None,
    batch_size: int,
    num_workers: int = 0,
    cache: bool = False,
    shard: tuple[int, int] = (0, 1),
    cameras: bool = False,
) -> Iterator[Batch]:
    """Every sample once, in order; the last batch is padded with samples whose mask is false.

    Args: as for :func:`train_batches`.
    """
    source = Batches(dataset, image_size, batch_size, shard, seed=None, cameras=cameras)
    return _iterate(source, 0, -(-len(dataset) // batch_size), num_workers, cache)


class Batches:
    """Maps a step to its batch; in order, or shuffled if there is a seed. Can be pickled."""

    def __init__(
        self,
        dataset,
        image_size,
        batch_size,
        shard,
        seed,
        augment=None,
        shares=(),
        cameras=False,
        frames=None,
    ):
        if not len(dataset):
            raise LiftjaxError(f"{dataset.directory}: no records are left for batches.")
        if seed is not None and seed < 0:
            raise LiftjaxError(f"The seed must not be negative, got {seed}.")
        self.dataset, self.seed, self.batch_size = dataset, seed, batch_size
        self.rows = part_of_batch(batch_size, shard)
        self.image_size = image_size and tuple(image_size)
        self.augment = augment or Augment()
        self.fields = _FIELDS + (_CAMERA_FIELDS if cameras else ())
        self.frames = frames
        part = dataset.part if frames is None else dataset.part[frames[:, 0]]
        self.mixture = _mixture(dataset, part, shares)
        self.has_pictures = bool(image_size) and _have_pictures(dataset)
        if image_size:
            to_crop = crops.image_to_crop(dataset.labels["box_xyxy"], self.image_size)
            self.crop_to_image = geometry.invert_affine(to_crop)
            to_image = dataset.labels["stored_to_image"]
            self.stored_to_crop = geometry.compose_affine(to_crop, to_image)
            self.reductions = crops.reductions(
                self.stored_to_crop, zoom=1 / (1 - self.augment.scale)
            )
        self.crops = self.pictures = None  # where they are cached

    def __setstate__(self, state):
        """In a worker process, of which every core has one, OpenCV starts no threads."""
        self.__dict__.update(state)
        cv2.setNumThreads(0)

    def cache(self) -> None:
        """Decodes all pictures now."""
        if self.augment:
            self.pictures = crops.cache_pictures(self.dataset, self.reductions)
        else:
            self.crops = crops.cache_crops(
                self.dataset, self.stored_to_crop, self.reductions, self.image_size
            )

    def positions(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """This shard's positions in the batch of `step`, and which of them are not padding.

        Of samples of several frames, all frames of the first sample come first.
        """
        if self.seed is None:
            samples = np.arange(step * self.batch_size, (step + 1) * self.batch_size)[self.rows]
            return np.minimum(samples, len(self.dataset) - 1), samples < len(self.dataset)
        count = len(self.dataset if self.frames is None else self.frames)
        samples = _positions(count, self.mixture, self.batch_size, self.seed, step)[self.rows]
        if self.frames is not None:
            samples = self.frames[samples].reshape(-1)
        return samples, np.ones(len(samples), bool)

    def __call__(self, step: int) -> Batch:
        batch = self.labels(step)
        return batch | {"image_u8": self.images(step)} if self.has_pictures else batch

    def labels(self, step: int) -> Batch:
        """The batch of `step` without its pictures."""
        samples, mask = self.positions(step)
        batch, _, _ = self._view(step, samples)
        batch = {key: array.astype(np.float32, copy=False) for key, array in batch.items()}
        batch |= {"index": samples.astype(np.int32), "mask": mask}
        return {key: self._by_sample(array) for key, array in batch.items()}

    def images(self, step: int) -> np.ndarray:
        """(B, H, W, 3) uint8 crops of the batch of `step`."""
        samples, _ = self.positions(step)
        if self.crops is not None:
            return self._by_sample(self.crops[samples])
        _, stored_to_crop, colors = self._view(step, samples)
        images = np.empty((len(samples), *self.image_size, 3), np.uint8)
        for row, sample in enumerate(samples.tolist()):
            reduction = int(self.reductions[sample])
            if self.pictures is not None:
                picture = self.pictures[sample]
            else:
                picture = self.dataset.image(sample, reduction)
            crop = images[row]
            crops.cut(picture, stored_to_crop[row], self.image_size, reduction, out=crop)
            if colors is not None:
                cv2.transform(crop, colors[row], dst=crop)
        return self._by_sample(images)

    def _by_sample(self, array: np.ndarray) -> np.ndarray:
        """With an axis of frames, if samples consist of several."""
        if self.frames is None:
            return array
        return array.reshape(-1, self.frames.shape[1], *array.shape[1:])

    def _view(self, step: int, samples: np.ndarray):
        """Labels, affines from stored to crop pixels and colour maps, with any augmentation."""
        labels = self.dataset.labels
        view = {key: labels[key][samples] for key in self.fields}
        if not self.augment:
            if not self.image_size:
                return view, None, None
            view["crop_to_image"] = self.crop_to_image[samples]
            return view, self.stored_to_crop[samples], None
        view["stored_to_image"] = labels["stored_to_image"][samples]
        draws = draw_changes(self.augment, self.seed, step, self.rows, self.batch_size)
        if self.frames is not None:  # the same for all frames of a sample
            draws = draws.repeated(self.frames.shape[1])
        permutation = self.dataset.skeleton.flip_permutation
        before = view["stored_to_image"]
        view = transform_view(view, draws.reflect, draws.roll, permutation)
        to_image = view.pop("stored_to_image")
        if self.frames is not None:
            view["image_to_view"] = geometry.compose_affine(
                to_image, geometry.invert_affine(before)
            )
            view["mirrored"] = draws.reflect
        if not self.image_size:
            return view, None, None
        to_crop = crops.image_to_crop(
            view["box_xyxy"], self.image_size, draws.scale, draws.rotation
        )
        view["crop_to_image"] = geometry.invert_affine(to_crop)
        return view, geometry.compose_affine(to_crop, to_image), draws.color


def _positions(count: int, mixture, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Samples of the whole training batch of `step`, of `count`."""
    if mixture is None:
        return train_positions(count, batch_size, seed, step)
    members, shares = mixture
    return mixed_positions(members, shares, batch_size, seed, step)


def _mixture(dataset: PoseDataset, part: np.ndarray, shares):
    """The samples of each data set and its exact share; None to treat all samples alike.

    Args:
      dataset: all records.
      part: (S,) data set of each sample.
      shares: see :func:`train_batches`.
    """
    if not len(shares):
        return None
    exact = as_shares(shares, [str(directory) for directory in dataset.directories])
    members = [np.flatnonzero(part == i) for i in range(len(exact))]
    for directory, indices in zip(dataset.directories, members, strict=True):
        if not len(indices):
            raise LiftjaxError(
                f"{directory} has a share of the batches, but none of its records is left; check "
                "config.data.subjects."
            )
    return members, exact


def _have_pictures(dataset: PoseDataset) -> bool:
    has_image = dataset.labels["has_image"]
    if has_image.any() and not has_image.all():
        raise LiftjaxError(
            f"{dataset.directory}: {np.sum(~has_image)} of {len(dataset)} records have no picture; "
            "take those that have one with dataset.select(dataset.labels['has_image'])."
        )
    return bool(has_image.all())


def _iterate(batches: Batches, start: int, stop: int, num_workers: int, cache: bool):
    """The batches of steps `start` to `stop`; pictures are read ahead by threads or processes."""
    if batches.has_pictures and cache:
        batches.cache()
    if not batches.has_pictures or batches.crops is not None:
        return map(batches, range(start, stop))
    return _read_ahead(batches, start, stop, 0 if cache else num_workers)


def _read_ahead(batches: Batches, start: int, stop: int, num_workers: int) -> Iterator[Batch]:
    # Processes send pictures only, because labels are quicker to look up than to send.
    images = grain.MapDataset.range(start, stop).map(batches.images)
    if num_workers:
        if not flags.FLAGS.is_parsed():  # grain passes this process's flags on to its workers
            flags.FLAGS.mark_as_parsed()
        reading = images.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
        options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
        iterator = iter(reading.mp_prefetch(options, worker_init_fn=follow_the_parent))
    else:
        threads = min(4, available_cores())
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        iterator = iter(images.to_iter_dataset(options))
    try:
        for step, image_u8 in zip(range(start, stop), iterator, strict=True):
            # A copy, because pictures from a process are in shared memory, which JAX on a CPU would
            # take over and keep until the interpreter ends.
            image_u8 = np.array(image_u8) if num_workers else image_u8
            yield batches.labels(step) | {"image_u8": image_u8}
    finally:
        iterator.close()
