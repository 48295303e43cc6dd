"""Runs a detector on any number of people, in batches of one size.

Legend: B crops of a batch, P people, K keypoints.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from liftjax.data.crops import cut_antialiased, image_to_crop
from liftjax.detectors.spec import DETECTOR_PRECISIONS, Decoding, DetectorSpec
from liftjax.errors import LiftjaxError, check_name
from liftjax.geometry import invert_affine
from liftjax.runtime.checkpoints import FOLDER, find_checkpoint, load_model
from liftjax.runtime.replicas import Replicas
from liftjax.runtime.scores import Scores
from liftjax.runtime.state import PureModule
from liftjax.skeletons import Skeleton, get_skeleton

_MOST_PICTURES = 64  # that wait for a batch to fill, where few have people
Found = tuple[np.ndarray, np.ndarray]  # keypoints (P, K, 2) in pixels, scores (P, K)


@dataclasses.dataclass(frozen=True)
class BatchDetector:
    """A detector, compiled once for one batch size.

    Attributes:
      name: of the network.
      skeleton: of its keypoints.
      image_size: (height, width) of a crop.
      batch_size: crops at a time.
      decoding: the soft-argmax that gives the keypoints.
      trained_on: what it was trained on, in words; empty if unknown.
      usual_score: mean score of its keypoints in validation; None if unknown.
      mapped, weights: see :meth:`Replicas.map_predict`.
    """

    name: str
    skeleton: Skeleton
    image_size: tuple[int, int]
    batch_size: int
    decoding: Decoding
    trained_on: tuple[str, ...]
    usual_score: float | None
    replicas: Replicas
    mapped: Callable[..., Any]
    weights: Any

    @classmethod
    def load(
        cls,
        detector: str | Path | nnx.Module,
        batch_size: int | None = None,
        beta: float | None = None,
        precision: str = "float32",
    ) -> "BatchDetector":
        """The detector of a run directory, or a module; arguments as for :class:`Predictor`."""
        check_name("precision", precision, DETECTOR_PRECISIONS)
        recipe, name, trained_on, usual_score = {}, type(detector).__name__, (), None
        if isinstance(detector, (str, os.PathLike)):
            usual_score = _usual_score(detector)
            detector, meta = load_model(detector, "detector")
            recipe, name = meta["recipe"], meta["model"]["name"]
            trained_on = tuple(meta.get("trained_on", ()))  # older runs do not say it
        elif not isinstance(getattr(detector, "spec", None), DetectorSpec):
            raise LiftjaxError(
                f"The detector is a {name}; give a run directory or a detector module."
            )
        if detector.spec.skeleton is None:
            raise LiftjaxError(
                "The joints of this detector have no names, so its keypoints can be neither drawn "
                "nor lifted; build or import it with skeleton=."
            )
        replicas = Replicas.create()
        if batch_size is None:
            batch_size = 1 if jax.default_backend() == "cpu" else 32
        if batch_size < 1:
            raise LiftjaxError(f"A batch of {batch_size} crops; take 1 or more.")
        decoding = Decoding.of_recipe(recipe, beta)
        pure, params, others = PureModule.split(detector)

        def find(weights, batch):
            out, kpts_px_BK2 = decoding.detect(pure.merge(*weights), batch, precision)
            return {"kpts_px": kpts_px_BK2, "scores": out.scores()}

        return cls(
            name=name,
            skeleton=get_skeleton(detector.spec.skeleton),
            image_size=detector.spec.image_size,
            batch_size=replicas.rounded_up(batch_size),
            decoding=decoding,
            trained_on=trained_on,
            usual_score=usual_score,
            replicas=replicas,
            mapped=replicas.map_predict(find),
            weights=replicas.replicate((params, others)),
        )

    def find(self, pictures: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[Found]:
        """Keypoints (P, K, 2) in pixels and scores (P, K) of each picture's boxes, in order.

        Pictures share batches as far as they fit. At most one batch of crops is held at a time.

        Args:
          pictures: pairs of an image (H, W, 3) and its boxes (P, 4).
        """
        group, people = [], 0
        for image, boxes_P4 in pictures:
            affines = image_to_crop(boxes_P4, self.image_size)
            if people + len(affines) > self.batch_size or len(group) == _MOST_PICTURES:
                yield from self._find_group(group)
                group, people = [], 0
            crops = [cut_antialiased(image, affine, self.image_size) for affine in affines]
            group.append((crops, invert_affine(affines)))
            people += len(affines)
        yield from self._find_group(group)

    def _find_group(self, group: list[tuple[list[np.ndarray], np.ndarray]]) -> Iterator[Found]:
        crops = [crop for crops, _ in group for crop in crops]
        affines = [affine for _, affines in group for affine in affines]
        kpts_px = np.empty((len(crops), self.skeleton.num_joints, 2), np.float32)
        scores = np.empty(kpts_px.shape[:2], np.float32)
        for start in range(0, len(crops), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(crops)))
            filled = [*rows, *[rows[-1]] * (self.batch_size - len(rows))]
            batch = {
                "image_u8": np.stack([crops[i] for i in filled]),
                "crop_to_image": np.stack([affines[i] for i in filled]).astype(np.float32),
            }
            out = self.mapped(self.weights, self.replicas.shard(batch))
            out = self.replicas.to_host(out)
            kpts_px[rows], scores[rows] = (out[k][: len(rows)] for k in ("kpts_px", "scores"))
        first = 0
        for crops_of_one, _ in group:
            last = first + len(crops_of_one)
            yield kpts_px[first:last], scores[first:last]
            first = last


def _usual_score(checkpoint: str | Path) -> float | None:
    """The mean score of a run's keypoints in validation; None if nobody measured it."""
    folder = find_checkpoint(checkpoint)
    if folder.parent.name != FOLDER:
        return None
    return Scores(folder.parents[1]).usual_keypoint_score(int(folder.name))
