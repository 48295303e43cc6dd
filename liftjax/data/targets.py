"""Makes training targets on the device from joint coordinates.

Legend: B batch, K joints, H x W heatmap, X and Y bins of the SimCC vectors. Coordinates are (x, y)
in pixels of the crop that the detector sees.
"""

import jax
import jax.numpy as jnp

from liftjax.ops.heatmap_loss import gaussian_target
from liftjax.ops.reductions import at_least_float32


def gaussian_centers(
    joints_crop_BK2: jax.Array,
    visible_BK: jax.Array,
    heatmap_size: tuple[int, int],
    stride: float,
    sigma: float,
) -> tuple[jax.Array, jax.Array]:
    """Centres (B, K, 2) of the Gaussians of :func:`gaussian_heatmaps`, and joint weights (B, K).

    Centres are (x, y) in heatmap pixels; arguments as there.
    """
    height, width = heatmap_size
    # Truncated, not floored, as in HRNet; this moves joints left of or above the map by a pixel.
    center_BK2, radius = jnp.trunc(at_least_float32(joints_crop_BK2) / stride + 0.5), int(3 * sigma)
    weight_BK = _weight_in_reach(center_BK2, visible_BK, (width, height), (radius, radius))
    return center_BK2, weight_BK


def gaussian_heatmaps(
    joints_crop_BK2: jax.Array,
    visible_BK: jax.Array,
    heatmap_size: tuple[int, int],
    stride: float,
    sigma: float,
) -> tuple[jax.Array, jax.Array]:
    """Target heatmaps (B, H, W, K) and joint weights (B, K), as in HRNet.

    A map is an unnormalised Gaussian of peak 1 on the heatmap pixel nearest to the joint, zero
    outside the square of 3 sigma around it. A joint that is invisible, or whose square misses the
    map, has weight 0 and an empty map.

    Args:
      joints_crop_BK2: crop pixels.
      visible_BK: weights, 0 where invisible.
      heatmap_size: (height, width).
      stride: crop pixels per heatmap pixel.
      sigma: in heatmap pixels.
    """
    center_BK2, weight_BK = gaussian_centers(
        joints_crop_BK2, visible_BK, heatmap_size, stride, sigma
    )
    return gaussian_target(center_BK2, weight_BK, heatmap_size, sigma).map(), weight_BK


def simcc_labels(
    joints_crop_BK2: jax.Array,
    visible_BK: jax.Array,
    image_size: tuple[int, int],
    split_ratio: float,
    sigma: tuple[float, float],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gaussian label vectors (B, K, X) and (B, K, Y) and joint weights (B, K), as in MMPose.

    Labels are unnormalised Gaussians of peak 1 on the nearest bin. A joint that is invisible, or
    whose 3-sigma square misses the crop (on the left and above by one bin more, as in MMPose), has
    weight 0 and empty labels.

    Args:
      joints_crop_BK2: crop pixels.
      visible_BK: weights, 0 where invisible.
      image_size: (height, width) of the crop.
      split_ratio: bins per pixel.
      sigma: (x, y), in bins.
    """
    height, width = image_size
    bins = round(width * split_ratio), round(height * split_ratio)
    center_BK2 = jnp.round(at_least_float32(joints_crop_BK2) * split_ratio)
    radius = [3 * s for s in sigma]
    weight_BK = _weight_in_reach(center_BK2, visible_BK, bins, radius, slack=1)

    def label(axis):
        bins_11n = jnp.arange(bins[axis], dtype=center_BK2.dtype).reshape(1, 1, -1)
        offset_BKn = bins_11n - center_BK2[..., axis, None]
        gaussian = jnp.exp(-jnp.square(offset_BKn) / (2 * sigma[axis] ** 2))
        return jnp.where(weight_BK[..., None] > 0.5, gaussian, 0)

    return label(0), label(1), weight_BK


def _weight_in_reach(center_BK2, visible_BK, size, radius, slack=0):
    """The visibility where center +- radius meets [-slack, size) on both axes, else 0."""
    size, radius = (jnp.asarray(v, center_BK2.dtype).reshape(1, 1, 2) for v in (size, radius))
    inside_BK = ((center_BK2 - radius < size) & (center_BK2 + radius >= -slack)).all(axis=-1)
    return jnp.where(inside_BK, visible_BK.astype(center_BK2.dtype), 0)
