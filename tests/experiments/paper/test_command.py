"""`tables` at its door: the plan alone, and errors of one line."""

import re

import numpy as np
import pytest

from data_prep.building import write_dataset
from liftjax.cli import main
from liftjax.runtime.checkpoints import Checkpoints, build_model
from liftjax.runtime.state import flat_arrays
from tests.data.builders import make_dataset, make_record

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
        (["2", "--workdir", "gs://bucket/x"], "object stores do not have; give a directory"),
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
