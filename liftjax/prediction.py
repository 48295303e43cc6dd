"""Keypoints of a detector and poses of lifters for a whole data set, on all devices.

Every process gets the whole result. The last batch is padded and the padding dropped, so that the
result depends neither on the devices nor on the batch size.

Legend: N records, B batch, K joints, T input frames, M output frames.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from flax import nnx
from tqdm import tqdm

from liftjax.data import windows
from liftjax.data.order import part_of_batch
from liftjax.data.pipeline import evaluation_batches
from liftjax.data.records import PoseDataset
from liftjax.detectors.spec import DETECTOR_PRECISIONS, Decoding
from liftjax.errors import LiftjaxError, check_name
from liftjax.hosts import is_first
from liftjax.lifters.mirror import mirror_2d, mirror_3d
from liftjax.lifters.spec import LifterSpec
from liftjax.runtime.checkpoints import build_model
from liftjax.runtime.replicas import Replicas
from liftjax.runtime.state import PureModule

_LIFT_BATCH = 512
_SLIDE = 256  # frames that a sliding lifter gives at a time
_AT_ONCE = 65_536  # samples whose windows are looked up


def predict_2d(detector: nnx.Module, dataset: PoseDataset, **options) -> np.ndarray:
    """Keypoints (N, K, 2) of every record, in pixels of the original image.

    Args:
      detector: the network.
      dataset: records with pictures.
      **options: see :func:`predict_scored`.
    """
    return predict_scored(detector, dataset, **options)[0]


def predict_scored(
    detector: nnx.Module,
    dataset: PoseDataset,
    *,
    batch_size: int = 64,
    decoding: Decoding = Decoding(),  # noqa: B008
    precision: str = "float32",
    cache: bool = False,
    replicas: Replicas | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, K, 2) in pixels of the original image, and scores (N, K), of every record.

    Args:
      detector: the network.
      dataset: records with pictures.
      batch_size: pictures at a time on all devices together, rounded up to a multiple of the
        devices.
      decoding: how keypoints are read off the output.
      precision: of the activations, one of DETECTOR_PRECISIONS.
      cache: whether decoded pictures are kept in memory.
      replicas: the devices; all by default.

    Raises:
      LiftjaxError: `precision` is unknown.
    """
    check_name("precision", precision, DETECTOR_PRECISIONS)
    replicas = replicas or Replicas.create()
    pure, params, others = PureModule.split(detector)
    mapped = _mapped_detector(pure, replicas, decoding, precision)
    weights = replicas.replicate((params, others))
    kpts_px_NK2 = np.empty((len(dataset), detector.spec.num_joints, 2), np.float32)
    scores_NK = np.empty(kpts_px_NK2.shape[:2], np.float32)
    batches = evaluation_batches(
        dataset,
        image_size=detector.spec.image_size,
        batch_size=replicas.rounded_up(batch_size),
        cache=cache,
        shard=replicas.part,
    )
    with _bar(len(dataset), "detecting", "img") as bar:
        for batch in batches:
            found = replicas.to_host(mapped(weights, replicas.shard(batch)))
            real = found["mask"]
            rows = found["index"][real]
            kpts_px_NK2[rows], scores_NK[rows] = found["kpts_px"][real], found["scores"][real]
            bar.update(int(real.sum()))
    return kpts_px_NK2, scores_NK


def detection_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The `decoding` and `precision` of :func:`predict_scored` for a detector of this recipe."""
    return {"decoding": Decoding.of_recipe(recipe), "precision": recipe["precision"]}


@functools.lru_cache(maxsize=8)
def _mapped_detector(pure: PureModule, replicas: Replicas, decoding: Decoding, precision: str):
    """Cached, so that it compiles once for all evaluations of a training run."""

    def predict(weights, batch):
        out, kpts_px_BK2 = decoding.detect(pure.merge(*weights), batch, precision)
        found = {"kpts_px": kpts_px_BK2, "scores": out.scores()}
        return found | {"index": batch["index"], "mask": batch["mask"]}

    return replicas.map_predict(predict)


def lift(
    lifter: nnx.Module,
    kpts_px_NK2: np.ndarray,
    image_size_N2: np.ndarray,
    replicas: Replicas | None = None,
) -> np.ndarray:
    """Single-frame lifts (N, K, 3) in metres, on every process."""
    replicas = replicas or Replicas.create()
    pure, params, others = PureModule.split(lifter)
    mapped, weights = _mapped_lifter(pure, replicas), replicas.replicate((params, others))
    count = len(kpts_px_NK2)
    size = replicas.rounded_up(min(count, _LIFT_BATCH))
    poses = []
    own = part_of_batch(size, replicas.part)
    for start in range(0, count, size):
        # The last batch is padded with its last pose, so that one compilation serves all batches.
        rows = np.minimum(np.arange(start, start + size), count - 1)[own]
        batch = {
            "kpts_px": np.asarray(kpts_px_NK2[rows], np.float32),
            "image_size": np.asarray(image_size_N2[rows], np.float32),
        }
        poses.append(replicas.to_host(mapped(weights, replicas.shard(batch))))
    return np.concatenate(poses)[:count]


@functools.lru_cache(maxsize=8)
def _mapped_lifter(pure: PureModule, replicas: Replicas):
    def lift_batch(weights, batch):
        module = pure.merge(*weights)
        return module.lift(batch["kpts_px"][:, None], batch["image_size"])[:, 0]

    return replicas.map_predict(lift_batch)


def sliding_form(spec: dict) -> nnx.Module:
    """The sliding form of a strided lifter: the same weights, and a pose for every frame."""
    return build_model({k: v for k, v in spec.items() if k != "strided"})


def strided_form(spec: dict) -> nnx.Module:
    """The cheapest form of a lifter that gives one pose of a window, with the same weights.

    For a dilated VideoPose3D it is the strided one, which computes only what the pose depends on.
    """
    lifter = build_model(spec)
    has_form = "strided" in inspect.signature(type(lifter).__init__).parameters
    if not has_form or lifter.spec.receptive_field == 1 or spec.get("dense"):
        return lifter
    # num_frames=1 means: as many as the filter widths cover.
    frames = {"num_frames": 1} if spec.get("filter_widths") else {}
    return build_model(spec | frames | {"strided": True})


def lift_found(
    lifter: nnx.Module, dataset: PoseDataset, replicas: Replicas | None = None
) -> np.ndarray:
    """Poses (N, K, 3) in metres of the data set's 2D poses, of single frames or of their clips."""
    if lifter.spec.receptive_field == 1:
        return lift(lifter, dataset.labels["joints_px"], dataset.labels["image_size"], replicas)
    return lift_dataset(lifter, dataset, replicas=replicas)


def lift_dataset(
    lifter: nnx.Module,
    dataset: PoseDataset,
    flip: bool = False,
    replicas: Replicas | None = None,
) -> np.ndarray:
    """Poses (N, K, 3) in metres of every record, lifted from the clip that it belongs to.

    Args:
      lifter: the network.
      dataset: records with 2D poses.
      flip: whether to average with the pose lifted from the mirrored clip.
      replicas: the devices; all by default.
    """
    labels = dataset.labels
    clips = windows.find_clips(labels, dataset.part)
    with _bar(len(dataset), "lifting", "poses") as bar:
        lift_clips = ClipLifter(lifter, flip=flip, replicas=replicas)
        return lift_clips(clips, labels["joints_px"], labels["image_size"], bar.update)


class ClipLifter:
    """Lifts clips with a lifter of any number of frames; compiles once.

    Attributes:
      margin: how many frames on either side of a frame its pose may depend on.

    Args:
      lifter: the network; of a strided lifter, its sliding form.
      flip: whether to average with the pose lifted from the mirrored clip.
      slide: output frames of a sliding lifter at a time.
      batch_size: windows at a time.
      replicas: the devices; all by default.
    """

    def __init__(
        self,
        lifter: nnx.Module,
        *,
        flip: bool = False,
        slide: int = _SLIDE,
        batch_size: int | None = None,
        replicas: Replicas | None = None,
    ):
        self._replicas = replicas or Replicas.create()
        self._taken, self._given = _window_size(lifter, slide)
        self._offset, self._flip = lifter.frames_before, flip
        self._size = self._replicas.rounded_up(batch_size or max(1, 4 * _LIFT_BATCH // self._taken))
        self.margin = lifter.spec.receptive_field - 1
        self._joints = lifter.spec.num_joints
        pure, params, others = PureModule.split(lifter)
        self._mapped = _mapped_windows(pure, self._replicas, lifter.spec, flip)
        self._weights = self._replicas.replicate((params, others))

    def __call__(
        self,
        clips: windows.Clips,
        kpts_px_NK2: np.ndarray,
        image_size_N2: np.ndarray,
        progress: Callable[[int], object] = lambda count: None,
    ) -> np.ndarray:
        """Poses (N, K, 3) in metres of all N frames.

        Args:
          clips: which frames follow each other. A clip's first and last frames are repeated where a
            lifter looks beyond them.
          kpts_px_NK2: 2D poses in pixels.
          image_size_N2: (width, height) of each frame's picture.
          progress: called with the number of frames that have been finished since the last call.
        """
        cut = windows.cut(clips, self._taken, self._given, self._offset)
        pose_m_NK3 = np.empty((len(kpts_px_NK2), self._joints, 3), np.float32)
        for batch in windows.evaluation_batches(cut, self._size, self._replicas.part):
            inputs = batch.pop("inputs")
            batch["kpts_px"] = np.asarray(kpts_px_NK2[inputs], np.float32)
            batch["image_size"] = np.asarray(image_size_N2[inputs[:, 0]], np.float32)
            lifted = self._mapped(self._weights, self._replicas.shard(batch))
            lifted = self._replicas.to_host(lifted)
            counts = lifted["weight"] > 0
            pose_m_NK3[lifted["index"][counts]] = lifted["pose_m"][counts]
            progress(int(counts.sum()))
        return pose_m_NK3


@functools.lru_cache(maxsize=8)
def _mapped_windows(pure: PureModule, replicas: Replicas, spec: LifterSpec, flip: bool):
    def lift_batch(weights, batch):
        module = pure.merge(*weights)
        kpts_px_BTK2, size_B2 = batch["kpts_px"], batch["image_size"]
        pose_m_BMK3 = module.lift(kpts_px_BTK2, size_B2)
        if flip:
            other_BTK2 = mirror_2d(kpts_px_BTK2, size_B2, spec.skeleton_2d)
            mirrored_BMK3 = mirror_3d(module.lift(other_BTK2, size_B2), spec.skeleton)
            pose_m_BMK3 = (pose_m_BMK3 + mirrored_BMK3) / 2
        return {"pose_m": pose_m_BMK3, "index": batch["index"], "weight": batch["weight"]}

    return replicas.map_predict(lift_batch)


def window_of_one_pose(lifter: nnx.Module, clips: windows.Clips) -> windows.Windows:
    """For each frame of `clips`, the window from which a lifter computes its pose.

    It has as many frames as a pose depends on. MixSTE gives all poses of a window, and has the
    windows in which it is tested.
    """
    frames = lifter.spec.receptive_field
    given = frames if lifter.spec.frames == "exact" else 1
    return windows.cut(clips, frames, given, lifter.frames_before)


def frames_seen(cuts: Iterable[windows.Windows], samples: np.ndarray, count: int) -> np.ndarray:
    """The records, in order, that the poses of `samples` depend on.

    Args:
      cuts: the windows of each lifter.
      samples: (S,) records.
      count: of all records.
    """
    seen = np.zeros(count, bool)
    seen[samples] = True
    for cut in cuts:
        for start in range(0, len(samples), _AT_ONCE):
            seen[cut.around(samples[start : start + _AT_ONCE])["inputs"]] = True
    return np.flatnonzero(seen)


def check_video(dataset: PoseDataset, lifters: Mapping[str, nnx.Module]) -> None:
    """Raises a LiftjaxError if the records with 3D poses are not frames of videos."""
    fields = {name: lifter.spec.receptive_field for name, lifter in lifters.items()}
    longest = max(fields, key=fields.get)
    posed = dataset.select(dataset.labels["has_3d"].astype(bool))
    if not len(posed):
        return
    clips = windows.find_clips(posed.labels, posed.part)
    if not clips.are_video(fields[longest]):
        raise LiftjaxError(
            f"{dataset.directory}: split {dataset.split} is no video, but the lifter {longest} "
            f"needs {fields[longest]} consecutive frames; prepare the data with every frame and "
            "set config.data.stride or eval_stride, or take a lifter of one frame."
        )


def _window_size(lifter: nnx.Module, slide: int) -> tuple[int, int]:
    """Input and output frames at a time."""
    spec = lifter.spec
    if spec.frames == "any":
        return 1, 1
    if spec.frames == "exact":
        return spec.num_frames, spec.num_frames
    return spec.receptive_field + slide - 1, slide


def _bar(total: int, what: str, unit: str) -> tqdm:
    return tqdm(total=total, desc=what, unit=unit, leave=False, delay=2, disable=not is_first())
