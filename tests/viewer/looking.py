"""What tests ask of the viewer's page."""

import numpy as np

PICTURE, SPACE = ".ljv-picture canvas", ".ljv-space canvas"


def state(page) -> dict:
    page.settle()
    return page.run("return viewer.state()")


def count(page, selector, rgb) -> int:
    """How many pixels of a canvas have a colour, but for the rounding of blends."""
    pixels = page.canvas(selector).astype(int)
    return int(((np.abs(pixels[..., :3] - rgb).sum(-1) < 12) & (pixels[..., 3] > 250)).sum())


def pixel(page, x, y, selector=SPACE) -> np.ndarray:
    """Red, green, blue and opacity of a canvas at a point in CSS pixels."""
    return page.canvas(selector)[round(y), round(x)].astype(int)
