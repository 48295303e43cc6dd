"""People drawn on pictures and in the panel."""

import cv2
import numpy as np
import pytest

from liftjax.inference import trust
from liftjax.inference.outputs import colors, overlay
from liftjax.inference.results import row_dtype
from liftjax.skeletons import get_skeleton
from tests.inference.outputs.sample_result import HUMAN36M, sample_result, without


def drawn(result, index=0, **more) -> np.ndarray:
    frame = list(result.source.frames())[index]
    return overlay.draw_frame(frame, result.people(index), result, **more)


def near(image, point, color, reach=1) -> bool:
    """Whether a colour is there, about."""
    x, y = np.round(point).astype(int)
    patch = image[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
    return bool((np.abs(patch.astype(int) - color).sum(axis=-1) < 40).any())


def count(image, color) -> int:
    return int((np.abs(image.astype(int) - color).sum(axis=-1) < 20).sum())


def test_joints_are_drawn_where_they_are_left_ones_lighter():
    result = sample_result(1, people=1, size=(640, 480), lifters=())
    image = drawn(result)
    assert image.shape == (480, 640, 3)
    red = colors.of_track(0)
    for joint in ("right_wrist", "right_ankle", "head_top"):
        assert near(image, result.rows["kpts_px"][0, HUMAN36M.index(joint)], red)
    for joint in ("left_wrist", "left_ankle"):
        assert near(image, result.rows["kpts_px"][0, HUMAN36M.index(joint)], colors.left_tint(red))


def test_the_panel_stands_beside_the_untouched_size():
    result = sample_result(1, size=(640, 480))
    image = drawn(result)
    assert image.shape[0] == 480
    assert image.shape[1] > 900
    panel = image[:, 640:]
    for track in (0, 1):
        red, green, blue = colors.of_track(track)
        assert count(image[:, :640], (red, green, blue)) > 30
        hue = panel.astype(int) - panel.mean(axis=-1, keepdims=True)
        strongest = (red, green, blue).index(max(red, green, blue))
        assert (hue[..., strongest] > 60).sum() > 100  # the far ones are paler
    assert count(panel, colors.PAPER) > 0.7 * panel.shape[0] * panel.shape[1]


def test_drawing_changes_neither_the_frame_nor_the_result():
    result = sample_result(1)
    frame = next(result.source.frames())
    image, rows = frame.image.copy(), result.rows.copy()
    first = overlay.draw_frame(frame, result.people(0), result)
    second = overlay.draw_frame(frame, result.people(0), result)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(frame.image, image)
    np.testing.assert_array_equal(result.rows, rows)


@pytest.mark.parametrize(
    ("size", "picture"),
    [
        ((4000, 3000), (1920, 1440)),
        ((3000, 4000), (1440, 1920)),
        ((1280, 720), (1280, 720)),
        ((64, 64), (360, 360)),
        ((1900, 30), (1920, 30)),
        ((20_000, 60), (1920, 6)),
    ],
)
def test_large_pictures_shrink_and_small_ones_grow(size, picture):
    result = sample_result(1, size=size, is_video=False)
    alone = drawn(without(result, lifters=()))
    assert alone.shape[:2] == picture[::-1]
    beside = drawn(result)
    assert beside.shape[0] == max(360, picture[1])
    assert beside.shape[1] > picture[0]


def test_keypoints_move_with_the_picture_when_it_shrinks():
    result = sample_result(1, people=1, size=(3840, 2160), lifters=())
    point = result.rows["kpts_px"][0, HUMAN36M.index("right_ankle")]
    assert near(drawn(result), (point + 0.5) / 2 - 0.5, colors.of_track(0))


def test_an_empty_frame_keeps_the_size_and_the_video_its_view():
    result = sample_result(8, absent={0: (3,), 1: (3,)})
    view = overlay.whole_view(result)
    shapes = {drawn(result, index, view=view).shape for index in (0, 3)}
    assert len(shapes) == 1
    nobody = without(result, rows=result.rows[:0])
    assert drawn(nobody, view=overlay.whole_view(nobody)).shape in shapes


def test_somebody_alone_stays_in_the_middle_of_the_panel():
    result = sample_result(40, people=1, size=(640, 480), lifters=("mixste",))
    view = overlay.whole_view(result)
    assert view.center_m is None
    result.rows["pose_m"] = result.rows["pose_m"][:1]
    panels = [drawn(result, index, view=view)[: 480 - 40, 640:] for index in (0, 30)]
    np.testing.assert_array_equal(*panels)  # though the person has walked on


def test_numbers_that_are_missing_or_absurd_are_left_out():
    result = sample_result(1)
    result.rows["kpts_px"][0] = np.nan
    result.rows["kpts_px"][1, :4] = [1e9, -1e9]
    result.rows["kpts_px"][1, 5] = np.inf
    result.rows["pose_m"][0, :, 3] = np.nan
    result.rows["root_m"][1] = np.nan
    assert drawn(result).dtype == np.uint8
    result.rows["pose_m"] = np.nan
    assert drawn(result).dtype == np.uint8


def change(scores, part=slice(None), **more) -> np.ndarray:
    """How far people with these scores change a picture, and beside it the panel, (H, W)."""
    result = sample_result(1, people=1, size=(640, 480), lifters=("mixste",), **more)
    view = overlay.whole_view(result)
    nobody = drawn(without(result, rows=result.rows[:0]), view=view)
    result.rows["kpt_score"] = 0.9
    result.rows["kpt_score"][:, part] = scores
    return np.abs(drawn(result, view=view).astype(int) - nobody).sum(axis=-1)


def test_the_lower_the_score_the_nearer_to_the_background():
    """Of bones, dots and poses, and nothing at all below the lower limit."""
    sure, faint, hidden = (change(score) for score in (trust.SURE, trust.DOUBTFUL, 0.0))
    picture, panel = slice(0, 640), slice(640, None)
    assert not hidden[:, picture].any()
    drawn_sure = sure[:, picture] > 60
    assert drawn_sure.sum() > 500
    ratio = faint[:, picture][drawn_sure] / sure[:, picture][drawn_sure]
    np.testing.assert_allclose(ratio, trust.FAINT, atol=0.04)
    assert 0 < faint[:, panel].sum() < sure[:, panel].sum()
    # The floor stays; its height is that of the lowest joint, and there is none.
    assert hidden[:, panel].max() < faint[:, panel].max()


def test_a_doubtful_joint_makes_its_own_bones_faint_alone():
    ankle = HUMAN36M.index("right_ankle")
    sure, one = change(0.9), change(0.2, ankle)
    points = sample_result(1, people=1, size=(640, 480)).rows["kpts_px"][0]
    shin = points[[HUMAN36M.index("right_knee"), ankle]].mean(axis=0)
    (x, y), (head_x, head_y) = (np.round(p).astype(int) for p in (shin, points[10]))
    assert 0 < one[y, x] < sure[y, x]
    assert one[head_y, head_x] == sure[head_y, head_x] > 0
    np.testing.assert_array_equal(one[:, 640:], sure[:, 640:])  # the pose as a whole is certain


def test_joint_sets_with_many_single_points_and_without_lifters():
    whole = sample_result(1, people=1, lifters=())
    skeleton = get_skeleton("wholebody")
    rows = np.zeros(1, row_dtype(skeleton.num_joints, 0, skeleton.num_joints))
    rows["kpts_px"] = np.random.default_rng(0).uniform(20, 200, (1, 133, 2))
    rows["kpt_score"] = 1
    result = without(whole, rows=rows, skeleton_2d=skeleton, skeleton_3d=skeleton)
    image = drawn(result)
    scale = 360 / 240
    finger = rows["kpts_px"][0, skeleton.index("right_hand_7")]
    assert near(image, (finger + 0.5) * scale - 0.5, colors.of_track(0), reach=2)


def test_a_video_becomes_a_video(tmp_path):
    result = sample_result(10, size=(321, 241))
    (path,) = overlay.write_overlay(result, tmp_path / "walk")
    assert path == tmp_path / "walk_poses.mp4"
    assert list(tmp_path.iterdir()) == [path]
    film = cv2.VideoCapture(str(path))
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(30)
    images = []
    while (read := film.read())[0]:
        images.append(read[1][..., ::-1])
    assert len(images) == 10
    wanted = drawn(result, 4, view=overlay.whole_view(result))
    height, width = wanted.shape[:2]
    found = images[4][:height, :width].astype(int)
    assert np.abs(found - wanted).mean() < 4
    assert result.source.opened  # and read once for the video


def test_frames_that_the_result_does_not_know_are_left_out(tmp_path):
    result = sample_result(6)
    short = without(result, frames=result.frames[:4], rows=result.rows[:8])
    (path,) = overlay.write_overlay(short, tmp_path / "walk")
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_pictures_become_pictures(tmp_path):
    result = sample_result(2, is_video=False)
    paths = overlay.write_overlay(result, tmp_path / "walk")
    assert [path.name for path in paths] == ["photo_000_poses.jpg", "photo_001_poses.jpg"]
    assert sorted(tmp_path.iterdir()) == paths
    found = cv2.imread(str(paths[1]))[..., ::-1].astype(int)
    assert np.abs(found - drawn(result, 1)).mean() < 4
    assert len(result.source.opened) == 2  # one of them by this test
