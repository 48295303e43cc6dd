"""Lifters of every number of frames, trained on clips."""

import itertools

import jax
import numpy as np
import pytest

from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError
from liftjax.recipes import load_recipe
from liftjax.runtime.checkpoints import load_model
from liftjax.training import lifter_step, lifter_task
from liftjax.training.lifter_task import make_lifter_task
from liftjax.training.run import train
from tests.data.builders import make_dataset
from tests.slow import slow
from tests.training.toys import compiled

ONE = {"subject": "S1", "action": "Walking", "camera": "a"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    directory = tmp_path_factory.mktemp("clip") / "set"
    make_dataset(directory, count=24, with_picture=False, has_3d=True, **ONE)
    return directory


def recipe(directory, *overrides):
    common = (
        f"data.dir={directory}", "data.split=train", "batch_size=4", "steps=3", "log_every=1",
        "optim.warmup_steps=0",
    )  # fmt: skip
    return load_recipe("lifter", [*common, *overrides])


VIDEO = ("lifter.name=videopose3d", "lifter.overrides.channels=8")
IGANET = ("lifter.name=iganet", "lifter.overrides.channels=16", "lifter.overrides.layers=1")
MIXSTE = ("lifter.name=mixste", "lifter.overrides.embed_dim=8", "lifter.overrides.depth=1")


@pytest.mark.parametrize(
    ("settings", "taken", "given"),
    [
        slow((*VIDEO, "lifter.num_frames=9"), 9, 1),
        slow((*VIDEO, "lifter.num_frames=9", "lifter.overrides.causal=True"), 9, 1),
        slow((*VIDEO, "lifter.num_frames=9", "lifter.overrides.dense=True"), 9, 1),
        ((*VIDEO, "lifter.num_frames=9", "lifter.overrides.strided=True"), 9, 1),
        ((*VIDEO, "lifter.num_frames=12", "lifter.overrides.filter_widths=[3,3]"), 12, 4),
        ((*MIXSTE, "lifter.num_frames=8"), 8, 8),
        slow(
            ("lifter.name=iganet", "lifter.overrides.channels=16", "lifter.overrides.layers=1"),
            1,
            1,
        ),
    ],
    ids=["sliding", "causal", "dense", "strided", "chunk", "mixste", "iganet"],
)
def test_windows_fit_the_lifter_and_the_loss_is_finite(clip, settings, taken, given):
    task = make_lifter_task(recipe(clip, *settings, "lifter.flip=True"))
    batch = next(task.batches(0))
    assert batch["inputs"].shape == (4, taken)
    assert batch["index"].shape == (4, given)
    before = {name: np.array(value) for name, value in task.state["params"].items()}
    state, metrics = compiled(task.step)(task.state, task.frozen, batch, task.hyper(0))
    assert np.isfinite(float(metrics["loss"]))
    assert any((np.asarray(state["params"][name]) != old).any() for name, old in before.items())


@pytest.mark.slow
def test_the_strided_form_trains_what_the_sliding_lifter_is(clip, tmp_path):
    """The same weights, by name and by what they compute."""
    config = recipe(clip, *VIDEO, "lifter.num_frames=9")
    train(config, tmp_path / "run")
    lifter, meta = load_model(tmp_path / "run", "lifter")
    assert "strided" not in meta["model"]
    assert lifter.spec.frames == "sliding"
    strided = lifter_task._trained_form(lifter, meta["model"])
    assert strided.spec.frames == "strided"
    x = np.random.default_rng(0).normal(size=(2, 9, 17, 2)).astype(np.float32)
    np.testing.assert_allclose(strided(x), lifter(x), atol=1e-5)


def test_the_middle_frame_is_the_target(clip):
    """A lifter's window of record i is centred on it: its pose is that of the record."""
    task = make_lifter_task(recipe(clip, *VIDEO, "lifter.num_frames=3"))
    dataset = PoseDataset.open(clip, "train")
    batch = next(task.batches(0)) | {"flip": np.zeros(4, bool)}
    px, pose, size = lifter_step._poses(task.frozen, batch, "human36m")
    for b in range(4):
        i = int(batch["index"][b, 0])
        np.testing.assert_array_equal(pose[b, 0], dataset.labels["pose_m"][i])
        np.testing.assert_array_equal(px[b, 1], dataset.labels["joints_px"][i])
        np.testing.assert_array_equal(px[b, 0], dataset.labels["joints_px"][max(i - 1, 0)])
        np.testing.assert_array_equal(size[b], dataset.labels["image_size"][i])


def test_a_flipped_window_is_mirrored_in_2d_and_3d(clip):
    task = make_lifter_task(recipe(clip, *VIDEO, "lifter.num_frames=3", "lifter.flip=True"))
    batch = next(task.batches(0))
    plain, flipped = (
        lifter_step._poses(task.frozen, batch | {"flip": np.full(4, flip)}, "human36m")
        for flip in (False, True)
    )
    swap = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]
    width = np.asarray(plain[2])[:, 0].reshape(4, 1, 1)
    np.testing.assert_allclose(flipped[0][..., 0], width - plain[0][:, :, swap, 0], atol=1e-4)
    np.testing.assert_array_equal(flipped[0][..., 1], plain[0][:, :, swap, 1])
    mirrored = np.asarray(plain[1])[:, :, swap] * np.array([-1.0, 1, 1])
    np.testing.assert_array_equal(flipped[1], mirrored.astype(np.float32))


@pytest.mark.slow
def test_frames_that_do_not_count_have_no_gradient(tmp_path):
    """Of a clip shorter than the window, the repeated frames."""
    directory = tmp_path / "short"
    make_dataset(directory, count=3, with_picture=False, has_3d=True, **ONE)
    task = make_lifter_task(recipe(directory, *MIXSTE, "lifter.num_frames=5", "batch_size=1"))
    batch = next(task.batches(0))
    assert batch["weight"].tolist() == [[1, 1, 1, 0, 0]]
    _, metrics = compiled(task.step)(task.state, task.frozen, batch, task.hyper(0))
    again = make_lifter_task(recipe(directory, *MIXSTE, "lifter.num_frames=5", "batch_size=1"))
    other = batch | {"index": np.where(batch["weight"] > 0, batch["index"], 0)}
    _, same = compiled(again.step)(again.state, again.frozen, other, again.hyper(0))
    assert float(metrics["loss"]) == float(same["loss"])


def test_resuming_in_mid_epoch_gives_the_same_windows(clip):
    task = make_lifter_task(recipe(clip, *MIXSTE, "lifter.num_frames=8", "lifter.flip=True"))
    whole = list(itertools.islice(task.batches(0), 5))
    for a, b in zip(whole[2:], itertools.islice(task.batches(2), 3), strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_single_frames_are_no_clip(tmp_path):
    directory = tmp_path / "scattered"
    make_dataset(directory, count=2, with_picture=False, has_3d=True)
    with pytest.raises(LiftjaxError, match="single frames alone, and videopose3d wants 9 in a row"):
        make_lifter_task(recipe(directory, *VIDEO, "lifter.num_frames=9"))


def test_more_frames_for_a_lifter_of_single_ones_are_refused(clip):
    with pytest.raises(LiftjaxError, match=r"num_frames=27: iganet lifts every frame alone; set 1"):
        make_lifter_task(recipe(clip, "lifter.name=iganet", "lifter.num_frames=27"))


def test_stored_statistics_are_used_for_a_whole_split_only(clip, monkeypatch):
    dataset = PoseDataset.open(clip, "train")
    measured = dataset.statistics()
    monkeypatch.setattr(PoseDataset, "statistics", lambda self: "measured anew")
    stored = lifter_task.statistics(dataset)
    for a, b in zip(stored, measured, strict=True):
        np.testing.assert_array_equal(a, b)
    assert lifter_task.statistics(dataset.select(np.arange(5))) == "measured anew"


@pytest.mark.parametrize("setting", ["data.augment.flip=0.5", "data.shares=[1.0]"])
def test_settings_of_pictures_are_refused(clip, setting):
    with pytest.raises(LiftjaxError, match="applies to pictures only"):
        make_lifter_task(recipe(clip, *VIDEO, setting))
