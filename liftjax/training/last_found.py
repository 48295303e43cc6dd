"""The keypoints that a detector has found last, in the frames around its samples.

Lifters of several frames see them where a frame does not run through the detector with a gradient.
They are part of the training state, in pixels of the pictures.

Legend: N records of the data set, B samples, F frames of a sample that run through the detector,
T frames that a lifter sees, K joints.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from liftjax import geometry
from liftjax.runtime import replicas
from liftjax.skeletons import get_skeleton


@dataclasses.dataclass(frozen=True)
class Seen:
    """What lifters see in a step.

    Attributes:
      around: see `training.surroundings`. With augmentation it also holds "view" (B, 2, 3), from
        pixels of a picture to those of the changed one, and "mirrored" (B,).
      found_px_NK2: what the detector found last in every record.
      skeleton: the joint set.
    """

    around: dict[str, Any]
    found_px_NK2: jax.Array
    skeleton: str

    def window(self, lifter: int, kpts_px_BFK2: jax.Array) -> tuple[jax.Array, jax.Array] | None:
        """Keypoints (B, T, K, 2), and which of the window's poses (B,) is the sample's.

        None for a lifter of single frames.

        Args:
          lifter: its number.
          kpts_px_BFK2: of the frames that run through the detector.
        """
        window = self.around["windows"][lifter]
        if window is None:
            return None
        inputs_BT = window["inputs"]
        before_BTK2 = self._in_view(self.found_px_NK2[inputs_BT])
        same_BTF = inputs_BT[..., None] == self.around["records"][:, None]
        first_BT11 = same_BTF.argmax(axis=-1)[..., None, None]
        now_BTK2 = jnp.take_along_axis(kpts_px_BFK2, first_BT11, axis=1)
        is_now_BT11 = same_BTF.any(axis=-1)[..., None, None]
        before_BTK2 = jax.lax.stop_gradient(before_BTK2)
        return jnp.where(is_now_BT11, now_BTK2, before_BTK2), window["given"]

    def renewed(self, kpts_px: jax.Array, find: Callable[[dict], jax.Array]) -> jax.Array:
        """What the detector has found last after a step; the same on all replicas.

        Args:
          kpts_px: (B * F, K, 2) of the frames that run through the detector.
          find: gives the keypoints (R, K, 2) of R more frames, {"image_u8", "crop_to_image"}.
        """
        records_BF = self.around["records"]
        kpts_px_BFK2 = kpts_px.reshape(*records_BF.shape, *kpts_px.shape[1:])
        found = [(records_BF[:, 0], self._in_picture(kpts_px_BFK2[:, 0]))]
        if "renewed" in self.around:
            pictures = self.around["renewed"]
            found.insert(0, (pictures["records"], find(pictures)))
        # Gathered one by one, so that their order does not depend on the number of replicas.
        records, px = zip(*map(replicas.gather, found), strict=True)
        px_RK2 = jax.lax.stop_gradient(jnp.concatenate(px))
        return _replaced(self.found_px_NK2, jnp.concatenate(records), px_RK2)

    def _in_view(self, kpts_px_BTK2: jax.Array) -> jax.Array:
        """Keypoints of pictures as they would be found in the changed pictures."""
        if "view" not in self.around:
            return kpts_px_BTK2
        flat = kpts_px_BTK2.reshape(len(kpts_px_BTK2), -1, 2)
        moved = geometry.apply_affine(self.around["view"], flat).reshape(kpts_px_BTK2.shape)
        return self._exchanged(moved)

    def _in_picture(self, kpts_px_BK2: jax.Array) -> jax.Array:
        """Keypoints of changed pictures, in the pictures before the change."""
        if "view" not in self.around:
            return kpts_px_BK2
        back = geometry.invert_affine(self.around["view"])
        return self._exchanged(geometry.apply_affine(back, kpts_px_BK2))

    def _exchanged(self, kpts_px: jax.Array) -> jax.Array:
        """Left and right joints exchanged in the samples (B, ..., K, 2) that are mirrored."""
        permutation = get_skeleton(self.skeleton).flip_permutation
        mirrored = self.around["mirrored"].reshape(-1, *(1,) * (kpts_px.ndim - 1))
        return jnp.where(mirrored > 0, kpts_px[..., permutation, :], kpts_px)


def _replaced(found_px_NK2, records_R, kpts_px_RK2):
    """With the keypoints of R records; of a record that comes twice, the last ones."""
    same_RR = records_R[:, None] == records_R[None]
    again = jnp.triu(same_RR, 1).any(axis=1)
    place = jnp.where(again, len(found_px_NK2), records_R)
    return found_px_NK2.at[place].set(kpts_px_RK2.astype(found_px_NK2.dtype), mode="drop")
