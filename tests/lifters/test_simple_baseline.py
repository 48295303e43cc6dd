import numpy as np
import pytest
from flax import nnx

from liftjax import torch_weights
from liftjax.errors import LiftjaxError
from liftjax.lifters.simple_baseline import SimpleBaseline
from tests.goldens import weights
from tests.lifters.small import build


def test_training_forward_matches_upstream(golden):
    """Output and batch-norm statistics after one pass in training mode, without dropout."""
    manifest, arrays = golden("train_batchnorm")
    part = manifest["parts"]["simple_baseline"]
    lifter = SimpleBaseline(rngs=nnx.Rngs(0))
    torch_weights.load(lifter, weights.fill_state_dict(part))
    (x_BK2,) = weights.input_arrays(part).values()
    pose = lifter(x_BK2[:, None], train=True).reshape(16, 51)
    after = torch_weights.dump(lifter) | {"pose3d": pose}
    expected = {
        key.removeprefix("simple_baseline/").removeprefix("after/"): value
        for key, value in arrays.items()
        if key.startswith("simple_baseline/")
    }
    assert len(expected) == 11
    for key, value in expected.items():
        error = np.abs(after[key] - value).max() / np.sqrt((value**2).mean())
        assert error <= 2e-5, key


def test_standardised_scales():
    rng = np.random.default_rng(0)
    px, pose_m = 500 + 90 * rng.normal(size=(200, 1, 17, 2)), rng.normal(size=(200, 1, 17, 3))
    pose_m[:, :, 0] = 0  # the root joint does not vary
    lifter = build("simple_baseline")
    lifter.set_statistics(px.mean((0, 1)), px.std((0, 1)), pose_m.mean((0, 1)), pose_m.std((0, 1)))
    x, y = lifter.normalize(px, None), lifter.target(pose_m)
    np.testing.assert_allclose(np.mean(x, (0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(x, (0, 1)), 1, atol=1e-5)
    np.testing.assert_allclose(y[:, :, 0], 0)
    np.testing.assert_allclose(np.std(y[:, :, 1:], (0, 1)), 1, atol=1e-5)
    np.testing.assert_allclose(lifter.to_metres(y), pose_m, atol=1e-6)
    np.testing.assert_array_equal(lifter.to_metres(y + 1)[:, :, 0], 0)  # and stays where it is


def test_statistics_of_another_joint_set_are_refused():
    lifter = build("simple_baseline")
    with pytest.raises(LiftjaxError, match="std_3d"):
        lifter.set_statistics(
            np.ones((17, 2)), np.ones((17, 2)), np.ones((17, 3)), np.ones((15, 3))
        )
    np.testing.assert_array_equal(lifter.mean_2d[...], 0)  # nothing was set
