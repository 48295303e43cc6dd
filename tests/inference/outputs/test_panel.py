"""The panel of poses in 3D."""

import numpy as np
import pytest

from liftjax.inference.outputs import colors, panel
from tests.inference.outputs.sample_result import HUMAN36M, walking_pose


def test_the_near_side_turns_to_the_right_and_down():
    rotation = panel.turn()
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    near, above = rotation @ [0, 0, -1], rotation @ [0, -1, 0]
    assert near[0] > 0.3
    assert near[1] > 0.1
    assert near[2] < 0
    assert above[1] < -0.9
    assert abs(above[0]) < 1e-12  # upright stays upright


def test_a_view_holds_the_poses_but_for_outliers():
    poses = np.stack([walking_pose(0.2 * i, 0.1 * i) for i in range(100)])
    roots = np.tile([0.0, 0.0, 5.0], (100, 1))
    alone = panel.fitting_view(poses + roots[:, None], roots, together=False)
    assert alone.center_m is None
    assert 1.2 < (alone.high_m - alone.low_m)[1] < 2.2
    outlier = poses.copy()
    outlier[50, 3] = 100
    outlier[51] = np.nan
    robust = panel.fitting_view(outlier + roots[:, None], roots, together=False)
    np.testing.assert_allclose(robust.high_m, alone.high_m, atol=0.1)
    together = panel.fitting_view(poses + roots[:, None], roots, together=True)
    np.testing.assert_allclose(together.center_m, [0, 0, 5], atol=0.3)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_people_lie_inside_and_colours_follow_their_numbers(count):
    poses = np.stack([walking_pose(0.5, 0.3), walking_pose(2.0, -0.4)])[:count]
    roots = np.array([[-0.6, 0, 4], [0.6, 0, 4]])[:count]
    placed = poses + roots[:, None]
    view = panel.fitting_view(placed, roots, together=count > 1)
    people = placed, np.ones(count), roots, [3, 4][:count]
    image = panel.draw_panel((300, 400), *people, HUMAN36M, view)
    assert image.shape == (400, 300, 3)
    edge = np.concatenate([image[:8].reshape(-1, 3), image[-8:].reshape(-1, 3)])
    assert (np.abs(edge.astype(int) - colors.PAPER) < 90).all()  # nobody is cut off
    for place, track in enumerate([3, 4]):
        # Whoever is farther away is paler.
        shades = [colors.mix(colors.of_track(track), colors.PAPER, s / 20) for s in range(10)]
        distances = [np.abs(image.astype(int) - shade).sum(axis=-1) for shade in shades]
        assert (np.min(distances, axis=0) < 20).any() == (place < count)


def test_lines_and_dots_far_outside_are_left_out():
    image = np.zeros((20, 20, 3), np.uint8)
    for point in ([np.nan, 3], [np.inf, 3], [1e12, -1e12]):
        panel.line(image, np.array([5.0, 5.0]), np.array(point), (255, 0, 0), 3)
        panel.dot(image, np.array(point), 3, (255, 0, 0))
    assert not image.any()
    panel.line(image, np.array([5.0, 5.0]), np.array([500.0, 5.0]), (255, 0, 0), 3)
    assert image[5, 19, 0] == 255


def test_the_left_side_is_lighter():
    for track in range(8):
        color = colors.of_track(track)
        tint = colors.left_tint(color)
        assert max(tint) + min(tint) > max(color) + min(color) + 60
        assert all(0 <= part <= 255 for part in tint)
    assert colors.of_track(9) == colors.of_track(1)
    assert colors.mix((0, 0, 0), (100, 200, 50), 0.5) == (50, 100, 25)
