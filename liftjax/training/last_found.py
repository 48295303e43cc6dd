"""The keypoints that a detector has found last, in the frames around its samples.

If a frame does not run through the detector with a gradient, lifters of several frames see the
keypoints that are stored here. They are part of the training state, in pixels of the pictures.

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
      around: see `training.surroundings`. With augmentation it also holds "image_to_view"
        (B, 2, 3), from pixels of a picture to those of the changed one, and "mirrored" (B,).
      found_px_NK2: what the detector found last in every record.
      skeleton: the joint set.
    """

    around: dict[str, Any]
    found_px_NK2: jax.Array
    skeleton: str

    def window(self, lifter: int, kpts_px_BFK2: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Keypoints (B, T, K, 2), and which of the window's poses (B,) is the sample's.

        Args:
          lifter: its number.
          kpts_px_BFK2: of the frames that run through the detector.
        """
        window = self.around["windows"][lifter]
        inputs_BT = window["inputs"]
        before_BTK2 = jax.lax.stop_gradient(self._in_view(self.found_px_NK2[inputs_BT]))
        same_BTF = inputs_BT[..., None] == self.around["records"][:, None]
        first_BT11 = same_BTF.argmax(axis=-1)[..., None, None]
        now_BTK2 = jnp.take_along_axis(kpts_px_BFK2, first_BT11, axis=1)
        is_now_BT11 = same_BTF.any(axis=-1)[..., None, None]
        return jnp.where(is_now_BT11, now_BTK2, before_BTK2), window["given"]

    def renewed(self, kpts_px: jax.Array, find: Callable[[dict], jax.Array]) -> jax.Array:
        """What the detector has found last after a step; the same on all replicas.

        Args:
          kpts_px: (B * F, K, 2) of the frames that run through the detector.
          find: gives the keypoints (R, K, 2) of R more frames {"image_u8", "crop_to_image"} in
            pixels of their pictures, as the detector gives them when it is used.
        """
        records_BF = self.around["records"]
        in_picture_BFK2 = self._in_picture(kpts_px.reshape(*records_BF.shape, *kpts_px.shape[1:]))
        found = [(records_BF.reshape(-1), in_picture_BFK2.reshape(kpts_px.shape))]
        if "renewed" in self.around:
            pictures = self.around["renewed"]
            with jax.named_scope("renewed"):
                found.insert(0, (pictures["records"], find(pictures)))
        # Gathered one by one, so that their order does not depend on the number of replicas.
        records, px = zip(*map(replicas.gather, found), strict=True)
        px_RK2 = jax.lax.stop_gradient(jnp.concatenate(px))
        return _replaced(self.found_px_NK2, jnp.concatenate(records), px_RK2)

    def _in_view(self, kpts_px_BTK2: jax.Array) -> jax.Array:
        """Keypoints of pictures as they would be found in the changed pictures."""
        return self._moved(kpts_px_BTK2, lambda image_to_view: image_to_view)

    def _in_picture(self, kpts_px_BFK2: jax.Array) -> jax.Array:
        """Keypoints of changed pictures, in the pictures before the change."""
        return self._moved(kpts_px_BFK2, geometry.invert_affine)

    def _moved(self, kpts_px: jax.Array, way: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """Keypoints (B, T, K, 2), mapped; left and right are exchanged in mirrored pictures."""
        if "image_to_view" not in self.around:
            return kpts_px
        affine_B23 = way(self.around["image_to_view"])
        moved = geometry.apply_affine(affine_B23, kpts_px.reshape(len(kpts_px), -1, 2))
        moved = moved.reshape(kpts_px.shape)
        mirrored_B111 = self.around["mirrored"].reshape(-1, 1, 1, 1)
        exchanged = moved[:, :, get_skeleton(self.skeleton).flip_permutation]
        return jnp.where(mirrored_B111 > 0, exchanged, moved)


def _replaced(found_px_NK2, records_R, kpts_px_RK2):
    """Replaces the keypoints of R records. If a record appears twice, the last keypoints stay."""
    same_RR = records_R[:, None] == records_R[None]
    again = jnp.triu(same_RR, 1).any(axis=1)
    place = jnp.where(again, len(found_px_NK2), records_R)
    return found_px_NK2.at[place].set(kpts_px_RK2.astype(found_px_NK2.dtype), mode="drop")
