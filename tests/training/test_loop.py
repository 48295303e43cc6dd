import csv
import dataclasses
import json
import shutil
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from liftjax.cli import main
from liftjax.data.prefetch import Prefetch
from liftjax.errors import LiftjaxError
from liftjax.recipes import load_recipe
from liftjax.runtime.checkpoints import find_checkpoint, load_model, read_meta
from liftjax.runtime.state import flat_arrays
from liftjax.training import loop
from liftjax.training.lifter_task import make_lifter_task
from liftjax.training.run import train
from liftjax.training.task import model_arrays
from tests.data.builders import make_dataset
from tests.slow import one_in


@pytest.fixture(scope="module")
def poses(tmp_path_factory):
    directory = tmp_path_factory.mktemp("poses") / "set"
    make_dataset(directory, count=20, with_picture=False, has_3d=True)
    return directory


def recipe(poses, *overrides):
    common = (
        f"data.dir={poses}", "data.split=train", "lifter.overrides.linear_size=8",
        "lifter.overrides.num_stages=1", "batch_size=5", "log_every=2", "checkpoint_every=3",
        "optim.warmup_steps=0",
    )  # fmt: skip
    return load_recipe("lifter", [*common, *overrides])


def rows_of(run):
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(poses, tmp_path):
    config = recipe(poses, "steps=6", "optim.schedule=constant")
    whole = train(config, tmp_path / "whole")
    train(recipe(poses, "steps=3", "optim.schedule=constant"), tmp_path / "parts")
    resumed = train(config, tmp_path / "parts")
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_finished_run_is_not_trained_again(poses, tmp_path, monkeypatch):
    config = recipe(poses, "steps=2")
    first = train(config, tmp_path / "run")
    monkeypatch.setattr(loop, "_next_batch", lambda *_: pytest.fail("trained again"))
    again = train(config, tmp_path / "run")
    for name, value in first["params"].items():
        np.testing.assert_array_equal(value, again["params"][name])


def test_the_run_directory_says_what_was_done(poses, tmp_path):
    train(recipe(poses, "steps=4", "seed=3"), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 3
    assert "jax" in json.loads((tmp_path / "run" / "versions.json").read_text())
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == ["2", "4"]
    assert all(float(row["loss"]) > 0 for row in rows)
    assert any((tmp_path / "run" / "tensorboard").iterdir())
    assert read_meta(tmp_path / "run")["step"] == 4


def test_a_trained_lifter_is_loaded_with_its_statistics(poses, tmp_path):
    state = train(recipe(poses, "steps=2"), tmp_path / "run")
    lifter, meta = load_model(tmp_path / "run", "lifter")
    assert meta["model"]["name"] == "simple_baseline"
    for name, value in model_arrays(state).items():
        path = lifter
        for part in name.split("."):
            path = path[int(part)] if part.isdigit() else getattr(path, part)
        np.testing.assert_array_equal(path[...], value)
    assert float(lifter.mean_2d[...].max()) > 40  # pixels of the toy set


def test_a_checkpoint_of_another_model_is_refused_with_what_differs(poses, tmp_path):
    train(recipe(poses, "steps=2"), tmp_path / "run")
    with pytest.raises(LiftjaxError, match="linear_size is 8 there, 12 here"):
        train(recipe(poses, "steps=4", "lifter.overrides.linear_size=12"), tmp_path / "run")
    with pytest.raises(LiftjaxError, match=r"holds a lifter .*, not a detector"):
        load_model(tmp_path / "run", "detector")
    with pytest.raises(LiftjaxError, match="No checkpoint in"):
        find_checkpoint(tmp_path / "elsewhere")


def test_a_loss_that_is_not_finite_stops_the_run(poses, tmp_path):
    config = recipe(poses, "steps=4", "optim.learning_rate=1e30", "optim.name=sgd")
    with pytest.raises(
        LiftjaxError, match=r"Step 1: param_norm not finite, in a batch of S\d.* and 2 more"
    ):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints" / "4").exists()


def with_bad_steps(config, *bad):
    """The task of a recipe whose learning rate is NaN at these steps, counted from 0."""
    task = make_lifter_task(config)

    def hyper(step):
        values = task.hyper(step)
        return values | {"learning_rate": np.nan} if step in bad else values

    return dataclasses.replace(task, hyper=hyper)


def run_loop(task, config, workdir):
    return loop.train_task(task, loop.RunPlan.of(config), workdir)


def test_a_bad_step_is_named_with_its_samples_and_what_is_left(poses, tmp_path):
    config = recipe(poses, "steps=8", "log_every=4")
    task = with_bad_steps(config, 4, 5)
    with pytest.raises(LiftjaxError) as caught:
        run_loop(task, config, tmp_path)
    first, second, third, *rest = task.samples(4)
    said = str(caught.value)
    assert said.startswith(f"Step 5: param_norm not finite, in a batch of {first}, {second}, ")
    assert f"{third} and {len(rest)} more" in said
    assert "Checkpoint 3 is untouched" in said
    assert "\n" not in said
    left = json.loads((tmp_path / "not_finite.json").read_text())
    assert left == {"step": 5, "terms": {"param_norm": "nan"}, "samples": task.samples(4)}
    assert read_meta(tmp_path)["step"] == 3


def test_bad_steps_are_skipped_and_counted_if_the_recipe_says_so(poses, tmp_path):
    config = recipe(poses, "steps=9", "nonfinite=skip")
    run_loop(with_bad_steps(config, 1, 4, 6), recipe(poses, "steps=6", "nonfinite=skip"), tmp_path)
    last = run_loop(with_bad_steps(config, 1, 4, 6), config, tmp_path)
    assert [row["skipped"] for row in rows_of(tmp_path)] == ["1", "1", "2", "3", "3"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last))
    count = int(last["opt"][1].count) if hasattr(last["opt"][1], "count") else None
    assert count in (None, 6)


def test_a_run_that_only_skips_ends(poses, tmp_path):
    config = recipe(poses, "steps=8", "nonfinite=skip", "checkpoint_every=1")
    with pytest.raises(LiftjaxError, match=r"Step 3: param_norm not finite.*Checkpoint 3 is"):
        run_loop(with_bad_steps(config, *range(2, 8)), config, tmp_path)


def test_a_run_that_stopped_goes_on_skipping(poses, tmp_path):
    config = recipe(poses, "steps=6")
    with pytest.raises(LiftjaxError, match="nonfinite=skip"):
        run_loop(with_bad_steps(config, 4), config, tmp_path)
    config = recipe(poses, "steps=6", "nonfinite=skip")
    run_loop(with_bad_steps(config, 4), config, tmp_path)
    assert rows_of(tmp_path)[-1]["skipped"] == "1"


@pytest.mark.slow
def test_an_average_of_the_weights_is_what_is_saved_and_resumed(poses, tmp_path):
    fixed = "optim.schedule=constant", "ema=0.5"
    whole = train(recipe(poses, "steps=6", *fixed), tmp_path / "whole")
    train(recipe(poses, "steps=3", *fixed), tmp_path / "parts")
    resumed = train(recipe(poses, "steps=6", *fixed), tmp_path / "parts")
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    arrays = flat_arrays(load_model(tmp_path / "whole", "lifter")[0])
    for name, value in whole["ema"].items():
        np.testing.assert_array_equal(arrays[name], value)
    assert any((arrays[name] != value).any() for name, value in whole["params"].items())


@pytest.mark.parametrize(
    "change", one_in(3, ["num_devices=1", "replicate=pmap", "checkpoint_every=2"])
)
def test_a_resumed_run_may_use_its_devices_in_another_way(poses, tmp_path, change):
    # Adam would turn the rounding errors that are the gradients of biases before batch norm into
    # steps as large as any.
    fixed = "optim.schedule=constant", "optim.name=sgd"
    whole = train(recipe(poses, "steps=4", *fixed), tmp_path / "whole")
    train(recipe(poses, "steps=2", *fixed), tmp_path / "parts")
    resumed = train(recipe(poses, "steps=4", *fixed, change), tmp_path / "parts")
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_loss_falls(poses, tmp_path):
    settings = (
        "steps=60",
        "checkpoint_every=60",
        "lifter.overrides.dropout=0.0",
        "optim.learning_rate=0.02",
    )
    train(recipe(poses, *settings, "log_every=1", "optim.warmup_steps=0"), tmp_path / "run")
    seen = [float(row["loss"]) for row in rows_of(tmp_path / "run")]
    assert np.mean(seen[-5:]) < 0.9 * np.mean(seen[:5])


def test_resuming_with_other_settings_is_refused_and_says_which(poses, tmp_path):
    train(recipe(poses, "steps=2"), tmp_path / "run")
    with pytest.raises(LiftjaxError, match=r"other settings .*seed is 0 there, 1 here"):
        train(recipe(poses, "steps=4", "seed=1"), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 0


def test_a_checkpoint_is_never_saved_with_nan(poses, tmp_path):
    settings = "optim.learning_rate=1e30", "optim.name=sgd", "log_every=4", "checkpoint_every=3"
    with pytest.raises(LiftjaxError, match="not finite"):
        train(recipe(poses, "steps=8", *settings), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints" / "3").exists()


def test_a_damaged_checkpoint_is_named(poses, tmp_path):
    train(recipe(poses, "steps=2"), tmp_path / "run")
    model = Path(find_checkpoint(tmp_path / "run")) / "model"
    for file in list(model.rglob("*")):
        if file.is_file():
            file.unlink()
    with pytest.raises(LiftjaxError, match="model is damaged or incomplete"):
        load_model(tmp_path / "run", "lifter")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("steps=0", "config.steps is 0; it must be at least 1"),
        ("log_every=0", "config.log_every is 0"),
        ("seed=-1", "config.seed is -1; it is from 0 to 2147483647"),
        ("seed=2147483648", "config.seed is 2147483648"),
        ("loss.top_k=0", "config.loss.top_k is 0"),
        ("loss.balance=-1", "config.loss.balance is -1"),
        ("optim.decay_every=0", "config.optim.decay_every is 0"),
        ("detector.image_size=64", "give height and width"),
        ("accumulate=0", "config.accumulate is 0; it must be at least 1"),
        ("keep_every=-1", "config.keep_every is -1; 0 switches it off"),
        ("ema=1.0", "config.ema is 1.0; it must be at least 0"),
        ("nonfinite=skp", "did you mean 'skip'"),
        ("loss.lifter_precision=hihgest", "did you mean 'highest'"),
        ("keep_best=True", "keep_best needs config.evaluate_every"),
    ],
)
def test_values_that_make_no_sense_are_named(poses, tmp_path, override, said):
    with pytest.raises(LiftjaxError, match=said):
        train(recipe(poses, override), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_object_store_without_its_package_gets_one_line(poses, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(LiftjaxError, match=r"gs://bucket/run needs gcsfs .*: pip .*\[gcs\]"):
        train(recipe(poses), "gs://bucket/run")


def test_data_without_3d_poses_are_refused(tmp_path):
    make_dataset(tmp_path / "flat", count=6, with_picture=False, has_3d=False)
    with pytest.raises(LiftjaxError, match="flat: split train has no 3D poses, which a lifter"):
        train(recipe(tmp_path / "flat", "steps=2"), tmp_path / "run")


def test_lists_of_a_recipe_are_no_other_network(poses, tmp_path):
    """The checkpoint has them as JSON has."""
    config = recipe(poses, "lifter.name=videopose3d", "lifter.num_frames=1", "steps=2")
    with config.unlocked():
        config.lifter.overrides = {"filter_widths": [1, 1], "channels": 8}
    train(config, tmp_path / "run")
    config.steps = 3
    train(config, tmp_path / "run")
    assert read_meta(tmp_path / "run")["step"] == 3
    config.lifter.checkpoint = str(tmp_path / "run")
    train(config, tmp_path / "next")


def test_a_run_that_starts_from_a_checkpoint_compiles_its_step_once(poses, tmp_path):
    train(recipe(poses, "steps=2"), tmp_path / "first")
    start = f"lifter.checkpoint={tmp_path / 'first'}"
    config, traced = recipe(poses, "steps=3", "log_every=1", start), []
    task = make_lifter_task(config)

    def step(*arguments):
        traced.append(True)
        return task.step(*arguments)

    run_loop(dataclasses.replace(task, step=step), config, tmp_path / "next")
    assert len(traced) == 1


def test_a_row_is_fetched_when_the_next_step_is_under_way(poses, tmp_path, monkeypatch):
    """Unless the state is saved anyway, which waits for the device."""
    config = recipe(poses, "steps=7", "log_every=2", "checkpoint_every=6")
    task, events = make_lifter_task(config), []
    monkeypatch.setattr(loop.Log, "write", lambda self, step, values: events.append(f"row {step}"))

    def hyper(step):
        events.append(f"step {step + 1}")
        return task.hyper(step)

    run_loop(dataclasses.replace(task, hyper=hyper), config, tmp_path)
    assert events == [
        *("step 1", "step 2", "step 3", "row 2", "step 4", "step 5", "row 4", "step 6", "row 6"),
        *("step 7", "row 7"),
    ]


def test_a_bad_step_at_the_end_of_a_row_is_named_though_the_next_has_begun(poses, tmp_path):
    config = recipe(poses, "steps=8", "log_every=2", "checkpoint_every=8")
    with pytest.raises(LiftjaxError, match=r"^Step 2: param_norm not finite.*no checkpoint yet"):
        run_loop(with_bad_steps(config, 1), config, tmp_path)
    assert not (tmp_path / "metrics.csv").exists()


def test_only_time_in_which_the_device_is_idle_counts_as_waiting():
    late = threading.Event()

    def batches():
        yield {"index": 0}
        late.wait(30)
        yield {"index": 1}

    class Running:
        """A step's result, finished when somebody waits for it, just before the batch comes."""

        def block_until_ready(self):
            finished.append(True)
            late.set()

    finished = []
    with Prefetch(batches(), put=lambda batch: batch) as data:
        while data.waiting():
            pass
        assert loop._next_batch(data, {"loss": Running()}) == ({"index": 0}, 0.0)
        assert not finished
        batch, idle = loop._next_batch(data, {"loss": Running()})
    assert batch == {"index": 1}
    assert idle > 0
    assert finished


def test_what_reads_the_data_is_stopped_when_training_stops(poses, tmp_path):
    config = recipe(poses, "steps=4", "optim.learning_rate=1e30", "optim.name=sgd")
    task, closed = make_lifter_task(config), []

    def batches(start):
        try:
            yield from task.batches(start)
        finally:
            closed.append(True)

    with pytest.raises(LiftjaxError, match="not finite"):
        run_loop(dataclasses.replace(task, batches=batches), config, tmp_path / "run")
    assert closed


def test_a_run_begun_before_a_setting_existed_goes_on(poses, tmp_path):
    def train_for(steps, **changes):
        """With a recipe of before augmentation, where `changes` is given."""
        config = recipe(poses, f"steps={steps}", "log_every=1", "checkpoint_every=2")
        task, stored = make_lifter_task(config), json.loads(json.dumps(config.to_dict()))
        if changes:
            del stored["data"]["augment"]
            stored["data"].update(changes)
        task = dataclasses.replace(task, meta=task.meta | {"recipe": stored})
        run_loop(task, config, tmp_path / "run")

    train_for(2, workers=0)
    train_for(4)
    assert read_meta(tmp_path / "run")["step"] == 4
    with pytest.raises(LiftjaxError, match=r"data\.augment\.flip is 0\.0 there, 0\.5 here"):
        train_for(6, augment={"flip": 0.5})


# What a run reads has changed since its last checkpoint


@pytest.fixture
def begun(poses, tmp_path):
    """A run of two steps on a copy of `poses`, which may be built again: (data, run)."""
    shutil.copytree(poses, tmp_path / "set")
    train(recipe(tmp_path / "set", "steps=2"), tmp_path / "run")
    return tmp_path / "set", tmp_path / "run"


def build(directory, count=20, **changes):
    make_dataset(directory, count, with_picture=False, has_3d=True, **changes)


def test_a_run_on_data_that_were_built_again_with_other_content_is_refused(begun):
    data, run = begun
    for changes, said in (
        ({"count": 18}, f"split train of {data} has 18 records instead of 20"),
        ({"subject": "S7"}, f"split train of {data} has 20 records as before, but not the same"),
    ):
        build(data, **changes)
        with pytest.raises(LiftjaxError) as caught:
            train(recipe(data, "steps=4"), run)
        assert str(caught.value) == (
            f"{run} was trained on something else ({said}); use a new --workdir, or "
            "--accept-changes to go on with what is there now."
        )
    assert [row["step"] for row in rows_of(run)] == ["2"]


def test_other_data_are_gone_on_with_if_asked_for_and_noted(begun, capsys):
    data, run = begun
    build(data, count=18)
    overrides = [f"data.dir={data}", "data.split=train", "lifter.overrides.linear_size=8"]
    overrides += ["lifter.overrides.num_stages=1", "batch_size=5", "log_every=2"]
    overrides += ["checkpoint_every=3", "optim.warmup_steps=0", "steps=4"]
    command = ["train", "--config=lifter", *(f"--config.{one}" for one in overrides)]
    assert main([*command, f"--workdir={run}"]) == 2
    assert "trained on something else" in capsys.readouterr().err
    assert main([*command, f"--workdir={run}", "--accept-changes"]) == 0
    said = f"split train of {data} has 18 records instead of 20"
    assert f"From step 2 on with changes: {said}." in capsys.readouterr().out
    starts = json.loads((run / "versions.json").read_text())["starts"]
    assert [start.get("changes") for start in starts] == [None, [said]]
    train(recipe(data, "steps=5"), run)  # the new data are this run's now
    assert read_meta(run)["step"] == 5


@pytest.mark.slow
def test_data_that_were_built_again_alike_or_moved_are_the_same(begun):
    data, run = begun
    shutil.rmtree(data)
    build(data)
    train(recipe(data, "steps=3"), run)
    data.rename(data.with_name("moved"))
    train(recipe(data.with_name("moved"), "steps=4"), run)
    assert read_meta(run)["step"] == 4
    assert read_meta(run)["recipe"]["data"]["dir"] == str(data.with_name("moved"))


def test_other_data_elsewhere_are_refused(begun):
    data, run = begun
    build(data.with_name("other"), subject="S7")
    with pytest.raises(LiftjaxError, match=r"split train of .*other has 20 records as before, but"):
        train(recipe(data.with_name("other"), "steps=4"), run)
    both = f"{data},{data.with_name('other')}"
    with pytest.raises(LiftjaxError, match="2 data sets are named, 1 were"):
        train(recipe(both, "steps=4"), run)


def test_a_checkpoint_from_before_content_was_noted_goes_on(poses, tmp_path):
    shutil.copytree(poses, tmp_path / "set")
    config = recipe(tmp_path / "set", "steps=2")
    run_loop(make_lifter_task(config), config, tmp_path / "run")
    assert "inputs" not in read_meta(tmp_path / "run")
    build(tmp_path / "set", subject="S7")
    shutil.copytree(tmp_path / "set", tmp_path / "elsewhere")
    with pytest.raises(LiftjaxError, match=r"other settings \(data\.dir is .*set.* there, .*elsew"):
        train(recipe(tmp_path / "elsewhere", "steps=4"), tmp_path / "run")
    train(recipe(tmp_path / "set", "steps=4"), tmp_path / "run")
    assert read_meta(tmp_path / "run")["step"] == 4


def test_a_run_directory_that_cannot_be_made_gets_one_line(poses, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LiftjaxError, match=r"Could not make the run directory .*file/run: Not a"):
        train(recipe(poses, "steps=2"), tmp_path / "file" / "run")
