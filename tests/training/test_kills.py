"""A training process that is killed, or told to end, ends at last with the bits of one that is not.

By default a kill is copied, not carried out, at every change of the run directory
(`tests/kills.py`), and a process is killed for good once. LIFTJAX_KILLS sets how often the slow
test kills one.
"""

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from liftjax.errors import Preempted
from liftjax.recipes import load_recipe
from liftjax.runtime.checkpoints import Checkpoints, build_model, whole_steps
from liftjax.runtime.replicas import Replicas
from liftjax.runtime.scores import Scores
from liftjax.runtime.state import flat_arrays
from liftjax.training import loop, validation
from liftjax.training.detector_task import make_detector_task
from tests.data.builders import make_dataset
from tests.kills import moments
from tests.slow import slow
from tests.training.toys import toy_detector

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("LIFTJAX_KILLS", 4))
SAVE_EVERY, EVALUATE_EVERY = 2, 4
STEPS, MANY = 4, 12 * max(KILLS, 4)
PATIENCE_S = 600  # on a loaded machine; a process that hangs fails the test
MOMENTS = ("step", "save", "evaluation")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    directory = tmp_path_factory.mktemp("people") / "set"
    make_dataset(directory, count=12)
    return directory


@pytest.fixture(scope="module")
def settings(people, tmp_path_factory):
    """A guided recipe with all that a state can hold; S0 trains, S1 evaluates."""
    spec = {"kind": "lifter", "name": "simple_baseline", "skeleton": "human36m"}
    spec |= {"linear_size": 8, "num_stages": 1}
    lifters = {name: tmp_path_factory.mktemp(name) for name in ("first", "second")}
    for seed, run in enumerate(lifters.values()):
        with Checkpoints(run) as checkpoints:
            arrays = flat_arrays(build_model(spec, seed))
            checkpoints.save(0, arrays, {"opt": np.zeros(1)}, {"model": spec, "recipe": {}})
    values = {
        "data.dir": people, "data.subjects": "('S0',)", "data.eval_split": "train",
        "data.eval_subjects": "('S1',)", "detector.name": "toy", "detector.image_size": "(64,64)",
        "batch_size": 4, "log_every": 2, "ema": 0.9, "keep_best": True, "data.eval_batch_size": 6,
        "checkpoint_every": SAVE_EVERY, "evaluate_every": EVALUATE_EVERY,
    }  # fmt: skip
    values |= {f"lifters.{name}": path for name, path in lifters.items()}
    return [f"{key}={value}" for key, value in values.items()]


@pytest.fixture(scope="module")
def train(settings):
    """Trains in this process: train(run directory, steps). What is compiled serves all runs."""

    @functools.cache
    def prepared(steps):
        config = load_recipe("multi_model", [*settings, f"steps={steps}"])
        task = make_detector_task(config)
        return task, loop.RunPlan.of(config), validation.make_validation(config, task)

    def train(run, steps=STEPS):
        task, plan, measured = prepared(steps)
        loop.train_task(task, plan, run, measured)

    map_step = functools.cache(Replicas.map_step)
    with toy_detector(), mock.patch.object(Replicas, "map_step", map_step):
        yield train


def end_of(run: Path) -> dict:
    """All that the newest checkpoint of a run holds, and what else must be the same."""
    folder = run / "checkpoints"
    newest = folder / str(whole_steps(folder)[-1])
    with ocp.StandardCheckpointer() as checkpointer:
        stored = {key: checkpointer.restore(newest / key) for key in ("model", "training")}
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(stored)}
    unfinished = [path.name for path in folder.iterdir() if not path.name.isdigit()]
    assert not unfinished
    return leaves | {"steps": whole_steps(folder), "scores": Scores(run).steps}


def assert_same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(train, tmp_path_factory):
    """The end of a run of so many steps that nothing happens to."""

    @functools.cache
    def end(steps=STEPS):
        run = tmp_path_factory.mktemp("undisturbed")
        train(run, steps)
        return end_of(run)

    return end


@pytest.mark.parametrize("every", [4, slow(1)])
def test_a_kill_at_any_change_of_the_run_directory_changes_no_bit(
    train, undisturbed, tmp_path, every
):
    options = {"ignored": ("tensorboard", "deleted"), "discarded": "orbax-checkpoint-tmp"}
    with moments(tmp_path / "run", tmp_path / "copies", **options) as found:
        train(tmp_path / "run")
    print(f"{len(found.copies)} states before {len(found.changes)} changes")
    seen = " ".join(found.changes)
    for what in ("2.orbax-checkpoint-tmp", ".scores.partial.json", ".metrics.partial.csv", "2 "):
        assert f"os.rename {what}" in seen
    assert len(found.copies) > 40
    for run in found.copies[::every]:
        train(run)
        assert_same(end_of(run), undisturbed())


def command(settings, run, steps=STEPS, *overrides):
    program = [sys.executable, "-m", "tests.training.toy_program", "train"]
    options = [f"--config.{setting}" for setting in (*settings, f"steps={steps}", *overrides)]
    return [*program, "--config=multi_model", f"--workdir={run}", *options]


@contextlib.contextmanager
def started(command, run, pause_s=1.0, **options):
    """The process of a command; what it says is added to a file of the run directory."""
    env = os.environ | {"JAX_PLATFORMS": "cpu", "PAUSE_S": str(pause_s)}
    with open(run / "said.txt", "ab") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=file, stderr=file, start_new_session=True, **options
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def said(run) -> str:
    return (run / "said.txt").read_text()[-3000:]


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
        return newest > 0 and newest % EVALUATE_EVERY == 0 and newest not in Scores(run).steps
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


def test_a_killed_process_is_resumed_to_the_same_bits(settings, train, undisturbed, tmp_path):
    with started(command(settings, tmp_path), tmp_path) as process:
        assert wait_for(process, tmp_path, "step", SAVE_EVERY), said(tmp_path)
        process.kill()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    assert whole_steps(tmp_path / "checkpoints") == [SAVE_EVERY]
    train(tmp_path)
    assert_same(end_of(tmp_path), undisturbed())


@pytest.mark.slow
def test_many_kills_change_no_bit(settings, train, undisturbed, tmp_path):
    draw, done = random.Random(0), []
    for kill in range(KILLS):
        moment = MOMENTS[kill % len(MOMENTS)]
        with started(command(settings, tmp_path, MANY), tmp_path, 0.05) as process:
            if wait_for(process, tmp_path, moment, kill * MANY // (KILLS + 1)):
                time.sleep(draw.uniform(0, 0.2 if moment == "step" else 0.01))
                process.kill()
            if process.wait(PATIENCE_S) == -signal.SIGKILL:
                order = ("save", "evaluation", "step")
                done.append(next(name for name in order if at(tmp_path, name, 0)))
            else:
                assert process.returncode == 0, said(tmp_path)
    print({name: done.count(name) for name in MOMENTS})
    assert done
    train(tmp_path, MANY)
    assert_same(end_of(tmp_path), undisturbed(MANY))


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


@pytest.mark.slow
def test_a_process_told_to_end_saves_and_asks_for_a_retry(settings, train, undisturbed, tmp_path):
    """As a scheduler does it: to all processes of the job, those that read pictures too."""
    workers = "data.cache=False", "data.workers=1"
    saved = [0]
    for moment in ("step", "evaluation"):
        with started(command(settings, tmp_path, MANY, *workers), tmp_path) as process:
            assert wait_for(process, tmp_path, moment, saved[-1] + 1), said(tmp_path)
            status = ended_by(process, signal.SIGTERM, group=True)
        assert status == Preempted.EX_TEMPFAIL, said(tmp_path)
        saved.append(whole_steps(tmp_path / "checkpoints")[-1])
        assert f"step {saved[-1]} is saved; run the same command to continue" in said(tmp_path)
    train(tmp_path, MANY)
    assert_same(end_of(tmp_path), undisturbed(MANY))
    starts = json.loads((tmp_path / "versions.json").read_text())["starts"]
    assert [one["step"] for one in starts] == saved
    assert saved == sorted(saved)
    assert saved[1] > 0
    assert saved[-1] < MANY


@pytest.mark.slow
def test_ctrl_c_saves_too_and_ends_as_shells_expect(people, tmp_path):
    options = {
        "data.dir": people, "data.split": "train", "lifter.overrides.linear_size": 8, "steps": 4000,
        "lifter.overrides.num_stages": 1, "batch_size": 4, "checkpoint_every": 10, "log_every": 2,
    }  # fmt: skip
    command = [sys.executable, "-m", "liftjax", "train", "--config=lifter", f"--workdir={tmp_path}"]
    command += [f"--config.{key}={value}" for key, value in options.items()]
    with started(command, tmp_path) as process:
        assert wait_for(process, tmp_path, "step", 1), said(tmp_path)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130, said(tmp_path)
    step = whole_steps(tmp_path / "checkpoints")[-1]
    assert f"step {step} is saved" in said(tmp_path)
