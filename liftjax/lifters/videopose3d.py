"""VideoPose3D: dilated temporal convolutions over a clip.

Pavllo, Feichtenhofer, Grangier, Auli, "3D human pose estimation in video with temporal
convolutions and semi-supervised training", CVPR 2019.
"""

import math
import re
from collections.abc import Iterator, Sequence

import jax
from flax import nnx

from liftjax.errors import LiftjaxError
from liftjax.lifters.published import mmpose_names, published_lifter, renamed
from liftjax.lifters.spec import Lifter, LifterSpec
from liftjax.nn.declaration import Keywords, Shapes, State, count_layers
from liftjax.nn.initial import fan_in_uniform
from liftjax.nn.layers import BatchNorm, Conv, Dropout


def _conv(c_in: int, c_out: int, width: int, rngs: nnx.Rngs, **options) -> Conv:
    init = fan_in_uniform(c_in * width)
    return Conv(c_in, c_out, (width,), kernel_init=init, bias_init=init, rngs=rngs, **options)


def resolve_widths(num_frames: int, filter_widths: Sequence[int] | None) -> tuple[int, ...]:
    """The filter widths to build: those given, or else widths whose product is `num_frames`.

    The latter are its prime factors in rising order, so 27 is (3, 3, 3); a single frame has the
    paper's (1, 1, 1).

    Raises:
      LiftjaxError: a width is not odd, none are given for an even number of frames, or the
        frames are fewer than the field of the widths.
    """
    if filter_widths is None:
        if num_frames > 1 and num_frames % 2 == 0:
            raise LiftjaxError(
                f"No filter widths reach {num_frames} frames, an even number: take an odd one such "
                "as 9, 27, 81 or 243, or give filter_widths for a clip that is longer than the "
                "receptive field."
            )
        return _prime_factors(num_frames) if num_frames > 1 else (1, 1, 1)
    widths = tuple(filter_widths)
    if not widths or any(width < 1 or width % 2 == 0 for width in widths):
        raise LiftjaxError(f"filter_widths must be odd numbers such as (3, 3, 3), not {widths}.")
    field = math.prod(widths)
    if 1 < num_frames < field:
        raise LiftjaxError(
            f"num_frames={num_frames} is fewer than the receptive field of filter_widths {widths}, "
            f"{field} frames; leave out one of the two."
        )
    return widths


def _prime_factors(number: int) -> tuple[int, ...]:
    """(3, 3, 5) for 45; for an odd number above 1."""
    divisor = next(d for d in range(3, number + 1, 2) if number % d == 0)
    rest = number // divisor
    return (divisor, *(_prime_factors(rest) if rest > 1 else ()))


class VideoPose3D(Lifter):
    """Lifts each frame from the frames around it; with filter widths of 1, each frame by itself.

    The convolutions are unpadded, so a clip of T frames gives T - receptive_field + 1 poses.
    Output frame t belongs to input frame t + receptive_field // 2, or, with `causal`, to the last
    of its field, t + receptive_field - 1.

    Args:
      skeleton: joint set of the poses.
      num_frames: frames of a clip, at least the receptive field. Without `filter_widths` it is the
        receptive field and sets them: 9, 27, 81 and 243 have widths of 3, 1 has (1, 1, 1). With
        them it may be left at 1, which then stands for the receptive field.
      filter_widths: odd widths, the first of the input convolution, each further one of a
        residual block; the receptive field is their product.
      causal: the residual connections follow the last frame of a field, not the middle one.
      dense: undilated convolutions of the same reach (the paper's ablation).
      strided: for training on single frames: a clip is cut into fields, T a multiple of the
        receptive field, and each gives one pose, T / receptive_field in all. Equal to the dilated
        network there, with the same weights, and without computing what no output needs.
      skeleton_2d: joint set of the 2D input; default: that of the poses.

    Raises:
      LiftjaxError: impossible widths, or `num_frames` and `filter_widths` contradict each other.
    """

    def __init__(
        self,
        skeleton: str = "human36m",
        num_frames: int = 1,
        *,
        filter_widths: Sequence[int] | None = None,
        channels: int = 1024,
        causal: bool = False,
        dropout: float = 0.25,
        dense: bool = False,
        strided: bool = False,
        skeleton_2d: str | None = None,
        rngs: nnx.Rngs,
    ):
        if dense and strided:
            raise LiftjaxError("VideoPose3D is dense or strided, not both; leave out one.")
        widths = resolve_widths(num_frames, filter_widths)
        field = math.prod(widths)
        num_frames = field if num_frames == 1 else num_frames
        kind = "strided" if strided else "sliding"
        super().__init__(LifterSpec(skeleton, num_frames, field, kind, skeleton_2d=skeleton_2d))
        self.causal, self.strided, self.widths = causal, strided, widths

        def conv(c_in, c_out, width, dilation=1, use_bias=False):
            """Covers `width` frames that are `dilation` frames of the clip apart."""
            if strided:  # they are neighbours by now
                return _conv(c_in, c_out, width, rngs, strides=width, use_bias=use_bias)
            if dense:
                width, dilation = (width - 1) * dilation + 1, 1
            return _conv(c_in, c_out, width, rngs, dilation=dilation, use_bias=use_bias)

        self.expand_bn = BatchNorm(channels)
        self.shrink = conv(channels, 3 * self.spec.num_joints, 1, use_bias=True)
        self.expand_conv = conv(2 * self.spec.num_joints_2d, channels, widths[0])
        convs = []
        for i, width in enumerate(widths[1:], 1):
            convs.append(conv(channels, channels, width, math.prod(widths[:i])))
            convs.append(conv(channels, channels, 1))
        self.layers_conv = nnx.List(convs)
        self.layers_bn = nnx.List([BatchNorm(channels) for _ in convs])
        self.dropout = Dropout(dropout)

    def embed(self, x_BTK2: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        x_BTC = x_BTK2.reshape(*x_BTK2.shape[:2], -1)
        return self._layer(self.expand_conv, self.expand_bn, x_BTC, train, rngs)

    def refine(self, features: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        layers = list(zip(self.layers_conv, self.layers_bn, strict=True))
        y_BTC = features
        for i, shortcut in enumerate(self._shortcuts()):
            kept = y_BTC[:, shortcut]
            for conv, norm in layers[2 * i : 2 * i + 2]:
                y_BTC = self._layer(conv, norm, y_BTC, train, rngs)
            y_BTC = kept + y_BTC
        return y_BTC

    def regress(self, features: jax.Array) -> jax.Array:
        return self.shrink(features).reshape(*features.shape[:2], -1, 3)

    def _layer(self, conv, norm, y_BTC: jax.Array, train: bool, rngs) -> jax.Array:
        return self.dropout(nnx.relu(norm(conv(y_BTC), train=train)), rngs)

    def _shortcuts(self) -> Iterator[slice]:
        """The frames that each residual connection keeps: of every field the middle or last."""
        for i, width in enumerate(self.widths[1:], 1):
            reach = (width - 1) * (1 if self.strided else math.prod(self.widths[:i]))
            start = reach if self.causal else reach // 2
            yield slice(start, None, width) if self.strided else slice(start, start - reach or None)


def _sizes(shapes: Shapes) -> Keywords:
    convs = count_layers(shapes, r"layers_conv\.(\d+)\.")
    first = shapes["expand_conv.weight"]
    widths = (first[2], *(shapes[f"layers_conv.{i}.weight"][2] for i in range(0, convs, 2)))
    field = math.prod(widths)
    usual = all(width % 2 for width in widths) and resolve_widths(field, None) == widths
    sizes = {} if usual else {"filter_widths": widths}
    return {"num_frames": field, "channels": first[0], **sizes}


def _layer(found: re.Match) -> int:
    """The number of a layer, of which each block has two."""
    return 2 * int(found[1]) + int(found[2]) - 1


_MMPOSE = mmpose_names(
    "expand_conv.", "expand_bn.", "shrink.",
    lambda found: f"layers_conv.{_layer(found)}.", lambda found: f"layers_bn.{_layer(found)}.",
)  # fmt: skip
_MMPOSE_MARK = ("backbone.expand_conv.conv.weight", "backbone.tcn_blocks.0.conv1.0.conv.weight")


def _read(state: State) -> tuple[State, list[str]]:
    if _MMPOSE_MARK[0] not in state:
        return state, []
    return renamed(state, _MMPOSE), ["renamed MMPose's arrays to the VideoPose3D authors' names"]


PRESETS = {
    "videopose3d": published_lifter(
        VideoPose3D,
        "Pavllo et al., CVPR 2019",
        "CC BY-NC 4.0",
        marks=(("expand_conv.weight", "shrink.weight"), _MMPOSE_MARK),
        joints=lambda shapes: shapes["shrink.weight"][0] // 3,
        joints_2d=lambda shapes: shapes["expand_conv.weight"][1] // 2,
        read=_read,
        sizes=_sizes,
    )
}
