import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.synthetic import solids
from data_prep.synthetic.solids import FAR, Boxes, RoundCones

SHAPES = [(1.5, 0.6, 0.3), (1.0, 0.2, 0.7), (0.001, 0.5, 0.5), (2.0, 0.4, 0.4)]


def _distance(p, height, r0, r1):
    """Signed distance of points (N, 3) to a round cone, by brute force over the balls it is of."""
    share = np.linspace(0, 1, 1001)
    radius = r0 + (r1 - r0) * share
    rho = np.hypot(p[:, 0], p[:, 1])[:, None]
    return (np.hypot(rho, p[:, 2:] - height * share) - radius).min(axis=1)


def _rays(rng, count):
    o = rng.normal(size=(count, 3))
    o = 4 * o / np.linalg.norm(o, axis=1, keepdims=True)
    target = rng.normal((0, 0, 0.5), 0.6, (count, 3))
    return o, target - o


def _components(array):
    return tuple(jnp.asarray(array, jnp.float32).T)


@pytest.mark.parametrize("shape", SHAPES)
def test_rays_enter_round_cones_where_they_first_come_near(shape):
    o, d = _rays(np.random.default_rng(0), 400)
    t = np.asarray(solids.enter_round_cone(_components(o), _components(d), *shape), float)
    hit = t < FAR / 2
    assert 50 < hit.sum() < 390
    assert np.abs(_distance((o + t[:, None] * d)[hit], *shape)).max() < 2e-3
    for share in np.linspace(0, 1.5, 100):  # misses never come inside, hits not before t
        at = np.where(hit, np.minimum(share, 0.999) * t, share)
        assert _distance(o + at[:, None] * d, *shape).min() > -2e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_normals_point_away_from_round_cones(shape):
    o, d = _rays(np.random.default_rng(1), 400)
    t = np.asarray(solids.enter_round_cone(_components(o), _components(d), *shape))
    p = (o + t[:, None] * d)[t < FAR / 2]
    n = np.stack(solids.normalize(solids.round_cone_normal(_components(p), *shape)), axis=1)
    np.testing.assert_allclose(_distance(p + 0.05 * n, *shape), 0.05, atol=3e-3)


def test_a_ball_is_hit_by_exactly_the_rays_that_pass_nearer_than_its_radius():
    rng = np.random.default_rng(2)
    o = np.array([0.0, 0.0, -5.0])
    d = np.stack([*rng.uniform(-0.2, 0.2, (2, 5000)), np.ones(5000)], axis=1)
    passing = np.linalg.norm(np.cross(d, o), axis=1) / np.linalg.norm(d, axis=1)
    clear = np.abs(passing - 0.7) > 1e-3
    ball = (1e-3, 0.7, 0.7)
    t = np.asarray(solids.enter_round_cone(_components(o), _components(d), *ball))
    np.testing.assert_array_equal((t < FAR / 2)[clear], (passing < 0.7)[clear])


def test_box_entries_lie_on_faces_and_normals_face_the_ray():
    o, d = _rays(np.random.default_rng(3), 500)
    t = np.asarray(solids.enter_box(_components(o), _components(d)))
    hit = t < FAR / 2
    p = (o + t[:, None] * d)[hit]
    np.testing.assert_allclose(np.abs(p).max(axis=1), 1, atol=1e-5)
    n = np.stack(solids.box_normal(_components(p)), axis=1)
    np.testing.assert_allclose(np.abs(n).sum(axis=1), 1)
    assert ((n * d[hit]).sum(axis=1) < 0).all()


def test_a_hidden_solid_is_never_hit():
    o, d = _rays(np.random.default_rng(4), 500)
    t = solids.enter_round_cone(_components(o), _components(d), 1.0, 0.0, 0.0)
    assert (np.asarray(t) > FAR / 2).all()


def test_the_nearest_solid_owns_the_hit():
    maps = np.zeros((3, 3, 4), np.float32)
    maps[:, :, :3] = np.eye(3)
    maps[:, 2, 3] = -4.0, -2.0, -9.0  # centres at z = 4, 2 and 9
    balls = RoundCones(jnp.asarray(maps), jnp.full(3, 1e-3), jnp.full(3, 0.5), jnp.full(3, 0.5))
    o, d = (jnp.zeros(2),) * 3, (jnp.zeros(2), jnp.zeros(2), jnp.array([1.0, -1.0]))
    t, index = solids.first_round_cone(balls, o, d)
    assert index[0] == 1
    np.testing.assert_allclose(t[0], 1.5, rtol=1e-4)
    assert t[1] > FAR / 2
    t, index = solids.first_box(Boxes(balls.to_local), o, d)
    assert index[0] == 1
    np.testing.assert_allclose(t[0], 1.0, rtol=1e-4)
