"""From a picture and boxes to 2D and 3D poses.

Legend: P people, K keypoints of the detector, J joints of the lifters.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from flax import nnx

from liftjax.errors import LiftjaxError
from liftjax.inference.boxes import overlaps
from liftjax.inference.detection import BatchDetector
from liftjax.inference.lifting import Lifting, load_lifters
from liftjax.skeletons import Skeleton
from liftjax.weights.using import resolve

_FARTHEST_PX = 1e6  # of a box's side; float32 cannot tell pixels apart beyond
_PEOPLE = 8  # lifted at a time when a picture comes alone


@dataclasses.dataclass(frozen=True)
class People:
    """Everybody asked for in one picture.

    Attributes:
      kpts_px: (P, K, 2) pixels of the picture.
      scores: (P, K), about 0 to 1.
      poses_m: (P, J, 3) by lifter: metres, camera axes, root joint at the origin.
      skeleton_2d: joint set of the keypoints.
      skeleton_3d: joint set of the poses.
    """

    kpts_px: np.ndarray
    scores: np.ndarray
    poses_m: Mapping[str, np.ndarray]
    skeleton_2d: Skeleton
    skeleton_3d: Skeleton


class Predictor:
    """A detector and lifters, compiled once, for any number of pictures and people.

        predictor = liftjax.Predictor(detector="runs/multi", lifters=["runs/lifters/mixste"])
        people = predictor(image, boxes)

    If the detector and the lifters have different joint sets, keypoints are converted as far as
    :mod:`liftjax.skeletons` knows how.

    Args:
      detector: run directory, checkpoint, name of published weights or module.
      lifters: run directories, names of published weights or modules; by name, or named after
        their networks.
      batch_size: crops that go through the detector at a time; one compiled program serves any
        number of people. Default: 1 on a CPU, else 32.
      beta: of the soft-argmax; default: the one the detector was trained with, else 100.
      precision: of the detector's activations, 'float32' or 'bfloat16'.

    Raises:
      LiftjaxError: a checkpoint is missing or of another kind, published weights cannot be
        fetched, or joint sets do not fit.
    """

    def __init__(
        self,
        detector: str | Path | nnx.Module,
        lifters: Sequence[str | Path | nnx.Module] | Mapping[str, str | Path | nnx.Module] = (),
        *,
        batch_size: int | None = None,
        beta: float | None = None,
        precision: str = "float32",
    ):
        run = resolve(detector, "detector")
        self.detection = BatchDetector.load(run, batch_size, beta, precision)
        loaded = load_lifters(_run_directories(lifters))
        self.lifting = Lifting(loaded, self.detection.skeleton, slide=1, batch_size=_PEOPLE)

    def __call__(self, image: np.ndarray, boxes_xyxy: np.ndarray | None = None) -> People:
        """Finds keypoints and poses of the people in the boxes.

        Lifters of several frames see this one repeated.

        Args:
          image: (H, W, 3) uint8 RGB.
          boxes_xyxy: (P, 4), one person's (4,), or None: one person who fills the picture.
        """
        image = _checked_picture(image)
        boxes_P4 = _checked_boxes(image, boxes_xyxy)
        [(kpts_px, scores)] = self.detection.find([(image, boxes_P4)])
        size_P2 = np.tile(image.shape[1::-1], (len(boxes_P4), 1))
        poses_m_PLJ3 = self.lifting.people(kpts_px, size_P2)
        poses_m = {name: poses_m_PLJ3[:, i] for i, name in enumerate(self.lifting.names)}
        return People(kpts_px, scores, poses_m, self.detection.skeleton, self.lifting.skeleton)


def _run_directories(lifters):
    """`lifters` with run directories in place of the names of published weights."""
    if isinstance(lifters, Mapping):
        return {name: resolve(lifter, "lifter") for name, lifter in lifters.items()}
    if isinstance(lifters, (list, tuple)):
        return [resolve(lifter, "lifter") for lifter in lifters]
    return resolve(lifters, "lifter")


def _checked_picture(image) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise LiftjaxError(
            f"A picture is (height, width, 3) uint8 RGB, not {image.shape} {image.dtype}; "
            "liftjax.read_picture(path) reads any picture file as such."
        )
    return image


def _checked_boxes(image: np.ndarray, boxes_xyxy: np.ndarray | None) -> np.ndarray:
    if boxes_xyxy is None:
        boxes_xyxy = [0, 0, image.shape[1], image.shape[0]]
    try:
        boxes = np.asarray(boxes_xyxy, np.float64)
    except (ValueError, TypeError):
        boxes = np.empty(())
    if not boxes.size:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim == 1:
        boxes = boxes[None]
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not (abs(boxes) < _FARTHEST_PX).all():
        raise LiftjaxError(
            f"Boxes {_short(boxes_xyxy)}: expected (people, 4) finite numbers x0, y0, x1, y1 in "
            "pixels, without scores."
        )
    if (boxes[:, 2:] <= boxes[:, :2]).any():
        raise LiftjaxError("A box ends before it begins; boxes are x0, y0, x1, y1 in pixels.")
    outside = ~overlaps(boxes, image.shape[1::-1])
    if outside.any():
        width, height = image.shape[1::-1]
        raise LiftjaxError(
            f"The box {boxes[outside][0].tolist()} lies outside the picture, which has {width} x "
            f"{height} pixels; boxes are x0, y0, x1, y1."
        )
    return boxes


def _short(thing: object) -> str:
    text = " ".join(repr(thing).split())
    return text if len(text) < 60 else f"{text[:60]}..."
