"""The JSON document: what its schema promises."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from liftjax.inference.outputs import json_file
from tests.inference.outputs.sample_result import HUMAN36M, sample_result, without


def written(result, folder) -> dict:
    (path,) = json_file.write_json(result, folder / "walk")
    assert path == folder / "walk.json"
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_a_document_holds_everybody(tmp_path):
    result = sample_result(4, absent={0: (1,), 1: (1, 2)})
    document = written(result, tmp_path)
    assert document["schema"] == "liftjax/poses/1"
    assert document["source"] == "films/walk.mp4"
    assert document["is_video"] is True
    assert document["fps"] == 30
    assert document["detector"] == "hrnet_w32"
    assert document["lifters"] == ["mixste", "videopose3d"]
    for key in ("skeleton_2d", "skeleton_3d"):
        assert document[key]["name"] == "human36m"
        assert document[key]["joints"] == list(HUMAN36M.joints)
        assert document[key]["bones"] == [list(bone) for bone in HUMAN36M.bones]
    assert document["focal_px"] == 320
    assert document["focal_given"] is True
    assert document["beta"] == 100
    assert [frame["frame"] for frame in document["frames"]] == [0, 1, 2, 3]
    assert all(frame["size"] == [320, 240] for frame in document["frames"])
    tracks = [[person["track"] for person in frame["people"]] for frame in document["frames"]]
    assert tracks == [[0, 1], [], [0], [0, 1]]
    row, person = result.people(3)[1], document["frames"][3]["people"][1]
    close = np.testing.assert_allclose
    close(person["box_xyxy"], row["box_xyxy"], atol=0.006)
    close(person["box_score"], row["box_score"], atol=1e-4)
    close(person["keypoints_px"], row["kpts_px"], atol=0.006)
    close(person["keypoint_scores"], row["kpt_score"], atol=1e-4)
    for index, lifter in enumerate(result.lifters):
        close(person["poses_m"][lifter], row["pose_m"][index], atol=6e-5)
        close(person["root_m"][lifter], row["root_m"][index], atol=6e-5)


def test_every_key_is_described():
    described = (Path(__file__).parents[3] / "docs" / "predict.md").read_text()
    for key in ("box_xyxy", "keypoints_px", "keypoint_scores", "poses_m", "root_m", "size", "name"):
        assert f"`{key}`" in described
    ours = [
        key for key in json_file.json_header(sample_result(1)) if key not in ("beta", "checkpoints")
    ]
    assert all(f"`{key}`" in described for key in ours)


def test_pictures_have_names_and_no_rate(tmp_path):
    document = written(sample_result(2, is_video=False), tmp_path)
    assert [frame["name"] for frame in document["frames"]] == ["photo_000.jpg", "photo_001.jpg"]
    assert document["fps"] is None
    assert document["is_video"] is False
    assert "name" not in written(sample_result(2), tmp_path)["frames"][0]


def test_what_is_not_there_is_null(tmp_path):
    result = without(sample_result(2, people=1), focal_px=None)
    result.rows["kpts_px"][0, 3] = np.nan
    result.rows["pose_m"][0, 1] = np.nan
    result.rows["root_m"][1, 0, 2] = np.inf
    document = written(result, tmp_path)
    first, second = (frame["people"][0] for frame in document["frames"])
    assert first["keypoints_px"][3] == [None, None]
    assert None not in first["keypoints_px"][2]
    assert first["poses_m"]["videopose3d"] == [[None] * 3] * 17
    assert first["poses_m"]["mixste"][0] == [0, 0, 0]
    assert second["root_m"]["mixste"][2] is None
    assert document["focal_px"] == 1.15 * 320
    assert document["focal_given"] is False
    assert "assumed to be 1.15 times" in document["units"]["root"]


def test_pictures_of_many_sizes_have_a_focal_length_each(tmp_path):
    result = without(sample_result(3, is_video=False), focal_px=None)
    assert all("focal_px" not in frame for frame in written(result, tmp_path)["frames"])
    result.frames[1], result.frames[2] = (100, 400), (0, 0)
    document = written(result, tmp_path)
    assert document["focal_px"] is None
    assert [frame["focal_px"] for frame in document["frames"]] == [368, 460, None]
    given = written(without(result, focal_px=500.0), tmp_path)
    assert given["focal_px"] == 500
    assert all("focal_px" not in frame for frame in given["frames"])


def test_numbers_are_as_short_as_their_precision(tmp_path):
    result = sample_result(1, people=1, lifters=("mixste",))
    result.rows["kpts_px"][0, 0] = [12.345678, -0.001]
    result.rows["pose_m"][0, 0, 1] = [0.123456, 0.1, -1]
    (path,) = json_file.write_json(result, tmp_path / "walk")
    text = path.read_text()
    assert "[[12.35,0.0]," in text
    assert "[0.1235,0.1,-1.0]" in text


def test_without_lifters_there_are_no_poses(tmp_path):
    document = written(sample_result(1, lifters=()), tmp_path)
    assert document["lifters"] == []
    assert document["frames"][0]["people"][0]["poses_m"] == {}


def test_a_frame_is_a_line(tmp_path):
    """So that programs can read a document of any length."""
    (path,) = json_file.write_json(sample_result(5), tmp_path / "walk")
    lines = path.read_text().splitlines()
    start = lines.index('"frames": [')
    frames = [json.loads(line.removesuffix(",")) for line in lines[start + 1 : -1]]
    assert [frame["frame"] for frame in frames] == list(range(5))
    assert lines[-1] == "]}"


def test_no_frames_at_all_is_still_json(tmp_path):
    nothing = sample_result(0)
    assert written(nothing, tmp_path)["frames"] == []


def test_facts_cannot_hide_what_the_schema_says():
    with pytest.raises(TypeError, match="fps"):
        json_file.json_header(without(sample_result(1), about={"fps": 3}))


def test_memory_does_not_grow_with_frames(tmp_path):
    peaks = []
    for frames in (50, 400):
        result = sample_result(frames)
        tracemalloc.start()
        json_file.write_json(result, tmp_path / "walk")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
