"""The demo and `tables` from end to end: all real but the detector, which is a toy.

Both are in one file, so that one worker does both, and compiles what they share once. The test
of README runs the demo with a network.
"""

import contextlib
import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from data_prep.building import write_dataset
from liftjax.cli import main
from liftjax.data.records import RENDERED
from liftjax.experiments import demo
from liftjax.experiments.paper.report import figures
from liftjax.experiments.paper.scales import SCALES
from liftjax.runtime.checkpoints import find_checkpoint, read_meta
from liftjax.runtime.scores import Scores
from tests.data.builders import make_record
from tests.experiments import toy_scales
from tests.slow import slow

ROOT = Path(__file__).parents[2]
TABLES = ("3", "gt")  # the fewest runs that have a row of every kind, and figures


# The demo


def run_demo(workdir, *arguments):
    return main(["demo", "--scale", "tiny", "--workdir", str(workdir), *arguments])


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Where the demo was run; while tests use it, the demo's tiny scale is the toy's."""
    directory = tmp_path_factory.mktemp("demo")
    with toy_scales.toy_demo():
        assert run_demo(directory, "--steps", "4") == 0
        yield directory


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


def test_every_detector_knows_its_data_and_the_usual_score_of_its_keypoints(workdir):
    for name in ("base", *demo.METHODS):
        run = workdir / "synthetic" / name
        assert read_meta(run)["trained_on"] == [RENDERED]
        assert list(Scores(run).keypoints) == [int(find_checkpoint(run).name)]


def test_running_it_again_repeats_the_table_without_training(workdir):
    before = json.loads((workdir / "table.json").read_text())
    files = sorted((workdir / "synthetic" / "multi" / "checkpoints").rglob("*"))
    stamps = [f.stat().st_mtime_ns for f in files]
    assert run_demo(workdir, "--steps", "4") == 0
    assert json.loads((workdir / "table.json").read_text())["rows"] == before["rows"]
    assert [f.stat().st_mtime_ns for f in files] == stamps


def test_another_seed_in_the_same_directory_is_refused(workdir, capsys):
    assert run_demo(workdir, "--seed", "1") == 2
    assert "give a new --workdir" in capsys.readouterr().err


def test_guided_training_logs_its_terms_and_the_gradient_ratio(workdir):
    header = (
        (workdir / "synthetic" / "multi" / "metrics.csv").read_text().splitlines()[0].split(",")
    )
    for column in ("loss_2d", "ohklm", "xy", "z", "local_consistency", "grad_ratio", "data_wait"):
        assert column in header


def train_for_no_steps(config, workdir):
    """What training leaves where it starts from a checkpoint, but for the training."""
    start = config.lifter.checkpoint or config.detector.checkpoint
    if not Path(workdir).exists():  # or it is there already
        shutil.copytree(start, workdir)
    (Path(workdir) / "config.json").write_text(json.dumps(config.to_dict()))


def test_a_recording_starts_from_the_synthetic_detector_and_lifters(workdir, monkeypatch):
    def toy_recording(out):
        splits = {"train": range(12), "test": range(12, 18)}
        made = {name: [make_record(i, has_3d=True) for i in rows] for name, rows in splits.items()}
        write_dataset(out, "toy", made, {})

    monkeypatch.setattr("data_prep.multicam.build.build_demo_recording", toy_recording)
    monkeypatch.setattr(demo.training, "train", train_for_no_steps)
    assert run_demo(workdir, "--data", "multicam", "--steps", "4") == 0
    table = json.loads((workdir / "table.json").read_text())
    assert table == json.loads((workdir / "multicam" / "table.json").read_text())
    assert table["samples"] == 6
    lifter = f"lifters/{list(demo.LIFTERS)[-1]}"
    runs = {run: workdir / "multicam" / run for run in ("base", lifter)}
    configs = {run: json.loads((path / "config.json").read_text()) for run, path in runs.items()}
    synthetic = workdir / "synthetic"
    assert configs["base"]["detector"]["checkpoint"] == str(synthetic / "base")
    assert configs[lifter]["lifter"]["checkpoint"] == str(synthetic / lifter)


# The tables


class Done(NamedTuple):
    """What `tables` has done, and what it printed."""

    workdir: Path
    printed: str
    lifters: int

    @property
    def runs(self) -> int:
        """The lifters, the labels, and a detector of each method with what they start from."""
        return self.lifters + 1 + 4


def run_tables(workdir):
    arguments = ["tables", *TABLES, "--scale", "tiny", "--workdir", str(workdir)]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(arguments) == 0
    return printed.getvalue()


@pytest.fixture(scope="module", params=[slow("toy")])
def first(tmp_path_factory):
    """A first run; while tests use it, the tiny scale is the toy's."""
    workdir = tmp_path_factory.mktemp("tables") / "work"
    with toy_scales.toy_tables():
        yield Done(workdir, run_tables(workdir), len(SCALES["tiny"].lifters))


@pytest.fixture(scope="module")
def report(first):
    def refuse(constant):
        raise ValueError(f"{constant} is no JSON")

    text = (first.workdir / "report" / "report.json").read_text()
    return json.loads(text, parse_constant=refuse)


def numbers(report):
    return [
        (table["key"], row["labels"], column["key"], cell)
        for table in report["tables"]
        for row in table["rows"]
        for column, cell in zip(table["columns"], row["cells"], strict=True)
    ]


def test_the_report_has_the_tables_with_numbers_and_their_runs(first, report):
    assert [table["key"] for table in report["tables"]] == list(TABLES)
    assert (report["scale"], report["data"], report["seeds"]) == ("tiny", ["synthetic"], [0])
    assert report["same_data"] is False
    runs = {path.name for path in (first.workdir / "runs").iterdir()}
    assert len(runs) == first.runs
    measured = [cell for _, _, _, cell in numbers(report)]
    assert len(measured) == 4 * 4 + 2 * first.lifters
    for key, labels, column, cell in numbers(report):
        assert set(cell["runs"]) <= runs
        if "perfect" not in column:  # no sample may be perfect after two steps
            assert cell["low"] <= cell["value"] <= cell["high"], (key, labels, column)
    value = {(*labels, column): cell["value"] for _, labels, column, cell in numbers(report)}
    assert 0 <= value["Multi-model", "FT-2D", "all pck"] <= 100
    assert value["Multi-model", "FT-2D", "all mpjpe"] > value["P-MPJPE", "videopose3d"] > 0


def test_the_report_says_how_runs_were_trained(first, report):
    titles = {run["title"] for run in report["runs"]}
    assert len(titles) == len(report["runs"]) == first.runs - 1  # the labels are not trained
    for run in report["runs"]:
        assert run["seconds"] > 0
        assert run["curve"]["step"][-1] == run["steps"]
        assert len(run["curve"]["loss"]) == len(run["curve"]["step"])
    multi = next(run for run in report["runs"] if run["method"] == "multi")
    assert len(multi["parents"]) == len(multi["config"]["lifters"]) + 1 == first.lifters + 1
    assert "tables 3 gt --scale tiny" in report["command"]
    assert report["versions"]["jax"]
    assert any("test samples" in sentence for sentence in report["protocol"])


def test_charts_and_poses_have_their_numbers(report):
    assert {s["method"] for s in report["per_joint"]["series"]} == {"FT-2D", "multi-model"}
    for series in report["per_joint"]["series"]:
        assert len(series["mm"]) == len(series["px"]) == len(report["per_joint"]["joints"]) == 17
    for series in report["per_action"]["series"]:
        assert len(series["mm"]) == len(report["per_action"]["actions"]) > 2
    assert [row["joint"] for row in report["moved"]] == report["per_joint"]["joints"]
    assert len(report["poses"]["samples"]) == 8
    for sample in report["poses"]["samples"]:
        assert sample["image"].startswith("data:image/jpeg;base64,")
        assert set(sample["poses"]) == {"truth", "FT-2D", "multi-model"}


def test_every_file_of_the_report_is_there_and_what_it_says(first, report):
    folder, printed = first.workdir / "report", first.printed
    figures = {figure["file"] for figure in report["figures"]}
    assert {f["key"] for f in report["figures"]} == {"qualitative", "failures", "heatmaps", "moved"}
    files = {"report.json", "tables.md", "tables.csv", "tables.tex", "report.html"} | figures
    assert {path.name for path in folder.iterdir()} == files
    for name in figures:
        start = (folder / name).read_bytes()[:8]
        assert start.startswith(b"\x89PNG" if name.endswith("png") else b"\xff\xd8\xff")
    markdown = (folder / "tables.md").read_text()
    assert markdown.strip() in printed
    assert f"Report: {folder / 'report.html'}" in printed
    latex, page = ((folder / name).read_text() for name in ("tables.tex", "report.html"))
    value = next(c["value"] for k, row, _, c in numbers(report) if (k, row) == ("gt", ["MPJPE"]))
    for text in (markdown, latex, page):
        assert f"{value:.1f}" in text
    with (folder / "tables.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(numbers(report))
    assert latex.count(r"\begin{tabular") == len(TABLES)
    assert "<script" in page
    assert not re.search(r"(src|href)=.https?://", page)


def test_running_it_again_does_nothing_and_reports_the_same(first, report, monkeypatch):
    monkeypatch.setattr(figures, "save_figure", lambda *arguments: None)  # they are there
    workdir, before = first.workdir, report
    stamps = {p: p.stat().st_mtime_ns for p in (workdir / "runs").rglob("*")}
    printed = run_tables(workdir)
    assert f"{first.runs} runs, 0 to do" in printed
    assert f"{first.runs} of {first.runs} runs are there already." in printed
    assert {p: p.stat().st_mtime_ns for p in (workdir / "runs").rglob("*")} == stamps
    again = json.loads((workdir / "report" / "report.json").read_text())
    for one in (again, before):  # of the source tree, in which somebody may be at work
        one["versions"] = {
            k: v for k, v in one["versions"].items() if k not in ("revision", "dirty")
        }
    assert again == before
