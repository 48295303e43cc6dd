"""The report as a document: what it says of toy runs, and when it subtracts the paper's numbers."""

import json

import numpy as np
import pytest

from liftjax.experiments.paper.execute import Workdir, execute_runs
from liftjax.experiments.paper.plan import TablesPlan
from liftjax.experiments.paper.report import document
from liftjax.experiments.paper.runs import Source
from liftjax.experiments.paper.scales import PAPER, TINY
from liftjax.experiments.paper.study import Study
from tests.experiments.paper import toy_runs

ACTIONS = ("Sitting", "Walking")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    directory = tmp_path_factory.mktemp("people") / "set"
    toy_runs.build(directory)
    return directory


@pytest.fixture
def toys(monkeypatch):
    toy_runs.install(monkeypatch.setattr)
    toy_runs.install_data_and_pictures(monkeypatch.setattr)


@pytest.fixture
def build(toys, people, tmp_path):
    """Does a plan with toys and builds its report."""

    def of(tables, names=("human36m",), scale=TINY, seeds=(0,)):
        studies = tuple(
            tuple(
                Study(Source(name, str(people), samples=8), scale, seed, actions=ACTIONS)
                for name in names
            )
            for seed in seeds
        )
        plan, workdir = TablesPlan(tables, studies), Workdir(tmp_path / "work")
        execute_runs(plan.runs(), workdir, {})
        return plan, document.build_report(plan, workdir, tmp_path)

    return of


def table(found, key):
    return next(one for one in found["tables"] if one["key"] == key)


@pytest.mark.parametrize(
    ("tables", "names", "scale", "same"),
    [
        (("relu",), ("human36m",), PAPER, True),
        (("relu",), ("human36m",), TINY, False),
        (("relu",), ("panoptic",), PAPER, False),  # those numbers are of Human3.6M
        (("relu",), ("synthetic",), PAPER, False),
        (("2",), ("panoptic",), PAPER, True),  # Table 2 has Panoptic's
        (("2",), ("human36m", "panoptic"), PAPER, True),
        (("2",), ("human36m", "synthetic"), PAPER, False),
    ],
)
def test_published_numbers_are_subtracted_where_they_are_of_the_same_data(
    build, tables, names, scale, same
):
    _, found = build(tables, names, scale)
    assert found["same_data"] is same
    assert found["data"] == list(names)


def test_several_data_sets_are_columns_of_table_2_and_the_first_serves_all_else(build):
    plan, found = build(("2", "gt"), ("human36m", "synthetic"))
    keys = [column["key"] for column in table(found, "2")["columns"]]
    assert [key.split()[0] for key in keys] == ["human36m"] * 4 + ["synthetic"] * 4
    first, second = plan.studies[0]
    assert table(found, "gt")["rows"][0]["cells"][0]["runs"] == [first.truth().id]
    runs = {run["id"] for run in found["runs"]}
    assert {first.multi("hrnet").id, second.multi("hrnet").id} <= runs


def test_two_seeds_are_averaged_everywhere(build):
    _, found = build(("2", "gt"), seeds=(0, 1))
    assert found["seeds"] == [0, 1]
    assert "Student" in found["intervals"]
    for row in table(found, "2")["rows"]:
        for cell in row["cells"]:
            assert len(cell["seeds"]) == len(cell["runs"]) == 2
            assert cell["value"] == pytest.approx(np.mean(cell["seeds"]), rel=1e-5)
    values = {tuple(r["labels"]): r["cells"][1]["value"] for r in table(found, "2")["rows"]}
    for series in found["per_joint"]["series"]:
        method = {"FT-2D": "FT-2D", "multi-model": "Ours"}[series["method"]]
        assert np.mean(series["mm"]) == pytest.approx(values[series["detector"], method], abs=0.01)


def test_one_seed_speaks_of_samples(build):
    _, found = build(("relu",))
    assert "bootstrap" in found["intervals"]
    json.dumps(found, allow_nan=False)


def test_runs_have_their_curves(build):
    plan, found = build(("relu",))
    assert [run["id"] for run in found["runs"]] == [run.id for run in plan.runs() if run.recipe]
    for run in found["runs"]:
        assert run["curve"]["step"] == list(range(1, toy_runs.STEPS + 1))
        losses = run["curve"]["loss"]
        assert losses == sorted(losses, reverse=True)
        assert "grad_ratio" not in run["curve"]


def test_without_detectors_there_are_no_pairs_to_show(build):
    _, found = build(("gt",))
    assert found["poses"]["samples"] == found["figures"] == found["moved"] == []
    assert found["per_joint"]["series"] == found["per_action"]["series"] == []
