"""Where rays meet solids, in closed form.

There are two solids: a *round cone* (the convex hull of two balls) and a *cube*, each in its own
space. An affine map from the world to that space makes other shapes: a squashed round cone is a
chest, and one without length is an ellipsoid. The map keeps the parameter t of a ray, so hits of
different solids can be compared.

Rays are o + t d. A vector is a tuple of its three components, which are arrays of one shape or
scalars, because this keeps the loops over pixels fused and vectorised.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

Vector = tuple[jax.Array, jax.Array, jax.Array]

FAR = 1e9
"""The t of a ray that hits nothing."""
_TINY = 1e-12


class RoundCones(NamedTuple):
    """N hulls of two balls, of radius r0 around the origin and r1 around (0, 0, height).

    Attributes:
      to_local: (N, 3, 4) affine map from the world to the cone's space.
      height, r0, r1: (N,) in that space, with height > |r0 - r1|; r0 = r1 = 0 hides the solid.
    """

    to_local: jax.Array
    height: jax.Array
    r0: jax.Array
    r1: jax.Array


class Boxes(NamedTuple):
    """N boxes; `to_local` (N, 3, 4) is the affine map from the world to a cube [-1, 1]^3."""

    to_local: jax.Array


def dot(a: Vector, b: Vector):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def along(o: Vector, t, d: Vector) -> Vector:
    """o + t d."""
    return tuple(x + t * y for x, y in zip(o, d, strict=True))


def normalize(a: Vector) -> Vector:
    inverse = jax.lax.rsqrt(jnp.maximum(dot(a, a), _TINY))
    return tuple(x * inverse for x in a)


def turn(matrix, d: Vector) -> Vector:
    """The linear part of an affine map (3, 4) applied to directions."""
    return tuple(m[0] * d[0] + m[1] * d[1] + m[2] * d[2] for m in matrix)


def move(matrix, p: Vector) -> Vector:
    """An affine map (3, 4) applied to points."""
    return tuple(x + m[3] for x, m in zip(turn(matrix, p), matrix, strict=True))


def enter_round_cone(o: Vector, d: Vector, height, r0, r1):
    """t > 0 where rays enter a round cone in its own space, FAR where they miss it.

    It is the least t of three entries: into the two balls and into the cone between them.
    """
    dd = dot(d, d)
    sine = (r0 - r1) / height
    cosine2 = 1 - sine * sine
    # The cone: cosine^2 (x^2 + y^2) = (r0 - sine z)^2
    reach = r0 - sine * o[2]
    a = cosine2 * (d[0] * d[0] + d[1] * d[1]) - sine * sine * d[2] * d[2]
    b = cosine2 * (o[0] * d[0] + o[1] * d[1]) + sine * d[2] * reach
    c = cosine2 * (o[0] * o[0] + o[1] * o[1]) - reach * reach
    discriminant = b * b - a * c
    a = jnp.where(jnp.abs(a) < _TINY, _TINY, a)
    # This is also right for a < 0: a ray then enters at the greater root, from beyond the apex.
    t = -(b + jnp.sqrt(jnp.maximum(discriminant, 0))) / a
    z = o[2] + t * d[2]
    side = (discriminant > 0) & (t > 0) & (z > r0 * sine) & (z < height + r1 * sine)
    t = jnp.where(side, t, FAR)
    # The two balls
    oo, od, rate = dot(o, o), dot(o, d), 1 / dd
    first = od * od - dd * (oo - r0 * r0)
    top = od - height * d[2]
    second = top * top - dd * (oo - height * (2 * o[2] - height) - r1 * r1)
    for discriminant, b in ((first, od), (second, top)):
        entry = -(b + jnp.sqrt(jnp.maximum(discriminant, 0))) * rate
        t = jnp.minimum(t, jnp.where((discriminant > 0) & (entry > 0), entry, FAR))
    return t


def slabs(o: Vector, d: Vector):
    """t where rays enter and leave [-1, 1]^3; for a miss the entry is greater than the exit."""
    near, far = [], []
    for x, y in zip(o, d, strict=True):
        rate = 1 / jnp.where(jnp.abs(y) < _TINY, _TINY, y)
        middle, half = -x * rate, jnp.abs(rate)
        near.append(middle - half)
        far.append(middle + half)
    entry = jnp.maximum(jnp.maximum(near[0], near[1]), near[2])
    leave = jnp.minimum(jnp.minimum(far[0], far[1]), far[2])
    return entry, leave


def enter_box(o: Vector, d: Vector):
    """t > 0 where rays enter [-1, 1]^3, FAR where they miss it."""
    entry, leave = slabs(o, d)
    return jnp.where((entry < leave) & (entry > 0), entry, FAR)


# The index of a solid is kept in the lowest bits of t. The bits of positive floats have the order
# of the floats, so one minimum finds both. With a pair (t, index) XLA would compute t twice.
_INDEX_BITS = 6
_INDEX_MASK = (1 << _INDEX_BITS) - 1


def _first_hit(enter, solids, o: Vector, d: Vector):
    """Per ray, the smallest t (to 1 in 2^17) over the solids of one kind, and the solid's index."""
    count = solids.to_local.shape[0]
    if count > _INDEX_MASK + 1:
        raise ValueError(f"{count} solids of one kind; the index has {_INDEX_BITS} bits.")

    def visit(best, solid):
        index, (matrix, *shape) = solid
        t = enter(move(matrix, o), turn(matrix, d), *shape)
        bits = jax.lax.bitcast_convert_type(t, jnp.int32)
        return jnp.minimum(best, (bits & ~_INDEX_MASK) | index), None

    far = jax.lax.bitcast_convert_type(jnp.float32(FAR), jnp.int32)
    indices = jnp.arange(count, dtype=jnp.int32)
    start = jnp.full(d[0].shape, far | _INDEX_MASK)
    best, _ = jax.lax.scan(visit, start, (indices, tuple(solids)))
    t = jax.lax.bitcast_convert_type(best & ~_INDEX_MASK, jnp.float32)
    return t, best & _INDEX_MASK


def first_round_cone(solids: RoundCones, o: Vector, d: Vector):
    """t (FAR for none) and index of the first round cone that each ray enters."""
    return _first_hit(enter_round_cone, solids, o, d)


def first_box(solids: Boxes, o: Vector, d: Vector):
    """t (FAR for none) and index of the first box that each ray enters."""
    return _first_hit(enter_box, solids, o, d)


def round_cone_normal(p: Vector, height, r0, r1) -> Vector:
    """Outward normal (any length) at surface points of a round cone in its own space."""
    sine = (r0 - r1) / height
    slope = sine / jnp.sqrt(jnp.maximum(1 - sine * sine, _TINY))
    center = jnp.clip(p[2] - slope * jnp.sqrt(p[0] * p[0] + p[1] * p[1]), 0, height)
    return p[0], p[1], p[2] - center


def box_normal(p: Vector) -> Vector:
    """Outward unit normal at points of the surface of [-1, 1]^3."""
    a = [jnp.abs(x) for x in p]
    x_face = (a[0] >= a[1]) & (a[0] >= a[2])
    y_face = ~x_face & (a[1] >= a[2])
    faces = (x_face, y_face, ~x_face & ~y_face)
    return tuple(jnp.where(f, jnp.sign(x), 0.0) for f, x in zip(faces, p, strict=True))
