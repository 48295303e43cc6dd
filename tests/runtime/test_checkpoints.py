"""Which checkpoints stay, which one is found, and what is no checkpoint at all."""

import json
import os
import shutil
import time

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from liftjax.errors import LiftjaxError
from liftjax.recipes import load_recipe
from liftjax.runtime.checkpoints import (
    BEST,
    Checkpoints,
    build_model,
    find_checkpoint,
    load_model,
    whole_steps,
)
from liftjax.runtime.scores import Scores
from liftjax.runtime.state import flat_arrays

SPEC = {"kind": "lifter", "name": "simple_baseline", "skeleton": "human36m"}
SPEC |= {"linear_size": 8, "num_stages": 1}
META = {"model": SPEC, "recipe": {}}


@pytest.fixture(scope="module")
def model():
    return {name: np.asarray(value) for name, value in flat_arrays(build_model(SPEC)).items()}


def training(step):
    return {"opt": (np.full(3, step, np.float32), {"count": np.array(step, np.int32)})}


def save(run, model, steps, scores=None, **keep):
    with Checkpoints(run, scores=scores, **keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, model, training(step), META)
    return whole_steps(run / "checkpoints")


def test_the_newest_is_kept(model, tmp_path):
    assert save(tmp_path, model, [2, 4, 6]) == [6]


def test_multiples_are_kept(model, tmp_path):
    assert save(tmp_path, model, range(1, 8), keep_every=3) == [3, 6, 7]


def test_a_checkpoint_still_on_its_way_to_the_trash_arrives(model, tmp_path, monkeypatch):
    replace, returned = os.replace, ocp.CheckpointManager.save

    def slow_replace(source, target):
        if os.path.basename(os.path.dirname(target)) == "deleted":
            time.sleep(0.3)
        return replace(source, target)

    def slow_save(*args, **keywords):
        result = returned(*args, **keywords)
        time.sleep(0.15)
        return result

    monkeypatch.setattr(os, "replace", slow_replace)
    monkeypatch.setattr(ocp.CheckpointManager, "save", slow_save)
    assert save(tmp_path, model, range(1, 5)) == [4]
    assert not (tmp_path / "checkpoints" / "deleted").exists()


def test_the_best_is_kept_though_scored_after_its_save(model, tmp_path):
    scores = Scores(tmp_path, "mm")
    with Checkpoints(tmp_path, scores=scores) as checkpoints:
        for step, score in ((1, 9.0), (2, 5.0), (3, float("nan")), (4, 7.0), (5, 5.0)):
            checkpoints.save(step, model, training(step), META)
            scores.add(step, score)
    assert whole_steps(tmp_path / "checkpoints") == [2, 5]
    assert find_checkpoint(tmp_path, BEST).name == "2"  # the first of two that are as good
    again = Scores(tmp_path)
    assert again.title == "mm"
    assert again.steps == {1: 9.0, 2: 5.0, 3: None, 4: 7.0, 5: 5.0}
    again.forget_after(3)
    assert again.best([2, 4]) == 2
    assert again.best([3, 4]) is None


def test_a_checkpoint_is_found_by_what_it_is(model, tmp_path):
    save(tmp_path, model, [3, 6, 9], keep_every=3)
    for step, found in (("last", "9"), (6, "6"), ("3", "3")):
        assert find_checkpoint(tmp_path, step).name == found
    assert find_checkpoint(tmp_path / "checkpoints" / "6").name == "6"
    with pytest.raises(LiftjaxError, match=r"no checkpoint of step 4; it has 3, 6, 9"):
        find_checkpoint(tmp_path, "4")
    with pytest.raises(LiftjaxError, match="has a validation score; train with"):
        find_checkpoint(tmp_path, BEST)


def test_what_a_kill_leaves_is_no_checkpoint(model, tmp_path):
    save(tmp_path, model, [3])
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "3", folder / "6.orbax-checkpoint-tmp-17")
    shutil.copytree(folder / "3" / "model", folder / "9" / "model")
    (folder / "deleted" / "1").mkdir(parents=True)
    assert whole_steps(folder) == [3]
    assert find_checkpoint(tmp_path).name == "3"
    with pytest.raises(LiftjaxError, match="No checkpoint in"):
        find_checkpoint(folder / "6.orbax-checkpoint-tmp-17")
    shutil.rmtree(folder / "9")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 3
        checkpoints.save(6, model, training(6), META)
    assert sorted(path.name for path in folder.iterdir()) == ["6"]


def test_half_a_copy_is_refused_rather_than_trained_over(model, tmp_path):
    save(tmp_path, model, [3])
    shutil.copytree(tmp_path / "checkpoints" / "3" / "model", tmp_path / "checkpoints/9/model")
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(LiftjaxError, match=r"9 is damaged or incomplete .*; move it away"),
    ):
        checkpoints.restore(checkpoints.latest(), model, training(0), META)


def test_what_is_restored_are_host_arrays_as_they_were(model, tmp_path):
    meta = META | {"recipe": load_recipe("lifter").to_dict()}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, model, training(3), meta | {"skipped": 2})
    with Checkpoints(tmp_path) as checkpoints:
        got_model, got_training, got_meta = checkpoints.restore(3, model, training(0), meta)
    for name, value in model.items():
        assert type(got_model[name]) is np.ndarray
        assert got_model[name].dtype == value.dtype
        np.testing.assert_array_equal(got_model[name], value)
    np.testing.assert_array_equal(got_training["opt"][0], 3)
    assert got_training["opt"][1]["count"].dtype == np.int32
    assert (got_meta["step"], got_meta["skipped"]) == (3, 2)


def test_what_is_saved_is_the_state_of_the_moment(tmp_path, model):
    state = {"opt": np.zeros(100_000)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, model, state, META)
        state["opt"] += 1
    path = tmp_path / "checkpoints" / "1" / "training"
    with ocp.StandardCheckpointer() as reader:
        assert not reader.restore(path)["opt"].any()


def test_checkpoints_of_device_arrays_are_read(model, tmp_path):
    """As they were written before they held host arrays."""
    folder = tmp_path / "checkpoints" / "5"
    arrays = {name: jnp.asarray(value) for name, value in model.items()}
    recipe = load_recipe("lifter").to_dict()
    del recipe["replicate"], recipe["ema"], recipe["nonfinite"]
    meta = {"format": 1, "step": 5, "model": SPEC, "recipe": recipe}
    with ocp.CheckpointManager(
        tmp_path / "checkpoints", item_names=("model", "training", "meta")
    ) as manager:
        args = ocp.args.Composite(
            model=ocp.args.StandardSave(arrays),
            training=ocp.args.StandardSave({"opt": (jnp.full(3, 5.0), {"count": jnp.array(5)})}),
            meta=ocp.args.JsonSave(json.loads(json.dumps(meta))),
        )
        manager.save(5, args=args)
    assert find_checkpoint(tmp_path) == folder
    lifter, _ = load_model(tmp_path, "lifter")
    assert flat_arrays(lifter).keys() == model.keys()
    with Checkpoints(tmp_path) as checkpoints:
        wanted = META | {"recipe": load_recipe("lifter").to_dict()}
        got, state, _ = checkpoints.restore(5, model, training(0), wanted)
    for name, value in model.items():
        np.testing.assert_array_equal(got[name], value)
    np.testing.assert_array_equal(state["opt"][1]["count"], 5)


def test_arrays_of_other_sizes_are_refused(model, tmp_path):
    meta = META | {"recipe": load_recipe("lifter").to_dict()}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, model, training(3), meta)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(LiftjaxError, match="shape"):
        checkpoints.restore(3, model, {"opt": (np.zeros(4), {"count": np.array(0)})}, meta)
