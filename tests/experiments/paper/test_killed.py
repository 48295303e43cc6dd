"""The whole command, killed again and again, or run twice at once, ends as one left in peace.

Training, data and pictures are toys; plan, bookkeeping, tables and the report's numbers are the
command's own.
LIFTJAX_KILLS sets how many times it is killed; the default keeps the suite short.
"""

import collections
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from liftjax.experiments.paper.command import make_plan
from liftjax.experiments.paper.scales import TINY
from tests.experiments.paper import toy_runs

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("LIFTJAX_KILLS", 6))
TABLES = ("2", "relu", "gt")
RUN_S = 0.15  # that a toy trains, and that it measures
PATIENCE_S = 300


def start(workdir, log):
    command = [sys.executable, "-m", "tests.experiments.paper.toy_program", "tables", *TABLES]
    command += ["--scale", "tiny", "--workdir", str(workdir)]
    env = os.environ | {"JAX_PLATFORMS": "cpu", toy_runs.LOG: str(log)}
    env |= {toy_runs.PAUSE_S: str(RUN_S)}
    with open(said(log), "ab") as file:
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=file)


def said(log):
    return log.with_suffix(".said")


def lines(log):
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def finish(process, log):
    assert process.wait(PATIENCE_S) == 0, said(log).read_text()[-3000:]


def report(workdir):
    """What was measured, without what differs from start to start: times and the typed command."""
    found = json.loads((workdir / "report" / "report.json").read_text())
    for run in found["runs"]:
        assert run.pop("seconds") >= 0
    assert str(workdir) in found.pop("command")
    return found


@pytest.fixture(scope="module")
def runs():
    return make_plan(TABLES, ["synthetic"], TINY, [0]).runs()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The work directory of a command that nobody killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(start(folder / "work", folder / "log.txt"), folder / "log.txt")
    return folder / "work"


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


def test_kills_lose_no_finished_run_and_change_no_number(runs, undisturbed, tmp_path):
    workdir, log, draw, killed = tmp_path / "work", tmp_path / "log.txt", random.Random(0), 0
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
    assert report(workdir) == report(undisturbed)
    assert not [p for p in workdir.rglob("*") if "partial" in p.name or "tmp" in p.name]


def test_two_processes_share_the_work(runs, undisturbed, tmp_path):
    workdir, log = tmp_path / "work", tmp_path / "log.txt"
    processes = [start(workdir, log) for _ in range(2)]
    for process in processes:
        finish(process, log)
    assert_done_once(log, runs, kills=0)
    assert report(workdir) == report(undisturbed)
