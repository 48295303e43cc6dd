"""One device and eight, pmap and shard_map: the guided recipe with Adam in float64.

Adam moves an entry by the learning rate however small its gradient is, so nothing but a wide
mantissa keeps two orders of summation together. Measured: 2.3e-10 of the learning rate.
"""

import numpy as np
import optax
import pytest

from liftjax.training.replicas import Replicas
from tests.multi_device.problems import SMALL, batches, guided, largest_difference

LEARNING_RATE = 1e-3


@pytest.fixture(scope="module")
def problem():
    return guided(
        optax.scale_by_adam(),
        detector="hrnet_tiny",
        lifters=tuple(SMALL),
        dtype="float64",
        learning_rate=LEARNING_RATE,
    )


@pytest.fixture(scope="module")
def alone(problem):
    return problem.run(Replicas.create("shard_map", 1), batches(20, "float64"))


@pytest.mark.parametrize(("how", "devices"), [("shard_map", 8), ("pmap", 8), ("pmap", 1)])
def test_twenty_guided_steps(problem, alone, how, devices):
    state, metrics = problem.run(Replicas.create(how, devices), batches(20, "float64"))
    assert largest_difference(problem.state["params"], state["params"]) > 10 * LEARNING_RATE
    for part in ("params", "others"):
        assert largest_difference(alone[0][part], state[part]) < 1e-6 * LEARNING_RATE
    for ours, expected in zip(metrics, alone[1], strict=True):
        for key, value in expected.items():
            np.testing.assert_allclose(ours[key], value, rtol=1e-9, err_msg=key)
