"""Several processes train as one does, save as one, and end as one.

Everything is held to rounding: the processes add up the same numbers in another order. Measured
over ten steps with SGD: losses to 3e-7 of themselves, their terms and gradients to 2e-6, the ratio
of gradients to 1e-5, errors of the evaluation to 4e-6, parameters (up to 1) to 6e-8.

oneDNN rounds a batch of another size in another way. With it, terms and gradients were measured to
1.2e-5; all tests but one compute without it.
"""

import csv
import json
import signal

import numpy as np
import pytest

from liftjax.cli import main
from liftjax.ops import onednn
from liftjax.ops.onednn_build import VARIABLE
from liftjax.runtime.checkpoints import Checkpoints, build_model, load_model, whole_steps
from liftjax.runtime.state import flat_arrays
from tests.data.builders import make_dataset
from tests.multi_host.processes import together
from tests.training.toys import toy_detector

STEPS = 10
PROGRAM = ["-m", "tests.training.toy_program"]
ONEDNN_IS_USABLE = onednn.usable


@pytest.fixture(scope="module", autouse=True)
def toy():
    """A toy detector by name, as the program of the processes has it; computed by XLA."""
    with toy_detector(), pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "off")
        patch.setattr(onednn, "usable", lambda dtype: False)
        yield


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Options of a guided run that is evaluated on the way."""
    root = tmp_path_factory.mktemp("recipe")
    people = make_dataset(root / "people", count=14)
    spec = {"kind": "lifter", "name": "simple_baseline", "skeleton": "human36m"}
    spec |= {"linear_size": 8, "num_stages": 1}
    for seed, name in enumerate(("first", "second")):
        with Checkpoints(root / name) as checkpoints:
            lifter = build_model(spec, seed)
            lifter.set_statistics(*people.statistics())
            checkpoints.save(
                0, flat_arrays(lifter), {"opt": np.zeros(1)}, {"model": spec, "recipe": {}}
            )
    settings = {
        "data.dir": root / "people", "data.subjects": "('S0',)", "data.eval_split": "train",
        "data.eval_subjects": "('S1',)", "data.eval_batch_size": 4, "evaluate_every": 5,
        "detector.name": "toy", "detector.image_size": "(64,64)", "batch_size": 8,
        "lifters.first": root / "first", "lifters.second": root / "second", "log_every": 1,
        "optim.name": "sgd", "optim.learning_rate": 1e-3, "optim.schedule": "constant",
        "optim.warmup_steps": 0, "loss.balance": 1, "data.augment.flip": 0.5,
        "data.augment.rotation": 20,
    }  # fmt: skip
    return ["train", "--config=multi_model", *(f"--config.{k}={v}" for k, v in settings.items())]


def command(recipe, workdir, steps=STEPS):
    return [*recipe, f"--config.steps={steps}", f"--workdir={workdir}"]


@pytest.fixture(scope="module")
def alone(recipe, tmp_path_factory):
    """The run of one process on one device."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    assert main([*command(recipe, workdir), "--config.num_devices=1"]) == 0
    return workdir


def assert_same_run(run, expected, tolerance=1e-5):
    """Equal metrics at every step, equal errors where both were evaluated, equal parameters."""
    logs = [(one / "metrics.csv").read_text().splitlines() for one in (run, expected)]
    ours, theirs = (list(csv.DictReader(lines)) for lines in logs)
    assert [row["step"] for row in ours] == [str(step) for step in range(1, STEPS + 1)]
    for key in set(theirs[-1]) - {"step", "images_per_s", "data_wait"}:
        pairs = [(a[key], b[key]) for a, b in zip(ours, theirs, strict=True) if b[key]]
        values, wanted = np.array(pairs, float).T
        rtol = 5e-5 if key.startswith("grad_ratio") else tolerance
        np.testing.assert_allclose(values, wanted, rtol=rtol, err_msg=key)
    weights = [flat_arrays(load_model(one, "detector")[0]) for one in (run, expected)]
    for key, value in weights[1].items():
        np.testing.assert_allclose(weights[0][key], value, atol=1e-6, err_msg=key)


def assert_announced(processes, count):
    for i in range(count):
        assert f"process {i} of {count}, 1 of {count} devices: cpu" in processes.said(i)
        assert ("step/s" in processes.said(i)) == (i == 0)  # one progress bar


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_with_onednn_train_as_one(recipe, tmp_path, count, monkeypatch):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(onednn, "usable", ONEDNN_IS_USABLE)
    run, alone = tmp_path / "run", tmp_path / "alone"
    assert main([*command(recipe, alone), "--config.num_devices=1"]) == 0
    with together([*PROGRAM, *command(recipe, run)], count, tmp_path / "logs") as processes:
        assert processes.wait() == [0] * count, processes.said(0)
    assert_same_run(run, alone, tolerance=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_train_as_one(recipe, alone, tmp_path, count):
    run = tmp_path / "run"
    with together([*PROGRAM, *command(recipe, run)], count, tmp_path / "logs") as processes:
        assert processes.wait() == [0] * count, processes.said(0)
    assert_same_run(run, alone)
    assert_announced(processes, count)
    versions = json.loads((run / "versions.json").read_text())
    assert len(versions["devices"]) == versions["processes"] == count
    assert len(versions["starts"]) == 1
    assert len(list((run / "tensorboard").iterdir())) == 1


@pytest.mark.slow
def test_from_one_process_to_two_and_back(recipe, alone, tmp_path):
    """One of the two is told to end; both save, and ask to be started again."""
    run = tmp_path / "run"
    assert main([*command(recipe, run, 2), "--config.num_devices=1"]) == 0
    metrics = run / "metrics.csv"
    with together(
        [*PROGRAM, *command(recipe, run)], 2, tmp_path / "logs", PAUSE_S="1"
    ) as processes:
        processes.wait_for(lambda: len(metrics.read_text().splitlines()) > 3)
        processes.signal(1, signal.SIGTERM)
        assert processes.wait() == [75, 75], processes.said(0)
    assert_announced(processes, 2)
    (saved,) = whole_steps(run / "checkpoints")
    assert 2 < saved < STEPS - 1
    assert f"step {saved} is saved" in processes.said(0)
    assert main([*command(recipe, run), "--config.num_devices=1"]) == 0
    assert_same_run(run, alone)
    starts = json.loads((run / "versions.json").read_text())["starts"]
    assert [start["processes"] for start in starts] == [1, 2, 1]
    assert len(list((run / "tensorboard").iterdir())) == 3
