"""Procedural textures: the colour of a point of a surface from a few numbers.

A *look* is a row of LOOK_SIZE numbers: pattern, scale (m), phase, colour a (3) and colour b (3) in
linear RGB. Every pattern is a mixture of a and b.
"""

import enum

import jax.numpy as jnp
import numpy as np

LOOK_SIZE = 9


class Pattern(enum.IntEnum):
    """What is painted on a surface; the look's scale is the width of one element in metres."""

    PLAIN = 0
    STRIPES = 1  # bands one above the other
    BARS = 2  # bands side by side
    CHECKER = 3
    PLANKS = 4
    BRICKS = 5
    MOTTLED = 6
    PICTURE = 7  # fills one face of a box, with a frame
    BOOKS = 8
    FACE = 9  # eyes, brows and mouth on the front of a head


def look(pattern, color_a, color_b=(0.0, 0.0, 0.0), scale=0.2, phase=0.0) -> np.ndarray:
    """A look (LOOK_SIZE,) float32; colours are linear RGB, and phase 0..1 varies the pattern."""
    return np.array([pattern, scale, phase, *color_a, *color_b], np.float32)


def wave(x):
    """An approximate sine of period 1, made of parabolas, in [-1, 1]."""
    y = 2 * (x - jnp.floor(x)) - 1
    return 4 * y * (jnp.abs(y) - 1)


def _hash(i, j, phase):
    """Noise in [0, 1) of two whole numbers."""
    x = i * 0.1031 + j * 0.7713 + phase
    x = x - jnp.floor(x)
    x = (x + 3.17) * (x + 33.33) * (x + 1.71)
    return x - jnp.floor(x)


def _edge(x, width):
    """1 within `width` of a whole number, else 0."""
    return jnp.where(jnp.abs(x - jnp.round(x)) < width, 1.0, 0.0)


def _disc(x, y, center_x, center_y, radius_x, radius_y):
    """1 inside an ellipse, else 0."""
    u, v = (x - center_x) / radius_x, (y - center_y) / radius_y
    return jnp.where(u * u + v * v < 1, 1.0, 0.0)


def _planks(u, v, phase):
    row = jnp.floor(v)
    shifted = u * 0.2 + _hash(row, 0.0, phase)
    grain = 0.5 + 0.5 * wave(0.5 * wave(0.33 * u + 0.63 * row) + 3.5 * v)
    tone = 0.75 * _hash(jnp.floor(shifted), row, phase) + 0.2 * grain
    return jnp.maximum(tone, jnp.maximum(_edge(v, 0.03), _edge(shifted, 0.006)))


def _bricks(u, v, phase):
    row = jnp.floor(2 * v)
    shifted = u + 0.5 * row
    mortar = jnp.maximum(_edge(2 * v, 0.08), _edge(shifted, 0.04))
    return jnp.maximum(mortar, 0.35 * _hash(jnp.floor(shifted), row, phase))


def _mottled(u, v, phase):
    coarse = wave(0.16 * u + phase + 0.32 * wave(0.11 * v)) + wave(
        0.21 * v - phase + 0.32 * wave(0.1 * u)
    )
    fine = wave(0.65 * u + 0.53 * v + phase) * wave(0.59 * v - 0.46 * u)
    return jnp.clip(0.5 + 0.2 * coarse + 0.15 * fine, 0, 1)


def _picture(x, y, phase):
    """A framed landscape; x and y run from -1 to 1 over the face of a box."""
    frame = jnp.where(jnp.maximum(jnp.abs(x), jnp.abs(y)) > 0.88, 1.0, 0.0)
    hills = jnp.where(y < 0.35 * wave(0.48 * x + 3 * phase) - 0.3 + 0.4 * phase, 0.75, 0.1)
    sun = _disc(x, y, 1.2 * phase - 0.6, 0.45, 0.22, 0.22)
    return jnp.maximum(frame, jnp.maximum(hills, 0.9 * sun))


def _books(u, v, phase):
    shelf, book = jnp.floor(0.16 * v), jnp.floor(u)
    top = 0.16 * v - shelf - 0.55 - 0.3 * _hash(book, shelf, phase)
    return jnp.where(top > 0, 1.0, 0.75 * _hash(book + 0.5, shelf, phase))


def _face(x, front, z):
    """A face; x to the side and z from the middle of the skull to the chin, in metres."""
    across = jnp.abs(x)
    eyes = _disc(across, z, 0.032, 0.042, 0.014, 0.008)
    brows = 0.6 * _disc(across, z, 0.033, 0.024, 0.020, 0.005)
    mouth = 0.6 * _disc(across, z, 0.0, 0.100, 0.026, 0.006)
    return jnp.where(front > 0, jnp.maximum(jnp.maximum(eyes, brows), mouth), 0.0)


def mix(columns, across, up, unit_across, unit_up, local):
    """Share of colour b, in [0, 1], at surface points.

    Args:
      columns: pattern, scale and phase of each point's look.
      across, up: metres along the surface.
      unit_across, unit_up: -1 to 1 along the face of a box.
      local: three coordinates in metres in the space of a solid.
    """
    pattern, scale, phase = columns
    u, v = across / scale, up / scale
    shares = {
        Pattern.STRIPES: jnp.where(v - jnp.floor(v) < 0.5, 1.0, 0.0),
        Pattern.BARS: jnp.where(u - jnp.floor(u) < 0.5, 1.0, 0.0),
        Pattern.CHECKER: jnp.abs((jnp.floor(u) + jnp.floor(v)) % 2),
        Pattern.PLANKS: _planks(u, v, phase),
        Pattern.BRICKS: _bricks(u, v, phase),
        Pattern.MOTTLED: _mottled(u, v, phase),
        Pattern.PICTURE: _picture(unit_across, unit_up, phase),
        Pattern.BOOKS: _books(u, v, phase),
        Pattern.FACE: _face(local[0], local[1], local[2]),
    }
    share = jnp.zeros_like(u)
    for kind, value in shares.items():
        share = jnp.where(pattern == kind, value, share)
    return share
