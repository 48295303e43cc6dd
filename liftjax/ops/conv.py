"""Channels-last convolution, in one place so that its derivative can be chosen by platform."""

from collections.abc import Sequence

import jax

_SPATIAL = "DHW"


def conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> jax.Array:
    """Convolution (..., C_in) -> (..., C_out) of x (B, *spatial, C) with kernel (*spatial, C, C').

    Args:
      padding: zeros added on both sides of each spatial axis.
    """
    axes = _SPATIAL[-len(strides) :]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=tuple(strides),
        padding=[(p, p) for p in padding],
        rhs_dilation=tuple(dilation),
        feature_group_count=groups,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    )
