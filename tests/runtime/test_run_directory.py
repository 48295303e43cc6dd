"""The files that let anyone repeat a run."""

import json
import shutil
import subprocess

import pytest
from etils import epath

from liftjax.errors import LiftjaxError
from liftjax.runtime import run_directory
from liftjax.runtime.scores import Scores


def git(root, *arguments):
    who = ["-c", "user.name=N", "-c", "user.email=n@example.org"]
    subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True)


def test_every_start_is_noted(tmp_path):
    directory = epath.Path(tmp_path)
    for step in (0, 40):
        run_directory.record_start(directory, {"seed": 7, "steps": 90}, step)
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 7, "steps": 90}
    document = json.loads((tmp_path / "versions.json").read_text())
    assert document["seed"] == 7
    assert document["processes"] == 1
    assert {"python", "machine", "jax", "orbax-checkpoint", "devices"} <= document.keys()
    assert [start["step"] for start in document["starts"]] == [0, 40]
    assert all(start["devices"] and start["time"] for start in document["starts"])


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_file_that_somebody_has_changed_is_named(tmp_path, content):
    for name in ("versions.json", "scores.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(LiftjaxError, match=r"versions.json is damaged .*; move it away"):
        run_directory.record_start(epath.Path(tmp_path), {"seed": 0}, 5)
    with pytest.raises(LiftjaxError, match=r"scores.json is damaged .*; move it away"):
        Scores(tmp_path)


def test_keypoint_scores_are_found_again_and_old_runs_have_none(tmp_path):
    (tmp_path / "scores.json").write_text('{"title": "eval_mpjpe", "steps": {"2": 71.5}}')
    scores = Scores(tmp_path)
    assert scores.usual_keypoint_score(2) is None
    scores.add(4, 70.5, keypoints=0.5)
    scores.add(6, keypoints=0.75)
    scores = Scores(tmp_path)
    assert scores.steps == {2: 71.5, 4: 70.5}
    assert [scores.usual_keypoint_score(step) for step in (3, 4, 5, 6, 99)] == [
        *(None, 0.5, 0.5, 0.75, 0.75),
    ]
    scores.forget_after(5)
    assert scores.keypoints == {4: 0.5}
    assert scores.best([2, 4, 6]) == 4


def test_a_run_begun_before_starts_were_noted_goes_on(tmp_path):
    (tmp_path / "versions.json").write_text(json.dumps({"jax": "0.9"}))
    run_directory.record_start(epath.Path(tmp_path), {"seed": 0}, 5)
    document = json.loads((tmp_path / "versions.json").read_text())
    assert [start["step"] for start in document["starts"]] == [5]


@pytest.mark.parametrize("text", ["{", "[1]", "9" * 5000])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "versions.json").write_text(text)
    with pytest.raises(LiftjaxError, match=r"versions\.json is damaged .*; move it away"):
        run_directory.record_start(epath.Path(tmp_path), {"seed": 0}, 5)


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_revision_says_whether_the_sources_have_changed(tmp_path):
    (tmp_path / "liftjax").mkdir()
    (tmp_path / "liftjax" / "code.py").write_text("a = 1\n")
    assert run_directory.source_revision(tmp_path) == {}  # installed, without git
    git(tmp_path, "init")
    assert run_directory.source_revision(tmp_path) == {}  # nothing committed
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "log.txt").write_text("a run's own files do not count\n")
    clean = run_directory.source_revision(tmp_path)
    assert len(clean["revision"]) == 40
    assert not clean["dirty"]
    (tmp_path / "liftjax" / "code.py").write_text("a = 2\n")
    assert run_directory.source_revision(tmp_path) == clean | {"dirty": True}


def test_without_git_there_is_no_revision(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_directory.source_revision(tmp_path) == {}
