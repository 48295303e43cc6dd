"""The viewer in a real browser: what it draws, and where."""

import json

import numpy as np
import pytest

from liftjax import viewer
from tests.viewer.looking import PICTURE, SPACE, count, pixel, state
from tests.viewer.people import CROSS, CROSS_POSE, PREDICTION, TRUTH, cross


def test_both_views_show_every_pose_in_its_colour(show):
    page = show(cross())
    for canvas in (PICTURE, SPACE):
        assert count(page, canvas, TRUTH) > 50
        assert count(page, canvas, PREDICTION) > 50
    assert count(page, PICTURE, (40, 200, 90)) > 1000  # the picture
    assert state(page)["shown"] == ["truth", "FT-2D"]


def test_unturned_it_shows_what_the_camera_saw(show):
    pose = cross()["frames"][0]["poses"]["truth"]
    page = show({"skeleton": CROSS, "frames": [{"poses": {"truth": pose}}]})
    page.run("viewer.rotate(0, 0)")
    points = dict(zip(CROSS["joints"], np.array(state(page)["points"]["truth"]), strict=True))
    _, _, width, height = page.box(SPACE)
    root = points["root"]
    np.testing.assert_allclose(root, [width / 2, height / 2], atol=0.01)
    metre = points["right_x"][0] - root[0]
    assert 0.3 * min(width, height) < metre < 0.5 * min(width, height)
    for joint, (x, y) in {
        "right_x": (1, 0), "left_x": (-1, 0), "below": (0, 1), "above": (0, -1),
        "near": (0, 0), "far": (0, 0),
    }.items():  # fmt: skip
        np.testing.assert_allclose(points[joint] - root, [x * metre, y * metre], atol=0.01)
        assert pixel(page, *points[joint])[3] > 250  # and there it is drawn
    halfway = root + np.array([metre / 2, 0])
    assert np.abs(pixel(page, *halfway)[:3] - TRUTH).max() < 40
    assert pixel(page, *(halfway - np.array([0, metre / 2])))[3] == 0


@pytest.mark.parametrize(
    ("angles", "near", "right_x", "above"),
    [
        ((90, 0), "right", "depth", "up"),
        ((-90, 0), "left", "depth", "up"),
        ((0, 90), "down", "right", "depth"),
        ((0, -90), "up", "right", "depth"),
        ((180, 0), "depth", "left", "up"),
    ],
)
def test_turning_takes_the_axes_where_it_should(show, angles, near, right_x, above):
    ways = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1), "depth": (0, 0)}
    page = show({"skeleton": CROSS, "frames": [{"poses": {"truth": CROSS_POSE}}]})
    page.run("viewer.rotate(...args[0])", angles)
    points = dict(zip(CROSS["joints"], np.array(state(page)["points"]["truth"]), strict=True))
    metre = 0.43 * min(page.box(SPACE)[2:])
    for joint, way in (("near", near), ("right_x", right_x), ("above", above)):
        offset = (points[joint] - points["root"]) / metre
        np.testing.assert_allclose(offset, ways[way], atol=0.01)


def test_near_things_are_larger_and_stronger_than_far_ones(show):
    skeleton = {"joints": ["a", "b", "c", "d"], "edges": [[0, 1], [2, 3]]}
    pose = [[-0.5, -0.5, -1], [0.5, -0.5, -1], [-0.5, 0.5, 1], [0.5, 0.5, 1]]
    page = show({"skeleton": skeleton, "frames": [{"poses": {"truth": pose}}]})
    page.run("viewer.rotate(0, 0)")
    a, b, c, d = np.array(state(page)["points"]["truth"])
    assert b[0] - a[0] > 1.2 * (d[0] - c[0])
    near, far = (pixel(page, *((p + q) / 2))[:3] for p, q in ((a, b), (c, d)))
    np.testing.assert_allclose(near, TRUTH, atol=2)
    assert sum(far) > sum(near) + 100  # on white paper paler is lighter


def test_a_ground_grid_lies_under_the_feet(show):
    page = show({"skeleton": CROSS, "frames": [{"poses": {"truth": CROSS_POSE}}]})
    page.run("viewer.rotate(0, 20)")
    lowest = max(y for _, y in state(page)["points"]["truth"])
    _, _, width, height = page.box(SPACE)
    rows = page.canvas(SPACE)[:, : int(0.3 * width), 3].any(axis=1)
    drawn = np.flatnonzero(rows)
    assert drawn.min() > height / 2  # nothing but ground so far to the side
    assert drawn.min() < lowest < drawn.max()


def test_the_camera_may_be_tilted_against_the_ground(show):
    up = [0, -np.cos(0.5), -np.sin(0.5)]
    page = show({"skeleton": CROSS, "frames": [{"poses": {"truth": CROSS_POSE}, "up": up}]})
    page.run("viewer.rotate(0, 0)")
    before = state(page)["points"]["truth"]
    page.run("viewer.rotate(0, 0); viewer.rotate(360, 0)")
    np.testing.assert_allclose(state(page)["points"]["truth"], before, atol=0.01)
    page.run("viewer.rotate(180, 0)")
    after = np.array(state(page)["points"]["truth"])
    assert not np.allclose(after[4], before[4], atol=5)  # the axis is not the picture's


def test_left_and_right_limbs_differ(show):
    page = show({"skeleton": CROSS, "frames": [{"poses": {"truth": CROSS_POSE}}]})
    page.run("viewer.rotate(0, 0)")
    points = np.array(state(page)["points"]["truth"])
    right, left = (pixel(page, *points[[0, k]].mean(0))[:3] for k in (1, 2))
    assert np.abs(right - TRUTH).max() < 40
    assert (left - right).sum() > 100


def test_a_weaker_joint_is_nearer_to_the_background_in_both_views(show):
    document = cross()
    frame = {key: {"truth": document["frames"][0][key]["truth"]} for key in ("kpts", "poses")}
    weak = {"strengths": {"truth": [1, 0.3, 1, 1, 1, 1, 1]}}
    page = show(document | {"frames": [frame, frame | weak]})
    page.run("viewer.rotate(20, 10)")
    seen = []
    for index in (0, 1):
        page.run("viewer.show(args[0])", index)
        places = state(page)
        kinds = ((PICTURE, places["pixels"]), (SPACE, places["points"]))
        seen.append([pixel(page, *kind[1]["truth"][1], kind[0])[:3] for kind in kinds])
    legend = page.run("return document.querySelector('.ljv-legend').textContent")
    assert "faint: uncertain" in legend
    for strong, faint in zip(*seen, strict=True):
        assert np.abs(strong - TRUTH).max() < 60
        assert np.abs(faint - TRUTH).max() > np.abs(strong - TRUTH).max() + 40


def test_frames_without_pictures_flat_poses_and_missing_joints(show):
    two = [v for shift in (0, 2) for x, y, z in CROSS_POSE for v in (x + shift, y, z)]
    lost = [*CROSS_POSE[:6], [float("nan")] * 3]
    document = {"skeleton": CROSS, "frames": [{"poses": {"truth": two}}, {"poses": {"b": lost}}]}
    page = show(document)
    assert not page.run(f"return document.querySelectorAll('{PICTURE}').length")
    assert len(state(page)["points"]["truth"]) == 14
    page.run("viewer.show(1)")
    assert np.isnan(state(page)["points"]["b"]).all(axis=-1).any()
    assert count(page, SPACE, PREDICTION) > 50


def test_keypoints_alone_are_fitted_into_the_view(show):
    kpts = {"truth": [[1000 + 50 * x, 500 + 50 * y] for x, y, _ in CROSS_POSE]}
    page = show({"skeleton": CROSS, "frames": [{"kpts": kpts, "poses": {}}]})
    assert not page.run(f"return document.querySelectorAll('{SPACE}').length")  # no empty 3D view
    _, _, width, height = page.box(PICTURE)
    points = np.array(state(page)["pixels"]["truth"])
    assert (points > 0).all()
    assert (points < [width, height]).all()
    assert count(page, PICTURE, TRUTH) > 50


def test_keypoints_lie_on_the_pixels_they_name(show):
    document = cross()
    document["frames"][0]["kpts"] = {"truth": [[0, 0], [79, 0], [0, 59], *[[40, 30]] * 4]}
    page = show(document)
    _, _, width, height = page.box(PICTURE)
    scale = min(width / 80, height / 60)
    corner = np.array([width - 80 * scale, height - 60 * scale]) / 2
    points = state(page)["pixels"]["truth"][:3]
    expected = corner + scale * (np.array([[0, 0], [79, 0], [0, 59]]) + 0.5)
    np.testing.assert_allclose(points, expected, atol=0.01)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"frames": []}, "needs skeleton.joints and frames"),
        ({"skeleton": CROSS, "frames": [{"poses": {"x": [1, 2]}}]}, 'poses of "x" has 2 numbers'),
    ],
)
def test_a_wrong_document_is_refused_by_name(show, document, complaint):
    page = show(cross())
    with pytest.raises(AssertionError, match=complaint):
        page.run("liftjaxViewer.mount(document.createElement('div'), args[0])", document)


def test_texts_are_never_markup(show):
    evil = "</script><img src=x onerror=\"console.error('ran')\"><!-- & \u2028"
    document = cross()
    frame = document["frames"][0] | {"title": evil, "captions": {"truth": evil}}
    frame["poses"] = frame["poses"] | {evil: CROSS_POSE}
    page = show(document | {"frames": [frame]}, title=evil)
    text = page.run("return document.querySelector('.ljv-title').textContent")
    assert text == evil
    assert page.run("return document.querySelectorAll('img').length") == 0
    assert page.run("return document.title").startswith("</script>")
    assert evil in state(page)["shown"]


def test_script_and_style_can_stand_inline():
    assert "</script" not in viewer.script().lower()
    assert "</style" not in viewer.style().lower()
    assert "http" not in viewer.style()
    text = viewer.inline_json({"a": np.float32(0.123456), "b": [np.nan, np.int64(3)], "c": "<&>"})
    assert json.loads(text) == {"a": 0.1235, "b": [None, 3], "c": "<&>"}
    assert "<" not in text


def test_the_worlds_up_as_a_camera_sees_it():
    level = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # z up to y down
    assert viewer.up_in_camera(level) == [0, -1, 0]
    assert viewer.up_in_camera(np.eye(3)) is None  # the world is the camera's own


def test_a_broken_image_leaves_the_keypoints(show):
    document = cross()
    document["frames"][0]["image"] = "data:image/png;base64,AAAA"
    page = show(document)
    page.run("while (!viewer.state().pixels.truth) await new Promise((r) => setTimeout(r, 10))")
    assert count(page, PICTURE, TRUTH) > 50
