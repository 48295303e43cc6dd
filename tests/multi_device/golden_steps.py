"""The original program's four training steps of HRNet-W32, through the mapped step, in float64.

On one device. On two, of one process or of two, XLA on CPU corrupts its heap in this large program
(jaxlib 0.10.2 and 0.11.2), more often in float64 than in float32; `eight_devices_float64.py` holds
eight devices to one with a smaller network.
"""

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from liftjax import torch_weights
from liftjax.detectors.hrnet import HRNet
from liftjax.nn.layers import synchronize
from liftjax.runtime.replicas import AXIS, Replicas
from liftjax.runtime.state import PureModule, assign
from liftjax.training.update import Update, make_update_step
from tests.goldens.training import golden_backward
from tests.goldens.weights import fill_state_dict, input_arrays
from tests.multi_device.problems import Problem, as_type

LEARNING_RATE = 1e-3


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def hrnet():
    detector = HRNet(17, (384, 288), rngs=nnx.Rngs(0))
    synchronize(detector, AXIS)
    return detector


def run(hrnet, golden, dtype, devices):
    """(losses, state_dict after the four steps)."""
    manifest, arrays = golden("train_steps_ft2d")
    torch_weights.load(hrnet, fill_state_dict(manifest))
    pure, params, others = PureModule.split(hrnet)
    adam = optax.scale_by_adam()
    state = as_type({"params": params, "others": others}, dtype)
    state["opt"] = adam.init(state["params"])
    step = make_update_step(golden_backward(pure), Update(adam))
    problem = Problem(step, state, (), {"learning_rate": LEARNING_RATE})
    batches = [
        {
            "image": image,
            "target": np.moveaxis(arrays["in_target"][t], 1, -1),
            "weight": arrays["in_target_weight"][t][..., 0],
        }
        for t, image in enumerate(input_arrays(manifest).values())
    ]
    state, metrics = problem.run(Replicas.create(num_devices=devices), as_type(batches, dtype))
    assign(hrnet, state["params"] | state["others"])
    return [float(m["loss"]) for m in metrics], torch_weights.dump(hrnet)


def assert_near(got, want, limit, scale=None):
    got = np.asarray(got, np.float64).reshape(-1)[: want.shape[-1]]
    scale = np.sqrt(np.square(want).mean()) if scale is None else scale
    assert np.abs(got - want).max() / scale < limit


@pytest.mark.slow
def test_float64_on_one_device(hrnet, golden):
    manifest, arrays = golden("train_steps_ft2d")
    losses, values = run(hrnet, golden, "float64", 1)
    np.testing.assert_allclose(losses, arrays["loss_float64"], rtol=1e-8)
    for name in manifest["chosen"]:
        assert_near(values[name], arrays[f"value_float64/{name}"][-1], 1e-6, LEARNING_RATE)
    for name in manifest["batch_norm_after_step4"]:
        for key in (f"{name}.running_mean", f"{name}.running_var"):
            assert_near(values[key], arrays[f"after_float64/{key}"], 1e-8)
