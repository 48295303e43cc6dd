"""Windows of consecutive frames, for lifters that see more than one.

The poses of a data set stay where they are, in memory or on the device; a window is a row of
positions among them, so that a batch is small and made in no time, and the batch of a step is a
pure function of the seed and the step.

Legend: N records, C clips, W windows, B windows of a batch, T frames that a lifter takes, M frames
that it gives, K joints. A *place* counts records in the order of clips and frames.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from liftjax.data.order import part_of_batch, train_positions
from liftjax.errors import LiftjaxError

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Clips:
    """Runs of frames at a constant step of one recording of one camera.

    Attributes:
      records: (N,) record at each place. first, last: (C,) places where each clip begins and ends
        (`last` belongs to it). step: frame numbers between neighbours.
    """

    records: np.ndarray
    first: np.ndarray
    last: np.ndarray
    step: int

    @property
    def lengths(self) -> np.ndarray:
        """(C,) frames of each clip."""
        return self.last - self.first + 1


def find_clips(labels: Mapping[str, np.ndarray], part: np.ndarray | None = None) -> Clips:
    """The clips of a data set: same subject, action, trial and camera, no frame missing.

    The step is the most frequent distance between neighbouring frames; where it is another, a clip
    ends.

    Args:
      labels: see `PoseDataset.labels`. part: (N,) data set of each record, where there are several.
    """
    names = [labels[field] for field in ("subject", "action", "trial", "camera")]
    names += [] if part is None else [part]
    keys = [np.unique(column, return_inverse=True)[1] for column in names]
    order = np.lexsort([labels["frame"], *reversed(keys)])
    same = np.all([key[order[1:]] == key[order[:-1]] for key in keys], axis=0)
    distance = np.diff(labels["frame"][order])
    steps, counts = np.unique(distance[same & (distance > 0)], return_counts=True)
    step = int(steps[counts.argmax()]) if len(steps) else 1
    ends = np.flatnonzero(~(same & (distance == step)))
    first = np.concatenate([[0], ends + 1])
    return Clips(order, first, np.concatenate([ends, [len(order) - 1]]), step)


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of T frames, whose M frames from `offset` on a lifter gives poses of.

    A window may reach beyond its clip: it then repeats the clip's first or last frame. A frame
    that it gives and that lies beyond the clip, or belongs to another window, does not count.

    Attributes:
      clips: what they are cut from. clip: (W,) the clip of each.
      start: (W,) place of the first frame of a window that is given. counted: (W,) place of the
        first of them that counts.
      num_inputs, num_outputs, offset: T, M, and how many frames stand before the first given one.
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
          {"inputs": (B, T), "index": (B, M) int32 records; "weight": (B, M) float32, 0 for a
          frame that does not count}
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


def cut(clips: Clips, num_inputs: int, num_outputs: int = 1, offset: int = 0) -> Windows:
    """Windows in which every frame counts once.

    With one output there is a window for every record, in the order of the records. With more they
    lie end to end from the start of a clip; where the last would reach beyond the end, it is moved
    back to end there (as MixSTE's authors cut clips for testing), and what the window before has
    given does not count.

    Args:
      num_inputs: T. num_outputs: M. offset: input frames before the first frame given.
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
    """Batches of windows without end, from that of `start_step` on.

    Args:
      windows: what to draw from; each epoch is a new order of them all.
      batch_size: windows in a batch, over all shards. seed: of the order.
      flip: an epoch has every window twice, once to be mirrored: "flip" (B,) bool says which.
      shard: (i, n) gives the i-th of n equal parts of every batch, for one of n hosts.
    """
    if batch_size < 1 or seed < 0:
        raise LiftjaxError(f"Batch size {batch_size} and seed {seed}: at least 1 and 0.")
    part = part_of_batch(batch_size, shard)
    for step in itertools.count(start_step):
        rows = train_rows(windows, batch_size, seed, step, flip)[part]
        yield windows.batch(rows % len(windows)) | {"flip": rows >= len(windows)}


def train_rows(
    windows: Windows, batch_size: int, seed: int, step: int, flip: bool = False
) -> np.ndarray:
    """(batch_size,) windows of the whole batch of `step`, over all shards.

    Row r is window r % len(windows); with `flip` it is mirrored if r >= len(windows).
    """
    return train_positions(len(windows) * (2 if flip else 1), batch_size, seed, step)


def evaluation_batches(
    windows: Windows, batch_size: int, shard: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Every window once, in order; the last batch is filled up with ones that do not count.

    Args: as for :func:`train_batches`.
    """
    part = part_of_batch(batch_size, shard)
    for begin in range(0, len(windows), batch_size):
        rows = np.arange(begin, begin + batch_size)[part]
        batch = windows.batch(np.minimum(rows, len(windows) - 1))
        batch["weight"] *= (rows < len(windows))[:, None]
        yield batch
