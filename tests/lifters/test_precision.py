"""What it costs to multiply features more coarsely than in float32, as far as a CPU can show it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax.lifters.spec import LIFTER_PRECISIONS
from tests.lifters.small import SMALL, build
from tests.slow import one_in

CLIPS = 8
# Of the gradient in bfloat16, where the pose is off by about its own length. At the paper's size it
# is at most 4 %; these lifters have fewer features, over whose errors a sum has a mean.
FAR = 0.08


@pytest.fixture(scope="module", params=one_in(4, SMALL))
def graded(request):
    """(kpts_px, truth, precision) -> (gradient of the squared error at the 2D pose, pose)."""
    lifter = build(request.param)
    graph, state = nnx.split(lifter)
    sizes = jnp.full((CLIPS, 2), 1000.0)
    if request.param == "simple_baseline":
        ones = np.ones((17, 3), np.float32)
        lifter.set_statistics(500 * ones[:, :2], 150 * ones[:, :2], 0 * ones, 0.3 * ones)
        state = nnx.state(lifter)

    def loss(kpts_px, truth, precision):
        pose = nnx.merge(graph, state).lift(kpts_px, sizes, precision=precision)
        return jnp.square(pose - truth).mean(), pose

    return jax.jit(jax.grad(loss, has_aux=True), static_argnums=2)


@pytest.fixture(scope="module")
def kpts_px():
    return 500 + 150 * jax.random.normal(jax.random.key(0), (CLIPS, 1, 17, 2))


def relative_error(got, expected):
    return float(jnp.linalg.norm((got - expected).ravel()) / jnp.linalg.norm(expected.ravel()))


def test_bfloat16_keeps_the_gradient_far_from_the_truth(graded, kpts_px):
    truth = 0.3 * jax.random.normal(jax.random.key(1), (CLIPS, 1, 17, 3))
    expected, pose = graded(kpts_px, truth, "highest")
    got, narrow_pose = graded(kpts_px, truth, "bfloat16")
    assert got.dtype == narrow_pose.dtype == jnp.float32
    assert 1e-4 < relative_error(got, expected) < FAR
    assert relative_error(narrow_pose, pose) < FAR / 2
    assert abs(float(jnp.linalg.norm(got) / jnp.linalg.norm(expected)) - 1) < FAR / 2


def test_on_a_cpu_float32_products_are_exact_whatever_is_asked(graded, kpts_px):
    truth = jnp.zeros((CLIPS, 1, 17, 3))
    expected, _ = graded(kpts_px, truth, "highest")
    for precision in set(LIFTER_PRECISIONS) - {"highest", "bfloat16"}:
        assert relative_error(graded(kpts_px, truth, precision)[0], expected) < 1e-6, precision
