"""Renders a room with furniture and a person, seen by a camera with distortion.

Each stored pixel is the mean of four rays. The first solid of a ray is found in closed form. A
second ray to the light decides about shadow, and the light has another place for each of the four.
All of it is elementwise float32 arithmetic on rays (a vector is three arrays of shape (rays,)), so
it runs on any backend.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_prep.synthetic import solids, textures
from data_prep.synthetic.solids import Boxes, RoundCones, Vector
from data_prep.synthetic.textures import wave
from liftjax import geometry

_SUBPIXELS = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))  # x, y
_LIGHT_OFFSETS = ((1, 1, 0.5), (-1, 1, -0.5), (1, -1, -0.5), (-1, -1, 0.5))  # radii of the light
_SHADOW_BIAS_M = 3e-3
_FOLD_AMPLITUDE = 0.12  # of bumps in cloth, relative to the normal
_KEY_DISTANCE_M = 3.0  # at which a light has its nominal strength
_CORNER_REACH_M = 0.35  # how far the corners of the room darken


class CameraView(NamedTuple):
    """A camera and the part of its picture that is stored, named as in data.schema.Record."""

    camera_K: jax.Array
    camera_R: jax.Array
    camera_t: jax.Array
    camera_distortion: jax.Array
    image_size: jax.Array
    stored_to_image: jax.Array


class Light(NamedTuple):
    """The lights of a room.

    Attributes:
      position: (3,) of the lamp, world metres.
      radius: of the lamp, metres.
      key: (3,) RGB strength of the lamp at a distance of 3 m.
      sky, bounce: (3,) RGB of soft light from above and below.
    """

    position: jax.Array
    radius: jax.Array
    key: jax.Array
    sky: jax.Array
    bounce: jax.Array


class CameraFilm(NamedTuple):
    """What the camera does to light.

    Attributes:
      exposure: factor on the light.
      blur: share of each neighbour in a 3-tap filter.
      noise: standard deviation, where white is 1.
      seed: of the noise, uint32.
    """

    exposure: jax.Array
    blur: jax.Array
    noise: jax.Array
    seed: jax.Array


class Scene(NamedTuple):
    """Everything in one picture; all leaves may have a leading batch axis.

    Attributes:
      cones: the person, N round cones.
      cone_size: (N, 3) metres per unit of their spaces.
      cone_looks: (N, LOOK_SIZE).
      cone_folds: (N,) 1 for cloth, 0 for smooth solids.
      boxes: furniture, M boxes.
      box_size: (M, 3) half sides in metres.
      box_looks: (M, LOOK_SIZE).
      room_to_local: (3, 4) affine map from the world to the room as a cube [-1, 1]^3.
      room_size: (3,) half sides in metres.
      room_looks: (6, LOOK_SIZE) of the walls at -x, x, -y, y, the floor and the ceiling.
    """

    cones: RoundCones
    cone_size: jax.Array
    cone_looks: jax.Array
    cone_folds: jax.Array
    boxes: Boxes
    box_size: jax.Array
    box_looks: jax.Array
    room_to_local: jax.Array
    room_size: jax.Array
    room_looks: jax.Array
    view: CameraView
    light: Light
    film: CameraFilm


class Hit(NamedTuple):
    """The first hit of each ray: t, and the row of the solid in the surface table."""

    t: jax.Array
    row: jax.Array


def _once(scene: Scene, stage):
    """The arrays `stage`, stored in memory, so that their users do not compute them again.

    XLA:CPU fuses the computation of an array into each of its users and has no barrier against
    it, so a chain of stages would run many times. It cannot fuse through a loop. This loop never
    takes a turn, but XLA does not know that, and it would change the arrays if it did.
    """
    turns = jnp.where(scene.film.noise < 0, 1, 0)
    return jax.lax.fori_loop(0, turns, lambda _, arrays: jax.tree.map(jnp.negative, arrays), stage)


def stored_pixels(view: CameraView, crop_size: tuple[int, int]) -> jax.Array:
    """The places (H, W, 2) of the stored pixels in pixels of the original image."""
    height, width = crop_size
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    return geometry.apply_affine(view.stored_to_image, jnp.asarray(grid, jnp.float32))


def sight_lines(view: CameraView, px_HW2: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x / z, y / z (H, W, 2) in camera axes at pixels, and its changes one pixel right and down.

    The distortion is inverted at the pixels. Within a pixel the inverse is linear to 1e-4 pixels.
    """
    xy = geometry.pixel_rays(px_HW2, view.camera_K, view.camera_distortion)
    return xy, jnp.gradient(xy, axis=1), jnp.gradient(xy, axis=0)


def camera_rays(view: CameraView, xy_N2: jax.Array) -> tuple[Vector, Vector]:
    """Origin (scalars) and unit directions (N,) in the world, of rays given in camera axes."""
    x, y = xy_N2[:, 0], xy_N2[:, 1]
    R, t = view.camera_R, view.camera_t
    origin = tuple(-(R[0, i] * t[0] + R[1, i] * t[1] + R[2, i] * t[2]) for i in range(3))
    direction = tuple(R[0, i] * x + R[1, i] * y + R[2, i] for i in range(3))
    return origin, solids.normalize(direction)


def trace(scene: Scene, o: Vector, d: Vector) -> Hit:
    """The first surface that each ray hits; in a room there always is one."""
    cone_t, cone = solids.first_round_cone(scene.cones, o, d)
    box_t, box = solids.first_box(scene.boxes, o, d)
    room_o, room_d = solids.move(scene.room_to_local, o), solids.turn(scene.room_to_local, d)
    _, room_t = solids.slabs(room_o, room_d)
    num_cones, num_boxes = scene.cone_looks.shape[0], scene.box_looks.shape[0]
    p = solids.along(room_o, room_t, room_d)
    normal = solids.box_normal(p)
    face = sum(
        jnp.where(jnp.abs(n) > 0.5, 2 * axis + jnp.where(n > 0, 1, 0), 0)
        for axis, n in enumerate(normal)
    )
    t = jnp.minimum(jnp.minimum(cone_t, box_t), room_t)
    row = jnp.where(box_t <= t, num_cones + box, num_cones + num_boxes + face)
    return Hit(t, jnp.where(cone_t <= t, cone, row))


def _surface_table(scene: Scene) -> jax.Array:
    """One row for each cone, box and face of the room.

    The columns are the map (12), height, r0, r1, size (3), kind and look (9). The kind is 0 for
    smooth cones, 1 for cones of cloth, 2 for boxes, 3 for faces of the room.
    """
    cones, m = scene.cones, scene.box_looks.shape[0]

    def block(to_local, shape, size, kind, looks):
        return jnp.concatenate([to_local.reshape(-1, 12), shape, size, kind, looks], axis=1)

    shape, folds = jnp.stack([cones.height, cones.r0, cones.r1], axis=1), scene.cone_folds[:, None]
    room, size = jnp.tile(scene.room_to_local[None], (6, 1, 1)), jnp.tile(scene.room_size, (6, 1))
    boxes = scene.boxes.to_local, jnp.ones((m, 3)), scene.box_size, jnp.full((m, 1), 2.0)
    rows = [
        block(cones.to_local, shape, scene.cone_size, folds, scene.cone_looks),
        block(*boxes, scene.box_looks),
        block(room, jnp.ones((6, 3)), size, jnp.full((6, 1), 3.0), scene.room_looks),
    ]
    return jnp.concatenate(rows)


class Surface(NamedTuple):
    """Unit normal on the viewer's side (world), albedo (linear RGB) and openness 0..1."""

    normal: Vector
    albedo: Vector
    openness: jax.Array


def surface_at(scene: Scene, p: Vector, row: jax.Array) -> Surface:
    """The surface at points p (world) of the solids `row`."""
    columns = _once(scene, jnp.take(_surface_table(scene).T, row, axis=1))
    matrix = tuple(tuple(columns[4 * i + j] for j in range(4)) for i in range(3))
    shape, size, kind, look = columns[12:15], columns[15:18], columns[18], columns[19:]
    is_cone, is_room = kind < 1.5, kind > 2.5
    unit = solids.move(matrix, p)
    box_normal = solids.box_normal(unit)
    share = _once(scene, _paint(unit, size, look, box_normal, is_cone))
    albedo = tuple(look[3 + i] * (1 - share) + look[6 + i] * share for i in range(3))
    folds = jnp.where(is_cone, kind * _FOLD_AMPLITUDE, 0.0)
    cone_normal = _cone_normal(unit, shape, size, folds)
    normal = _once(
        scene, tuple(jnp.where(is_cone, c, b) for c, b in zip(cone_normal, box_normal, strict=True))
    )
    inward = jnp.where(is_room, -1.0, 1.0)
    transposed = tuple(tuple(row[i] for row in matrix) for i in range(3))
    normal = solids.normalize(tuple(x * inward for x in solids.turn(transposed, normal)))
    openness = 1 - jnp.where(is_room, _corner_shade(unit, size, box_normal), 0.0)
    return Surface(normal, albedo, openness)


def _paint(unit: Vector, size, look, box_normal: Vector, is_cone):
    """Share of colour b of the looks, along a face of a box or along x and z of a cone."""
    local = tuple(x * s for x, s in zip(unit, size, strict=True))
    x_face, z_face = (~is_cone & (jnp.abs(box_normal[i]) > 0.5) for i in (0, 2))
    across, up = jnp.where(x_face, local[1], local[0]), jnp.where(z_face, local[1], local[2])
    unit_across, unit_up = jnp.where(x_face, unit[1], unit[0]), jnp.where(z_face, unit[1], unit[2])
    return textures.mix(look[:3], across, up, unit_across, unit_up, local)


def _cone_normal(unit: Vector, shape, size, folds) -> Vector:
    """Normals of round cones in their own space, with bumps on cloth."""
    normal = solids.round_cone_normal(unit, *shape)
    x, y, z = (a * s for a, s in zip(unit, size, strict=True))
    slant = 9 * z + 0.5 * wave(5 * x + 3 * y)
    bumps = (wave(7 * y + 0.4 * slant), wave(6 * x - 0.3 * slant), wave(slant))
    depth = 0.5 * folds * (shape[1] + shape[2])
    return tuple(n + depth * b for n, b in zip(normal, bumps, strict=True))


def _corner_shade(unit: Vector, size, box_normal: Vector):
    """How much darker the room is near its edges."""
    distance = [
        s * (1 - jnp.abs(u)) + jnp.where(jnp.abs(n) > 0.5, 1e3, 0.0)
        for s, u, n in zip(size, unit, box_normal, strict=True)
    ]
    nearest = jnp.minimum(jnp.minimum(distance[0], distance[1]), distance[2])
    return 0.4 * jnp.exp(-nearest / _CORNER_REACH_M)


def lit_share(scene: Scene, start: Vector, light: Vector) -> jax.Array:
    """1 if nothing lies between a point just off a surface and the light, else 0."""
    towards = tuple(a - b for a, b in zip(light, start, strict=True))
    cone_t, _ = solids.first_round_cone(scene.cones, start, towards)
    box_t, _ = solids.first_box(scene.boxes, start, towards)
    return jnp.where(jnp.minimum(cone_t, box_t) < 1, 0.0, 1.0)


def shade(scene: Scene, p: Vector, surface: Surface, light: Vector, lit: jax.Array) -> Vector:
    """Linear RGB of surface points in the light of the lamp, with shadow, and in soft light."""
    normal = surface.normal
    towards = tuple(a - b for a, b in zip(light, p, strict=True))
    distance2 = solids.dot(towards, towards)
    cosine = solids.dot(normal, towards) * jax.lax.rsqrt(distance2)
    key = _once(scene, jnp.maximum(cosine, 0) * _KEY_DISTANCE_M**2 / distance2 * lit)
    upward = 0.5 + 0.5 * normal[2]
    soft = tuple(
        (sky * upward + bounce * (1 - upward)) * surface.openness
        for sky, bounce in zip(scene.light.sky, scene.light.bounce, strict=True)
    )
    return tuple(
        albedo * (key * strength + ambient)
        for albedo, strength, ambient in zip(surface.albedo, scene.light.key, soft, strict=True)
    )


def radiance(scene: Scene, o: Vector, d: Vector, light: Vector) -> jax.Array:
    """Linear RGB (3, N) seen along rays, with the lamp at the point `light`."""
    d = _once(scene, d)
    hit = _once(scene, trace(scene, o, d))
    p = solids.along(o, hit.t, d)
    surface = _once(scene, surface_at(scene, p, hit.row))
    # The ray to the light starts on the viewer's side, so that a solid does not shade itself.
    lit = lit_share(scene, solids.along(o, hit.t - _SHADOW_BIAS_M, d), light)
    return jnp.stack(shade(scene, p, surface, light, lit))


def develop(film: CameraFilm, rgb_HW3: jax.Array) -> jax.Array:
    """Linear RGB (H, W, 3) -> uint8: blur, exposure, sensor noise, display gamma."""
    image = rgb_HW3 * film.exposure
    image = image / (1 + jnp.maximum(image - 0.8, 0))  # bright parts saturate softly
    for axis in (0, 1):
        padded = jnp.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        size = image.shape[axis]
        before = jax.lax.slice_in_dim(padded, 0, size, axis=axis)
        after = jax.lax.slice_in_dim(padded, 2, size + 2, axis=axis)
        image = image * (1 - 2 * film.blur) + film.blur * (before + after)
    image = jnp.clip(image, 0, 1) ** (1 / 2.2)
    noise = jax.random.normal(jax.random.key(film.seed), image.shape)
    return jnp.round(jnp.clip(image + film.noise * noise, 0, 1) * 255).astype(jnp.uint8)


def render(scene: Scene, crop_size: tuple[int, int]) -> jax.Array:
    """The stored picture (H, W, 3) uint8 RGB of one scene; black outside the original image."""
    px_HW2 = stored_pixels(scene.view, crop_size)
    xy, rightward, downward = _once(scene, sight_lines(scene.view, px_HW2))

    def add_ray(total, ray):
        (dx, dy), light_offset = ray
        o, d = camera_rays(scene.view, (xy + dx * rightward + dy * downward).reshape(-1, 2))
        light = tuple(scene.light.position + scene.light.radius * light_offset)
        return total + radiance(scene, o, d, light), None

    # One ray of every pixel at a time, because so many fit in a processor's cache.
    black = jnp.zeros((3, px_HW2[..., 0].size))
    total, _ = jax.lax.scan(add_ray, black, (jnp.array(_SUBPIXELS), jnp.array(_LIGHT_OFFSETS)))
    rgb = jnp.moveaxis(total.reshape(3, *crop_size) / len(_SUBPIXELS), 0, -1)
    limit = scene.view.image_size.astype(jnp.float32) - 0.5
    inside = ((px_HW2 >= -0.5) & (px_HW2 <= limit.reshape(1, 1, 2))).all(axis=-1, keepdims=True)
    return develop(scene.film, _once(scene, jnp.where(inside, rgb, 0.0)))


@functools.partial(jax.jit, static_argnames=("crop_size", "together"))
def render_batch(
    scenes: Scene, crop_size: tuple[int, int], together: int | None = None
) -> jax.Array:
    """Pictures (B, H, W, 3) uint8 of B scenes.

    Args:
      scenes: a Scene whose leaves have a leading axis B.
      crop_size: (height, width).
      together: number of scenes that are vectorised over at once. None takes one at a time, which
        suits a CPU's cache; a GPU needs many.
    """
    return jax.lax.map(lambda scene: render(scene, crop_size), scenes, batch_size=together)
