"""A build that is killed at any moment, or stopped, goes on to the same bytes.

A kill is copied, not carried out, at every change of the directory (`tests/kills.py`); real ones
end whole processes.
"""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.building import build_dataset
from data_prep.parts import notes_directory
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError
from tests.data_prep.toy_source import contents, plan
from tests.kills import moments
from tests.slow import slow

ROOT = Path(__file__).parents[2]


def start(source, out, *options):
    """A build in processes of its own group."""
    module = "tests.data_prep.toy_source"
    command = [sys.executable, "-m", module, str(source), "--out", str(out), *options]
    with open(out.with_name(f"{out.name}.log"), "a") as log:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True, text=True
        )


def wait_until(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so after {seconds} s: {true.__name__}"
        time.sleep(0.02)


def wait_for_end_of_group(group):
    """Of all its processes but those that have ended and wait for a parent to ask of them."""

    def ended():
        listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True)
        rows = [line.split() for line in listed.stdout.splitlines()]
        return all(int(pgid) != group or stat.startswith("Z") for pgid, stat in rows)

    wait_until(ended)


def finished_parts(out) -> int:
    return len(list(notes_directory(out).glob("*-*.json")))


def wait_for_another_part(process, out):
    before = finished_parts(out)
    wait_until(lambda: process.poll() is not None or finished_parts(out) > before)


def small(source, scale=1.0):
    """A plan of three parts of one sequence each."""
    made = plan(source, scale=scale)
    parts = {"train": made.parts["train"][:2], "test": made.parts["test"][:1]}
    return dataclasses.replace(made, parts={k: [p[:1] for p in v] for k, v in parts.items()})


@pytest.mark.parametrize("every", [4, slow(1)])
def test_a_kill_at_any_change_of_a_directory_changes_no_byte(source, tmp_path, every):
    """Of a build in the place of an older data set: one of the two is always whole."""
    out = tmp_path / "disk" / "set"
    build_dataset(small(source, scale=1.1), out)
    old = contents(out)
    with moments(out.parent, tmp_path / "copies") as found:
        build_dataset(small(source), out)
    new = contents(out)
    print(f"{len(found.copies)} states before {len(found.changes)} changes")
    assert {f"os.rename {name}" for name in (".set.building", "set")} <= set(found.changes)
    assert len(found.copies) > 60
    for disk in found.copies[::every]:
        standing = [contents(disk / name) for name in ("set", ".set.old") if (disk / name).exists()]
        assert old in standing or new in standing
        build_dataset(small(source), disk / "set")
        assert contents(disk / "set") == new
        assert [path.name for path in disk.iterdir()] == ["set"]


def test_a_killed_build_in_processes_is_ended_to_the_same_bytes(source, built, tmp_path):
    """While it lives there is no other of the directory; its processes die with it."""
    out = tmp_path / "killed"
    process = start(source, out, "--processes", "2", "--seconds", "0.1")
    try:
        wait_for_another_part(process, out)
        with pytest.raises(LiftjaxError, match="Another process is building"):
            build_dataset(plan(source), out)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_for_end_of_group(process.pid)
    assert 0 < finished_parts(out) < 9
    build_dataset(plan(source), out, processes=2)
    assert contents(out) == contents(built)


@pytest.mark.slow
def test_killed_ten_times_and_run_again_gives_the_same_bytes(source, built, tmp_path):
    """Each run is killed (-9) a while after it has begun, or has finished a part more."""
    out, rng, kept = tmp_path / "killed", random.Random(0), []
    for kill in range(10):
        process = start(source, out, "--processes", "2", "--seconds", "0.05")
        if kill % 2:
            wait_for_another_part(process, out)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.wait()
        wait_for_end_of_group(process.pid)
        if out.exists() and not notes_directory(out).exists():
            out.rename(tmp_path / f"whole-{kill}")  # it was quicker: begin once more
        kept.append(finished_parts(out))
    assert any(kept)
    assert start(source, out, "--processes", "2", "--seconds", "0.05").wait() == 0
    for whole in (out, *tmp_path.glob("whole-*")):
        assert contents(whole) == contents(built)


@pytest.mark.slow
def test_ctrl_c_stops_workers_and_keeps_what_is_done(source, built, tmp_path):
    out = tmp_path / "stopped"
    process = start(source, out, "--processes", "2", "--seconds", "0.2")
    try:
        wait_for_another_part(process, out)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait() != 0
    finally:
        process.kill()
    assert not out.exists()
    build_dataset(plan(source), out)
    assert np.array_equal(
        PoseDataset.open(out, "train").labels["frame"],
        PoseDataset.open(built, "train").labels["frame"],
    )
