"""`tables` at its door: the plan alone, errors of one line; and once from end to end, all real."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep.building import write_dataset
from liftjax.cli import main
from liftjax.training.checkpoints import Checkpoints, build_model
from liftjax.training.state import flat_arrays
from tests.data.builders import make_dataset, make_record

ROOT = Path(__file__).parents[3]
TABLES = ("3", "gt")  # the fewest runs that have a row of every kind, and figures
RUNS = 9


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A data set that is no video, and has training and test splits."""
    directory = tmp_path_factory.mktemp("people") / "set"
    splits = {"train": range(6), "test": range(6, 12)}
    made = {name: [make_record(i) for i in rows] for name, rows in splits.items()}
    write_dataset(directory, "toy", made, {})
    return directory


def tables(*arguments, workdir):
    return main(["tables", "--workdir", str(workdir), *map(str, arguments)])


# The plan


def test_a_dry_run_prints_the_plan_and_leaves_nothing(tmp_path, capsys):
    assert tables(*TABLES, "--scale", "tiny", "--dry-run", workdir=tmp_path / "work") == 0
    said = capsys.readouterr().out
    assert re.search(rf"{RUNS} runs, {RUNS} to do: about \S+ hours on this machine", said)
    for words in ("| lifter MixSTE", "| RTMPose, multi-model ", "| ground-truth 2D", "| gt "):
        assert words in said
    assert not (tmp_path / "work").exists()


def test_all_is_the_default_and_more_seeds_are_more_runs(tmp_path, capsys):
    assert tables("--scale", "tiny", "--dry-run", workdir=tmp_path / "work") == 0
    assert "56 runs, 56 to do" in capsys.readouterr().out
    seeds = ("--scale", "tiny", "--seed", 4, "--seeds", 2)
    assert tables("gt", *seeds, "--dry-run", workdir=tmp_path / "work") == 0
    said = capsys.readouterr().out
    assert "10 runs, 10 to do" in said
    assert {line.split("|")[3].strip() for line in said.splitlines() if "SB" in line} == {"4", "5"}


def test_the_users_data_at_the_papers_size_can_be_planned(people, tmp_path, capsys):
    data = ("--data", f"human36m={people}", "--scale", "paper")
    assert tables(*TABLES, *data, "--dry-run", workdir=tmp_path / "work") == 0
    assert f"{RUNS} runs, {RUNS} to do" in capsys.readouterr().out


def test_given_runs_are_not_planned_again(tmp_path, capsys):
    spec = {"kind": "lifter", "name": "simple_baseline", "skeleton": "human36m"}
    spec |= {"linear_size": 8, "num_stages": 1}
    with Checkpoints(tmp_path / "mine") as checkpoints:
        arrays, meta = flat_arrays(build_model(spec, 0)), {"model": spec, "recipe": {}}
        checkpoints.save(0, arrays, {"opt": np.zeros(1)}, meta)
    given = ("--given", f"simple_baseline={tmp_path / 'mine'}")
    assert tables("gt", "--scale", "tiny", *given, "--dry-run", workdir=tmp_path / "work") == 0
    said = capsys.readouterr().out
    assert "5 runs, 4 to do" in said
    assert [line for line in said.splitlines() if "lifter SB" in line and " there " in line]


# Errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["9"], "Unknown table '9'; known: 1, 2, 3"),
        (["votng"], "did you mean 'voting'"),
        (["1", "--data", "humn36m"], "did you mean 'human36m'"),
        (["1", "--data", "human36m"], "No data set in"),
        (["1", "--data", "human36m=nowhere"], "nowhere"),
        (["2", "--data", "synthetic", "synthetic"], "names a data set twice"),
        (["2", "--given", "hrnt=runs/mine"], "did you mean 'hrnet'"),
        (["2", "--given", "hrnet"], "write hrnet=DIRECTORY"),
        (["2", "--given", "hrnet=nowhere"], "No checkpoint in"),
        (["2", "--seeds", "0"], "Seeds are different numbers from 0 up"),
        (["2", "--seed", "-1"], "Seeds are different numbers from 0 up, not [-1]"),
        (["2", "--workdir", "gs://bucket/x"], "an object store has not; give a directory"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tables(*arguments, workdir=tmp_path / "work") == 2
    found = capsys.readouterr()
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    assert said in found.err
    assert not found.out
    assert not list(tmp_path.iterdir())


def test_data_without_a_test_split_is_refused(tmp_path, capsys):
    make_dataset(tmp_path / "set", count=3)
    assert tables("1", "--data", f"human36m={tmp_path / 'set'}", workdir=tmp_path / "work") == 2
    error = capsys.readouterr().err
    assert f"error: {tmp_path / 'set'} has no split 'test'" in error
    assert error.count("\n") == 1


def test_overrides_of_recipes_are_refused(tmp_path, capsys):
    assert tables("1", "--config.seed=1", workdir=tmp_path / "work") == 2
    assert "tables takes no --config.KEY=VALUE" in capsys.readouterr().err


# From end to end


def command(workdir, cache):
    """Runs it in a process of its own, where compiled programs are kept; what it printed."""
    settings = {"LIFTJAX_XLA_CACHE": str(cache), "JAX_PLATFORMS": "cpu"}
    arguments = ["tables", *TABLES, "--scale", "tiny", "--workdir", str(workdir)]
    done = subprocess.run(
        [sys.executable, "-m", "liftjax", *arguments],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("xla")


@pytest.fixture(scope="module")
def first(tmp_path_factory, cache):
    """(work directory, what was printed) of a first run."""
    workdir = tmp_path_factory.mktemp("tables") / "work"
    return workdir, command(workdir, cache)


@pytest.fixture(scope="module")
def report(first):
    def refuse(constant):
        raise ValueError(f"{constant} is no JSON")

    text = (first[0] / "report" / "report.json").read_text()
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
    runs = {path.name for path in (first[0] / "runs").iterdir()}
    assert len(runs) == RUNS
    measured = [cell for _, _, _, cell in numbers(report)]
    assert len(measured) == 4 * 4 + 2 * 4
    for key, labels, column, cell in numbers(report):
        assert set(cell["runs"]) <= runs
        if "perfect" not in column:  # no sample may be perfect after two steps
            assert cell["low"] <= cell["value"] <= cell["high"], (key, labels, column)
    value = {(*labels, column): cell["value"] for _, labels, column, cell in numbers(report)}
    assert 0 <= value["Multi-model", "FT-2D", "all pck"] <= 100
    assert value["Multi-model", "FT-2D", "all mpjpe"] > value["P-MPJPE", "mixste"] > 0


def test_the_report_says_how_runs_were_trained(report):
    titles = {run["title"] for run in report["runs"]}
    assert len(titles) == len(report["runs"]) == RUNS - 1  # the labels are not trained
    for run in report["runs"]:
        assert run["seconds"] > 0
        assert run["curve"]["step"][-1] == run["steps"]
        assert len(run["curve"]["loss"]) == len(run["curve"]["step"])
    multi = next(run for run in report["runs"] if run["method"] == "multi")
    assert len(multi["parents"]) == len(multi["config"]["lifters"]) + 1 == 5
    assert "tables 3 gt --scale tiny" in report["command"]
    assert report["versions"]["jax"]
    assert any("test samples" in sentence for sentence in report["protocol"])


def test_charts_and_poses_have_their_numbers(report):
    assert {s["method"] for s in report["per_joint"]["series"]} == {"FT-2D", "multi-model"}
    for series in report["per_joint"]["series"]:
        assert len(series["mm"]) == len(series["px"]) == len(report["per_joint"]["joints"]) == 17
    for series in report["per_action"]["series"]:
        assert len(series["mm"]) == len(report["per_action"]["actions"]) > 5
    assert [row["joint"] for row in report["moved"]] == report["per_joint"]["joints"]
    assert len(report["poses"]["samples"]) == 8
    for sample in report["poses"]["samples"]:
        assert sample["image"].startswith("data:image/jpeg;base64,")
        assert set(sample["poses"]) == {"truth", "FT-2D", "multi-model"}


def test_every_file_of_the_report_is_there_and_what_it_says(first, report):
    folder, printed = first[0] / "report", first[1]
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


def test_running_it_again_does_nothing_and_reports_the_same(first, report, cache):
    workdir, before = first[0], report
    stamps = {p: p.stat().st_mtime_ns for p in (workdir / "runs").rglob("*")}
    printed = command(workdir, cache)
    assert f"{RUNS} runs, 0 to do" in printed
    assert f"{RUNS} of {RUNS} runs are there already." in printed
    assert {p: p.stat().st_mtime_ns for p in (workdir / "runs").rglob("*")} == stamps
    again = json.loads((workdir / "report" / "report.json").read_text())
    for one in (again, before):  # of the source tree, in which somebody may be at work
        one["versions"] = {
            k: v for k, v in one["versions"].items() if k not in ("revision", "dirty")
        }
    assert again == before
