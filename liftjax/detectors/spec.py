"""What callers need to know about a detector without knowing its network.

Legend: B batch, H W image or map size, K joints, X Y bins of a SimCC vector.
"""

import dataclasses
import operator
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax.errors import LiftjaxError
from liftjax.skeletons import get_skeleton

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DETECTOR_PRECISIONS = ("float32", "bfloat16")  # of the activations


@dataclasses.dataclass(frozen=True)
class DetectorSpec:
    """The input a detector takes and the output it gives.

    Attributes:
      kind: 'heatmap' (see `heatmaps`) or 'simcc' (see `simcc`).
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
