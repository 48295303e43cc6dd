"""The quarter-pixel shift of the released programs, off by default here.

Legend: B batch, H x W heatmap, K joints; coordinates are (x, y) in heatmap pixels.
"""

import jax
import jax.numpy as jnp

_SHIFT = 0.25


def quarter_pixel_shift(kpts_heat_BK2: jax.Array, heat_BHWK: jax.Array) -> jax.Array:
    """Keypoints moved a quarter pixel along each axis towards the higher neighbour.

    A step for keypoints found by argmax; the released configs switch it on after soft-argmax too,
    where it moves a sub-pixel estimate off its place. The shift has no gradient. A keypoint on the
    map's outer two rows or columns at the low end, or the outer one at the high end, stays.

    Args:
      kpts_heat_BK2: keypoints. heat_BHWK: the maps they were found on.
    """
    B, H, W, K = heat_BHWK.shape
    nearest_BK2 = jnp.floor(kpts_heat_BK2 + 0.5).astype(jnp.int32)
    x, y = nearest_BK2[..., 0], nearest_BK2[..., 1]
    inside = (x > 1) & (x < W - 1) & (y > 1) & (y < H - 1)
    b, k = jnp.arange(B).reshape(B, 1), jnp.arange(K).reshape(1, K)

    def value(row, column):
        return heat_BHWK[b, jnp.clip(row, 0, H - 1), jnp.clip(column, 0, W - 1), k]

    slope = jnp.stack([value(y, x + 1) - value(y, x - 1), value(y + 1, x) - value(y - 1, x)], -1)
    shift = jnp.where(inside[..., None], _SHIFT * jnp.sign(slope), 0)
    return kpts_heat_BK2 + jax.lax.stop_gradient(shift).astype(kpts_heat_BK2.dtype)
