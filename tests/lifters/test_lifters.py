"""What every lifter promises, whichever network it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax import torch_weights
from liftjax.errors import LiftjaxError
from tests.goldens import weights
from tests.lifters.small import PAPER, SMALL, build, forward, lift
from tests.slow import one_in

each_lifter = pytest.mark.parametrize("name", SMALL)
each_skeleton = pytest.mark.parametrize("skeleton", ["human36m", "panoptic"])
TOLERANCE = {"simple_baseline": 2e-5, "videopose3d": 3e-5, "iganet": 3e-5, "mixste": 3e-5}


def poses(lifter, clips=3, frames=None, seed=0):
    """Random normalised clips that the lifter takes."""
    frames = frames or lifter.spec.num_frames
    shape = (clips, frames, lifter.spec.num_joints, 2)
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("name", one_in(2, SMALL))
def test_paper_size_matches_upstream(golden, name):
    cls, file = PAPER[name]
    manifest, arrays = golden(file)
    lifter = cls(rngs=nnx.Rngs(0))
    torch_weights.load(lifter, weights.fill_state_dict(manifest))
    assert weights.fingerprint(torch_weights.dump(lifter)) == manifest["state_fingerprint"]
    (x_BK2,) = weights.input_arrays(manifest).values()
    expected = arrays["pose3d"].reshape(len(x_BK2), 1, 17, 3)
    error = np.abs(forward(lifter, x_BK2[:, None]) - expected).max() / np.sqrt((expected**2).mean())
    assert error <= TOLERANCE[name]


@each_lifter
@each_skeleton
def test_shapes(name, skeleton):
    lifter = build(name, skeleton, num_frames=3)
    out = jax.eval_shape(lifter, poses(lifter))
    assert out.shape == (3, 3, lifter.spec.num_joints, 3)
    assert out.dtype == jnp.float32


@each_lifter
def test_gradient_reaches_input_and_every_parameter(name):
    lifter = build(name, num_frames=2)
    x = poses(lifter)
    structure, params, rest = nnx.split(lifter, nnx.Param, ...)

    def loss(params, x):
        return jnp.square(nnx.merge(structure, params, rest)(x)).sum()

    of_params, of_x = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, x)
    silent = [path for path, g in nnx.to_flat_state(of_params) if not np.any(g[...])]
    assert not silent
    assert np.all(np.any(of_x, axis=-1)), "an input joint has no effect"
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((of_params, of_x)))


@pytest.mark.parametrize("name", one_in(4, SMALL))
def test_dropout_needs_training_and_random_numbers(name):
    lifter = build(name)
    x = poses(lifter)
    structure, state = nnx.split(lifter)  # merged afresh for each call: batch norm moves

    @jax.jit
    def train(rngs=None):
        return nnx.merge(structure, state, copy=True)(x, train=True, rngs=rngs)

    np.testing.assert_array_equal(lifter(x), lifter(x, rngs=nnx.Rngs(0)))
    np.testing.assert_array_equal(train(), train())
    np.testing.assert_array_equal(train(nnx.Rngs(1)), train(nnx.Rngs(1)))
    assert np.any(train(nnx.Rngs(1)) != train(nnx.Rngs(2)))
    assert np.any(train(nnx.Rngs(1)) != train())


@each_lifter
def test_lift_is_normalize_network_metres(name):
    lifter = build(name)
    if name == "simple_baseline":
        lifter.set_statistics(
            np.full((17, 2), 500.0), np.full((17, 2), 90.0), np.full((17, 3), 0.1), np.ones((17, 3))
        )
    px = 500 + 100 * poses(lifter)
    size = np.array([[1000, 1002], [1000, 1000], [640, 480]])
    raw = forward(lifter, lifter.normalize(px, size))
    pose_m = lift(lifter, px, size)
    np.testing.assert_allclose(pose_m, lifter.to_metres(raw), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(lifter.to_metres(lifter.target(pose_m)), pose_m, atol=1e-6)


@pytest.mark.parametrize("name", ["videopose3d", "iganet", "mixste"])
def test_screen_input_spans_the_width(name):
    corners = np.broadcast_to(np.array([[0.0, 0.0], [1000.0, 500.0]]), (1, 1, 2, 2))
    normalised = build(name).normalize(corners, np.array([[1000, 500]]))
    np.testing.assert_allclose(normalised[0, 0], [[-1, -0.5], [1, 0.5]], atol=1e-6)


@each_lifter
def test_half_precision_input_is_raised(name):
    lifter = build(name)
    narrow = poses(lifter).astype(jnp.bfloat16)
    assert jax.eval_shape(lifter, narrow).dtype == jnp.float32
    assert jax.eval_shape(lifter.lift, narrow, np.full((3, 2), 9)).dtype == jnp.float32


@each_lifter
def test_only_weights_are_trained(name):
    """Graph, mixing scalars and data statistics are state, but no parameters."""
    params = {path[-1] for path, _ in nnx.to_flat_state(nnx.state(build(name), nnx.Param))}
    untrained = {"A", "adj", "s_gcn2attn", "s_attn2gcn", "mean_2d", "std_2d", "mean_3d", "std_3d"}
    assert not params & untrained


@each_lifter
def test_wrong_input_is_refused(name):
    lifter = build(name)
    with pytest.raises(LiftjaxError, match=r"15 joints .*count of panoptic, humaneva15\)"):
        lifter(jnp.zeros((2, 1, 15, 2)))
    with pytest.raises(LiftjaxError, match="frame axis"):
        lifter(jnp.zeros((2, 17, 2)))
    with pytest.raises(LiftjaxError, match="did you mean 'human36m'"):
        build(name, "human36")


@pytest.mark.parametrize("name", one_in(2, ["simple_baseline", "videopose3d", "iganet"]))
def test_frames_are_lifted_alone(name):
    lifter = build(name)
    x = poses(lifter, frames=4)
    alone = np.concatenate([forward(lifter, x[:, t : t + 1]) for t in range(4)], axis=1)
    np.testing.assert_allclose(forward(lifter, x), alone, atol=2e-6)


def test_a_joint_set_of_as_many_joints_is_refused_by_name():
    lifter = build("videopose3d", num_frames=1)
    pixels, size = 100 * poses(lifter), jnp.full((3, 2), 200.0)
    expected = lifter.lift(pixels, size)
    np.testing.assert_array_equal(lifter.lift(pixels, size, skeleton="human36m"), expected)
    with pytest.raises(LiftjaxError, match=r"has coco joints, the lifter takes human36m; convert"):
        lifter.lift(pixels, size, skeleton="coco")
