"""The demo from end to end at its tiny scale: everything real, nothing claimed."""

import json

import numpy as np
import pytest

from data_prep.building import write_dataset
from liftjax.cli import main
from liftjax.experiments import demo
from tests.data.builders import make_record


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--scale", "tiny", "--workdir", str(directory), "--steps", "4"]) == 0
    return directory


def test_the_table_has_every_row_and_column(workdir):
    table = json.loads((workdir / "table.json").read_text())
    assert list(table["rows"]) == ["gt", "ft2d", "single", "multi"]
    for name, row in table["rows"].items():
        assert set(row) == {*demo.LIFTERS, "mean", "pck"}
        assert row["mean"] == pytest.approx(np.mean([row[lifter] for lifter in demo.LIFTERS]))
        assert 0 <= row["pck"] <= 100
        assert row["pck"] == 100 if name == "gt" else row["mean"] > table["rows"]["gt"]["mean"]
    assert (table["seed"], table["steps"]) == (0, 4)
    assert "| multi-model" in (workdir / "table.md").read_text()


def test_the_figure_is_a_picture(workdir):
    assert (workdir / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_every_method_started_from_the_same_detector(workdir):
    for method in demo.METHODS:
        config = json.loads((workdir / "synthetic" / method / "config.json").read_text())
        assert config["detector"]["checkpoint"] == str(workdir / "synthetic" / "base")
        assert config["steps"] == 4


def test_running_it_again_repeats_the_table_without_training(workdir):
    before = json.loads((workdir / "table.json").read_text())
    files = sorted((workdir / "synthetic" / "multi" / "checkpoints").rglob("*"))
    stamps = [f.stat().st_mtime_ns for f in files]
    assert main(["demo", "--scale", "tiny", "--workdir", str(workdir), "--steps", "4"]) == 0
    assert json.loads((workdir / "table.json").read_text())["rows"] == before["rows"]
    assert [f.stat().st_mtime_ns for f in files] == stamps


def test_another_seed_in_the_same_directory_is_refused(workdir, capsys):
    arguments = ["demo", "--scale", "tiny", "--workdir", str(workdir), "--seed", "1"]
    assert main(arguments) == 2
    assert "give a new --workdir" in capsys.readouterr().err


def test_guided_training_logs_its_terms_and_the_gradient_ratio(workdir):
    header = (
        (workdir / "synthetic" / "multi" / "metrics.csv").read_text().splitlines()[0].split(",")
    )
    for column in ("loss_2d", "ohklm", "xy", "z", "local_consistency", "grad_ratio", "data_wait"):
        assert column in header


def test_a_recording_starts_from_the_synthetic_detector_and_lifters(workdir, monkeypatch):
    def toy_recording(out):
        splits = {"train": range(12), "test": range(12, 18)}
        made = {name: [make_record(i, has_3d=True) for i in rows] for name, rows in splits.items()}
        write_dataset(out, "toy", made, {})

    monkeypatch.setattr("data_prep.multicam.build.build_demo_recording", toy_recording)
    arguments = ["demo", "--data", "multicam", "--scale", "tiny", "--steps", "4"]
    assert main([*arguments, "--workdir", str(workdir)]) == 0
    table = json.loads((workdir / "table.json").read_text())
    assert table == json.loads((workdir / "multicam" / "table.json").read_text())
    assert table["samples"] == 6
    runs = {run: workdir / "multicam" / run for run in ("base", "lifters/mixste")}
    configs = {run: json.loads((path / "config.json").read_text()) for run, path in runs.items()}
    synthetic = workdir / "synthetic"
    assert configs["base"]["detector"]["checkpoint"] == str(synthetic / "base")
    assert configs["lifters/mixste"]["lifter"]["checkpoint"] == str(synthetic / "lifters/mixste")
