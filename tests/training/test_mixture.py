"""Photographs with 2D labels and studio data with 3D in one training run."""

import csv
import json

import jax
import numpy as np
import pytest

from liftjax.cli import main
from liftjax.errors import LiftjaxError
from liftjax.recipes import load_recipe
from liftjax.training.detector_task import make_detector_task
from liftjax.training.run import train
from tests.data.builders import make_dataset
from tests.training.toys import toy_detector


@pytest.fixture(scope="module", autouse=True)
def toy():
    """A toy detector by name."""
    with toy_detector():
        yield


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    root = tmp_path_factory.mktemp("several")
    make_dataset(root / "photographs", 9, has_3d=False, pose_m=np.zeros((17, 3)), subject="coco")
    make_dataset(root / "studio", 5, has_3d=True)
    return f"{root / 'photographs'},{root / 'studio'}"


def recipe(directories, *overrides):
    tiny = (
        "detector.name=toy", "detector.image_size=(64,64)", "batch_size=4", "log_every=1",
        "data.workers=0", "optim.warmup_steps=0", "optim.schedule=constant",
    )  # fmt: skip
    return load_recipe("coco_h36m", [f"data.dir={directories}", *tiny, *overrides])


@pytest.mark.slow
def test_the_recipe_trains_and_goes_on_in_the_middle_of_an_epoch(directories, tmp_path):
    shares = "data.shares=(0.25,0.75)"
    whole = train(recipe(directories, "steps=3", shares), tmp_path / "whole")
    train(recipe(directories, "steps=2", shares), tmp_path / "parts")
    workers = recipe(directories, "steps=3", shares, "data.workers=2")
    resumed = train(workers, tmp_path / "parts")
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = list(csv.DictReader((tmp_path / "whole" / "metrics.csv").read_text().splitlines()))
    assert all(float(row["loss"]) > 0 and 0 <= float(row["data_wait"]) <= 1 for row in rows)
    stored = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert stored["data"]["dir"] == directories
    assert stored["data"]["augment"]["flip"] == 0.5
    assert (tmp_path / "whole" / "versions.json").exists()
    arguments = ["evaluate", "--workdir", str(tmp_path / "whole"), "--config.data.eval_split=train"]
    assert main([*arguments, f"--config.data.dir={directories.split(',')[1]}"]) == 0


def test_batches_have_the_shares_of_the_recipe(directories):
    config = recipe(directories, "data.shares=(0.25,0.75)")
    task = make_detector_task(config)
    batch = next(task.batches(0))
    assert batch["has_3d"].sum() == 3
    assert batch["image_u8"].shape == (4, 64, 64, 3)
    with pytest.raises(LiftjaxError, match="3 shares for 2 data sets"):
        next(make_detector_task(recipe(directories, "data.shares=(1,1,1)")).batches(0))


def test_augmentation_that_makes_no_sense_is_named(directories):
    with pytest.raises(LiftjaxError, match=r"augment.flip is 3.0; choose a number from 0 to 1"):
        make_detector_task(recipe(directories, "data.augment.flip=3"))
    with pytest.raises(LiftjaxError, match=r"Unknown config key 'data\.augment\.turn'"):
        recipe(directories, "data.augment.turn=3")


def test_every_data_set_of_a_mixture_counts(directories, tmp_path):
    photographs, studio = directories.split(",")
    make_dataset(tmp_path / "studio", 5, has_3d=True)
    both = f"{photographs},{tmp_path / 'studio'}"
    train(recipe(both, "steps=1"), tmp_path / "run")
    make_dataset(tmp_path / "studio", 6, has_3d=True)
    with pytest.raises(
        LiftjaxError, match=r"\(split train of \S+studio has 6 records instead of 5\)"
    ):
        train(recipe(both, "steps=2"), tmp_path / "run")
    train(recipe(directories, "steps=1"), tmp_path / "run")  # the same in another place
    said = r"of \S+studio has 5 records instead of 9; split train of \S+photographs has 9 records"
    with pytest.raises(LiftjaxError, match=said):
        train(recipe(f"{studio},{photographs}", "steps=1"), tmp_path / "run")
