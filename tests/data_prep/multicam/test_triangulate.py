import numpy as np
import pytest

from data_prep.multicam.triangulate import (
    drop_outliers,
    fill_gaps,
    reprojection_error,
    triangulate,
)
from tests.data_prep.multicam.synthetic_recording import make_cameras, make_world

CAMERAS = make_cameras()
WORLD = make_world()[:3]
PX = np.stack([camera.project_world(WORLD) for camera in CAMERAS])


def test_exact_pictures_give_the_points_back():
    world = triangulate(PX, np.full(PX.shape[:-1], 0.5), CAMERAS)
    np.testing.assert_allclose(world, WORLD, atol=1e-9)
    assert reprojection_error(world, PX, CAMERAS).max() < 1e-6


def test_the_answer_has_the_least_weighted_pixel_error():
    rng = np.random.default_rng(0)
    noisy, weights = PX + rng.normal(size=PX.shape), rng.uniform(0.1, 1, PX.shape[:-1])

    def cost(world):
        # On undistorted pixels, which differ from the measured ones by little here.
        return (weights * reprojection_error(world, noisy, CAMERAS) ** 2).sum(axis=0)

    world = triangulate(noisy, weights, CAMERAS)
    assert np.linalg.norm(world - WORLD, axis=-1).max() < 0.05
    for step in 0.01 * np.concatenate([np.eye(3), -np.eye(3)]):
        assert (cost(world) < cost(world + step)).all()


def test_a_view_without_weight_is_ignored_and_one_view_is_not_enough():
    weights = np.ones(PX.shape[:-1])
    weights[1] = 0
    wrong = PX.copy()
    wrong[1] += 500
    np.testing.assert_allclose(triangulate(wrong, weights, CAMERAS), WORLD, atol=1e-9)
    weights[1:, 0, 0] = 0
    assert np.isnan(triangulate(PX, weights, CAMERAS)[0, 0]).all()


@pytest.mark.parametrize("wrong", range(4))
def test_a_view_that_contradicts_the_others_goes(wrong):
    px, weights = PX.copy(), np.full(PX.shape[:-1], 0.5)
    px[wrong, 1, 2] += (80, -60)
    world, left = drop_outliers(px, weights, CAMERAS, max_error_px=5)
    np.testing.assert_allclose(world, WORLD, atol=1e-9)
    expected = weights.copy()
    expected[wrong, 1, 2] = 0
    np.testing.assert_array_equal(left, expected)


def test_two_views_that_contradict_each_other_give_nothing():
    px, weights = PX[:2].copy(), np.ones((2, *PX.shape[1:-1]))
    px[0, 0, 0] += (0, 100)
    world, left = drop_outliers(px, weights, CAMERAS[:2], max_error_px=5)
    assert np.isnan(world[0, 0]).all()
    assert (left[:, 0, 0] == 0).all()
    np.testing.assert_allclose(world[1:], WORLD[1:], atol=1e-9)


def test_only_short_gaps_are_filled():
    line = np.linspace([0.0, 1, 2], [9, 4, 2], 10)[:, None]
    gappy = line.copy()
    gappy[[0, 3, 4, 9]] = np.nan
    filled = fill_gaps(gappy, np.arange(10), max_gap=2)
    np.testing.assert_allclose(filled[1:9], line[1:9])
    assert np.isnan(filled[[0, 9]]).all()
    assert np.isnan(fill_gaps(gappy, np.arange(10), max_gap=1)[3:5]).all()
