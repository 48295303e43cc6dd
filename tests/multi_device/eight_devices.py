"""Properties of the mapped step and of mapped evaluation on eight devices, in float32.

They are those of any detector: toys, which compile in a moment, stand for the network of the slow
tests.

SGD shows a gradient that is N times too large; Adam would hide it. The gradient of this small
network is itself good to about 1e-3 in float32, and larger steps let the choice of the hardest
joints tip over; so the parameters are held to a share of their way.
"""

import functools
import itertools

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from liftjax import prediction
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError
from liftjax.registry import create_lifter
from liftjax.runtime.replicas import Replicas
from liftjax.training.lifter_task import make_lifter_task
from liftjax.training.update import Update, make_update_step
from tests.data.builders import make_dataset
from tests.multi_device.problems import (
    BATCH,
    Problem,
    batches,
    guided,
    largest_difference,
    make_detector,
)
from tests.slow import one_in, slow
from tests.training.test_lifter_task import recipe

ONE = Replicas.create("shard_map", 1)
EIGHT = [Replicas.create(how, 8) for how in ("shard_map", "pmap")]
by_default_sharded = pytest.mark.parametrize(
    "eight", [EIGHT[0], slow(EIGHT[1])], ids=lambda replicas: replicas.how
)
SGD = optax.identity()


def assert_same_run(problem: Problem, eight: Replicas, steps: int) -> None:
    """Losses to float32 rounding, parameters to 2 % of their way (measured: 0.6 %)."""
    made = batches(steps)
    (state, metrics), (expected, terms) = problem.run(eight, made), problem.run(ONE, made)
    way = largest_difference(problem.state["params"], expected["params"])
    assert way > 0
    assert largest_difference(expected["params"], state["params"]) < 0.02 * way
    for key in ("loss", "loss_2d", "xy", "z", "mse_videopose3d"):
        ours, theirs = ([float(m[key]) for m in run] for run in (metrics, terms))
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, err_msg=key)


@pytest.fixture(scope="module")
def guided_by():
    """The guided problem of a detector by name, once."""
    return functools.cache(lambda detector: guided(SGD, detector=detector, learning_rate=5e-4))


@by_default_sharded
def test_guided_steps(eight, guided_by):
    """The tests in float64 train with both ways."""
    assert_same_run(guided_by("toy"), eight, steps=5)


@pytest.mark.slow
def test_a_simcc_detector(guided_by):
    """The default tests train one in float64."""
    assert_same_run(guided_by("toy_simcc"), EIGHT[0], steps=5)


@pytest.mark.slow
def test_accumulated_parts_have_the_same_rows_and_the_same_dropped_lifter():
    problem = guided(SGD, learning_rate=5e-4, update={"parts": 2}, lifter_dropout=True)
    assert_same_run(problem, EIGHT[0], steps=8)


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["toy", "hrnet_tiny"])
def test_bfloat16_activations_on_eight_devices(guided_by, detector):
    problem = guided(SGD, detector=detector, dtype="bfloat16", learning_rate=5e-4)
    made = batches(3)
    (state, metrics), (_, terms) = problem.run(EIGHT[0], made), guided_by(detector).run(ONE, made)
    for ours, expected in zip(metrics, terms, strict=True):
        np.testing.assert_allclose(ours["loss"], expected["loss"], rtol=0.02)
    assert {array.dtype for array in jax.tree.leaves(state["params"])} == {np.dtype(np.float32)}


@pytest.mark.slow
def test_without_synchronisation_running_statistics_are_the_mean_of_the_replicas():
    """What each replica would have kept by itself, averaged."""
    made = batches(1)
    shared = guided(SGD, sync=False, lifters=("simple_baseline",))
    state, _ = shared.run(EIGHT[0], made)
    each = []
    for start in range(0, BATCH, BATCH // 8):
        rows = jax.tree.map(lambda a, start=start: a[start : start + BATCH // 8], made[0])
        each.append(shared.run(ONE, [rows])[0]["others"])
    for name, value in state["others"].items():
        expected = np.mean([others[name] for others in each], axis=0)
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-7, err_msg=name)
    way = shared.run(EIGHT[1], made)[0]
    assert largest_difference(way["params"], state["params"]) < 1e-7


def test_a_replica_sums_gradients_once():
    """The mean of a batch has the same gradient on one device and on eight."""

    def backward(state, frozen, batch, hyper):
        rows = batch["x"]
        grads = {"w": rows.sum(axis=0) / (rows.shape[0] * jax.lax.axis_size("data"))}
        return grads, {"others": {}}, {"loss": jax.lax.pmean(rows.mean(), "data")}

    step = make_update_step(backward, Update(optax.trace(0.0)))
    weights = {"w": np.zeros(3, np.float32)}
    start = {"params": weights, "others": {}, "opt": optax.trace(0.0).init(weights)}
    rows = np.arange(48, dtype=np.float32).reshape(16, 3)
    for replicas in (ONE, *EIGHT):
        problem = Problem(step, start, (), {"learning_rate": 1.0})
        state, _ = problem.run(replicas, [{"x": rows}])
        np.testing.assert_allclose(state["params"]["w"], -rows.mean(axis=0), rtol=1e-6)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pictures") / "set"
    make_dataset(directory, count=11, has_3d=True)
    return PoseDataset.open(directory, "train")


@pytest.mark.parametrize(("eight", "batch_size"), one_in(5, itertools.product(EIGHT, (4, 8, 11))))
def test_predictions_do_not_depend_on_the_devices(pictures, eight, batch_size):
    """Eleven pictures: no number of devices here divides them."""

    detector = make_detector("toy_simcc")
    found = prediction.predict_2d(detector, pictures, batch_size=batch_size, replicas=eight)
    expected = prediction.predict_2d(detector, pictures, batch_size=11, replicas=ONE)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    lifter = create_lifter("videopose3d", channels=16, rngs=nnx.Rngs(0))
    sizes = pictures.labels["image_size"]
    np.testing.assert_allclose(
        prediction.lift(lifter, found, sizes, eight),
        prediction.lift(lifter, found, sizes, ONE),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        prediction.lift_dataset(lifter, pictures, replicas=eight),
        prediction.lift_dataset(lifter, pictures, replicas=ONE),
        atol=1e-5,
    )


@by_default_sharded
def test_a_lifter_trains_alike_where_frames_do_not_count_alike(tmp_path, eight):
    """Clips of seven frames in windows of four: some replicas have more frames that count."""
    directory = tmp_path / "clips"
    make_dataset(directory, count=7, with_picture=False, has_3d=True)
    settings = (
        "lifter.name=mixste", "lifter.num_frames=4", "lifter.overrides.embed_dim=16",
        "lifter.overrides.depth=1", "lifter.overrides.num_heads=2", "batch_size=8",
        "lifter.overrides.drop_path=0.0", "optim.name=sgd", "lifter.flip=True",
    )  # fmt: skip
    task = make_lifter_task(recipe(directory, *settings, "lifter.loss=mse"))
    made = [batch for batch, _ in zip(task.batches(0), range(5), strict=False)]
    problem = Problem(task.step, task.state, task.frozen, task.hyper(0))
    (state, metrics), (expected, terms) = problem.run(eight, made), problem.run(ONE, made)
    for ours, theirs in zip(metrics, terms, strict=True):
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)
        np.testing.assert_allclose(ours["mpjpe_mm"], theirs["mpjpe_mm"], rtol=1e-5)
    way = largest_difference(problem.state["params"], expected["params"])
    assert largest_difference(expected["params"], state["params"]) < 1e-3 * way


def test_a_batch_that_does_not_split_is_refused():
    with pytest.raises(LiftjaxError, match=r"config\.batch_size=12 does not split over 8 devices"):
        EIGHT[0].check_batch_size(12)
    with pytest.raises(LiftjaxError, match="8 devices in 2 parts; take a multiple of 16"):
        EIGHT[0].check_batch_size(24, parts=2)
    EIGHT[0].check_batch_size(16, parts=2)


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(LiftjaxError, match=r"config\.num_devices is 9, this machine has 8"):
        Replicas.create("shard_map", 9)
    with pytest.raises(LiftjaxError, match="did you mean 'pmap'"):
        Replicas.create("pmapp")


@pytest.mark.parametrize("eight", EIGHT, ids=lambda replicas: replicas.how)
def test_what_is_replicated_comes_back_whole(eight):
    tree = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(3)}
    back = eight.to_host(eight.replicate(tree))
    jax.tree.map(np.testing.assert_array_equal, back, tree)
