"""Windows of consecutive frames, for lifters that see more than one.

The poses of a data set stay where they are, in memory or on the device, and a window is a row of
positions among them, so a batch is small and quickly made. The batch of a step is a pure function
of the seed and the step.

Legend: N records, C clips, W windows, B windows of a batch, T frames that a lifter takes, M frames
that it gives, K joints. A *place* is the number of a record in the order of clips and frames.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from liftjax.data.order import part_of_batch, train_positions
from liftjax.errors import LiftjaxError

Batch = dict[str, np.ndarray]

_FARTHEST = 5  # frame numbers between neighbours
_ENOUGH = 27  # a longer window repeats the ends of a clip


@dataclasses.dataclass(frozen=True)
class Clips:
    """Runs of frames at a constant step of one recording of one camera.

    Attributes:
      records: (N,) record at each place.
      first, last: (C,) places of each clip's first and last frame.
      step: largest difference of frame numbers between neighbours.
    """

    records: np.ndarray
    first: np.ndarray
    last: np.ndarray
    step: int

    @property
    def lengths(self) -> np.ndarray:
        """(C,) frames of each clip."""
        return self.last - self.first + 1

    def are_video(self, frames: int) -> bool:
        """Whether most records lie in clips of so many frames, a tenth of a second apart or less.

        Frame numbers count at 50 Hz. Of more than 27 frames, 27 are enough.
        """
        long = self.lengths[self.lengths >= min(frames, _ENOUGH)].sum()
        return self.step <= _FARTHEST and 2 * long >= len(self.records)


def find_clips(labels: Mapping[str, np.ndarray], part: np.ndarray | None = None) -> Clips:
    """The clips of a data set: one subject, action, trial and camera, no frame missing.

    The step is the most frequent distance between neighbouring frames of a data set; a clip ends
    where the distance differs.

    Args:
      labels: see `PoseDataset.labels`.
      part: (N,) data set of each record, if there are several.
    """
    names = [labels[field] for field in ("subject", "action", "trial", "camera")]
    names += [] if part is None else [part]
    keys = [np.unique(column, return_inverse=True)[1] for column in names]
    order = np.lexsort([labels["frame"], *reversed(keys)])
    same = np.all([key[order[1:]] == key[order[:-1]] for key in keys], axis=0)
    distance = np.diff(labels["frame"][order])
    part = np.zeros(len(order), int) if part is None else np.asarray(part)[order]
    steps = np.array([_usual(distance[same & (part[1:] == i)]) for i in range(part.max() + 1)])
    ends = np.flatnonzero(~(same & (distance == steps[part[1:]])))
    first = np.concatenate([[0], ends + 1])
    last = np.concatenate([ends, [len(order) - 1]])
    return Clips(order, first, last, int(steps.max()))


def _usual(distances: np.ndarray) -> int:
    """The most frequent positive distance; 1 if there is none."""
    values, counts = np.unique(distances[distances > 0], return_counts=True)
    return int(values[counts.argmax()]) if len(values) else 1


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of T frames; a lifter gives poses of the M frames from `offset` on.

    A window may reach beyond its clip; it then repeats the clip's first or last frame. A given
    frame does not count if it lies beyond the clip or belongs to another window.

    Attributes:
      clips: from which the windows are cut.
      clip: (W,) the clip of each window.
      start: (W,) place of the first given frame of each window.
      counted: (W,) place of the first given frame that counts.
      num_inputs: T.
      num_outputs: M.
      offset: number of frames before the first given one.
    """

    clips: Clips
    clip: np.ndarray
    start: np.ndarray
    counted: np.ndarray
    num_inputs: int
    num_outputs: int
    offset: int

    def __len__(self) -> int:
        return len(self.clip)

    def batch(self, rows: np.ndarray) -> Batch:
        """Windows `rows` (B,) as positions among the records.

        Returns:
          {"inputs": (B, T) int32 records, "index": (B, M) int32 records of the given frames,
          "weight": (B, M) float32, 0 for a frame that does not count}
        """
        first, last = (
            limit[self.clip[rows]][:, None] for limit in (self.clips.first, self.clips.last)
        )
        given = self.start[rows][:, None] + np.arange(self.num_outputs)
        taken = self.start[rows][:, None] - self.offset + np.arange(self.num_inputs)
        counts = (given >= self.counted[rows][:, None]) & (given <= last)
        inputs, index = (
            self.clips.records[np.clip(places, first, last)].astype(np.int32)
            for places in (taken, given)
        )
        return {"inputs": inputs, "index": index, "weight": counts.astype(np.float32)}

    def around(self, records: np.ndarray) -> Batch:
        """For each record, the window that gives its pose.

        Args:
          records: (B,).

        Returns:
          {"inputs": (B, T) int32 records, "given": (B,) int32 which of the window's M poses is that
          of the record}
        """
        place, window = self._of_records
        rows = window[records]
        given = place[records] - self.start[rows]
        return {"inputs": self.batch(rows)["inputs"], "given": given.astype(np.int32)}

    @functools.cached_property
    def _of_records(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) the place of each record, and (N,) the window in which it counts."""
        records = self.clips.records
        place, window = np.empty(len(records), np.int64), np.empty(len(records), np.int64)
        place[records] = np.arange(len(records))
        order = np.argsort(self.counted)
        found = np.searchsorted(self.counted[order], np.arange(len(records)), side="right") - 1
        window[records] = order[found]
        return place, window


def cut(clips: Clips, num_inputs: int, num_outputs: int = 1, offset: int = 0) -> Windows:
    """Windows in which every frame counts once.

    With one output there is a window for every record, in the order of the records. With more the
    windows lie end to end from the start of a clip. A last window that would reach beyond the
    clip's end is moved back to end there, as MixSTE's authors do in testing; frames that the window
    before gives do not count again.

    Args:
      clips: from which to cut.
      num_inputs: T.
      num_outputs: M.
      offset: input frames before the first given frame.
    """
    lengths = clips.lengths
    counts = -(-lengths // num_outputs)
    clip = np.repeat(np.arange(len(lengths)), counts)
    within = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
    counted = clips.first[clip] + within * num_outputs
    latest = np.maximum(clips.last - num_outputs + 1, clips.first)
    start = np.minimum(counted, latest[clip])
    if num_outputs == 1:
        order = np.argsort(clips.records[start])
        clip, start, counted = clip[order], start[order], counted[order]
    return Windows(clips, clip, start, counted, num_inputs, num_outputs, offset)


def train_batches(
    windows: Windows,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    flip: bool = False,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Endless batches of windows, from that of `start_step` on.

    Args:
      windows: from which to draw; each epoch is a new order of them all.
      batch_size: windows in a batch, over all shards.
      seed: of the order.
      start_step: step of the first batch.
      flip: whether an epoch has every window twice, once mirrored; "flip" (B,) bool tells which.
      shard: (i, n) gives the i-th of n equal parts of every batch, for one of n hosts.
    """
    if batch_size < 1 or seed < 0:
        raise LiftjaxError(
            f"Batch size {batch_size} and seed {seed}; they must be at least 1 and 0."
        )
    part = part_of_batch(batch_size, shard)
    for step in itertools.count(start_step):
        rows = train_rows(windows, batch_size, seed, step, flip)[part]
        yield windows.batch(rows % len(windows)) | {"flip": rows >= len(windows)}


def train_rows(
    windows: Windows, batch_size: int, seed: int, step: int, flip: bool = False
) -> np.ndarray:
    """(batch_size,) windows of the whole batch of `step`, over all shards.

    A row r is the window r % len(windows); with `flip` it is mirrored if r >= len(windows).
    """
    return train_positions(len(windows) * (2 if flip else 1), batch_size, seed, step)


def evaluation_batches(
    windows: Windows, batch_size: int, shard: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Every window once, in order; the last batch is padded with windows that do not count.

    Args: as for :func:`train_batches`.
    """
    part = part_of_batch(batch_size, shard)
    for begin in range(0, len(windows), batch_size):
        rows = np.arange(begin, begin + batch_size)[part]
        batch = windows.batch(np.minimum(rows, len(windows) - 1))
        batch["weight"] *= (rows < len(windows))[:, None]
        yield batch
