import jax
import numpy as np
import pytest
from flax import nnx

from liftjax.data import crops
from liftjax.experiments.paper.report.maps import heatmaps, peak_heights
from liftjax.geometry import apply_affine
from tests.data.builders import DOT_JOINT, make_dataset
from tests.test_evaluation import BrightestPixel
from tests.training.toys import ToySimCC


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("toy") / "set", count=5)


def test_the_map_is_bright_where_the_crop_is(dataset):
    maps = heatmaps(BrightestPixel(), dataset)
    assert maps.shape == (5, 96, 72, 17)
    to_crop = crops.image_to_crop(dataset.labels["box_xyxy"], (96, 72))
    dots = apply_affine(to_crop, dataset.labels["joints_px"].astype(float))[:, DOT_JOINT]
    for map_HW, dot in zip(maps[..., DOT_JOINT], dots, strict=True):
        # The middle of the brightest pixels: the dot is a disc.
        y, x = np.nonzero(map_HW > map_HW.max() - 0.5)
        assert np.hypot(x.mean() - dot[0], y.mean() - dot[1]) < 1


def test_peaks_are_the_heights_of_the_maps(dataset):
    detector = BrightestPixel()
    expected = heatmaps(detector, dataset).max(axis=(1, 2))
    np.testing.assert_allclose(peak_heights(detector, dataset), expected)


def test_rows_follow_the_records(dataset):
    detector = BrightestPixel()
    few = heatmaps(detector, dataset.select(np.array([3, 1])))
    np.testing.assert_allclose(few, heatmaps(detector, dataset)[[3, 1]])


def test_the_map_of_simcc_is_a_distribution_with_its_vectors_as_margins(dataset):
    detector = ToySimCC(17, (64, 48), "human36m", rngs=nnx.Rngs(0))
    maps = heatmaps(detector, dataset, beta=3.0)
    assert maps.shape == (5, 128, 96, 17)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, rtol=1e-4)
    sharper = heatmaps(detector, dataset, beta=30.0)
    assert (sharper.max(axis=(1, 2)) > maps.max(axis=(1, 2))).all()
    peaks = peak_heights(detector, dataset, beta=3.0)
    np.testing.assert_allclose(peaks, maps.max(axis=(1, 2)), rtol=1e-4)
    assert jax.numpy.ndim(peaks) == 2
