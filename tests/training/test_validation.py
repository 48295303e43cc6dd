"""Evaluation on the way: what it measures, what it may be measured on, what is best by it."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

from liftjax import evaluation, registry
from liftjax.cli import main
from liftjax.data.records import RENDERED, described
from liftjax.data.schema import METADATA_FILE
from liftjax.errors import LiftjaxError
from liftjax.inference.detection import BatchDetector
from liftjax.recipes import load_recipe
from liftjax.runtime import inputs
from liftjax.runtime.checkpoints import (
    Checkpoints,
    build_model,
    find_checkpoint,
    read_meta,
    whole_steps,
)
from liftjax.runtime.scores import Scores
from liftjax.runtime.state import flat_arrays
from liftjax.training import loop, validation
from liftjax.training.detector_task import make_detector_task
from liftjax.training.lifter_task import make_lifter_task
from liftjax.training.run import train
from tests.data.builders import make_dataset, make_record
from tests.training.toys import ToySimCC

HELD_OUT = (
    "data.subjects=('S0',)", "data.eval_split=train", "data.eval_subjects=('S1',)",
)  # fmt: skip


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """S0 and S1 in the split `train`, S0 and S1 in `test`."""
    from data_prep.building import write_dataset

    directory = tmp_path_factory.mktemp("people") / "set"
    splits = {"train": range(16), "test": range(16, 24)}
    records = {name: [make_record(i, has_3d=True) for i in split] for name, split in splits.items()}
    write_dataset(directory, "toy", records, {"seed": 0})
    return directory


def lifter_recipe(people, *overrides):
    common = (
        f"data.dir={people}", "data.split=train", "lifter.overrides.linear_size=8",
        "lifter.overrides.num_stages=1", "batch_size=4", "steps=6", "log_every=2",
        "checkpoint_every=6", "evaluate_every=2", "optim.warmup_steps=0",
    )  # fmt: skip
    return load_recipe("lifter", [*common, *overrides])


def rows(run):
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


def test_the_best_by_held_out_subjects_is_kept_and_evaluated(people, tmp_path, capsys):
    train(lifter_recipe(people, *HELD_OUT, "keep_best=True", "ema=0.5"), tmp_path)
    errors = {int(row["step"]): float(row["eval_mpjpe"]) for row in rows(tmp_path)}
    assert Scores(tmp_path).steps == errors
    assert Scores(tmp_path).title == "eval_mpjpe"
    best = min(errors, key=errors.get)
    assert whole_steps(tmp_path / "checkpoints") == sorted({best, 6})
    assert find_checkpoint(tmp_path, "best").name == str(best)
    assert main(["evaluate", "--workdir", str(tmp_path), "--step", "best"]) == 0
    stored = json.loads((tmp_path / "evaluation.json").read_text())
    assert stored["step"] == best
    error_mm = stored["rows"]["simple_baseline"]["mpjpe"]["average"]
    assert error_mm == pytest.approx(errors[best], rel=1e-6)
    assert f"Step {best}, chosen by eval_mpjpe." in capsys.readouterr().out


def test_without_keep_best_the_newest_alone_stays(people, tmp_path):
    train(lifter_recipe(people, *HELD_OUT), tmp_path)
    assert whole_steps(tmp_path / "checkpoints") == [6]
    assert len(Scores(tmp_path).steps) == 3


def test_choosing_by_test_data_must_be_asked_for_and_is_said(people, tmp_path, capsys):
    test = "keep_best=True", "data.eval_split=test"
    with pytest.raises(LiftjaxError, match=r"select by the split 'test'; .* or set select_on_test"):
        train(lifter_recipe(people, *test), tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    train(lifter_recipe(people, *test, "select_on_test=True"), tmp_path)
    assert Scores(tmp_path).title == "eval_mpjpe, selected on test data"
    assert "(selected on test data)" in "".join(capsys.readouterr())
    assert main(["evaluate", "--workdir", str(tmp_path), "--step", "best"]) == 0
    assert "selected on test data" in capsys.readouterr().out


def build(directory, test, **changes):
    """S0 in the split `train`, `test` records of S1 in the split `test`."""
    from data_prep.building import write_dataset

    records = {"train": [make_record(i, has_3d=True, subject="S0") for i in range(8)]}
    common = {"has_3d": True, "subject": "S1"} | changes
    records["test"] = [make_record(i, **common) for i in range(8, 8 + test)]
    write_dataset(directory, "toy", records, {"seed": 0})


def test_other_data_to_choose_by_are_refused_or_chosen_by_from_then_on(tmp_path):
    data = tmp_path / "set"
    choosing = "data.eval_split=test", "select_on_test=True", "keep_best=True"
    build(data, test=8)
    train(lifter_recipe(data, *choosing, "steps=4"), tmp_path / "run")
    before = Scores(tmp_path / "run").steps
    assert list(before) == [2, 4]
    build(data, test=7)
    train(lifter_recipe(data, "data.eval_split=test", "steps=4"), tmp_path / "run")
    with pytest.raises(LiftjaxError, match=r"\(split test of \S+set has 7 records instead of 8\)"):
        train(lifter_recipe(data, *choosing), tmp_path / "run")
    train(lifter_recipe(data, *choosing), tmp_path / "run", accept_changes=True)
    after = Scores(tmp_path / "run").steps
    assert list(after) == [4, 6]  # that of the newest checkpoint is measured again
    assert after[4] != before[4]
    other = "data.eval_subjects=('S1',)"
    with pytest.raises(LiftjaxError, match=r"data.eval_subjects is \['S1'\], was empty"):
        train(lifter_recipe(data, *choosing, other, "steps=8"), tmp_path / "run")


def test_another_split_may_be_evaluated_without_choosing(people, tmp_path, capsys):
    train(lifter_recipe(people, "data.eval_split=test", "steps=2"), tmp_path)
    assert "selected" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("subjects", "named"),
    [
        (("data.subjects=('S0',)", "data.eval_subjects=('S0','S1')"), "S0 of the split"),
        (("data.subjects=('S0',)",), "S0 of the split"),
        (("data.eval_subjects=('S1',)",), "S1 of the split"),
    ],
)
def test_subjects_that_are_trained_on_are_not_evaluated(people, tmp_path, subjects, named):
    with pytest.raises(LiftjaxError, match=f"{named} 'train' would be trained on and evaluated"):
        train(lifter_recipe(people, "data.eval_split=train", *subjects), tmp_path)


@pytest.mark.slow
def test_an_evaluation_that_was_broken_off_is_made_up_for(people, tmp_path):
    config = lifter_recipe(people, *HELD_OUT, "keep_best=True")
    task = make_lifter_task(config)
    whole = validation.make_validation(config, task)
    train(config, tmp_path / "whole")

    def broken(arrays):
        if measured:
            raise InterruptedError
        measured.append(True)
        return whole.measure(arrays)

    for _ in range(2):  # at step 4, then at the last step
        measured = []
        with pytest.raises(InterruptedError):
            loop.train_task(
                task,
                loop.RunPlan.of(config),
                tmp_path / "parts",
                dataclasses.replace(whole, measure=broken),
            )
    assert list(Scores(tmp_path / "parts").steps) == [2, 4]
    train(config, tmp_path / "parts")
    assert Scores(tmp_path / "parts").steps == Scores(tmp_path / "whole").steps
    both = [[row["eval_mpjpe"] for row in rows(tmp_path / one)] for one in ("parts", "whole")]
    assert both[0] == both[1]


@pytest.fixture
def toy(monkeypatch):
    preset = dataclasses.replace(registry.DETECTORS["rtmpose_tiny"], keywords={}, cls=ToySimCC)
    monkeypatch.setitem(registry.DETECTORS, "toy", preset)


def detector_recipe(people, *overrides):
    common = (
        f"data.dir={people}", "detector.name=toy", "detector.image_size=(64,64)", "batch_size=4",
        "steps=2", "evaluate_every=2", "log_every=2", *HELD_OUT,
    )  # fmt: skip
    return load_recipe("ft2d", [*common, *overrides])


def test_a_detector_is_measured_in_2d_and_through_the_lifters(people, toy, tmp_path):
    lifter = tmp_path / "lifter"
    train(lifter_recipe(people, "evaluate_every=0", "steps=2"), lifter)
    config = detector_recipe(people, f"lifters.one={lifter}")
    train(config, tmp_path / "run")
    (row,) = rows(tmp_path / "run")
    report = evaluation.evaluate_run(config, str(tmp_path / "run"))["toy"]
    assert float(row["eval_pck"]) == pytest.approx(report["pck"])
    assert float(row["eval_mpjpe_one"]) == pytest.approx(
        report["lifters"]["one"]["mpjpe"], rel=1e-5
    )
    assert Scores(tmp_path / "run").steps == {2: pytest.approx(report["mean"], rel=1e-5)}


def test_a_detector_knows_its_data_and_its_usual_score(people, toy, tmp_path):
    """With and without evaluations; a run that goes on from another one has that one's data too."""
    evaluated, plain, later = (tmp_path / name for name in ("evaluated", "plain", "later"))
    train(detector_recipe(people), evaluated)
    train(detector_recipe(people, "evaluate_every=0"), plain)
    train(detector_recipe(people, "evaluate_every=0", f"detector.checkpoint={plain}"), later)
    assert read_meta(plain)["trained_on"] == ["the data set toy"] == read_meta(later)["trained_on"]
    (row,) = rows(evaluated)
    assert Scores(evaluated).keypoints == {2: float(row["eval_keypoint_score"])}
    assert Scores(plain).keypoints == pytest.approx(Scores(evaluated).keypoints)
    assert Scores(plain).steps == {}
    (plain / "scores.json").unlink()  # as in runs of older versions
    train(detector_recipe(people, "evaluate_every=0"), plain)
    known = BatchDetector.load(str(plain))
    assert known.usual_score == pytest.approx(Scores(evaluated).keypoints[2])
    assert known.trained_on == ("the data set toy",)
    document = json.loads((people / METADATA_FILE).read_text())
    document["name"] = "synthetic_people"
    shutil.copytree(people, tmp_path / "rendered")
    (tmp_path / "rendered" / METADATA_FILE).write_text(json.dumps(document))
    assert described(tmp_path / "rendered") == RENDERED


def test_runs_of_older_versions_load(people, toy, tmp_path):
    spec = make_detector_task(detector_recipe(people)).meta["model"]
    with Checkpoints(tmp_path) as checkpoints:
        arrays = flat_arrays(build_model(spec))
        checkpoints.save(0, arrays, {"opt": np.zeros(1)}, {"model": spec, "recipe": {}})
    known = BatchDetector.load(str(tmp_path))
    assert (known.usual_score, known.trained_on) == (None, ())


def test_lifters_that_guide_are_known_by_their_weights(people, toy, tmp_path):
    spec = {"kind": "lifter", "name": "simple_baseline", "skeleton": "human36m"}
    spec |= {"linear_size": 8, "num_stages": 1}

    def meta(name, seed=None):
        """Of a run guided by the lifter in that place, which `seed` makes anew."""
        if seed is not None:
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            with Checkpoints(tmp_path / name) as checkpoints:
                arrays = flat_arrays(build_model(spec, seed))
                checkpoints.save(0, arrays, {"opt": np.zeros(1)}, {"model": spec, "recipe": {}})
        guided = "loss.guidance=single", f"lifters.mine={tmp_path / name}"
        config = detector_recipe(people, *guided)
        task = make_detector_task(config)
        return task.meta | {"inputs": inputs.fingerprints(config, task.frozen)}

    first = meta("lifter", seed=0)
    assert first["inputs"].keys() == {"data.dir", "lifters.mine"}
    shutil.copytree(tmp_path / "lifter", tmp_path / "copy")
    assert inputs.changes(first, meta("copy")) == {}
    said = {"lifters.mine": "lifters.mine holds other weights"}
    assert inputs.changes(first, meta("lifter", seed=1)) == said


def test_data_without_3d_poses_are_measured_in_2d(people, toy, tmp_path, capsys):
    lifter = tmp_path / "lifter"
    train(lifter_recipe(people, "evaluate_every=0", "steps=2"), lifter)
    make_dataset(tmp_path / "flat", count=12, has_3d=False)
    flat = f"data.dir={tmp_path / 'flat'}"
    config = detector_recipe(people, flat, f"lifters.one={lifter}", "loss.guidance=none")
    train(config, tmp_path / "run")
    assert list(Scores(tmp_path / "run").steps) == [2]
    rows = evaluation.evaluate_run(config, str(tmp_path / "run"))
    assert rows["toy"]["lifters"] == {}
    assert "flat: split train has no 3D poses: 2D measures only." in capsys.readouterr().out


def test_without_lifters_the_score_is_the_share_of_wrong_keypoints(people, toy, tmp_path):
    config = detector_recipe(people)
    task = make_detector_task(config)
    built = validation.make_validation(config, task)
    values = built.measure(task.state["params"] | task.state["others"])
    assert built.score == "eval_error"
    assert values["eval_error"] == pytest.approx(100 - values["eval_pck"])
    assert np.isfinite(list(values.values())).all()
