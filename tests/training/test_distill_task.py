"""Recipes of distillation: runs, resumption, the saved student, and what is refused."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax import registry
from liftjax.errors import LiftjaxError
from liftjax.recipes import load_recipe
from liftjax.runtime import inputs
from liftjax.runtime.checkpoints import Checkpoints, build_model, load_model
from liftjax.runtime.state import flat_arrays
from liftjax.training.distill_task import make_distill_task
from liftjax.training.run import train
from tests.data.builders import make_dataset
from tests.training.toys import ToyHeatmaps, ToySimCC, compiled

TEACHER = 8  # channels; the toy student has 6


@pytest.fixture(scope="module", autouse=True)
def toy():
    """The toy detectors by name."""
    preset = dataclasses.replace(registry.DETECTORS["rtmpose_tiny"], keywords={})
    with pytest.MonkeyPatch.context() as patch:
        for name, cls in (("toy", ToySimCC), ("toy_heatmaps", ToyHeatmaps)):
            patch.setitem(registry.DETECTORS, name, dataclasses.replace(preset, cls=cls))
        yield


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    directory = tmp_path_factory.mktemp("people") / "set"
    make_dataset(directory, count=6)
    return directory


def save(directory, name="toy", seed=0, **keywords):
    """A detector of fresh weights, stored as a run would; returns the directory."""
    common = {"skeleton": "human36m", "image_size": (64, 64)}
    spec = {"kind": "detector", "name": name} | common | keywords
    detector = build_model(spec, seed)
    checkpoints = Checkpoints(directory)
    checkpoints.save(1, flat_arrays(detector), {"opt": np.zeros(1)}, {"model": spec, "recipe": {}})
    checkpoints.close()
    return directory


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return save(tmp_path_factory.mktemp("teacher"), channels=TEACHER)


def recipe(name, people, *overrides):
    common = (
        f"data.dir={people}", "batch_size=4", "log_every=1", "checkpoint_every=2",
        "detector.name=toy", "detector.image_size=[64,64]",
        "optim.learning_rate=1e-3", "optim.warmup_steps=0", "optim.schedule=constant",
    )  # fmt: skip
    return load_recipe(name, [*common, *overrides])


@pytest.fixture(scope="module")
def student(people, teacher, tmp_path_factory):
    """The directory and the final state of a stage-one run of four steps."""
    directory = tmp_path_factory.mktemp("student")
    return directory, train(stage_one(people, teacher, "steps=4"), directory)


def stage_one(people, teacher, *overrides):
    return recipe("distill_student", people, f"distill.teacher={teacher}", *overrides)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(people, teacher, student, tmp_path):
    fixed = "distill.decay=False"
    train(stage_one(people, teacher, "steps=2", fixed), tmp_path / "parts")
    resumed = train(stage_one(people, teacher, "steps=4", fixed), tmp_path / "parts")
    whole = train(stage_one(people, teacher, "steps=4", fixed), tmp_path / "whole")
    assert resumed["projection"]
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_other_data_or_another_teacher_are_refused(people, tmp_path):
    shutil.copytree(people, tmp_path / "set")
    config = stage_one(tmp_path / "set", save(tmp_path / "teacher"), "steps=1")
    train(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "teacher")
    save(tmp_path / "teacher", seed=1)
    with pytest.raises(LiftjaxError, match=r"something else \(distill.teacher holds other weights"):
        train(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "teacher")
    save(tmp_path / "teacher")
    train(config, tmp_path / "run")
    make_dataset(tmp_path / "set", count=7)
    with pytest.raises(LiftjaxError, match=r"set has 7 records instead of 6\); use a new"):
        train(config, tmp_path / "run")


def test_the_old_head_is_known_by_its_weights(people, student):
    config = recipe("distill_head", people, f"detector.checkpoint={student[0]}", "steps=2")
    read = inputs.fingerprints(config, make_distill_task(config).frozen)
    assert read.keys() == {"data.dir", "detector.checkpoint"}
    other = recipe("distill_student", people, f"distill.teacher={student[0]}", "steps=2")
    assert inputs.fingerprints(other, make_distill_task(other).frozen).keys() == {
        "data.dir",
        "distill.teacher",
    }


def test_the_saved_model_is_the_plain_student(student):
    directory, state = student
    detector, meta = load_model(directory, "detector")
    arrays = flat_arrays(detector)
    assert set(arrays) == set(state["params"] | state["others"])
    for name, value in (state["params"] | state["others"]).items():
        np.testing.assert_array_equal(arrays[name], value)
    assert meta["model"]["name"] == "toy"
    assert detector.spec.skeleton == "human36m"


def test_distillation_fades_out_over_the_run(people, teacher):
    task = make_distill_task(stage_one(people, teacher, "steps=4"))
    first, third = task.hyper(0), task.hyper(2)
    assert first["feature_weight"] == pytest.approx(7e-5)
    for key in ("feature_weight", "logit_weight"):
        assert third[key] == pytest.approx(first[key] / 2)
    assert third["label_weight"] == first["label_weight"] == 64


def test_a_student_as_wide_as_its_teacher_needs_no_projection(people, teacher):
    width = f"detector.overrides.channels={TEACHER}"
    assert not make_distill_task(stage_one(people, teacher, "steps=1", width)).state["projection"]


def test_the_second_stage_trains_a_fresh_head_alone(people, student, tmp_path):
    directory, first = student
    config = recipe("distill_head", people, f"detector.checkpoint={directory}", "steps=2")
    fresh = make_distill_task(config).state
    for name, value in fresh["others"].items():
        np.testing.assert_array_equal(value, (first["params"] | first["others"])[name])
    assert not np.array_equal(
        fresh["params"]["head.cls_x.kernel"], first["params"]["head.cls_x.kernel"]
    )
    last = train(config, tmp_path / "run")
    for name, value in last["others"].items():
        np.testing.assert_array_equal(value, (first["params"] | first["others"])[name])
    assert last["params"]
    load_model(tmp_path / "run", "detector")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["distill.stage=hed"], "did you mean 'head'"),
        (["distill.teacher="], "needs a teacher; give --config.distill.teacher"),
        (["loss.guidance=single"], "cannot be guided by lifters"),
        (["distill.logit_weight=-1"], "distill.logit_weight is -1.0; 0 switches it off"),
        (["distill.stage=head"], "give --config.detector.checkpoint"),
        (["distill.stage=head", "detector.checkpoint=x"], "takes no teacher"),
        (["distill.stage=head", "detector.checkpoint=x", "distill.teacher="], "feature_weight=0"),
    ],
)
def test_contradictions_are_named(people, overrides, said):
    with pytest.raises(LiftjaxError, match=said):
        make_distill_task(stage_one(people, "runs/teacher", *overrides))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"skeleton": "coco"}, "finds coco, the data have human36m"),
        ({"skeleton": None, "num_joints": 17}, "finds 17 joints without a name"),
        ({"image_size": (64, 32)}, "takes crops of 64x32, the student of 64x64"),
        ({"name": "toy_heatmaps"}, "toy_heatmaps .* gives heatmaps"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(people, tmp_path, spec, said):
    directory = save(tmp_path, **spec)
    with pytest.raises(LiftjaxError, match=said):
        make_distill_task(stage_one(people, directory))


@pytest.mark.slow
def test_rtmpose_has_what_both_stages_need(people, tmp_path):
    """Traced, not compiled."""
    small = {"deepen": 0.1, "widen": 0.0625, "channels": 8, "attention_dim": 4}
    directory = save(tmp_path, "rtmpose_tiny", **small)
    changes = [f"detector.overrides.{key}={value}" for key, value in small.items()]
    for stage, source in (
        ("distill_student", f"distill.teacher={directory}"),
        ("distill_head", f"detector.checkpoint={directory}"),
    ):
        task = make_distill_task(
            recipe(stage, people, *changes, "detector.name=rtmpose_tiny", source)
        )
        after, metrics = jax.eval_shape(
            compiled(task.step), task.state, task.frozen, next(task.batches(0)), task.hyper(0)
        )
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, task.state)
        assert "logit" in metrics


def test_a_heatmap_student_is_refused(people, teacher):
    config = stage_one(people, teacher)
    config.detector.name = "toy_heatmaps"
    with pytest.raises(LiftjaxError, match="toy_heatmaps gives heatmaps"):
        make_distill_task(config)
