"""XLA's channels-last convolution, with XLA's derivative.

Legend: B batch, C input channels, O output channels; `spatial` is one to three axes.
"""

import jax

_SPATIAL = "DHW"


def conv_plain(x, kernel, strides, padding, dilation, groups=1) -> jax.Array:
    """As `conv.conv`, with XLA's derivative everywhere."""
    around = [(p, p) for p in padding]
    return lax_conv(x, kernel, strides, around, (1,) * len(strides), dilation, groups)


def lax_conv(x, kernel, strides, around, x_dilation, kernel_dilation, groups=1):
    axes = _SPATIAL[-len(strides) :]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=tuple(strides),
        padding=around,
        lhs_dilation=tuple(x_dilation),
        rhs_dilation=tuple(kernel_dilation),
        feature_group_count=groups,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    )
