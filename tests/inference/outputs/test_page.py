"""The page: what it holds, and that it works in a real browser."""

import base64

import cv2
import numpy as np
import pytest

from liftjax.inference import trust
from liftjax.inference.outputs import page
from liftjax.skeletons import convert, get_skeleton, missing_joints
from tests.inference.outputs.sample_result import HUMAN36M, root_of, sample_result, without
from tests.viewer.looking import PICTURE, SPACE, state

SLIDER = ".ljv input[type=range]"


def picture(frame) -> np.ndarray:
    head, data = frame["image"].split(",")
    assert head == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[
        ..., ::-1
    ]


def test_a_document_holds_pictures_keypoints_and_poses():
    result = sample_result(5, size=(1280, 720))
    document = page.viewer_document(result)
    assert len(document["frames"]) == 5
    assert document["fps"] == 30
    frame, people = document["frames"][3], result.people(3)
    assert frame["title"] == "0:00.10 · frame 3"
    shown = picture(frame)
    assert shown.shape == (360, 640, 3)
    wanted = cv2.resize(
        list(result.source.frames())[3].image, (640, 360), interpolation=cv2.INTER_AREA
    )
    assert np.abs(shown.astype(int) - wanted).mean() < 4
    (kpts,) = frame["kpts"].values()
    np.testing.assert_allclose(kpts, (people["kpts_px"] + 0.5) / 2 - 0.5, atol=0.06)
    assert list(frame["poses"]) == ["mixste", "videopose3d"]
    wanted = people["pose_m"][:, 1] + people["root_m"][:, 1, None]
    np.testing.assert_allclose(frame["poses"]["videopose3d"], wanted, atol=0.001)


def test_somebody_alone_and_the_group_of_a_picture_stand_in_the_middle():
    alone = page.viewer_document(sample_result(5, people=1))["frames"][4]["poses"]["mixste"]
    np.testing.assert_allclose(alone[0, 0], 0, atol=0.001)
    result = sample_result(2, is_video=False)
    group = page.viewer_document(result)["frames"][1]["poses"]["mixste"]
    np.testing.assert_allclose(group[:, 0].mean(axis=0), 0, atol=0.001)
    apart = root_of(1, 1) - root_of(0, 1)
    np.testing.assert_allclose(group[1, 0] - group[0, 0], apart, atol=0.002)


@pytest.mark.parametrize(("most", "stride"), [(100, 1), (25, 1), (24, 2), (12, 3), (5, 5), (1, 25)])
def test_long_sources_are_thinned_evenly_in_one_reading(most, stride):
    result = sample_result(25, people=1)
    document = page.viewer_document(result, most_frames=most)
    numbers = [int(frame["title"].split()[-1]) for frame in document["frames"]]
    assert numbers == list(range(0, 25, stride))
    assert len(numbers) <= most
    assert document["fps"] == pytest.approx(30 / stride)
    assert len(result.source.opened) == 1


def test_bytes_are_bounded_too(monkeypatch, tmp_path):
    result = sample_result(25)
    whole = sum(map(page._bytes, page.viewer_document(result)["frames"]))
    monkeypatch.setattr(page, "MOST_BYTES", whole // 3)
    document = page.viewer_document(result)
    numbers = [int(frame["title"].split()[-1]) for frame in document["frames"]]
    assert numbers == list(range(0, 25, 4))
    assert document["fps"] == pytest.approx(30 / 4)
    (path,) = page.write_page(result, tmp_path / "walk")
    assert path.stat().st_size < whole // 3 + 100_000


def test_keypoints_are_shown_in_the_joints_of_the_poses():
    result = sample_result(1, people=1, lifters=("mixste",))
    coco = get_skeleton("coco")
    fewer = without(result, skeleton_2d=coco)
    (kpts,) = page.viewer_document(fewer)["frames"][0]["kpts"].values()
    wanted = convert(result.rows["kpts_px"], "coco", "human36m")
    np.testing.assert_allclose(kpts, wanted, atol=0.06)


def test_joints_of_the_poses_that_keypoints_do_not_give_are_missing():
    panoptic = get_skeleton("panoptic")
    result = sample_result(1, people=1, lifters=("mixste",), skeleton_2d=panoptic)
    result.rows["kpt_score"][0, panoptic.index("left_ankle")] = trust.DOUBTFUL
    (frame,) = page.viewer_document(result)["frames"]
    (kpts,) = frame["kpts"].values()
    lost = [HUMAN36M.joints[joint] for joint in np.flatnonzero(np.isnan(kpts[0, :, 0]))]
    assert lost == [*missing_joints("panoptic", "human36m")] != []
    strengths = frame["strengths"]["hrnet_w32 (2D)"][0]
    assert [HUMAN36M.joints[j] for j in np.flatnonzero(strengths < 1)] == ["left_ankle"]


def test_what_is_doubtful_is_faint_and_what_is_worse_is_left_out():
    result = sample_result(2, lifters=("mixste",))
    assert "strengths" not in page.viewer_document(result)["frames"][0]
    scores = result.people(0)["kpt_score"]
    scores[0, 3], scores[0, 4] = trust.DOUBTFUL, 0
    scores[1] = trust.DOUBTFUL
    frames = page.viewer_document(result)["frames"]
    flat = frames[0]["strengths"]["hrnet_w32 (2D)"]
    assert flat[0].tolist() == [1, 1, 1, trust.FAINT, 0, *[1] * 12]
    assert flat[1].tolist() == [trust.FAINT] * 17
    left_out = np.isnan(frames[0]["kpts"]["hrnet_w32 (2D)"]).all(axis=-1)
    assert np.argwhere(left_out).tolist() == [[0, 4]]
    assert frames[0]["strengths"]["mixste"].tolist() == [1] * 17 + [trust.FAINT] * 17
    assert "strengths" not in frames[1]
    scores[1] = 0
    poses = page.viewer_document(result)["frames"][0]["poses"]["mixste"]
    assert np.isnan(poses).all(axis=(1, 2)).tolist() == [False, True]


def test_a_minute_has_sixty_seconds():
    document = page.viewer_document(
        sample_result(1801, people=0, fps=30.0005, size=(32, 24)), most_frames=1801
    )
    assert document["frames"][1799]["title"] == "0:59.97 · frame 1799"
    assert document["frames"][1800]["title"] == "1:00.00 · frame 1800"


def test_pictures_are_called_by_their_names():
    document = page.viewer_document(sample_result(2, is_video=False))
    assert [frame["title"] for frame in document["frames"]] == ["photo_000.jpg", "photo_001.jpg"]
    assert document["fps"] == 1


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    absent = {0: (7,), 1: (2, 7)}
    (path,) = page.write_page(
        sample_result(16, absent=absent), tmp_path_factory.mktemp("page") / "walk"
    )
    assert path.name == "walk.html"
    return path


@pytest.fixture
def opened(browser, path):
    """The page; in the end nothing may have gone wrong in it."""
    shown = browser.open(path, width=1200)
    yield shown
    shown.check()
    shown.close()


def test_the_slider_and_keys_scrub_through_the_frames(opened):
    assert opened.run("return document.title") == "walk"
    first, image = state(opened), opened.canvas(PICTURE)
    assert (first["index"], first["count"]) == (0, 16)
    assert len(first["points"]["mixste"]) == 2 * 17
    left, top, width, height = opened.box(SLIDER)
    opened.click((left + 0.6 * width, top + height / 2))
    scrubbed = state(opened)
    assert 7 < scrubbed["index"] < 11
    assert not np.allclose(scrubbed["points"]["mixste"], first["points"]["mixste"])
    assert (opened.canvas(PICTURE) != image).any()
    opened.press("ArrowRight")
    assert state(opened)["index"] == scrubbed["index"] + 1
    opened.press("Home")
    assert state(opened)["index"] == 0


def test_dragging_rotates_the_skeletons(opened):
    before = state(opened)
    x, y = opened.middle(SPACE)
    opened.drag((x, y), (x + 120, y))
    after = state(opened)
    assert after["azimuth"] > before["azimuth"] + 10
    for name in ("mixste", "videopose3d"):
        moved = np.array(after["points"][name]) - before["points"][name]
        assert np.abs(moved).max() > 5
    assert after["pixels"] == before["pixels"]  # the picture stays


def test_it_plays(opened):
    opened.click("[aria-label='Play']")
    assert state(opened)["playing"]
    opened.run(
        """for (let i = 0; i < 400 && viewer.state().index < 3; i++) {
          await new Promise((done) => setTimeout(done, 25));
        }"""
    )
    opened.click("[aria-label='Pause']")
    paused = state(opened)
    assert not paused["playing"]
    assert paused["index"] > 0


def test_frames_without_people_are_pictures_alone(opened):
    opened.run("viewer.show(7)")
    alone = state(opened)
    assert alone["points"] == {} == alone["pixels"]
    opened.run("viewer.show(2)")
    assert len(state(opened)["points"]["mixste"]) == 17


def test_without_lifters_there_is_the_picture_alone(browser, tmp_path):
    (path,) = page.write_page(sample_result(3, lifters=()), tmp_path / "walk")
    shown = browser.open(path)
    assert shown.run(f"return document.querySelectorAll('{SPACE}').length") == 0
    assert len(state(shown)["pixels"]["hrnet_w32 (2D)"]) == 2 * 17
    shown.check()
    shown.close()
