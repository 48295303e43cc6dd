"""The frames around a detector's samples, which lifters of several frames see.

The keypoints of a sample carry a gradient, and so do those of the frames that run through the
detector with it (`loss.window_frames`). All others are those that the detector found last
(`training.last_found`). A step replaces what was found in its samples, and in some more frames that
it runs through the detector without a gradient (`loss.renewed`).

Legend: N records of the data set, S samples, B of them in a batch, F frames of a sample that run
through the detector, T frames that a lifter sees, K joints.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator

import jax
import numpy as np
from ml_collections import ConfigDict

from liftjax.data import windows
from liftjax.data.pipeline import Batch, train_batches
from liftjax.data.records import PoseDataset
from liftjax.lifters.spec import Lifter
from liftjax.prediction import (
    check_video,
    detection_settings,
    frames_seen,
    predict_2d,
    window_of_one_pose,
)
from liftjax.runtime.checkpoints import build_model
from liftjax.runtime.replicas import Replicas
from liftjax.runtime.state import assign

_RENEWING = 1  # added to the seed, for the order of the frames that are found again


class Surroundings:
    """Which frames lie around the samples of a data set, and what was found in them first.

    Attributes:
      dataset: all records.
      frames: (S, F) records that run through the detector for each sample, the sample first.
      seen: records that a lifter sees or that run through the detector, in order.

    Args:
      dataset: all records.
      samples: (S,) records that are samples.
      lifters: by name; each has windows of its own.
      num_frames: F, an odd number.

    Raises:
      LiftjaxError: the data set is no video.
    """

    def __init__(
        self,
        dataset: PoseDataset,
        samples: np.ndarray,
        lifters: dict[str, Lifter],
        num_frames: int = 1,
    ):
        self.dataset = dataset
        check_video(dataset, lifters)
        clips = windows.find_clips(dataset.labels, dataset.part)
        self._cuts = [window_of_one_pose(lifter, clips) for lifter in lifters.values()]
        # The sample comes first. At the end of a clip a frame may appear twice; lifters then take
        # the keypoints of the first copy.
        half = num_frames // 2
        outwards = sorted(range(num_frames), key=lambda place: abs(place - half))
        near = windows.cut(clips, num_frames, 1, half)
        self.frames = near.around(samples)["inputs"][:, outwards]
        self.seen = frames_seen([near, *self._cuts], samples, len(dataset))

    def around(self, records: np.ndarray) -> dict:
        """What a step reads beside the pictures of a batch.

        Args:
          records: (B, F) of its samples.

        Returns:
          {"records": (B, F) int32, "windows": `windows.Windows.around` of each lifter}
        """
        cuts = [cut.around(records[:, 0]) for cut in self._cuts]
        return {"records": records.astype(np.int32), "windows": cuts}

    def first_found(
        self, model: dict, config: ConfigDict, replicas: Replicas
    ) -> Callable[[dict], dict]:
        """A function that adds to the first state of a run what its detector finds before it.

        Args:
          model: what rebuilds the detector.
          config: the recipe.
          replicas: the devices.
        """

        def begin(state: dict) -> dict:
            detector = build_model(model)
            assign(detector, jax.tree.map(np.asarray, state["params"] | state["others"]))
            found_px_NK2 = np.zeros(state["found_px"].shape, np.float32)
            found_px_NK2[self.seen] = predict_2d(
                detector,
                self.dataset.select(self.seen),
                batch_size=config.data.eval_batch_size,
                replicas=replicas,
                **detection_settings(config),
            )
            return state | {"found_px": found_px_NK2}

        return begin

    def batches(
        self, config: ConfigDict, image_size: tuple[int, int], replicas: Replicas, **options
    ) -> Callable[[int], Iterator[Batch]]:
        """Batches of samples with what lies around them ("around"), from any step on.

        Args:
          config: the recipe.
          image_size: (height, width) of the crops.
          replicas: the devices.
          **options: of `train_batches`, beside those that the recipe gives alike to all batches.
        """
        used = np.unique(self.frames)
        frames = np.searchsorted(used, self.frames)
        dataset, seen = self.dataset.select(used), self.dataset.select(self.seen)
        count = renewed_frames(config, replicas)

        def start(step: int) -> Iterator[Batch]:
            shared = {"start_step": step, "shard": replicas.part}
            samples = train_batches(
                dataset,
                image_size,
                config.batch_size,
                config.seed,
                num_workers=config.data.workers,
                cache=config.data.cache,
                frames=frames,
                **shared,
                **options,
            )
            renewed = itertools.repeat(None)
            if count:
                renewed = train_batches(seen, image_size, count, config.seed + _RENEWING, **shared)
            return self._joined(samples, renewed, used)

        return start

    def _joined(
        self, samples: Iterator[Batch], renewed: Iterator[Batch | None], used: np.ndarray
    ) -> Iterator[Batch]:
        with contextlib.ExitStack() as stack:
            for one in (samples, renewed):
                stack.callback(getattr(one, "close", lambda: None))
            for batch, more in zip(samples, renewed, strict=True):
                around = self.around(used[batch["index"]])
                for key in ("image_to_view", "mirrored"):
                    if key in batch:
                        around[key] = batch.pop(key)[:, 0]
                if more is not None:
                    around["renewed"] = {k: more[k] for k in ("image_u8", "crop_to_image")}
                    around["renewed"]["records"] = self.seen[more["index"]].astype(np.int32)
                yield batch | {"around": around}


def renewed_frames(config: ConfigDict, replicas: Replicas) -> int:
    """Frames of a step whose keypoints are found again; a share of the batch, rounded up."""
    equal = replicas.size * config.accumulate
    return math.ceil(config.loss.renewed * config.batch_size / equal) * equal
