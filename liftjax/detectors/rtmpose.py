"""RTMPose and DWPose, detectors that classify coordinates (SimCC).

Jiang et al., "RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose", 2023. DWPose (Yang
et al., "Effective Whole-body Pose Estimation with Two-stages Distillation", ICCVW 2023) is the same
network with 133 joints, trained by distillation.

The backbone's feature becomes one small map for each joint; the flattened map is the joint's token.
A gated attention unit lets the tokens of a pose see each other, and two linear layers classify each
into half-pixel bins along x and along y.

Attribute paths are the keys of upstream's state_dict.

Legend: B batch, K joints, C channels, X Y bins.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax.detectors import cspnext, published
from liftjax.detectors.spec import Detector, DetectorSpec, SimCCOutput, checked_image_size
from liftjax.nn.declaration import (
    Found,
    Keywords,
    Preset,
    Shapes,
    Source,
    State,
    WeightFiles,
    count_layers,
)
from liftjax.nn.initial import normal, ones, uniform
from liftjax.nn.layers import Conv, Linear, ScaleNorm
from liftjax.nn.stated_joints import stated_joints

BIN = 0.5  # crop pixels per SimCC bin


def _linear(c_in: int, c_out: int, rngs: nnx.Rngs, **options) -> Linear:
    return Linear(c_in, c_out, use_bias=False, kernel_init=normal(0.01), rngs=rngs, **options)


class ChannelScale(nnx.Module):
    """One trained factor for each channel."""

    def __init__(self, channels: int):
        self.scale = nnx.Param(ones(channels))

    def __call__(self, x_BKC: jax.Array) -> jax.Array:
        return x_BKC * self.scale[...].astype(x_BKC.dtype).reshape(1, 1, -1)


class GatedAttentionUnit(nnx.Module):
    """Attention over joints with squared-ReLU weights, gated (Hua et al., "Transformer Quality in
    Linear Time", ICML 2022), and a scaled shortcut.

    Queries and keys are one shared projection, each with its own gain `gamma` and offset `beta`.
    """

    def __init__(self, channels: int, attention_dim: int, *, rngs: nnx.Rngs):
        self.inner, self.attention_dim = 2 * channels, attention_dim
        self.gamma = nnx.Param(uniform(0, 1)(rngs.params(), (2, attention_dim)))
        self.beta = nnx.Param(uniform(0, 1)(rngs.params(), (2, attention_dim)))
        self.o = _linear(self.inner, channels, rngs)
        self.uv = _linear(channels, 2 * self.inner + attention_dim, rngs)
        self.ln = ScaleNorm()
        self.res_scale = ChannelScale(channels)

    def __call__(self, x_BKC: jax.Array) -> jax.Array:
        mixed = jax.nn.silu(self.uv(self.ln(x_BKC)))
        gate, value, base = jnp.split(mixed, (self.inner, 2 * self.inner), axis=-1)
        gamma, beta = (p[...].astype(base.dtype)[:, None, None] for p in (self.gamma, self.beta))
        query, key = (base * gamma[i] + beta[i] for i in (0, 1))
        logits_BKK = jnp.einsum("bkc,bjc->bkj", query, key) / math.sqrt(self.attention_dim)
        weights_BKK = jnp.square(jax.nn.relu(logits_BKK))
        attended = jnp.einsum("bkj,bjc->bkc", weights_BKK, value)
        return self.res_scale(x_BKC) + self.o(gate * attended)


class RTMCCHead(nnx.Module):
    """From the backbone's feature to logits along x and y.

    Args:
      feature_shape: (height, width, channels) of the feature.
      bins: (bins along y, bins along x).
      channels: size of a joint's token.
      attention_dim: size of queries and keys.
    """

    def __init__(
        self,
        feature_shape: tuple[int, int, int],
        num_joints: int,
        bins: tuple[int, int],
        channels: int,
        attention_dim: int,
        *,
        rngs: nnx.Rngs,
    ):
        height, width, c_in = feature_shape
        self.final_layer = Conv(
            c_in, num_joints, (7, 7), padding=3, kernel_init=normal(0.001), rngs=rngs
        )
        self.mlp = nnx.List([ScaleNorm(), _linear(height * width, channels, rngs)])
        self.gau = GatedAttentionUnit(channels, attention_dim, rngs=rngs)
        self.cls_x = _linear(channels, bins[1], rngs, wide_output=True)
        self.cls_y = _linear(channels, bins[0], rngs, wide_output=True)

    def __call__(self, feature_BHWC: jax.Array) -> SimCCOutput:
        with jax.named_scope("head"):
            return self._logits(feature_BHWC)

    def _logits(self, feature_BHWC: jax.Array) -> SimCCOutput:
        maps_BHWK = self.final_layer(feature_BHWC)
        tokens = maps_BHWK.reshape(maps_BHWK.shape[0], -1, maps_BHWK.shape[-1]).swapaxes(1, 2)
        norm, linear = self.mlp
        tokens_BKC = self.gau(linear(norm(tokens)))
        return SimCCOutput(self.cls_x(tokens_BKC), self.cls_y(tokens_BKC))


class RTMPose(Detector):
    """Top-down SimCC detector.

    Args:
      num_joints: how many joints to find.
      skeleton: the name of their joint set, if it has one.
      image_size: (height, width) of the crop, multiples of 32.
      deepen: factor on the backbone's depth.
      widen: factor on the backbone's channels.
      channels: size of a joint's token in the head.
      attention_dim: size of the head's queries and keys.
      sigma: standard deviation of the target distributions, SimCC bins along (x, y); default:
        √(size / 8), which gives the published 4.9, 5.66 at 256x192 and 6, 6.93 at 384x288.
      scan_blocks: run a row of equal blocks as one loop (the same numbers, compiled differently).

    Raises:
      LiftjaxError: the image size is not a multiple of 32.
    """

    def __init__(
        self,
        num_joints: int,
        image_size: tuple[int, int] = (256, 192),
        *,
        skeleton: str | None = None,
        deepen: float = 1.0,
        widen: float = 1.0,
        channels: int = 256,
        attention_dim: int = 128,
        sigma: tuple[float, float] | None = None,
        scan_blocks: bool = False,
        rngs: nnx.Rngs,
    ):
        height, width = checked_image_size("RTMPose", image_size, cspnext.STRIDE)
        self.spec = DetectorSpec(
            kind="simcc",
            num_joints=num_joints,
            skeleton=skeleton,
            image_size=(height, width),
            stride=BIN,
            sigma=tuple(sigma or (round(math.sqrt(size / 8), 2) for size in (width, height))),
        )
        self.backbone = cspnext.CSPNeXt(deepen, widen, scan_blocks=scan_blocks, rngs=rngs)
        feature_shape = (
            height // cspnext.STRIDE,
            width // cspnext.STRIDE,
            self.backbone.channels,
        )
        self.head = RTMCCHead(
            feature_shape, num_joints, self.spec.output_size, channels, attention_dim, rngs=rngs
        )

    def __call__(self, images_BHWC: jax.Array, train: bool = False) -> SimCCOutput:
        """Logits of normalised images, computed in the images' precision.

        In training mode batch norm uses the batch's statistics and moves the running ones.
        """
        return self.head(self.backbone(images_BHWC, train))


_MARK = "backbone.stem.0.conv.weight"


def _unpack(state: State) -> tuple[State, list[str]]:
    """The network that DWPose's distiller trained.

    Stage 1 trains a whole student. Stage 2 trains a new head for a frozen backbone. Its file has
    the trained head in the student, whose own backbone never saw an image, and the backbone that
    the head belongs to in the teacher. Teacher and student are then alike; in stage 1 the teacher
    is the larger one.
    """
    student, teacher = _part(state, "student."), _part(state, "teacher.")
    if _MARK not in student or _MARK not in teacher:
        return state, []
    others = len(state) - len(student) - len(teacher)
    aligned = any(key.startswith("distill_losses.loss_fea") for key in state)
    alike = {k: v.shape for k, v in student.items()} == {k: v.shape for k, v in teacher.items()}
    if aligned or not alike:
        note = f"distiller, stage 1: took the student, left {len(teacher)} arrays of the teacher"
        return student, [f"{note} and {others} others"]
    backbone = {k: v for k, v in teacher.items() if k.startswith("backbone.")}
    head = {k: v for k, v in student.items() if not k.startswith("backbone.")}
    note = (
        "distiller, stage 2: took the student's head and the teacher's backbone, which it was "
        f"trained on; left the teacher's head, the student's untrained backbone and {others} others"
    )
    return backbone | head, [note]


def _part(state: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _read(state: State, source: Source) -> Found:
    """A file of MMPose, with or without a head."""
    state, notes, warnings = published.without_mmpose_extras(state)
    if "head.cls_x.weight" not in state:
        family = "MMPose, CSPNeXt backbone"
        state, more = published.drop_arrays(state, {r"head\.|neck\.": "another network's head"})
        return Found(family, state, None, None, "no head", None, (*notes, *more), warnings)
    joints = state["head.final_layer.weight"].shape[0]
    skeleton, why = stated_joints(source, joints)
    height, width = (int(state[f"head.cls_{axis}.weight"].shape[0] * BIN) for axis in "yx")
    family = "MMPose, RTMPose or DWPose"
    return Found(family, state, joints, skeleton, why, (height, width), tuple(notes), warnings)


def _sizes(shapes: Shapes) -> Keywords:
    sizes = {
        "widen": shapes["backbone.stem.2.conv.weight"][0] / 64,
        "deepen": count_layers(shapes, r"backbone\.stage2\.1\.blocks\.(\d+)\.") / 6,
    }
    if "head.gau.gamma" in shapes:
        sizes["channels"] = shapes["head.mlp.1.weight"][0]
        sizes["attention_dim"] = shapes["head.gau.gamma"][1]
    return sizes


_WEIGHT_FILES = WeightFiles(((_MARK,),), _read, _sizes, _unpack)
_SCALES = {
    "t": {"deepen": 0.167, "widen": 0.375},
    "s": {"deepen": 0.33, "widen": 0.5},
    "m": {"deepen": 0.67, "widen": 0.75},
    "l": {"deepen": 1.0, "widen": 1.0},
}
_X = {"deepen": 1.33, "widen": 1.25, "image_size": (384, 288)}
_TINY = {  # trains on a CPU
    "deepen": 0.167, "widen": 0.25, "image_size": (128, 96), "channels": 64, "attention_dim": 32,
}  # fmt: skip


def _presets(family: str, paper: str, skeleton: str, scales: dict[str, Keywords]):
    return {
        f"{family}_{scale}": Preset(
            RTMPose, {"image_size": (256, 192), **sizes}, paper, "Apache-2.0", skeleton,
            _WEIGHT_FILES,
        )
        for scale, sizes in scales.items()
    }  # fmt: skip


PRESETS = _presets(
    "rtmpose", "Jiang et al., arXiv 2303.07399", "coco", {**_SCALES, "x": _X, "tiny": _TINY}
) | _presets("dwpose", "Yang et al., ICCVW 2023", "wholebody", _SCALES)
