"""Crops: those of OpenCV where nothing shrinks, and free of false patterns where much does."""

import cv2
import numpy as np
import pytest

from liftjax import geometry
from liftjax.data import crops as training_crops
from liftjax.inference.crops import cut_person

SIZE = (64, 48)  # height, width


def gradient(x, y):
    return 2 + 0.06 * x + 0.08 * y


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "box", [(10, 20, 40, 60), (100, 50, 170, 148.5), (-30, -20, 30, 70), (150, 120, 220, 190)]
)
@pytest.mark.parametrize("rotation", [0.0, 0.4])
def test_equals_opencv_where_nothing_is_averaged(box, rotation):
    image = noise(160, 200)
    affine = geometry.crop_affine(np.array(box), SIZE, rotation=rotation)
    expected = cv2.warpAffine(image, affine, SIZE[::-1], flags=cv2.INTER_LINEAR)
    np.testing.assert_allclose(cut_person(image, affine, SIZE), expected, atol=1)


def test_equals_the_crops_of_training():
    image, box = noise(160, 200), np.array([50.0, 30.0, 101.0, 120.0])
    affine = geometry.crop_affine(box, SIZE)
    expected = np.empty((*SIZE, 3), np.uint8)
    training_crops.cut(image, affine, 1, expected)
    np.testing.assert_allclose(cut_person(image, affine, SIZE), expected, atol=1)


SHRINKS = pytest.mark.parametrize("shrink", [1.0, 1.7, 2.0, 2.5, 3.0, 4.3, 8.0, 11.9])


@SHRINKS
@pytest.mark.parametrize("rotation", [0.0, 0.3])
def test_a_gradient_keeps_its_shades(shrink, rotation):
    y, x = np.mgrid[:1500, :2000]
    image = np.repeat(np.rint(gradient(x, y))[..., None], 3, axis=2).astype(np.uint8)
    affine = geometry.region_affine(np.array([1003.3, 747.8]), shrink * SIZE[1], SIZE, rotation)
    crop = cut_person(image, affine, SIZE)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    places = geometry.apply_affine(geometry.invert_affine(affine), np.stack([u, v], axis=-1))
    expected = gradient(places[..., 0], places[..., 1])
    np.testing.assert_allclose(crop, np.repeat(expected[..., None], 3, axis=2), atol=1.01)


@SHRINKS
def test_a_spot_stays_where_it_is(shrink):
    """Its centre of mass, to a twentieth of a crop's pixel; blocks of odd and even sides alike."""
    center = np.array([300.4, 401.7])
    y, x = np.mgrid[:800, :600]
    spot = np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * (6 * shrink) ** 2))
    image = np.repeat(np.rint(255 * spot)[..., None], 3, axis=2).astype(np.uint8)
    affine = geometry.region_affine(center - 2.3, shrink * SIZE[1], SIZE)
    weight = cut_person(image, affine, SIZE)[..., 0] / 255
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    found = np.array([(weight * u).sum(), (weight * v).sum()]) / weight.sum()
    np.testing.assert_allclose(found, geometry.apply_affine(affine, center), atol=0.05)


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_fine_pattern_turns_grey(shrink):
    y, x = np.mgrid[:800, :800]
    image = np.repeat((255 * ((x + y) % 2))[..., None], 3, axis=2).astype(np.uint8)
    affine = geometry.region_affine(np.array([400.2, 399.7]), shrink * SIZE[1], SIZE)
    crop = cut_person(image, affine, SIZE)
    assert crop.min() >= 127
    assert crop.max() <= 128


@pytest.mark.parametrize(("width", "height"), [(20_000, 300), (40_000, 64), (64, 40_000)])
def test_very_long_pictures(width, height):
    image = np.full((height, width, 3), 200, np.uint8)
    whole = geometry.crop_affine(np.array([0, 0, width, height]), SIZE, box_scale=1.0)
    crop = cut_person(image, whole, SIZE)
    shown = min(SIZE[0] / height, SIZE[1] / width) ** 2 * width * height
    assert crop[..., 0].sum() == pytest.approx(200 * shown, rel=0.05)
    far = np.array([width - 60, height - 60, width - 10, height - 10])
    crop = cut_person(image, geometry.crop_affine(far, SIZE, box_scale=1.0), SIZE)
    assert crop[SIZE[0] // 2, SIZE[1] // 2].tolist() == [200, 200, 200]


@pytest.mark.parametrize("shrink", [1, 6])
def test_black_outside(shrink):
    image = np.full((100, 100, 3), 255, np.uint8)
    away = geometry.region_affine(np.array([-2000.0, 50.0]), shrink * SIZE[1], SIZE)
    assert not cut_person(image, away, SIZE).any()
    # the left edge of the picture is in the middle of the crop
    edge = geometry.region_affine(np.array([-0.5, 50.0]), shrink * SIZE[1], SIZE)
    row = cut_person(image, edge, SIZE)[SIZE[0] // 2, :, 0]
    assert not row[: SIZE[1] // 2 - 1].any()
    inside = row[SIZE[1] // 2 + 1 : SIZE[1] // 2 + 100 // shrink - 1]
    assert (inside == 255).all()


def test_partial_blocks_at_the_edges_are_completed_in_black():
    image = np.full((9, 9, 3), 240, np.uint8)
    affine = np.array([[0.25, 0, -0.375], [0, 0.25, -0.375]])
    crop = cut_person(image, affine, (3, 3))[..., 0]
    np.testing.assert_array_equal(crop, [[240, 240, 60], [240, 240, 60], [60, 60, 15]])


def test_a_map_onto_nothing():
    with pytest.raises(ValueError, match="No crop"):
        cut_person(np.zeros((8, 8, 3), np.uint8), np.zeros((2, 3)), SIZE)


@pytest.mark.parametrize("half", [1e6, 1e9, 1e30])
def test_a_box_of_absurd_size_is_cut_all_the_same(half):
    affine = geometry.crop_affine(np.array([-half, -half, half, half]), SIZE)
    crop = cut_person(noise(160, 200), affine, SIZE)
    assert crop.shape == (*SIZE, 3)
    assert (crop > 0).any(axis=-1).sum() <= 4
