import cv2
import numpy as np
import pytest

from liftjax import geometry
from liftjax.data.crops import cut, reductions
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
    picture, out = smooth(200, 160), np.empty((128, 96, 3), np.uint8)
    cut(picture, np.array(affine), 1, out)
    np.testing.assert_array_equal(out, cv2.warpAffine(picture, np.array(affine), (96, 128)))


@pytest.mark.parametrize("size", [(400, 320), (397, 325)])
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_things_are_where_they_were_in_a_picture_decoded_smaller(size, reduction):
    height, width = size
    affine = np.array([[0.24, 0.02, 1.5], [-0.02, 0.24, 12.25]])
    for x, y in ((100.0, 90.0), (163.4, 201.7), (250.25, 310.5)):
        squared = (np.arange(width) - x) ** 2 + (np.arange(height)[:, None] - y) ** 2
        dot = np.tile(250 * np.exp(-squared[..., None] / (2 * 20**2)), 3).astype(np.uint8)
        out = np.empty((96, 90, 3), np.uint8)
        cut(decode_jpeg(jpeg(dot), reduction), affine, reduction, out)
        mass = np.maximum(out[..., 0].astype(float) - 10, 0)
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


def test_colours_change_in_the_crop():
    picture, out = smooth(200, 160), np.empty((2, 128, 96, 3), np.uint8)
    affine = np.array(AFFINES[0])
    cut(picture, affine, 1, out[0])
    half = np.concatenate([0.5 * np.eye(3), np.full((3, 1), 20.0)], axis=1)
    cut(picture, affine, 1, out[1], half)
    assert np.abs(out[1] - (0.5 * out[0] + 20)).max() <= 0.5
