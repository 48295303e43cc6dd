"""`predict` from files to files, with small networks of fresh weights."""

import io
import json
import os
import shutil
import signal

import cv2
import numpy as np
import pytest

import liftjax
from liftjax.cli import main
from liftjax.inference import command
from liftjax.inference.video_file import video_writer
from liftjax.runtime.checkpoints import find_checkpoint
from liftjax.runtime.scores import Scores
from liftjax.writing import output_file
from tests.inference import networks

WIDTH, HEIGHT, FPS = 96, 72, 25
PERSON = "10,5,60,70"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return networks.runs(tmp_path_factory.mktemp("runs"))


def picture(seed: int, size=(HEIGHT, WIDTH)) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 0)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("footage") / "walk.mp4"
    with video_writer(path, (WIDTH, HEIGHT), FPS) as append:
        for frame in range(12):
            append(np.roll(picture(0), frame, axis=1))
    return path


def predict(runs, *words, lifters=(1,), out) -> int:
    detector = runs[0]
    lifter = ["--lifter", *(runs[i] for i in lifters)] if lifters else []
    return main(["predict", *map(str, words), "--detector", detector, *lifter, "--out", str(out)])


def document(path) -> dict:
    return json.loads(path.read_text())


def test_a_video_into_all_files(runs, video, tmp_path, capsys):
    """Also: the poses of the JSON are those of the npz, and the lifters' on the keypoints."""
    assert predict(runs, video, "--box", PERSON, lifters=(1, 2), out=tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "walk.json",
        "walk.npz",
        "walk_person0_simple_baseline.bvh",
        "walk_person0_videopose3d.bvh",
        "walk_poses.mp4",
        "walk.html",
    }
    assert "12 frames, 12 poses, 1 track" in capsys.readouterr().out
    found = document(tmp_path / "walk.json")
    assert (found["is_video"], found["fps"], len(found["frames"])) == (True, FPS, 12)
    people = [frame["people"] for frame in found["frames"]]
    assert [[person["track"] for person in some] for some in people] == [[0]] * 12
    arrays = np.load(tmp_path / "walk.npz")
    for name in ("simple_baseline", "videopose3d"):
        poses = np.array([some[0]["poses_m"][name] for some in people])
        np.testing.assert_allclose(poses, arrays[f"pose_m_{name}"], atol=1e-4)
    kpts_px = arrays["keypoints_px"]
    lifter, _ = liftjax.runtime.checkpoints.load_model(runs[1], "lifter")
    size = np.tile([float(WIDTH), HEIGHT], (12, 1))
    poses = lifter.lift(kpts_px[:, None], size)[:, 0]
    np.testing.assert_allclose(arrays["pose_m_simple_baseline"], poses, atol=1e-5)


def test_pictures_of_many_sizes_with_detections(runs, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, size in enumerate([(72, 96), (50, 200), (300, 64)]):
        cv2.imwrite(str(folder / f"{i}.png"), picture(i, size))
    detections = [
        {"image_id": 0, "bbox": [5, 5, 40, 60], "score": 0.9, "category_id": 1},
        {"image_id": 2, "bbox": [0, 10, 60, 200], "score": 0.8, "category_id": 1},
        {"image_id": 0, "bbox": [40, 5, 40, 60], "score": 0.7, "category_id": 1},
        {"image_id": 1, "bbox": [40, 5, 40, 40], "score": 0.2, "category_id": 1},
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(detections))
    out = tmp_path / "out"
    words = [folder, "--boxes", tmp_path / "boxes.json"]
    assert predict(runs, *words, lifters=(1, 2), out=out) == 0
    frames = document(out / "photos.json")["frames"]
    assert [frame["name"] for frame in frames] == ["0.png", "1.png", "2.png"]
    assert [frame["size"] for frame in frames] == [[96, 72], [200, 50], [64, 300]]
    assert [len(frame["people"]) for frame in frames] == [2, 0, 1]
    predictor = liftjax.Predictor(runs[0], [runs[1], runs[2]])
    box = np.array([[0, 10, 60, 210]])
    people = predictor(liftjax.read_picture(folder / "2.png"), box)
    person = frames[2]["people"][0]
    np.testing.assert_allclose(person["keypoints_px"], people.kpts_px[0], atol=0.02)
    for name, pose_m in people.poses_m.items():
        np.testing.assert_allclose(person["poses_m"][name], pose_m[0], atol=1e-3)


@pytest.mark.slow
def test_the_batch_and_the_stretches_change_nothing(runs, video, tmp_path, monkeypatch):
    predict(runs, video, "--write", "npz", lifters=(1, 2), out=tmp_path / "one")
    monkeypatch.setattr("liftjax.inference.lifting._STRETCH", 5)
    words = ["--write", "npz", "--batch-size", "5"]
    predict(runs, video, *words, lifters=(1, 2), out=tmp_path / "five")
    one, five = (np.load(tmp_path / name / "walk.npz") for name in ("one", "five"))
    assert set(one.files) == set(five.files)
    for name in one.files:
        if one[name].dtype.kind == "f":
            np.testing.assert_allclose(one[name], five[name], atol=1e-3)


def test_without_lifters_the_keypoints_alone(runs, video, tmp_path):
    assert predict(runs, video, lifters=(), out=tmp_path) == 0
    found = document(tmp_path / "walk.json")
    assert found["lifters"] == []
    assert found["frames"][3]["people"][0]["poses_m"] == {}
    assert (tmp_path / "walk_poses.mp4").exists()
    assert not list(tmp_path.glob("*.bvh"))


def test_a_broken_picture_among_others_is_named_and_the_others_are_done(runs, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        cv2.imwrite(str(folder / f"{i}.png"), picture(i))
    for i in (1, 3):
        (folder / f"{i}.png").write_bytes(b"nothing")
    detections = [{"image_id": i, "bbox": [5 * i + 1, 5, 40, 60], "score": 1} for i in (0, 2)]
    (tmp_path / "boxes.json").write_text(json.dumps(detections))
    out = tmp_path / "out"
    assert predict(runs, folder, "--boxes", tmp_path / "boxes.json", out=out) == 0
    said = capsys.readouterr().err
    assert [said.count(f"{i}.png") for i in range(4)] == [0, 1, 0, 1]
    frames = document(out / "photos.json")["frames"]
    assert [[p["box_xyxy"][0] for p in frame["people"]] for frame in frames] == [[1], [], [11], []]
    assert {path.name for path in out.glob("*.jpg")} == {"0_poses.jpg", "2_poses.jpg"}


@pytest.mark.slow
def test_frames_of_a_video_have_one_size(runs, tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, size in enumerate([(72, 96), (72, 96), (90, 96)]):
        cv2.imwrite(str(folder / f"{i}.png"), picture(i, size))
    assert predict(runs, folder, "--fps", "10", out=tmp_path / "out") == 2
    assert "frame 2.png has 96 x 90 pixels, the frames before 96 x 72" in capsys.readouterr().err
    assert predict(runs, folder, "--write", "json", out=tmp_path / "out") == 0


def test_nobody_is_said_and_written(runs, video, tmp_path, capsys):
    detections = [{"image_id": 99, "bbox": [1, 1, 5, 5], "score": 1.0}]
    (tmp_path / "boxes.json").write_text("[]")
    out = tmp_path / "out"
    assert predict(runs, video, "--boxes", tmp_path / "boxes.json", out=out) == 0
    assert "no people in 12 frames" in capsys.readouterr().err
    assert [frame["people"] for frame in document(out / "walk.json")["frames"]] == [[]] * 12
    (tmp_path / "boxes.json").write_text(json.dumps(detections))
    assert predict(runs, video, "--boxes", tmp_path / "boxes.json", out=out) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["missing.mp4"], "missing.mp4"),
        (["VIDEO", "--box", "900,900,950,950"], "outside"),
        (["VIDEO", "--box", "1,2,3"], "four numbers"),
        (["VIDEO", "--box", PERSON, "--boxes", "b.json"], "one of --boxes, --box"),
        (["VIDEO", "--write", "gltf"], "Unknown output"),
        (["VIDEO", "--batch-size", "0"], "take 1 or more"),
        (["VIDEO", "--focal", "0"], "focal length of 0"),
        (["VIDEO", "--focal", "nan"], "focal length of nan"),
        (["VIDEO", "--beta", "nan"], "beta of nan"),
        (["VIDEO", "--min-score", "2"], "--min-score 2: scores are from 0 to 1"),
        (["VIDEO", "--least-score", "2"], "--min-score 2"),  # its old name
        (["VIDEO", "--fps", "1e12"], "0.001 to 100000"),
        (["TEXT"], "text.mp4"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(
    runs, video, tmp_path, capsys, monkeypatch, words, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no video at all\n" * 100)
    named = {"VIDEO": str(video), "TEXT": "text.mp4"}
    assert predict(runs, *(named.get(word, word) for word in words), out=tmp_path / "out") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert not list(tmp_path.glob("out/*"))


def test_a_wrong_checkpoint_gets_one_line(runs, video, tmp_path, capsys):
    lifter = runs[1]
    assert main(["predict", str(video), "--detector", lifter, "--out", str(tmp_path)]) == 2
    assert "holds a lifter (simple_baseline), not a detector" in capsys.readouterr().err
    assert predict(runs, video, lifters=(0,), out=tmp_path) == 2
    assert "holds a detector (rtmpose_tiny), not a lifter" in capsys.readouterr().err


def test_told_to_end_it_leaves_what_is_whole(runs, video, tmp_path, monkeypatch):
    def interrupted(result, stem):
        with output_file(stem.with_suffix(".html")) as partial:
            partial.write_text("<html>")
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setitem(command.OUTPUTS, "html", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        predict(runs, video, "--write", "json", "html", out=tmp_path)
    assert ended.value.code == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["walk.json"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_motion_without_a_lifter_is_refused(runs, video, tmp_path, capsys):
    assert predict(runs, video, "--write", "bvh", lifters=(), out=tmp_path) == 2
    assert "give --lifter" in capsys.readouterr().err


def test_what_is_read_is_never_written_over(runs, video, tmp_path, capsys):
    """Boxes named like the JSON, a video named like an overlay, a folder that is also --out."""
    walk, other, found = (tmp_path / n for n in ("walk.mp4", "walk_poses.mp4", "walk.json"))
    for path in (walk, other):
        path.write_bytes(video.read_bytes())
    found.write_text('[{"image_id": 0, "bbox": [5, 5, 40, 60]}]')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for words in ([walk, "--boxes", found], [walk, other], [tmp_path]):
        assert predict(runs, *words, out=tmp_path) == 2
        assert "choose another --out" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    words = [walk, "--boxes", found, "--write", "npz"]
    assert predict(runs, *words, out=tmp_path) == 0
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_pictures_and_videos_of_the_same_name_keep_apart(runs, video, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "walk.png"), picture(0))
    (tmp_path / "b" / "walk.mp4").write_bytes(video.read_bytes())
    out = tmp_path / "out"
    words = [tmp_path / "a", tmp_path / "b", "--write", "overlay", "bvh"]
    assert predict(runs, *words, out=out) == 0
    stems = ("walk", "walk_2", "walk_3")
    expected = {f"{stem}_person0.bvh" for stem in stems}
    expected |= {"walk_poses.mp4", "walk_2_poses.jpg", "walk_3_poses.jpg"}
    assert {path.name for path in out.iterdir()} == expected


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_names_of_other_encodings_stop_nothing(runs, video, tmp_path, monkeypatch):
    """All files of a picture and a video, told on a terminal that has ASCII alone."""
    folder = tmp_path / "\u00e9t\udce9"
    folder.mkdir()
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    (tmp_path / "a.png").rename(folder / "caf\udce9.png")
    (folder / "film\udce9.mp4").write_bytes(video.read_bytes())
    (tmp_path / "boxes.json").write_text(
        json.dumps(
            {
                "images": [{"id": 7, "file_name": "caf\udce9.png"}],
                "annotations": [{"image_id": 7, "bbox": [5, 5, 40, 60], "category_id": 1}],
            }
        )
    )
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, "ascii", write_through=True))
    out = tmp_path / "out\udce9"
    words = [folder / "caf\udce9.png", "--boxes", tmp_path / "boxes.json"]
    assert predict(runs, *words, out=out) == 0
    assert predict(runs, folder / "film\udce9.mp4", "--box", PERSON, out=out) == 0
    assert {path.name for path in out.iterdir()} == {
        *("caf%E9.json", "caf%E9.npz", "caf%E9.html", "caf%E9_poses.jpg", "caf%E9_person0.bvh"),
        *("film%E9.json", "film%E9.npz", "film%E9.html", "film%E9_poses.mp4"),
        "film%E9_person0.bvh",
    }
    found = document(out / "caf%E9.json")
    assert found["frames"][0]["name"] == "caf%E9.png"
    assert found["frames"][0]["people"][0]["box_xyxy"] == [5, 5, 45, 65]
    assert np.load(out / "caf%E9.npz")["frame_names"].tolist() == ["caf%E9.png"]
    assert b"t%E9/caf%E9.png: 1 frame, 1 pose\n" in written.getvalue()


@pytest.mark.parametrize(("usual", "times"), [(1000.0, 1), (-1.0, 0)])
def test_scores_far_below_the_usual_ones_are_told_once(runs, tmp_path, capsys, usual, times):
    detector = tmp_path / "run"
    shutil.copytree(runs[0], detector)
    Scores(detector).add(int(find_checkpoint(detector).name), keypoints=usual)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "noise.png"), picture(0))
    words = [tmp_path / "a", tmp_path / "b", "--write", "npz"]
    assert predict([str(detector)], *words, lifters=(), out=tmp_path / "out") == 0
    told = capsys.readouterr().err
    mean = np.load(tmp_path / "out" / "a.npz")["keypoint_scores"].mean()
    assert told.count("mean score") == times
    assert told.count(f"{tmp_path / 'a'}: the keypoints' mean score is {mean:.2f}; on") == times
    assert told.count("the detector had 1000.00.") == times


def test_out_that_is_a_file_is_one_clear_line(runs, video, tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        assert predict(runs, video, lifters=(), out=out) == 2
        assert "choose another --out" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "kept"


def test_options_given_twice_add_up(runs, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    words = [tmp_path / "a.png", "--write", "json", "--box", PERSON, "--box=-5,-5,40,50"]
    assert predict(runs, *words, out=tmp_path) == 0
    [frame] = document(tmp_path / "a.json")["frames"]
    assert [person["box_xyxy"] for person in frame["people"]] == [[10, 5, 60, 70], [-5, -5, 40, 50]]
