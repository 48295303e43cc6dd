"""What a plan says of the work before it: which runs, how long, and what is there already."""

import dataclasses
import json

import pytest

from liftjax.experiments.paper.execute import Workdir
from liftjax.experiments.paper.plan import TablesPlan, describe, estimate_seconds
from tests.experiments.paper.studies import small_study

TABLES = ("2", "3")


@pytest.fixture
def plan():
    return TablesPlan(TABLES, ((small_study(),), (small_study(seed=1),)))


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path)


def finish(workdir, run, seconds):
    """As if a run had been done in so many seconds."""
    folder = workdir.root / "runs" / run.id
    folder.mkdir(parents=True)
    (folder / "done.json").write_text(json.dumps({"title": run.title, "seconds": seconds}))
    if run.lifters:
        (folder / run.outcome_name).touch()


def test_runs_are_each_there_once_and_in_order(plan):
    runs = plan.runs()
    assert len(set(runs)) == len(runs)
    for i, run in enumerate(runs):
        assert set(run.needs) <= set(runs[:i])
    for table in TABLES:
        assert set(plan.runs_of(table)) <= set(runs)
    assert {run.seed for run in runs} == {0, 1}


def test_a_fresh_start_is_estimated_by_operations(plan, workdir):
    runs = plan.runs()
    left = estimate_seconds(runs, workdir, "cpu")
    assert set(left) == set(runs)
    assert all(seconds > 0 for seconds in left.values())
    faster = estimate_seconds(runs, workdir, "gpu")
    assert all(faster[run] <= left[run] for run in runs)
    one = plan.studies[0][0]
    longer = {run.steps: left[run] for run in (one.ft2d("rtmpose"), one.start("rtmpose"))}
    assert longer[1500] > longer[250]


def test_a_platform_nobody_has_timed_is_no_error(plan, workdir):
    assert estimate_seconds(plan.runs(), workdir, "METAL")


def test_finished_runs_cost_nothing_and_tell_the_rate_of_their_network(plan, workdir):
    one, other = plan.studies[0][0], plan.studies[1][0]
    before = estimate_seconds(plan.runs(), workdir, "cpu")
    finish(workdir, one.start("hrnet"), 912.0)  # 900 steps
    left = estimate_seconds(plan.runs(), workdir, "cpu")
    assert one.start("hrnet") not in left
    assert len(left) == len(before) - 1
    # A second a step, besides what every run takes.
    assert left[other.start("hrnet")] == pytest.approx(912.0)
    assert left[one.ft2d("hrnet")] == pytest.approx(250 + 12)
    for run in (one.ft2d("rtmpose"), one.lifter("iganet")):
        assert left[run] == before[run]


def test_runs_that_took_no_time_are_told_from_runs_that_nobody_timed(plan, workdir):
    one, other = plan.studies[0][0], plan.studies[1][0]
    finish(workdir, one.lifter("mixste"), 5.0)
    left = estimate_seconds(plan.runs(), workdir, "cpu")
    assert left[other.lifter("mixste")] == pytest.approx(12.0)
    assert left[other.lifter("iganet")] > 12.0
    of_clips = one.video_lifter("mixste")  # a step of it is another matter
    assert estimate_seconds([one.lifter("mixste"), of_clips], workdir, "cpu")[of_clips] > 12.0


def test_the_rate_is_the_median_of_what_is_there(plan, workdir):
    one, other = plan.studies[0][0], plan.studies[1][0]
    for run, each in (
        (one.ft2d("hrnet"), 1.0),
        (one.start("hrnet"), 2.0),
        (other.ft2d("hrnet"), 9.0),
    ):
        finish(workdir, run, 12 + each * run.steps)
    left = estimate_seconds(plan.runs(), workdir, "cpu")
    assert left[one.multi("hrnet")] == pytest.approx(12 + 2.0 * 250)


def test_a_run_without_its_outcome_is_not_done(plan, workdir):
    run = plan.studies[0][0].ft2d("hrnet")
    finish(workdir, run, 100.0)
    assert workdir.is_done(run)
    fewer = dataclasses.replace(run, lifters=run.lifters[:2])
    assert not workdir.is_done(fewer)
    assert estimate_seconds([fewer], workdir, "cpu")


def test_what_is_given_takes_no_time(workdir):
    one = small_study(given={"hrnet": "/mine/hrnet"})
    left = estimate_seconds(TablesPlan(("2",), ((one,),)).runs(), workdir, "cpu")
    assert one.start("hrnet") not in left


def test_the_description_has_every_run_and_the_total(plan, workdir):
    one = plan.studies[0][0]
    done = [one.start("hrnet"), one.lifter("mixste")]
    for run in done:
        finish(workdir, run, 100.0)
    text, runs = describe(plan, workdir, "cpu"), plan.runs()
    lines = text.splitlines()
    for run in runs:
        (line,) = [line for line in lines if run.id in line]
        assert run.title in line
        assert ("there" in line) == (run in done)
        assert f" {run.steps} " in line
    left = estimate_seconds(runs, workdir, "cpu")
    total = sum(left.values()) / 3600
    assert f"{len(runs)} runs, {len(runs) - 2} to do: about {total:.1f} hours" in lines[-1]
    assert "by the runs that are there" in lines[-1]


def test_tables_say_how_many_runs_they_add(plan, workdir):
    text = describe(plan, workdir, "cpu")
    assert "within a factor of three" in text
    second, third = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith(("| 2 ", "| 3 "))
    ]
    assert int(second[2]) == int(second[3]) == len(plan.runs_of("2"))
    # Single-model guidance of RTMPose, for each of two seeds; all else is of Table 2.
    assert (int(third[2]), int(third[3])) == (len(plan.runs_of("3")), 2)
