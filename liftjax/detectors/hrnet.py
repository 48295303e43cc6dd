"""HRNet for pose estimation (Sun et al., "Deep High-Resolution Representation Learning for
Human Pose Estimation", CVPR 2019), any width.

A stem takes the image to a quarter of its size. Four stages follow; stage s works on s branches,
each with half the resolution and twice the channels of the one before. A branch is a chain of
residual blocks, and after it every branch receives the sum of all of them, resized (the "fuse").
A 1x1 convolution of the finest branch gives one heatmap a joint.

Attribute paths are the keys of upstream's state_dict. An upstream `nn.Sequential` of a convolution
and its batch norm is an `nnx.List` here, called through `conv_norm`.

Legend: B batch, H W height and width, C channels, K joints.
"""

import itertools
import re
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax.detectors import published
from liftjax.detectors.spec import Detector, DetectorSpec, HeatmapOutput, checked_image_size
from liftjax.nn.declaration import Found, Preset, Source, State, WeightFiles, count_layers
from liftjax.nn.initial import normal
from liftjax.nn.layers import BatchNorm, Conv, conv_norm, run_blocks, run_stage
from liftjax.nn.stated_joints import stated_joints

STRIDE = 4  # image pixels per heatmap pixel
_COARSEST = 32  # image pixels per pixel of the fourth branch

_conv = partial(Conv, use_bias=False, kernel_init=normal(0.001))


def _conv_layer(c_in: int, c_out: int, size: int, stride: int = 1, *, rngs) -> Conv:
    """Square convolution that keeps the map size at stride 1 and halves it at stride 2."""
    return _conv(c_in, c_out, (size, size), strides=stride, padding=size // 2, rngs=rngs)


def _pair(c_in, c_out, size, stride=1, *, rngs) -> nnx.List:
    """A convolution and its batch norm."""
    return nnx.List([_conv_layer(c_in, c_out, size, stride, rngs=rngs), BatchNorm(c_out)])


_conv_relu = partial(conv_norm, activation="relu")


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut; keeps size and channels."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.conv1 = _conv_layer(channels, channels, 3, rngs=rngs)
        self.bn1 = BatchNorm(channels)
        self.conv2 = _conv_layer(channels, channels, 3, rngs=rngs)
        self.bn2 = BatchNorm(channels)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        y = _conv_relu(self.conv1, self.bn1, x, train)
        return _conv_relu(self.conv2, self.bn2, y, train, shortcut=x)


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions to four times `channels`, and a shortcut."""

    expansion = 4

    def __init__(self, c_in: int, channels: int, *, rngs: nnx.Rngs):
        c_out = channels * self.expansion
        self.conv1 = _conv_layer(c_in, channels, 1, rngs=rngs)
        self.bn1 = BatchNorm(channels)
        self.conv2 = _conv_layer(channels, channels, 3, rngs=rngs)
        self.bn2 = BatchNorm(channels)
        self.conv3 = _conv_layer(channels, c_out, 1, rngs=rngs)
        self.bn3 = BatchNorm(c_out)
        self.downsample = None if c_in == c_out else _pair(c_in, c_out, 1, rngs=rngs)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        shortcut = x if self.downsample is None else conv_norm(*self.downsample, x, train)
        y = _conv_relu(self.conv1, self.bn1, x, train)
        y = _conv_relu(self.conv2, self.bn2, y, train)
        return _conv_relu(self.conv3, self.bn3, y, train, shortcut=shortcut)


def _upsample(x: jax.Array, factor: int) -> jax.Array:
    """Nearest-neighbour enlargement of (B, H, W, C)."""
    return jax.lax.platform_dependent(
        x,
        tpu=partial(_upsample_as_convolution, factor=factor),
        default=partial(_upsample_as_copies, factor=factor),
    )


def _upsample_as_copies(x, factor):
    b, h, w, c = x.shape
    wide = jnp.broadcast_to(x.reshape(b, h, 1, w, 1, c), (b, h, factor, w, factor, c))
    return wide.reshape(b, h * factor, w * factor, c)


def _upsample_as_convolution(x, factor):
    """On a TPU three times as fast, backwards too: it is joined to what is around it."""
    kernel = jnp.broadcast_to(
        jnp.eye(x.shape[-1], dtype=x.dtype), (factor, factor, *[x.shape[-1]] * 2)
    )
    around = (factor - 1, factor - 1)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        (around, around),
        lhs_dilation=(factor, factor),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,  # the values are copied as they are
    )


class HighResolutionModule(nnx.Module):
    """Parallel branches of basic blocks, then the exchange between them.

    `fuse_layers[i][j]` takes branch j to the size of branch i: a 1x1 convolution and enlargement
    from a coarser one, a row of stride-2 convolutions from a finer one, None from itself.
    """

    def __init__(self, channels, blocks, outputs, *, scan_blocks, rngs: nnx.Rngs):
        self.scan_blocks = scan_blocks
        self.branches = nnx.List(
            nnx.List(BasicBlock(c, rngs=rngs) for _ in range(blocks)) for c in channels
        )
        self.fuse_layers = nnx.List(
            nnx.List(self._fuse_layer(channels, i, j, rngs=rngs) for j in range(len(channels)))
            for i in range(outputs)
        )

    @staticmethod
    def _fuse_layer(channels, i, j, *, rngs):
        if j == i:
            return None
        if j > i:
            return _pair(channels[j], channels[i], 1, rngs=rngs)
        widths = [channels[j]] * (i - j) + [channels[i]]
        return nnx.List(
            _pair(c_in, c_out, 3, 2, rngs=rngs) for c_in, c_out in itertools.pairwise(widths)
        )

    def __call__(self, xs: Sequence[jax.Array], train: bool = False) -> list[jax.Array]:
        with jax.named_scope("branches"):
            xs = [
                run_blocks(blocks, x, train, self.scan_blocks)
                for blocks, x in zip(self.branches, xs, strict=True)
            ]
        with jax.named_scope("fuse"):
            return [self._fused(i, xs, train) for i in range(len(self.fuse_layers))]

    def _fused(self, i: int, xs: Sequence[jax.Array], train: bool) -> jax.Array:
        resized = (
            self._resized(layer, i, j, x, train)
            for j, (layer, x) in enumerate(zip(self.fuse_layers[i], xs, strict=True))
        )
        return jax.nn.relu(sum(resized))

    @staticmethod
    def _resized(layer, i: int, j: int, x: jax.Array, train: bool) -> jax.Array:
        if j == i:
            return x
        if j > i:
            return _upsample(conv_norm(*layer, x, train), 2 ** (j - i))
        for pair in layer[:-1]:
            x = _conv_relu(*pair, x, train)
        return conv_norm(*layer[-1], x, train)


class HRNet(Detector):
    """Top-down heatmap detector.

    Args:
      num_joints: how many heatmaps to give.
      skeleton: the name of their joint set, if it has one.
      image_size: (height, width) of the crop, multiples of 32.
      width: channels of the finest branch; each coarser one has twice as many.
      stem_width: channels of the stem and of the first stage's bottlenecks.
      stem_blocks: bottlenecks of the first stage.
      modules: exchanges in stages two, three and four.
      blocks: basic blocks of a branch between two exchanges.
      sigma: standard deviation of the target Gaussians in heatmap pixels; by default upstream's 3
        at 384x288, and in proportion at other sizes.
      scan_blocks: run a row of equal blocks as one loop (the same numbers, compiled differently).
        None: what is faster on the platform, see `nn.layers.run_blocks`.

    Raises:
      LiftjaxError: the image size is not a multiple of 32.
    """

    def __init__(
        self,
        num_joints: int,
        image_size: tuple[int, int] = (384, 288),
        *,
        skeleton: str | None = None,
        width: int = 32,
        stem_width: int = 64,
        stem_blocks: int = 4,
        modules: tuple[int, int, int] = (1, 4, 3),
        blocks: int = 4,
        sigma: float | None = None,
        scan_blocks: bool | None = None,
        rngs: nnx.Rngs,
    ):
        height, image_width = checked_image_size("HRNet", image_size, _COARSEST)
        self.spec = DetectorSpec(
            kind="heatmap",
            num_joints=num_joints,
            skeleton=skeleton,
            image_size=(height, image_width),
            stride=STRIDE,
            sigma=3 * height / 384 if sigma is None else sigma,
        )
        self.scan_blocks = scan_blocks
        self.remat = False  # see `nn.layers.rematerialise`

        self.conv1 = _conv_layer(3, stem_width, 3, 2, rngs=rngs)
        self.bn1 = BatchNorm(stem_width)
        self.conv2 = _conv_layer(stem_width, stem_width, 3, 2, rngs=rngs)
        self.bn2 = BatchNorm(stem_width)
        wide = stem_width * Bottleneck.expansion
        self.layer1 = nnx.List(
            Bottleneck(wide if i else stem_width, stem_width, rngs=rngs) for i in range(stem_blocks)
        )
        channels = [width * 2**i for i in range(4)]
        self.transition1 = _transition([wide], channels[:2], rngs=rngs)
        self.stage2 = _stage(modules[0], channels[:2], blocks, 2, scan_blocks, rngs=rngs)
        self.transition2 = _transition(channels[:2], channels[:3], rngs=rngs)
        self.stage3 = _stage(modules[1], channels[:3], blocks, 3, scan_blocks, rngs=rngs)
        self.transition3 = _transition(channels[:3], channels, rngs=rngs)
        self.stage4 = _stage(modules[2], channels, blocks, 1, scan_blocks, rngs=rngs)
        self.final_layer = _conv(
            width, num_joints, (1, 1), use_bias=True, wide_output=True, rngs=rngs
        )

    def __call__(self, images_BHWC: jax.Array, train: bool = False) -> HeatmapOutput:
        """Heatmaps of normalised images, computed in the images' precision.

        In training mode batch norm uses the batch's statistics and moves the running ones.
        """
        stem = (self.conv1, self.bn1, self.conv2, self.bn2, self.layer1)
        with jax.named_scope("stem"):
            xs = [run_stage(partial(self._stem, train=train), stem, images_BHWC, self.remat)]
        for number, transition, stage in (
            (2, self.transition1, self.stage2),
            (3, self.transition2, self.stage3),
            (4, self.transition3, self.stage4),
        ):
            with jax.named_scope(f"transition{number - 1}"):
                xs = _widen(transition, xs, train)
            with jax.named_scope(f"stage{number}"):
                for module in stage:
                    xs = run_stage(partial(_exchange, train=train), [module], xs, self.remat)
        with jax.named_scope("final_layer"):
            return HeatmapOutput(self.final_layer(xs[0]))

    def _stem(self, modules: Sequence[nnx.Module], x: jax.Array, train: bool) -> jax.Array:
        conv1, bn1, conv2, bn2, layer1 = modules
        x = _conv_relu(conv1, bn1, x, train)
        x = _conv_relu(conv2, bn2, x, train)
        return run_blocks(layer1[1:], layer1[0](x, train), train, self.scan_blocks)


def _exchange(modules: Sequence[nnx.Module], xs: Sequence[jax.Array], train: bool):
    (module,) = modules
    return module(xs, train)


def _stage(modules, channels, blocks, outputs, scan_blocks, *, rngs) -> nnx.List:
    """`modules` exchanges; the last one gives the `outputs` finest branches only."""
    counts = [len(channels)] * (modules - 1) + [outputs]
    return nnx.List(
        HighResolutionModule(channels, blocks, count, scan_blocks=scan_blocks, rngs=rngs)
        for count in counts
    )


def _transition(before, after, *, rngs) -> nnx.List:
    """Layers from the branches of one stage to those of the next, which has one more.

    A layer is None where a branch goes on unchanged. The new branch halves the last one with a list
    of stride-2 convolutions, which here has one entry.
    """
    layers = [
        None if old == new else _pair(old, new, 3, rngs=rngs)
        for old, new in zip(before, after[:-1], strict=True)
    ]
    coarser = nnx.List([_pair(before[-1], after[-1], 3, 2, rngs=rngs)])
    return nnx.List([*layers, coarser])


def _widen(transition, xs: Sequence[jax.Array], train: bool) -> list[jax.Array]:
    """Applies `_transition`'s layers."""
    kept = [
        x if layer is None else _conv_relu(*layer, x, train)
        for layer, x in zip(transition[:-1], xs, strict=True)
    ]
    return [*kept, _conv_relu(*transition[-1][0], xs[-1], train)]


_MARK = "stage4.0.branches.0.0.conv1.weight"


def _read(state: State, source: Source) -> Found:
    """A file of HRNet's authors, of L2D-Pose's trainer or of MMPose, with or without a head."""
    family, notes, warnings = "HRNet's authors", [], ()
    if source.model.startswith("hrnet_"):
        family = "L2D-Pose, HRNet"
    if f"backbone.{_MARK}" in state:
        family = "MMPose, HRNet"
        state, notes, warnings = published.without_mmpose_extras(state)
        state = {re.sub(r"^(backbone|head|keypoint_head)\.", "", k): v for k, v in state.items()}
        notes.append("renamed backbone.* and head.* to the HRNet authors' names")
    if "classifier.weight" in state:
        family = "HRNet's authors, ImageNet classification"
        state, more = _without_classifier(state)
        notes += more
    joints, skeleton, why = None, None, "no head"
    if "final_layer.weight" in state:
        joints = state["final_layer.weight"].shape[0]
        skeleton, why = _skeleton(source, joints)
    size = published.stated_image_size(source)
    return Found(family, state, joints, skeleton, why, size, tuple(notes), warnings)


def _without_classifier(state: State) -> tuple[State, list[str]]:
    """The trunk of an ImageNet classifier, whose last exchange also feeds the coarse branches."""
    last = max(int(found[1]) for key in state if (found := re.match(r"stage4\.(\d+)\.", key)))
    reasons = {
        r"incre_modules\.|downsamp_modules\.|classifier\.|final_layer\.\d+\.": "the classifier",
        rf"stage4\.{last}\.fuse_layers\.[123]\.": "branches that only the classifier reads",
    }
    return published.drop_arrays(state, reasons)


def _skeleton(source: Source, joints: int) -> tuple[str | None, str]:
    """The joint set of a file, and how it is known."""
    usual = {17: "human36m", 15: "panoptic"}.get(joints)
    if source.model.startswith("hrnet_") and usual:
        return usual, f"its trainer's name, {source.model}"
    return stated_joints(source, joints)


_WEIGHT_FILES = WeightFiles(
    marks=((f"backbone.{_MARK}",), (_MARK,)),
    read=_read,
    sizes=lambda shapes: {
        "width": shapes["stage2.0.branches.0.0.conv1.weight"][0],
        "stem_width": shapes["conv1.weight"][0],
        "stem_blocks": count_layers(shapes, r"layer1\.(\d+)\."),
        "modules": tuple(count_layers(shapes, rf"stage{stage}\.(\d+)\.") for stage in (2, 3, 4)),
        "blocks": count_layers(shapes, r"stage2\.0\.branches\.0\.(\d+)\."),
    },
)

# The small ones train on a CPU. For each second of training, one block a branch beats two.
_SMALL = {"image_size": (128, 96), "stem_blocks": 1, "modules": (1, 1, 1), "blocks": 1}

PRESETS = {
    name: Preset(
        HRNet, {"image_size": (384, 288), **sizes}, "Sun et al., CVPR 2019", "MIT", "coco",
        _WEIGHT_FILES,
    )
    for name, sizes in {
        "hrnet_w32": {"width": 32},
        "hrnet_w48": {"width": 48},
        "hrnet_small": {"width": 16, "stem_width": 16, **_SMALL},
        "hrnet_tiny": {"width": 8, "stem_width": 8, **_SMALL},
    }.items()
}  # fmt: skip
