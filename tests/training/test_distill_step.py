"""The step of both stages of distillation, on toy detectors."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from liftjax import losses
from liftjax.runtime.state import PureModule
from liftjax.training.detector_step import make_train_step
from liftjax.training.distill_step import make_head_step, make_student_step
from liftjax.training.update import Update
from tests.training.toys import ToySimCC, compiled

BATCH, JOINTS, SIZE = 3, 5, 64


def toy(channels, seed):
    return ToySimCC(JOINTS, (SIZE, SIZE), channels=channels, rngs=nnx.Rngs(seed))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {
        "image_u8": rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8),
        "crop_to_image": np.tile(np.eye(2, 3, dtype=np.float32), (BATCH, 1, 1)),
        "joints_px": rng.uniform(8, 56, (BATCH, JOINTS, 2)).astype(np.float32),
        "joint_visible": np.ones((BATCH, JOINTS), np.float32),
    }


def hyper(**changes):
    values = {
        "label_weight": 1.0,
        "feature_weight": 0.01,
        "logit_weight": 0.1,
        "learning_rate": 0.1,
    }
    return values | changes


def student_stage(channels=6, teacher=None):
    """(step, state, frozen) of stage one, with SGD."""
    update = Update(optax.identity())
    train = make_student_step(toy(channels, seed=0), teacher or toy(8, seed=1), update, seed=2)
    return compiled(train.step), train.state, train.frozen


def head_stage(fresh=True):
    """(step, state, frozen) of stage two."""
    detector = toy(6, seed=0)
    new_head = toy(6, seed=3).head if fresh else toy(6, seed=0).head
    train = make_head_step(detector, new_head, Update(optax.identity()))
    return compiled(train.step), train.state, train.frozen


def moved(old, new):
    """Names of the arrays that differ."""
    return {k for k in old if not np.array_equal(old[k], new[k])}


def test_a_step_changes_the_whole_student_and_its_projection(batch):
    step, state, frozen = student_stage()
    new, metrics = step(state, frozen, batch, hyper())
    assert moved(state["params"], new["params"]) == set(state["params"])
    assert moved(state["others"], new["others"]) == set(state["others"])
    assert moved(state["projection"], new["projection"]) == {"kernel", "bias"}
    assert all(np.isfinite(value) for value in metrics.values())


def test_the_loss_is_the_weighted_sum_of_its_terms(batch):
    step, state, frozen = student_stage()
    _, metrics = step(state, frozen, batch, hyper(label_weight=2.0))
    expected = 2.0 * metrics["loss_2d"] + 0.01 * metrics["feature"] + 0.1 * metrics["logit"]
    assert float(metrics["loss"]) == pytest.approx(float(expected), rel=1e-6)


def test_the_teacher_answers_with_its_running_statistics(batch):
    step, state, frozen = student_stage()
    _, metrics = step(state, frozen, batch, hyper())
    student, teacher = toy(6, seed=0), toy(8, seed=1)
    images = teacher.spec.normalize(batch["image_u8"])
    out, answer = student(images, train=True), teacher(images)
    expected = losses.logit_loss(out.x, out.y, answer.x, answer.y)
    assert float(metrics["logit"]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.slow
def test_without_distillation_weights_a_step_is_that_of_ft2d(batch):
    student = toy(6, seed=0)
    _, params, others = PureModule.split(student)
    optimizer = optax.identity()
    plain = compiled(make_train_step(student, (), Update(optimizer)).step)
    state = {"params": params, "others": others, "opt": optimizer.init(params), "guidance": {}}
    weights = losses.SIMCC_WEIGHTS._replace(l_2d=0.7)
    step, taught, frozen = student_stage()
    off = hyper(label_weight=0.7, feature_weight=0.0, logit_weight=0.0)
    for _ in range(3):
        state, expected = plain(state, (), batch, {"weights": weights, "learning_rate": 0.1})
        taught, metrics = step(taught, frozen, batch, off)
    for part in ("params", "others"):
        for name, value in state[part].items():
            np.testing.assert_allclose(taught[part][name], value, rtol=1e-6, atol=1e-7)
    assert float(metrics["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-6)


def test_a_student_that_equals_its_teacher_learns_nothing_from_it(batch):
    # The student normalises with the batch's statistics, the teacher with its own: set alike.
    teacher = toy(6, seed=0)
    images = teacher.spec.normalize(batch["image_u8"])
    mapped = teacher.backbone.conv(images)
    teacher.backbone.norm.mean[...] = mapped.mean((0, 1, 2))
    teacher.backbone.norm.var[...] = mapped.var((0, 1, 2))
    step, state, frozen = student_stage(channels=6, teacher=teacher)
    _, metrics = step(state, frozen, batch, hyper(label_weight=0.0))
    assert float(metrics["feature"]) < 1e-8
    assert float(metrics["logit"]) == pytest.approx(0, abs=1e-6)
    assert float(metrics["grad_norm"]) < 1e-4


def test_the_head_stage_leaves_all_but_the_head_bit_for_bit(batch):
    step, state, frozen = head_stage()
    new, _ = step(state, frozen, batch, hyper())
    assert not moved(state["others"], new["others"])
    assert {name.split(".")[0] for name in state["others"]} == {"backbone"}
    assert moved(state["params"], new["params"]) == set(state["params"])


def test_a_head_that_equals_the_old_one_learns_nothing_from_it(batch):
    step, state, frozen = head_stage(fresh=False)
    _, metrics = step(state, frozen, batch, hyper(label_weight=0.0))
    assert float(metrics["logit"]) == pytest.approx(0, abs=1e-6)
    assert float(metrics["grad_norm"]) < 1e-5


@pytest.mark.parametrize("stage", [student_stage, head_stage])
def test_weights_are_traced_and_what_is_frozen_stays(stage, batch):
    step, state, frozen = stage()
    before = jax.tree.map(np.array, frozen)
    for weight in (1.0, 0.5):
        step(state, frozen, batch, hyper(feature_weight=weight, logit_weight=weight))
    assert step._cache_size() == 1
    jax.tree.map(np.testing.assert_array_equal, before, frozen)


def test_the_loss_falls(batch):
    step, state, frozen = student_stage()
    seen = []
    for _ in range(40):
        state, metrics = step(state, frozen, batch, hyper(learning_rate=0.01))
        seen.append(float(metrics["loss"]))
    assert seen[-1] < 0.8 * seen[0]
