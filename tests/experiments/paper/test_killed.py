"""The whole command, killed anywhere, or run twice at once, ends as one left in peace.

Training, data and pictures are toys; plan, bookkeeping, tables and the report's numbers are the
command's own. LIFTJAX_KILLS sets how many times the slow test kills it.
"""

import collections
import dataclasses
import functools
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from liftjax.cli import main
from liftjax.experiments.paper import command, execute
from liftjax.experiments.paper.command import make_plan
from liftjax.experiments.paper.report import document
from liftjax.experiments.paper.scales import SCALES, TINY
from tests.experiments.paper import toy_runs
from tests.kills import Moments, moments
from tests.slow import slow

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("LIFTJAX_KILLS", 6))
TABLES = ("2", "relu", "gt")
RUN_S = 0.15  # that a toy trains, and that it measures
PATIENCE_S = 300


@pytest.fixture(scope="module", autouse=True)
def toys():
    """Toys for what is done in this process."""
    with pytest.MonkeyPatch.context() as patch:
        toy_runs.install(patch.setattr)
        toy_runs.install_data_and_pictures(patch.setattr)
        patch.setattr(execute, "_PATIENCE", 0.01)
        patch.setattr(document, "source_revision", lambda: {})  # of git, in a process
        yield


@pytest.fixture
def log(tmp_path, monkeypatch):
    """What toys write down; the work directory goes beside it."""
    path = tmp_path / "all" / "log.txt"
    path.parent.mkdir()
    monkeypatch.setenv(toy_runs.LOG, str(path))
    return path


def arguments(workdir, tables=TABLES):
    return ["tables", *tables, "--scale", "tiny", "--workdir", str(workdir)]


def start(workdir, log):
    program = [sys.executable, "-m", "tests.experiments.paper.toy_program", *arguments(workdir)]
    env = os.environ | {"JAX_PLATFORMS": "cpu", toy_runs.LOG: str(log)}
    env |= {toy_runs.PAUSE_S: str(RUN_S)}
    with open(said(log), "ab") as file:
        return subprocess.Popen(program, cwd=ROOT, env=env, stdout=file, stderr=file)


def said(log):
    return log.with_suffix(".said")


def lines(log):
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def finish(process, log):
    assert process.wait(PATIENCE_S) == 0, said(log).read_text()[-3000:]


def report(workdir):
    """What was measured, without what differs from start to start: times, command, versions."""
    found = json.loads((workdir / "report" / "report.json").read_text())
    for run in found["runs"]:
        assert run.pop("seconds") >= 0
    del found["command"], found["versions"]
    return found


@pytest.fixture(scope="module")
def runs():
    return make_plan(TABLES, ["synthetic"], TINY, [0]).runs()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The report of a command that nobody killed."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "work"
    assert main(arguments(workdir)) == 0
    return report(workdir)


def kill_when(process, reached, delay) -> bool:
    """Kills a process some time after `reached()`; False if it has ended before."""
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and not reached():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    return process.wait() < 0


def assert_done_once(log, runs, kills):
    """No finished run was trained again, and no more was lost than what was in hand."""
    found = lines(log)
    starts = [words for words in found if words[0] == "start"]
    assert {words[1] for words in starts} == {run.id for run in runs if run.recipe}
    assert all(words[3] == "False" for words in starts)
    assert len(starts) - len({words[1] for words in starts}) <= kills
    steps = collections.Counter(tuple(words) for words in found if words[0] == "step")
    assert len(steps) == toy_runs.STEPS * len({words[1] for words in starts})
    assert steps.total() - len(steps) <= kills
    measured = [words[1] for words in found if words[0] == "measure"]
    assert len(measured) - len(set(measured)) <= kills


def assert_nothing_unfinished(workdir):
    assert not [p for p in workdir.rglob("*") if "partial" in p.name or "tmp" in p.name]


@pytest.fixture
def changes(monkeypatch):
    """`moments` of all but locks, which end with their process, and of what is within a data set
    that is being built, which the tests of `data_prep` look at."""
    before = Moments.before

    def before_some(found, event, paths):
        _, *place = paths[0].relative_to(found.directory).parts
        if place[:1] != ["locks"] and (place[:1] != ["data"] or len(place) < 3):
            before(found, event, paths)

    monkeypatch.setattr(Moments, "before", before_some)
    return functools.partial(moments, ignored=("locks",))


@pytest.mark.parametrize("every", [4, slow(1)])
def test_from_whatever_a_kill_leaves_the_command_goes_on(
    log, changes, tmp_path, monkeypatch, every
):
    """Of one lifter and the detectors of one table, which are all done alike."""
    scale = dataclasses.replace(TINY, lifters={"simple_baseline": {}})
    monkeypatch.setitem(SCALES, "tiny", scale)
    monkeypatch.setattr(toy_runs, "STEPS", 2)
    tables, workdir = ("relu", "gt"), log.parent / "work"
    with changes(log.parent, tmp_path / "store") as found:
        assert main(arguments(workdir, tables)) == 0
    runs, wanted = make_plan(tables, ["synthetic"], scale, [0]).runs(), report(workdir)
    assert len(found.copies) > 10 * len(runs)
    for copy in found.copies[::every]:
        print(f"killed: {copy}")
        shutil.rmtree(log.parent)
        shutil.copytree(copy, log.parent)
        assert main(arguments(workdir, tables)) == 0
        assert_done_once(log, runs, kills=1)
        assert report(workdir) == wanted
        assert_nothing_unfinished(workdir)


@pytest.mark.slow
def test_a_killed_process_lets_go_of_its_run(runs, undisturbed, log):
    workdir = log.parent / "work"
    assert kill_when(start(workdir, log), lambda: len(lines(log)) > 25, RUN_S / 20)
    assert main(arguments(workdir)) == 0
    assert_done_once(log, runs, kills=1)
    assert report(workdir) == undisturbed


@pytest.mark.slow
def test_kills_lose_no_finished_run_and_change_no_number(runs, undisturbed, log):
    workdir, draw, killed = log.parent / "work", random.Random(0), 0
    all_steps = toy_runs.STEPS * sum(bool(run.recipe) for run in runs)

    def moment(kill):
        """Of the kill-th time: while data is made, at the report, and in between at any step."""
        if kill == 0:
            return (workdir / "data").exists, draw.uniform(0, 0.5)
        if kill == KILLS - 1:
            return (workdir / "report").exists, draw.uniform(0, 1)
        least = len(lines(log)) + draw.randrange(1, 2 * all_steps // KILLS)
        return (lambda: len(lines(log)) >= least), draw.uniform(0, 0.03)

    for kill in range(KILLS):
        reached, delay = moment(kill)
        killed += kill_when(start(workdir, log), reached, delay)
    finish(start(workdir, log), log)
    print(f"killed {killed} times; {len(lines(log))} lines of work")
    assert killed >= KILLS // 2
    assert_done_once(log, runs, killed)
    assert report(workdir) == undisturbed
    assert_nothing_unfinished(workdir)


@pytest.mark.slow
def test_two_processes_share_the_work(runs, undisturbed, log):
    workdir = log.parent / "work"
    processes = [start(workdir, log) for _ in range(2)]
    for process in processes:
        finish(process, log)
    assert_done_once(log, runs, kills=0)
    assert report(workdir) == undisturbed


def test_two_at_once_share_the_work(runs, undisturbed, log, monkeypatch):
    monkeypatch.setenv(toy_runs.PAUSE_S, "0.02")
    workdir, began = log.parent / "work", threading.Barrier(2)

    def work():
        began.wait(PATIENCE_S)
        command.make_tables(TABLES, str(workdir), scale="tiny")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert_done_once(log, runs, kills=0)
    assert report(workdir) == undisturbed
