"""Mirrored poses, for augmentation and for averaging with the originals at test time.

The mirror axis is the middle of the image, where lifters' x / w * 2 - 1 is 0: x becomes w - x. Left
and right joints change places.
"""

import jax
import jax.numpy as jnp

from liftjax.skeletons import get_skeleton


def mirror_2d(kpts_px_BTK2: jax.Array, image_size_B2: jax.Array, skeleton: str) -> jax.Array:
    """Pixels (B, T, K, 2) of clips in images of (width, height)."""
    swapped = kpts_px_BTK2[:, :, get_skeleton(skeleton).flip_permutation]
    width_B11 = image_size_B2[:, 0, None, None].astype(swapped.dtype)
    return jnp.stack([width_B11 - swapped[..., 0], swapped[..., 1]], axis=-1)


def mirror_3d(pose_BTK3: jax.Array, skeleton: str) -> jax.Array:
    """Root-relative poses (B, T, K, 3) in camera axes, or anything with x first."""
    swapped = pose_BTK3[:, :, get_skeleton(skeleton).flip_permutation]
    return jnp.stack([-swapped[..., 0], swapped[..., 1], swapped[..., 2]], axis=-1)
