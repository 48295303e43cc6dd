"""A training process that is killed again and again ends with the very bits of one that is not.

LIFTJAX_KILLS sets how many times it is killed; the default keeps the suite short.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from liftjax.errors import Preempted
from liftjax.training.checkpoints import Checkpoints, build_model, whole_steps
from liftjax.training.scores import Scores
from liftjax.training.state import flat_arrays
from tests.data.builders import make_dataset

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("LIFTJAX_KILLS", 4))
SAVE_EVERY, EVALUATE_EVERY = 3, 6
STEPS = 12 * max(KILLS, 4)
PATIENCE_S = 600  # on a loaded machine; a process that hangs fails the test
MOMENTS = ("step", "save", "evaluation")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    directory = tmp_path_factory.mktemp("people") / "set"
    make_dataset(directory, count=12)
    return directory


@pytest.fixture(scope="module")
def lifters(tmp_path_factory):
    """Run directories of two lifters of fresh weights."""
    runs = {name: tmp_path_factory.mktemp(name) for name in ("first", "second")}
    for seed, run in enumerate(runs.values()):
        spec = {"kind": "lifter", "name": "simple_baseline", "skeleton": "human36m"}
        spec |= {"linear_size": 8, "num_stages": 1}
        with Checkpoints(run) as checkpoints:
            arrays = flat_arrays(build_model(spec, seed))
            checkpoints.save(0, arrays, {"opt": np.zeros(1)}, {"model": spec, "recipe": {}})
    return runs


def guided(people, lifters, run, *overrides):
    """The command of a guided run with all that a state can hold; S0 trains, S1 evaluates."""
    settings = {
        "data.dir": people, "data.subjects": "('S0',)", "data.eval_split": "train",
        "data.eval_subjects": "('S1',)", "detector.name": "toy", "detector.image_size": "(64,64)",
        "batch_size": 4, "steps": STEPS, "log_every": 2, "ema": 0.9, "keep_best": True,
        "checkpoint_every": SAVE_EVERY, "evaluate_every": EVALUATE_EVERY,
    }  # fmt: skip
    settings |= {f"lifters.{name}": path for name, path in lifters.items()}
    options = [f"--config.{key}={value}" for key, value in settings.items()]
    program = [sys.executable, "-m", "tests.training.toy_program", "train"]
    return [*program, "--config=multi_model", f"--workdir={run}", *options, *overrides]


def start(command, log, pause_s=0.05, **options):
    """The process of a command, with what it says added to a file."""
    env = os.environ | {"JAX_PLATFORMS": "cpu", "PAUSE_S": str(pause_s)}
    with open(log, "ab") as file:
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=file, stderr=file, **options)


def at(run: Path, moment: str, least: int) -> bool:
    """Whether a run has saved `least` steps and is now at a step, in a save or in an evaluation."""
    folder = run / "checkpoints"
    names = os.listdir(folder) if folder.exists() else []
    newest = max((int(name) for name in names if name.isdigit()), default=0)
    if newest < least:
        return False
    if moment == "save":
        return any("tmp" in name for name in names)
    if moment == "evaluation":
        scores = run / "scores.json"
        known = json.loads(scores.read_text())["steps"] if scores.exists() else {}
        return newest > 0 and newest % EVALUATE_EVERY == 0 and str(newest) not in known
    return True


def wait_for(process, run, moment, least) -> bool:
    """Waits for a moment; False if the process has ended before."""
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None:
        if at(run, moment, least):
            return True
        assert time.monotonic() < deadline, said(run)
        time.sleep(0.001)
    return False


def arrays(run: Path) -> dict:
    """All that the newest checkpoint of a run holds, and its step."""
    step = whole_steps(run / "checkpoints")[-1]
    with ocp.StandardCheckpointer() as checkpointer:
        items = ("model", "training")
        stored = {k: checkpointer.restore(run / "checkpoints" / str(step) / k) for k in items}
    return {"step": step} | {
        jax.tree_util.keystr(k): v for k, v in jax.tree.leaves_with_path(stored)
    }


def assert_same_end(run, other):
    found, wanted = arrays(run), arrays(other)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert Scores(run).steps == Scores(other).steps
    assert whole_steps(run / "checkpoints") == whole_steps(other / "checkpoints")


@pytest.fixture(scope="module")
def undisturbed(people, lifters, tmp_path_factory):
    run = tmp_path_factory.mktemp("undisturbed")
    assert start(guided(people, lifters, run), run / "said.txt", 0).wait(PATIENCE_S) == 0, said(run)
    return run


def said(run) -> str:
    return (run / "said.txt").read_text()[-3000:]


def test_kills_change_no_bit(people, lifters, undisturbed, tmp_path):
    run, draw, done = tmp_path, random.Random(0), []
    command = guided(people, lifters, run)
    for kill in range(KILLS):
        process = start(command, run / "said.txt")
        moment = MOMENTS[kill % len(MOMENTS)]
        if wait_for(process, run, moment, kill * STEPS // (KILLS + 1)):
            time.sleep(draw.uniform(0, 0.2 if moment == "step" else 0.01))
            process.kill()
        if process.wait(PATIENCE_S) == -signal.SIGKILL:
            done.append(next(name for name in ("save", "evaluation", "step") if at(run, name, 0)))
        else:
            assert process.returncode == 0, said(run)
    assert start(command, run / "said.txt", 0).wait(PATIENCE_S) == 0, said(run)
    print({name: done.count(name) for name in MOMENTS})
    assert done
    assert_same_end(run, undisturbed)
    assert not any("tmp" in path.name for path in (run / "checkpoints").iterdir())


def ended_by(process, number, group=False) -> int:
    """The exit status after a signal that is sent again until the process has ended."""
    send = os.killpg if group else os.kill
    for _ in range(round(PATIENCE_S / 0.05)):
        send(process.pid, number)
        try:
            return process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise TimeoutError(f"process {process.pid} does not end")


def test_a_process_told_to_end_saves_and_asks_for_a_retry(people, lifters, undisturbed, tmp_path):
    """As a scheduler does it: to all processes of the job, those that read pictures too."""
    workers = "--config.data.cache=False", "--config.data.workers=1"
    command, steps = guided(people, lifters, tmp_path, *workers), [0]
    for moment in ("step", "evaluation"):
        process = start(command, tmp_path / "said.txt", start_new_session=True)
        assert wait_for(process, tmp_path, moment, steps[-1] + 1), said(tmp_path)
        status = ended_by(process, signal.SIGTERM, group=True)
        assert status == Preempted.EX_TEMPFAIL, said(tmp_path)
        steps.append(whole_steps(tmp_path / "checkpoints")[-1])
        assert f"step {steps[-1]} is saved; run again to go on" in said(tmp_path)
    assert start(command, tmp_path / "said.txt", 0).wait(PATIENCE_S) == 0, said(tmp_path)
    assert_same_end(tmp_path, undisturbed)
    starts = json.loads((tmp_path / "versions.json").read_text())["starts"]
    assert [one["step"] for one in starts] == steps
    assert 0 < steps[1] <= steps[2] < STEPS


def test_ctrl_c_saves_too_and_ends_as_shells_expect(people, tmp_path):
    options = {
        "data.dir": people, "data.split": "train", "lifter.overrides.linear_size": 8, "steps": 4000,
        "lifter.overrides.num_stages": 1, "batch_size": 4, "checkpoint_every": 10, "log_every": 2,
    }  # fmt: skip
    command = [sys.executable, "-m", "liftjax", "train", "--config=lifter", f"--workdir={tmp_path}"]
    command += [f"--config.{key}={value}" for key, value in options.items()]
    process = start(command, tmp_path / "said.txt")
    assert wait_for(process, tmp_path, "step", 1), said(tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130, said(tmp_path)
    step = whole_steps(tmp_path / "checkpoints")[-1]
    assert f"step {step} is saved" in said(tmp_path)
