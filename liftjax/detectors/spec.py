"""What callers need to know about a detector without knowing its network.

A `DetectorSpec` describes its input and output. Its output (`HeatmapOutput` or `SimCCOutput`) gives
keypoints by soft-argmax, their confidence, and the 2D loss.

Legend: B batch, H W image or map size, K joints, X Y bins of a SimCC vector.
"""

import dataclasses
import operator
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax import geometry
from liftjax.errors import LiftjaxError
from liftjax.losses import detection
from liftjax.ops.quarter_pixel import quarter_pixel_shift
from liftjax.ops.soft_argmax import soft_argmax_1d, soft_argmax_2d
from liftjax.skeletons import get_skeleton

LARGEST_BETA = 1e9  # float32 overflows beyond
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DETECTOR_PRECISIONS = ("float32", "bfloat16")  # of the activations


@dataclasses.dataclass(frozen=True)
class DetectorSpec:
    """The input a detector takes and the output it gives.

    Attributes:
      kind: 'heatmap' (its output is a `HeatmapOutput`) or 'simcc' (`SimCCOutput`).
      num_joints: joints per person.
      skeleton: name of their joint set; None if it has no name.
      image_size: (height, width) of the crop, pixels.
      stride: crop pixels per map pixel or SimCC bin; crop pixel = index x stride.
      sigma: standard deviation of the training target, in map pixels (one number) or SimCC bins
        (one each for x and y).
      mean: of the colours (R, G, B), on a scale of 0 to 1.
      std: standard deviation of the colours, on that scale.
    """

    kind: Literal["heatmap", "simcc"]
    num_joints: int
    image_size: tuple[int, int]
    stride: float
    sigma: float | tuple[float, float]
    skeleton: str | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self):
        if self.skeleton is None:
            return
        joints = get_skeleton(self.skeleton).num_joints
        if joints != self.num_joints:
            raise LiftjaxError(
                f"A detector of {self.skeleton} has {joints} joints, not {self.num_joints}; give "
                "skeleton= or num_joints=, not both."
            )

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of the heatmap, or the number of SimCC bins along y and x."""
        height, width = self.image_size
        return round(height / self.stride), round(width / self.stride)

    def normalize(self, image_u8_BHWC: jax.Array, dtype=jnp.float32) -> jax.Array:
        """The network's input (B, H, W, 3), of zero mean and unit variance, rounded once.

        Args:
          image_u8_BHWC: RGB, 0 to 255.
          dtype: precision of the input, and so of the activations.
        """
        wide = jnp.promote_types(dtype, jnp.float32)
        scale = jnp.asarray([1 / (255 * s) for s in self.std], wide).reshape(1, 1, 1, 3)
        shift = jnp.asarray(
            [-m / s for m, s in zip(self.mean, self.std, strict=True)], wide
        ).reshape(1, 1, 1, 3)
        return (image_u8_BHWC.astype(wide) * scale + shift).astype(dtype)


class HeatmapOutput(NamedTuple):
    """One map for each joint, float32 or wider.

    Attributes:
      heatmaps: (B, H, W, K).
    """

    heatmaps: jax.Array

    def decode(
        self,
        spec: DetectorSpec,
        beta: float | jax.Array = 100.0,
        normalizer: str = "softmax",
        quarter_pixel: bool = False,
    ) -> jax.Array:
        """Joints (B, K, 2) in crop pixels (x, y), by soft-argmax (see `ops.soft_argmax`).

        Args:
          spec: of the detector.
          beta: sharpness of the softmax.
          normalizer: "softmax" or "relu".
          quarter_pixel: adds the shift of the released programs (see `ops.quarter_pixel`).
        """
        kpts_heat_BK2 = soft_argmax_2d(self.heatmaps, beta, normalizer)
        if quarter_pixel:
            kpts_heat_BK2 = quarter_pixel_shift(kpts_heat_BK2, self.heatmaps)
        return kpts_heat_BK2 * spec.stride

    def scores(self) -> jax.Array:
        """Confidence of each joint (B, K): the peak of its map, which is 1 for a perfect one."""
        return self.heatmaps.max((1, 2))

    def loss_per_joint(
        self, spec: DetectorSpec, joints_crop_BK2: jax.Array, visible_BK: jax.Array
    ) -> jax.Array:
        """0.5 times the mean squared distance from a Gaussian at each joint: (B, K).

        HRNet's loss (Sun et al., CVPR 2019; https://arxiv.org/abs/1902.09212).

        Args:
          spec: of the detector.
          joints_crop_BK2: labels in crop pixels (x, y).
          visible_BK: weights of the labels; 0 where a joint has none.
        """
        center_BK2, weight_BK = detection.gaussian_centers(
            joints_crop_BK2, visible_BK, spec.output_size, spec.stride, spec.sigma
        )
        return detection.gaussian_heatmap_loss_per_joint(
            self.heatmaps, center_BK2, weight_BK, spec.sigma
        )


class SimCCOutput(NamedTuple):
    """One vector of logits along x and one along y for each joint, float32 or wider.

    SimCC: Li et al., ECCV 2022 (https://arxiv.org/abs/2107.03332).

    Attributes:
      x: (B, K, X).
      y: (B, K, Y).
    """

    x: jax.Array
    y: jax.Array

    def decode(
        self,
        spec: DetectorSpec,
        beta: float | jax.Array = 100.0,
        normalizer: str = "softmax",
        quarter_pixel: bool = False,
    ) -> jax.Array:
        """Joints (B, K, 2) in crop pixels (x, y), by soft-argmax along each axis.

        Args:
          spec: of the detector.
          beta: sharpness of the softmax.
          normalizer: "softmax" or "relu".
          quarter_pixel: must be False; the shift is defined on heatmaps.

        Raises:
          LiftjaxError: `quarter_pixel` is True.
        """
        if quarter_pixel:
            raise LiftjaxError(
                "The quarter-pixel shift is defined on heatmaps, and a SimCC detector has none; "
                "set loss.quarter_pixel_shift=False."
            )
        along = [soft_argmax_1d(logits, beta, normalizer) for logits in self]
        return jnp.stack(along, axis=-1) * spec.stride

    def scores(self) -> jax.Array:
        """Confidence of each joint (B, K): the lower peak of its two vectors.

        Logits have no scale; MMPose takes them as they are.
        """
        return jnp.minimum(self.x.max(-1), self.y.max(-1))

    def loss_per_joint(
        self, spec: DetectorSpec, joints_crop_BK2: jax.Array, visible_BK: jax.Array
    ) -> jax.Array:
        """`losses.simcc_loss_per_joint` from smoothed labels at each joint: (B, K).

        Args:
          spec: of the detector.
          joints_crop_BK2: labels in crop pixels (x, y).
          visible_BK: weights of the labels; 0 where a joint has none.
        """
        label_x, label_y, weight_BK = detection.simcc_labels(
            joints_crop_BK2, visible_BK, spec.image_size, 1 / spec.stride, spec.sigma
        )
        return detection.simcc_loss_per_joint(self.x, self.y, label_x, label_y, weight_BK)


class Detector(nnx.Module):
    """A network from crops of people to their joints.

    Subclasses set `spec` and return a `HeatmapOutput` or `SimCCOutput` when they are called.
    """

    spec: DetectorSpec

    def decode(
        self,
        out: Any,
        beta: float | jax.Array = 100.0,
        normalizer: str = "softmax",
        quarter_pixel: bool = False,
    ) -> jax.Array:
        """Joints (B, K, 2) in crop pixels (x, y) of what the network gives; see `out.decode`."""
        return out.decode(self.spec, beta, normalizer, quarter_pixel)


@dataclasses.dataclass(frozen=True)
class Decoding:
    """The soft-argmax that a detector was trained with, see `ops.soft_argmax`."""

    beta: float = 100.0
    normalizer: str = "softmax"
    quarter_pixel: bool = False

    @classmethod
    def of_recipe(cls, recipe: Mapping[str, Any], beta: float | None = None) -> "Decoding":
        """The soft-argmax of a recipe, with defaults for what it does not say.

        Args:
          recipe: of the detector's training; may be empty.
          beta: overrides the recipe's.
        """
        loss = recipe.get("loss", {})
        beta = float(loss.get("beta", cls.beta) if beta is None else beta)
        if not 0 < beta <= LARGEST_BETA:
            raise LiftjaxError(
                f"A beta of {beta:g} is out of range; take a number above 0 and up to "
                f"{LARGEST_BETA:g}, such as {cls.beta:g}."
            )
        return cls(
            beta=beta,
            normalizer=loss.get("normalizer", cls.normalizer),
            quarter_pixel=loss.get("quarter_pixel_shift", cls.quarter_pixel),
        )

    def as_recipe(self) -> dict[str, Any]:
        """The part of a recipe that says how to decode."""
        return {
            "loss": {
                "beta": self.beta,
                "normalizer": self.normalizer,
                "quarter_pixel_shift": self.quarter_pixel,
            }
        }

    def keypoints(self, detector: nnx.Module, out: HeatmapOutput | SimCCOutput) -> jax.Array:
        """Keypoints (B, K, 2) in pixels of the crop."""
        return detector.decode(out, self.beta, self.normalizer, self.quarter_pixel)

    def detect(
        self, detector: nnx.Module, batch: Mapping[str, jax.Array], precision: str
    ) -> tuple[HeatmapOutput | SimCCOutput, jax.Array]:
        """The detector's output for crops, and keypoints (B, K, 2) in pixels of their pictures.

        Args:
          detector: the network.
          batch: "image_u8" (B, H, W, 3) and "crop_to_image" (B, 2, 3).
          precision: of the activations.
        """
        out = detector(detector.spec.normalize(batch["image_u8"], jnp.dtype(precision)))
        return out, geometry.apply_affine(batch["crop_to_image"], self.keypoints(detector, out))


def checked_image_size(network: str, image_size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """`image_size` (height, width), or a LiftjaxError if it does not divide by `multiple`."""
    try:
        height, width = map(operator.index, image_size)
    except (TypeError, ValueError):
        raise LiftjaxError(
            f"{network} image size {image_size!r}; give (height, width) in pixels."
        ) from None
    if height % multiple or width % multiple or min(height, width) <= 0:
        raise LiftjaxError(
            f"{network} image size {height}x{width} (height x width) does not divide by "
            f"{multiple}; round both to multiples of {multiple}."
        )
    return height, width
