import numpy as np
import pytest

from data_prep.human36m.cameras import CAMERAS, published_camera
from data_prep.human36m.names import SUBJECTS
from liftjax import geometry
from liftjax.errors import LiftjaxError


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("name", CAMERAS)
def test_a_camera_stands_in_the_laboratory_and_looks_at_its_middle(subject, name):
    view = published_camera(subject, name)
    np.testing.assert_allclose(view.R @ view.R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view.R) == pytest.approx(1)
    position = -view.R.T @ view.t
    assert 4 < np.hypot(position[0], position[1]) < 6  # metres
    assert 1.4 < position[2] < 1.7
    middle = geometry.world_to_camera(np.array([[0.0, 0.0, 1.0]]), view.R, view.t)
    px = geometry.project(middle, view.K, view.distortion, "human36m")
    assert np.abs(px - [500, 500]).max() < 350
    head = geometry.world_to_camera(np.array([[0.0, 0.0, 2.0]]), view.R, view.t)
    assert geometry.project(head, view.K, view.distortion, "human36m")[0, 1] < px[0, 1]  # upright


def test_the_numbers_are_the_published_ones():
    view = published_camera("S9", "60457274")
    assert view.K[0, 0] == 1145.5113525390625
    assert view.K[1, 2] == 501.88201904296875
    # k1, k2, p1, p2, k3: the published tangential pair is p2, p1
    published = [
        -0.198384091258049, 0.21832367777824402, -0.0018133620033040643, -0.0005872055771760643,
        -0.008947807364165783,
    ]  # fmt: skip
    assert view.distortion.tolist() == published
    np.testing.assert_allclose(
        -view.R.T @ view.t * 1000, [-1696.04345703125, -3827.099853515625, 1591.4127197265625]
    )


def test_the_projection_is_the_published_formula():
    """As published: d = xy (1 + k r2 + ... + a x + b y) + (a, b) r2, with the pair (a, b)."""
    view = published_camera("S1", "55011271")
    k1, k2, k3 = -0.1942136287689209, 0.2404085397720337, 0.006819975562393665
    pair = np.array([-0.0016190266469493508, -0.0027408944442868233])
    points = np.random.default_rng(0).uniform([-1, -1, 3], [1, 1, 6], (50, 3))
    xy = points[:, :2] / points[:, 2:]
    r2 = (xy**2).sum(axis=1, keepdims=True)
    gain = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + xy @ pair[:, None]
    expected = (xy * gain + pair * r2) * view.K[[0, 1], [0, 1]] + view.K[:2, 2]
    px = geometry.project(points, view.K, view.distortion, "human36m")
    np.testing.assert_allclose(px, expected, atol=1e-9)


def test_two_cameras_are_two_rows_higher():
    sizes = {name: published_camera("S5", name).image_size for name in CAMERAS}
    assert sizes == {
        "54138969": (1000, 1002), "55011271": (1000, 1000),
        "58860488": (1000, 1000), "60457274": (1000, 1002),
    }  # fmt: skip


def test_unknown_names_are_told():
    with pytest.raises(LiftjaxError, match="S2"):
        published_camera("S2", "54138969")
    with pytest.raises(LiftjaxError, match="54138969"):
        published_camera("S1", "54138968")
