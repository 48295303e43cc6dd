"""SimCC detectors, which classify each coordinate of a joint: how joints are read off, the loss.

SimCC: Li et al., ECCV 2022 (https://arxiv.org/abs/2107.03332).

Legend: B batch, K joints, X and Y bins of the vectors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from liftjax import losses
from liftjax.data import targets
from liftjax.detectors.spec import DetectorSpec
from liftjax.errors import LiftjaxError
from liftjax.ops.soft_argmax import soft_argmax_1d


class SimCCOutput(NamedTuple):
    """One vector of logits along x and one along y for each joint, float32 or wider.

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
        label_x, label_y, weight_BK = targets.simcc_labels(
            joints_crop_BK2, visible_BK, spec.image_size, 1 / spec.stride, spec.sigma
        )
        return losses.simcc_loss_per_joint(self.x, self.y, label_x, label_y, weight_BK)
