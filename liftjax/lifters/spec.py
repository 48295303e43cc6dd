"""What all lifters share: the contract of input, output and frames, and the way to metres.

Array names: B clips, T frames, K joints (of the 2D input or of the poses). `px` is pixels of the
original image (x, y), `m` metres in camera axes with the root joint at the origin, `x` and `raw`
the network's own scales.
"""

import dataclasses
import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax import geometry
from liftjax.errors import LiftjaxError
from liftjax.ops.numerics import at_least_float32
from liftjax.skeletons import check_joints, get_skeleton

Precision = Literal["highest", "high", "default", "bfloat16"]
"""How features are multiplied between a lifter's first and last layers.

'highest': as float32, which takes accelerators several passes. 'default': as the machine is fastest
(TPU: factors rounded to bfloat16, NVIDIA: to TF32, CPU: float32), while sums stay float32.
'bfloat16': features and weights are bfloat16 on every machine, while softmax, normalisations and
the sums of a product are float32.
"""
LIFTER_PRECISIONS: tuple[str, ...] = get_args(Precision)


@dataclasses.dataclass(frozen=True)
class LifterSpec:
    """Contract of a lifter.

    Attributes:
      skeleton: joint set of the poses.
      num_frames: frames of a clip, as the lifter was configured.
      receptive_field: input frames that one output frame depends on.
      frames: the clip lengths T that a call takes and the frames it gives back. 'any': T, each
        frame lifted alone; 'exact': T = num_frames; 'sliding': T >= receptive_field gives
        T - receptive_field + 1; 'strided': T a multiple of receptive_field gives one frame for
        each of its fields, which do not overlap.
      input: 'screen' is x / w * 2 - 1 and y / w * 2 - h / w; 'zscore' standardises pixels per
        joint and axis with the training set's mean and deviation.
      output: 'metres', or 'zscore' of metres.
      skeleton_2d: joint set of the 2D input; default: that of the poses.
    """

    skeleton: str
    num_frames: int = 1
    receptive_field: int = 1
    frames: Literal["any", "exact", "sliding", "strided"] = "any"
    input: Literal["screen", "zscore"] = "screen"
    output: Literal["metres", "zscore"] = "metres"
    skeleton_2d: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "skeleton_2d", self.skeleton_2d or self.skeleton)
        _ = self.num_joints, self.num_joints_2d  # raises for unknown sets
        if self.num_frames < 1:
            raise LiftjaxError(f"A lifter needs num_frames >= 1, not {self.num_frames}.")
        if self.frames == "strided":
            self._check_multiple(self.num_frames)

    @functools.cached_property
    def num_joints(self) -> int:
        return get_skeleton(self.skeleton).num_joints

    @functools.cached_property
    def num_joints_2d(self) -> int:
        return get_skeleton(self.skeleton_2d).num_joints

    def check(self, x_BTK2) -> None:
        """Raises a LiftjaxError unless `x_BTK2` is a batch of clips that the lifter takes."""
        if x_BTK2.ndim != 4 or x_BTK2.shape[-1] != 2:
            raise LiftjaxError(
                f"A lifter takes (clips, frames, joints, 2), not {tuple(x_BTK2.shape)}; "
                "a single frame needs a frame axis of length 1."
            )
        if x_BTK2.shape[2] != self.num_joints_2d:
            check_joints(x_BTK2, self.skeleton_2d, what="2D pose")
        frames = x_BTK2.shape[1]
        if self.frames == "exact" and frames != self.num_frames:
            raise LiftjaxError(
                f"The clip has {frames} frames, but this lifter takes exactly {self.num_frames}; "
                "cut the sequence into such clips or build it with another num_frames."
            )
        if self.frames == "strided":
            self._check_multiple(frames)
        if frames < self.receptive_field:
            raise LiftjaxError(
                f"The clip has {frames} frames, fewer than the lifter's receptive field of "
                f"{self.receptive_field}; repeat its first and last frames."
            )

    def _check_multiple(self, frames: int) -> None:
        if frames % self.receptive_field:
            raise LiftjaxError(
                f"A strided lifter cuts a clip into fields of {self.receptive_field} frames, and "
                f"{frames} frames do not divide into them; cut the clip, or build the lifter "
                "without strided."
            )


class Lifter(nnx.Module):
    """A network from 2D to 3D poses.

    Subclasses define its three parts and, if they differ, the scales. `rngs` is None where nothing
    shall be dropped; features are (B, T, ...).
    """

    causal: bool = False  # whether a window's pose is that of its last frame, not its middle one

    def __init__(self, spec: LifterSpec):
        self.spec = spec

    @property
    def frames_before(self) -> int:
        """How many frames of a window come before the first one that gets a pose."""
        if self.spec.frames not in ("sliding", "strided"):
            return 0
        field = self.spec.receptive_field
        return field - 1 if self.causal else field // 2

    def embed(self, x_BTK2: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        """Features (B, T, ...) of coordinates (B, T, K, 2)."""
        raise NotImplementedError

    def refine(self, features: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        """Features of features; nearly all of the arithmetic is here."""
        raise NotImplementedError

    def regress(self, features: jax.Array) -> jax.Array:
        """Coordinates (B, T', K, 3) of features, in the network's own scale."""
        raise NotImplementedError

    def __call__(
        self,
        x_BTK2: jax.Array,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
        precision: Precision = "highest",
    ) -> jax.Array:
        """Normalised 2D poses (B, T, K, 2) to upstream's output (B, T', K, 3).

        Whatever the precision, coordinates are multiplied as float32 on every machine, going in
        and coming out: accelerators would round them to ten bits or less.

        Args:
          x_BTK2: in the scale of `spec.input`.
          train: batch norm uses the batch's statistics and moves the running ones.
          rngs: in training, random numbers for dropout; without them nothing is dropped.
          precision: that of products of features and of their gradients; see :data:`Precision`.

        Raises:
          LiftjaxError: wrong number of joints, frames or axes.
        """
        x_BTK2 = at_least_float32(x_BTK2)
        self.spec.check(x_BTK2)
        rngs = rngs if train else None
        with jax.default_matmul_precision("highest"):
            features = self.embed(x_BTK2, train, rngs)
        narrow = precision == "bfloat16"
        with jax.default_matmul_precision("default" if narrow else precision):
            inner = features.astype(jnp.bfloat16) if narrow else features
            features = self.refine(inner, train, rngs).astype(features.dtype)
        with jax.default_matmul_precision("highest"):
            return self.regress(features)

    def lift(
        self,
        kpts_px_BTK2: jax.Array,
        image_size_B2: jax.Array,
        train: bool = False,
        rngs: nnx.Rngs | None = None,
        skeleton: str | None = None,
        precision: Precision = "highest",
    ) -> jax.Array:
        """Pixels of the original image to root-relative metres (B, T', K, 3).

        Args:
          kpts_px_BTK2: (x, y) in pixels.
          image_size_B2: (width, height) of each clip's image.
          train: as for a call.
          rngs: as for a call.
          skeleton: joint set of the pixels, where it is known. Another set may have the same number
            of joints as the lifter's.
          precision: see :data:`Precision`.

        Raises:
          LiftjaxError: another joint set; wrong number of joints, frames or axes.
        """
        if skeleton not in (None, self.spec.skeleton_2d):
            raise LiftjaxError(
                f"The 2D pose has {get_skeleton(skeleton).name} joints, the lifter takes "
                f"{self.spec.skeleton_2d}; convert it with liftjax.skeletons.convert(pose, "
                f"{skeleton!r}, {self.spec.skeleton_2d!r})."
            )
        raw_BTK3 = self(self.normalize(kpts_px_BTK2, image_size_B2), train, rngs, precision)
        return self.to_metres(raw_BTK3)

    def normalize(self, kpts_px_BTK2: jax.Array, image_size_B2: jax.Array) -> jax.Array:
        """The network's input (B, T, K, 2) for keypoints in pixels.

        Args:
          kpts_px_BTK2: (x, y) in pixels.
          image_size_B2: (width, height) in pixels.
        """
        return geometry.normalize_screen(at_least_float32(kpts_px_BTK2), image_size_B2)

    def to_metres(self, raw_BTK3: jax.Array) -> jax.Array:
        """The network's output (B, T, K, 3) in metres."""
        return raw_BTK3

    def target(self, pose_m_BTK3: jax.Array) -> jax.Array:
        """The output (B, T, K, 3) that a perfect network would give for a true pose in metres."""
        return at_least_float32(pose_m_BTK3)
