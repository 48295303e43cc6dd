"""VideoPose3D: dilated temporal convolutions over a clip.

Pavllo, Feichtenhofer, Grangier, Auli, "3D human pose estimation in video with temporal
convolutions and semi-supervised training", CVPR 2019.
"""

import math
from collections.abc import Sequence

import jax
from flax import nnx

from liftjax.errors import LiftjaxError
from liftjax.lifters.spec import Lifter, LifterSpec
from liftjax.nn.layers import BatchNorm, Conv, Dropout, fan_in_uniform


def _conv(c_in: int, c_out: int, width: int, rngs: nnx.Rngs, dilation=1, use_bias=False) -> Conv:
    init = fan_in_uniform(c_in * width)
    return Conv(
        c_in, c_out, (width,), dilation=dilation, use_bias=use_bias, kernel_init=init,
        bias_init=init, rngs=rngs,
    )  # fmt: skip


class VideoPose3D(Lifter):
    """Lifts each frame from the frames around it; with filter widths 1, from itself alone.

    The convolutions are unpadded, so a clip of T frames gives T - receptive_field + 1 poses.
    Output frame t belongs to input frame t + receptive_field // 2, or, with `causal`, to the last
    of its field, t + receptive_field - 1.

    Args:
      filter_widths: odd widths, the first of the input convolution, each further one of a
        residual block; the receptive field is their product.
      causal: the residual connections follow the last frame of a field, not the middle one.
      dense: undilated convolutions of the same reach (the paper's ablation).
    """

    def __init__(
        self,
        skeleton: str = "human36m",
        num_frames: int = 1,
        *,
        filter_widths: Sequence[int] = (1, 1, 1),
        channels: int = 1024,
        causal: bool = False,
        dropout: float = 0.25,
        dense: bool = False,
        rngs: nnx.Rngs,
    ):
        widths = tuple(filter_widths)
        if not widths or any(width < 1 or width % 2 == 0 for width in widths):
            raise LiftjaxError(
                f"filter_widths must be odd numbers such as (3, 3, 3), not {widths}."
            )
        field = math.prod(widths)
        super().__init__(LifterSpec(skeleton, max(num_frames, field), field, "sliding"))
        joints = self.spec.num_joints
        dilations = [math.prod(widths[:i]) for i in range(1, len(widths))]
        self.reaches = tuple(
            (width - 1) * dilation for width, dilation in zip(widths[1:], dilations, strict=True)
        )
        self.causal = causal

        self.expand_bn = BatchNorm(channels)
        self.shrink = _conv(channels, 3 * joints, 1, rngs, use_bias=True)
        self.expand_conv = _conv(2 * joints, channels, widths[0], rngs)
        convs = []
        for width, dilation, reach in zip(widths[1:], dilations, self.reaches, strict=True):
            size, step = (reach + 1, 1) if dense else (width, dilation)
            convs.append(_conv(channels, channels, size, rngs, dilation=step))
            convs.append(_conv(channels, channels, 1, rngs))
        self.layers_conv = nnx.List(convs)
        self.layers_bn = nnx.List([BatchNorm(channels) for _ in convs])
        self.dropout = Dropout(dropout)

    def network(self, x_BTK2: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        clips, frames, joints, _ = x_BTK2.shape

        def layer(conv, norm, y_BTC):
            return self.dropout(nnx.relu(norm(conv(y_BTC), train=train)), rngs)

        layers = list(zip(self.layers_conv, self.layers_bn, strict=True))
        y_BTC = layer(self.expand_conv, self.expand_bn, x_BTK2.reshape(clips, frames, 2 * joints))
        for i, reach in enumerate(self.reaches):
            start = reach if self.causal else reach // 2
            kept = y_BTC[:, start : start + y_BTC.shape[1] - reach]
            y_BTC = kept + layer(*layers[2 * i + 1], layer(*layers[2 * i], y_BTC))
        return self.shrink(y_BTC).reshape(clips, -1, joints, 3)
