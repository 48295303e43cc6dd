"""Detectors that give a heatmap for each joint: how joints are read off it, and the loss.

Legend: B batch, H x W heatmap, K joints.
"""

from typing import NamedTuple

import jax

from liftjax.data import targets
from liftjax.detectors.spec import DetectorSpec
from liftjax.ops.heatmap_loss import gaussian_loss_per_joint
from liftjax.ops.quarter_pixel import quarter_pixel_shift
from liftjax.ops.soft_argmax import soft_argmax_2d


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
        center_BK2, weight_BK = targets.gaussian_centers(
            joints_crop_BK2, visible_BK, spec.output_size, spec.stride, spec.sigma
        )
        return gaussian_loss_per_joint(self.heatmaps, center_BK2, weight_BK, spec.sigma)
