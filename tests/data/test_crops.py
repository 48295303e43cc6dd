import cv2
import numpy as np
import pytest

from liftjax import geometry
from liftjax.data.crops import cut, cut_antialiased, reductions
from liftjax.data.records import decode_jpeg
from tests.data.builders import jpeg


def smooth(height, width):
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


AFFINES = [
    [[0.9, 0, -3.3], [0, 0.9, 4]],
    [[0.7, 0.3, -8.3], [-0.3, 0.7, 40]],
    [[-0.9, 0, 140], [0, 0.9, 0]],
]


@pytest.mark.parametrize("affine", AFFINES)
def test_a_crop_is_the_plain_warp_bit_for_bit(affine):
    picture = smooth(200, 160)
    crop = cut(picture, np.array(affine), (128, 96))
    np.testing.assert_array_equal(crop, cv2.warpAffine(picture, np.array(affine), (96, 128)))


@pytest.mark.parametrize("size", [(400, 320), (397, 325)])
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_things_are_where_they_were_in_a_picture_decoded_smaller(size, reduction):
    height, width = size
    affine = np.array([[0.24, 0.02, 1.5], [-0.02, 0.24, 12.25]])
    for x, y in ((100.0, 90.0), (163.4, 201.7), (250.25, 310.5)):
        squared = (np.arange(width) - x) ** 2 + (np.arange(height)[:, None] - y) ** 2
        dot = np.tile(250 * np.exp(-squared[..., None] / (2 * 20**2)), 3).astype(np.uint8)
        crop = cut(decode_jpeg(jpeg(dot), reduction), affine, (96, 90), reduction)
        mass = np.maximum(crop[..., 0].astype(float) - 10, 0)
        v, u = np.mgrid[:96, :90]
        found = np.array([(mass * u).sum(), (mass * v).sum()]) / mass.sum()
        np.testing.assert_allclose(found, affine @ [x, y, 1], atol=0.04)


def test_pictures_are_reduced_only_while_they_stay_finer_than_the_crop():
    scales = np.array([1.5, 0.9, 0.51, 0.5, 0.3, 0.25, 0.1, 0.01])
    affines = scales[:, None, None] * np.eye(3)[:2]
    np.testing.assert_array_equal(reductions(affines), [1, 1, 1, 2, 2, 4, 8, 8])
    np.testing.assert_array_equal(reductions(affines, zoom=2.0), [1, 1, 1, 1, 1, 2, 4, 8])
    turned = geometry.region_affine(np.zeros((1, 2)), np.array([200.0]), (100, 100), 0.7)
    np.testing.assert_array_equal(reductions(turned), [2])


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
    np.testing.assert_allclose(cut_antialiased(image, affine, SIZE), expected, atol=1)


def test_both_ways_of_cutting_agree_where_nothing_is_averaged():
    image, box = noise(160, 200), np.array([50.0, 30.0, 101.0, 120.0])
    affine = geometry.crop_affine(box, SIZE)
    expected = cut(image, affine, SIZE)
    np.testing.assert_allclose(cut_antialiased(image, affine, SIZE), expected, atol=1)


SHRINKS = pytest.mark.parametrize("shrink", [1.0, 1.7, 2.0, 2.5, 3.0, 4.3, 8.0, 11.9])


@SHRINKS
@pytest.mark.parametrize("rotation", [0.0, 0.3])
def test_a_gradient_keeps_its_shades(shrink, rotation):
    y, x = np.mgrid[:1500, :2000]
    image = np.repeat(np.rint(gradient(x, y))[..., None], 3, axis=2).astype(np.uint8)
    affine = geometry.region_affine(np.array([1003.3, 747.8]), shrink * SIZE[1], SIZE, rotation)
    crop = cut_antialiased(image, affine, SIZE)
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
    weight = cut_antialiased(image, affine, SIZE)[..., 0] / 255
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    found = np.array([(weight * u).sum(), (weight * v).sum()]) / weight.sum()
    np.testing.assert_allclose(found, geometry.apply_affine(affine, center), atol=0.05)


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_fine_pattern_turns_grey(shrink):
    y, x = np.mgrid[:800, :800]
    image = np.repeat((255 * ((x + y) % 2))[..., None], 3, axis=2).astype(np.uint8)
    affine = geometry.region_affine(np.array([400.2, 399.7]), shrink * SIZE[1], SIZE)
    crop = cut_antialiased(image, affine, SIZE)
    assert crop.min() >= 127
    assert crop.max() <= 128


@pytest.mark.parametrize(("width", "height"), [(20_000, 300), (40_000, 64), (64, 40_000)])
def test_very_long_pictures(width, height):
    image = np.full((height, width, 3), 200, np.uint8)
    whole = geometry.crop_affine(np.array([0, 0, width, height]), SIZE, box_scale=1.0)
    crop = cut_antialiased(image, whole, SIZE)
    shown = min(SIZE[0] / height, SIZE[1] / width) ** 2 * width * height
    assert crop[..., 0].sum() == pytest.approx(200 * shown, rel=0.05)
    far = np.array([width - 60, height - 60, width - 10, height - 10])
    crop = cut_antialiased(image, geometry.crop_affine(far, SIZE, box_scale=1.0), SIZE)
    assert crop[SIZE[0] // 2, SIZE[1] // 2].tolist() == [200, 200, 200]


@pytest.mark.parametrize("shrink", [1, 6])
def test_black_outside(shrink):
    image = np.full((100, 100, 3), 255, np.uint8)
    away = geometry.region_affine(np.array([-2000.0, 50.0]), shrink * SIZE[1], SIZE)
    assert not cut_antialiased(image, away, SIZE).any()
    # the left edge of the picture is in the middle of the crop
    edge = geometry.region_affine(np.array([-0.5, 50.0]), shrink * SIZE[1], SIZE)
    row = cut_antialiased(image, edge, SIZE)[SIZE[0] // 2, :, 0]
    assert not row[: SIZE[1] // 2 - 1].any()
    inside = row[SIZE[1] // 2 + 1 : SIZE[1] // 2 + 100 // shrink - 1]
    assert (inside == 255).all()


def test_partial_blocks_at_the_edges_are_completed_in_black():
    image = np.full((9, 9, 3), 240, np.uint8)
    affine = np.array([[0.25, 0, -0.375], [0, 0.25, -0.375]])
    crop = cut_antialiased(image, affine, (3, 3))[..., 0]
    np.testing.assert_array_equal(crop, [[240, 240, 60], [240, 240, 60], [60, 60, 15]])


def test_a_map_onto_nothing():
    with pytest.raises(ValueError, match="No crop"):
        cut_antialiased(np.zeros((8, 8, 3), np.uint8), np.zeros((2, 3)), SIZE)


@pytest.mark.parametrize("half", [1e6, 1e9, 1e30])
def test_a_box_of_absurd_size_is_cut_all_the_same(half):
    affine = geometry.crop_affine(np.array([-half, -half, half, half]), SIZE)
    crop = cut_antialiased(noise(160, 200), affine, SIZE)
    assert crop.shape == (*SIZE, 3)
    assert (crop > 0).any(axis=-1).sum() <= 4
