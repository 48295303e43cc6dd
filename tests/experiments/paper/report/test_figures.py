import cv2
import numpy as np
import pytest

from liftjax.experiments.paper.outcomes import Outcome
from liftjax.experiments.paper.report import explain, figures
from tests.data.builders import make_dataset

LIFTER = "simple_baseline"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("toy") / "set", count=11)


def found(dataset, noise, seed=0) -> Outcome:
    """The truth with errors that grow with `noise`."""
    rng, labels = np.random.default_rng(seed), dataset.labels
    kpts = labels["joints_px"] + rng.normal(0, 40 * noise, labels["joints_px"].shape)
    poses = labels["pose_m"] + rng.normal(0, noise, labels["pose_m"].shape)
    return Outcome(labels, "human36m", kpts.astype(np.float32), {LIFTER: poses.astype(np.float32)})


@pytest.fixture(scope="module")
def pair(dataset):
    return figures.Pair("HRNet", found(dataset, 0.2), found(dataset, 0.1, seed=1))


def has_color(image_bgr, color) -> bool:
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(image_bgr[..., ::-1].astype(int) - rgb).max(axis=-1) < 30).sum() > 30


def check_picture(path):
    """A JPEG with truth and prediction in it; its pixels."""
    assert path.read_bytes().startswith(b"\xff\xd8")
    image = cv2.imread(str(path))
    assert has_color(image, figures.TRUTH)
    assert has_color(image, figures.PREDICTION)
    return image


def test_samples_run_from_the_most_improved_to_the_most_worsened(pair):
    gain = pair.ft2d.error_mm(LIFTER) - pair.guided.error_mm(LIFTER)
    best, middle, last = figures.by_improvement(pair, LIFTER, (100, 50, 0))
    assert gain[best] == np.nanmax(gain)
    assert gain[middle] == np.nanmedian(gain)
    assert gain[last] == np.nanmin(gain)


def test_the_worst_samples_are_of_different_sequences_and_have_3d_labels(pair):
    chosen = figures.worst(pair.guided, LIFTER)
    errors = pair.guided.error_mm(LIFTER)
    assert errors[chosen[0]] == np.nanmax(errors)
    assert (np.diff(errors[chosen]) <= 0).all()
    labels = pair.guided.labels
    assert len({(labels["subject"][i], labels["action"][i]) for i in chosen}) == len(chosen) == 4
    assert len(figures.worst(pair.guided, LIFTER, 50)) == 4  # there are no more sequences


def test_qualitative_comparison_of_two_detectors(tmp_path, dataset, pair):
    path = tmp_path / "qualitative.jpg"
    pairs = [pair, pair._replace(title="DWPose")]
    caption = figures.qualitative(path, pairs, dataset, LIFTER, [[0, 1], [2]])
    assert "FT-2D above multi-model" in caption
    image = check_picture(path)
    one = tmp_path / "one.jpg"
    figures.qualitative(one, [pair], dataset, LIFTER, [[0]])
    assert image.shape[0] == pytest.approx(2 * check_picture(one).shape[0], rel=0.01)


def test_failures_with_their_terms(tmp_path, dataset, pair):
    truth = found(dataset, 0.02)
    peaks = np.random.default_rng(0).random((11, 17))
    terms = explain.explain_error(pair.guided, truth, LIFTER, explain.limb_contrast(dataset), peaks)
    path = tmp_path / "failures.jpg"
    caption = figures.failures(path, pair, dataset, LIFTER, terms, [0, 1])
    assert "largest MPJPE with HRNet, multi-model" in caption
    check_picture(path)


def test_heatmaps_before_and_after(tmp_path, dataset, pair):
    maps = np.random.default_rng(0).random((2, 2, 32, 24, 17))
    path = tmp_path / "heatmaps.jpg"
    caption = figures.heatmaps(path, pair, dataset, [3, 5], tuple(maps), stride=4, joints=3)
    assert "FT-2D above multi-model" in caption
    check_picture(path)


def test_a_bright_map_pixel_lies_where_it_was_decoded_to(dataset):
    """Map pixel (x, y) is drawn around crop pixel (x, y) * stride."""
    picture = figures._picture(dataset, 0, (128, 96), 1.0)
    map_HW = np.zeros((32, 24))
    map_HW[20, 7] = 1
    figure = figures.new_figure(0.96, 1.28, dpi=400)
    axes = figure.add_axes((0, 0, 1, 1))
    figures._draw_map(axes, picture, map_HW, 4.0, 1.0)
    figure.canvas.draw()
    drawn = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    color = drawn.max(axis=-1) - drawn.min(axis=-1)  # grey but for the map
    y, x = np.nonzero(color > 0.5 * color.max())
    middle = axes.transData.inverted().transform((x.mean(), drawn.shape[0] - 1 - y.mean()))
    np.testing.assert_allclose(middle, [28, 80], atol=0.5)
