"""Pictures of two balls in a bare room, so that every number can be said in advance."""

import jax
import numpy as np
import pytest

from data_prep.synthetic.cameras import CAMERAS
from data_prep.synthetic.render import CameraFilm, CameraView, Light, Scene, render_batch
from data_prep.synthetic.solids import Boxes, RoundCones
from data_prep.synthetic.textures import Pattern, look
from liftjax import geometry

CROP = (48, 40)
CAMERA = CAMERAS["south_east"]
BLACK, WHITE = (0.0, 0.0, 0.0), (0.5, 0.5, 0.5)


def _in_front(distance, right=0.0, down=0.0):
    """A world point by its camera coordinates."""
    return CAMERA.R.T @ (np.array([right, down, distance]) - CAMERA.t)


def _map(center, scale=1.0):
    return np.concatenate([np.eye(3) / scale, -np.reshape(center, (3, 1)) / scale], axis=1)


def _scene(centers, radii, colors, *, room=BLACK, key=0.0, light=(0, 0, 2.9), corner=(470, 460)):
    """Two balls; stored pixels are 1.5 original ones, the first at `corner`."""
    f32 = np.float32
    affine = np.array([[1.5, 0, corner[0]], [0, 1.5, corner[1]]])
    half = np.array([5.0, 5.0, 1.5])
    room_map = np.concatenate([np.diag(1 / half), [[0], [0], [-1]]], axis=1)
    balls = RoundCones(np.stack([_map(c) for c in centers]), np.full(2, 1e-4), radii, radii)
    scene = Scene(
        cones=balls,
        cone_size=np.ones((2, 3)),
        cone_looks=np.stack([look(Pattern.PLAIN, c) for c in colors]),
        cone_folds=np.zeros(2),
        boxes=Boxes(_map((0, 0, -50))[None]),
        box_size=np.ones((1, 3)),
        box_looks=look(Pattern.PLAIN, BLACK)[None],
        room_to_local=room_map,
        room_size=half,
        room_looks=np.stack([look(Pattern.PLAIN, room)] * 6),
        view=CameraView(
            CAMERA.K, CAMERA.R, CAMERA.t, CAMERA.distortion, np.array(CAMERA.image_size), affine
        ),
        light=Light(np.array(light), 0.05, np.full(3, key), np.ones(3), np.ones(3)),
        film=CameraFilm(1.0, 0.0, 0.0, np.uint32(0)),
    )
    return jax.tree.map(
        lambda a: np.asarray(a, None if np.asarray(a).dtype == "u4" else f32), scene
    )


def _picture(scene):
    """Linear brightness (H, W, 3) of the rendered scene."""
    batch = jax.tree.map(lambda a: a[None], scene)
    return (np.asarray(render_batch(batch, CROP)[0], float) / 255) ** 2.2


AWAY = np.array([0.0, 0.0, -20.0])


def test_silhouette_of_a_ball_is_its_analytic_projection():
    center, radius = _in_front(3.0, 0.02, -0.01), 0.07
    picture = _picture(_scene([center, AWAY], np.array([radius, 0.0]), [WHITE, BLACK]))
    x, y = np.meshgrid(np.arange(CROP[1]), np.arange(CROP[0]))
    middle = geometry.world_to_camera(center, CAMERA.R, CAMERA.t)
    covered, clear = np.zeros(CROP), np.ones(CROP, bool)
    for dx, dy in ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)):
        px = np.stack([470 + 1.5 * (x + dx), 460 + 1.5 * (y + dy)], axis=-1)
        xy = geometry.pixel_rays(px, CAMERA.K, CAMERA.distortion)
        ray = np.concatenate([xy, np.ones((*CROP, 1))], axis=-1)
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
        passing = np.linalg.norm(np.cross(ray, middle), axis=-1)
        covered += passing < radius
        clear &= np.abs(passing - radius) > 1e-4  # 0.03 pixels: float32 may fall to either side
    assert 500 < (covered > 0).sum() < 1500
    assert clear.mean() > 0.95
    np.testing.assert_allclose(picture[..., 0][clear] / 0.5, covered[clear] / 4, atol=0.02)


@pytest.mark.parametrize("corner", [(40, 30), (470, 460), (900, 905)])
def test_ball_lies_where_its_centre_projects(corner):
    """In the middle and in the corners of the picture, where the lens distorts by many pixels."""
    target = np.array(corner) + 1.5 * np.array([21.3, 22.8])
    xy = geometry.pixel_rays(target, CAMERA.K, CAMERA.distortion)
    ball = _in_front(1.5, *(1.5 * xy))
    picture = _picture(_scene([ball, AWAY], np.array([0.01, 0.0]), [WHITE, BLACK], corner=corner))
    weight = picture[..., 0]
    x, y = np.meshgrid(np.arange(CROP[1]), np.arange(CROP[0]))
    centroid = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    px = geometry.project(
        geometry.world_to_camera(ball, CAMERA.R, CAMERA.t), CAMERA.K, CAMERA.distortion
    )
    np.testing.assert_allclose(np.array(corner) + 1.5 * centroid, px, atol=0.5)
    np.testing.assert_allclose(px, target, atol=1e-6)


def test_the_nearer_solid_hides_the_farther():
    centers = [_in_front(3.0), _in_front(4.0)]
    red, green = (0.5, 0, 0), (0, 0.5, 0)
    for near, colors in enumerate(([red, green], [green, red])):
        picture = _picture(_scene(centers, np.array([0.03, 0.2]), colors))
        assert picture[32, 16].argmax() == near
        assert picture[2, 2].argmax() == 1 - near


def test_a_ball_casts_a_shadow():
    spot = np.array([0.1, 0.0, 0.0])
    px = geometry.project(
        geometry.world_to_camera(spot, CAMERA.R, CAMERA.t), CAMERA.K, CAMERA.distortion
    )
    corner = px - 1.5 * np.array([CROP[1], CROP[0]]) / 2
    kwargs = {"room": WHITE, "key": 1.0, "light": (0.1, 0.0, 2.9), "corner": corner}
    above = [np.array([0.1, 0.0, 2.0]), AWAY]
    shadow = _picture(_scene(above, np.array([0.25, 0.0]), [WHITE, WHITE], **kwargs))
    bare = _picture(_scene(above, np.array([0.0, 0.0]), [WHITE, WHITE], **kwargs))
    row, column = CROP[0] // 2, CROP[1] // 2
    assert shadow[row, column, 0] < 0.85 * bare[row, column, 0]


def test_outside_the_original_image_is_black():
    scene = _scene([AWAY, AWAY], np.zeros(2), [WHITE, WHITE], room=WHITE, corner=(-30, 400))
    picture = _picture(scene)
    assert (picture[:, :19] == 0).all()
    assert (picture[:, 21:] > 0.1).all()
