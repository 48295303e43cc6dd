"""Colours of people and of their sides, (red, green, blue) of 0 to 255; the viewer's."""

import colorsys
import functools

Color = tuple[int, int, int]

PAPER: Color = (250, 251, 252)
GRID: Color = (190, 198, 208)
SHADOW: Color = (222, 227, 233)
INK: Color = (74, 84, 96)

# Neighbours differ for most colour-blind eyes too.
_PALETTE: tuple[Color, ...] = (
    (214, 38, 31), (31, 95, 214), (11, 140, 125), (142, 63, 196), (199, 119, 0), (184, 51, 106),
    (93, 107, 30), (77, 91, 102),
)  # fmt: skip


def of_track(track: int) -> Color:
    """Of a person's right side."""
    return _PALETTE[track % len(_PALETTE)]


@functools.cache
def left_tint(color: Color) -> Color:
    """Of the left side, as if in the sun: lighter, and of a hue nearer to yellow."""
    hue, light, saturation = colorsys.rgb_to_hls(*(part / 255 for part in color))
    degrees = 360 * hue
    if degrees > 240:
        degrees += 24
    else:
        degrees = max(60, degrees - 24) if degrees > 60 else min(60, degrees + 24)
    found = colorsys.hls_to_rgb(degrees % 360 / 360, min(0.74, light + 0.2), saturation)
    return tuple(round(255 * part) for part in found)


def mix(a: Color, b: Color, share: float) -> Color:
    """`share` of b and the rest of a."""
    return tuple(round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
