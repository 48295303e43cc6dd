import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from liftjax import geometry, losses
from liftjax.detectors.spec import Detector, DetectorSpec, HeatmapOutput
from liftjax.nn.layers import BatchNorm, Conv
from liftjax.nn.operations import multiply_adds
from liftjax.registry import create_detector, create_lifter
from liftjax.runtime.replicas import Replicas
from liftjax.runtime.state import PureModule
from liftjax.training.detector_step import (
    GuidanceOptions,
    lift_all,
    loss_2d_per_joint,
    make_train_step,
)
from liftjax.training.update import Update
from tests.slow import slow
from tests.training.toys import ToySimCC, compiled

BATCH, JOINTS = 3, 17


class ToyDetector(Detector):
    """Two convolutions and a batch norm: compiles in a moment."""

    def __init__(self, rngs):
        self.spec = DetectorSpec("heatmap", JOINTS, (64, 64), stride=4, sigma=1.0)
        self.stem = Conv(3, 8, (4, 4), strides=4, rngs=rngs)
        self.norm = BatchNorm(8)
        self.head = Conv(8, JOINTS, (3, 3), padding=1, rngs=rngs)

    def __call__(self, images, train=False):
        return HeatmapOutput(self.head(jax.nn.relu(self.norm(self.stem(images), train=train))))


@pytest.fixture(scope="module")
def detector():
    return ToyDetector(nnx.Rngs(0))


@pytest.fixture(scope="module")
def detectors(detector):
    """A detector of each kind, and a real one."""
    sizes = {"deepen": 0.1, "widen": 0.0625, "channels": 16, "attention_dim": 8}
    size = {"skeleton": "human36m", "image_size": (64, 64), "rngs": nnx.Rngs(0)}
    return {
        "heatmap": detector,
        "simcc": ToySimCC(JOINTS, rngs=nnx.Rngs(0)),
        "rtmpose": create_detector("rtmpose_tiny", **size, **sizes),
    }


@pytest.fixture(scope="module")
def lifters():
    sb = create_lifter("simple_baseline", rngs=nnx.Rngs(1), linear_size=16, num_stages=1)
    vp = create_lifter("videopose3d", rngs=nnx.Rngs(2), channels=16)
    ones = np.ones((JOINTS, 3), np.float32)
    sb.set_statistics(50 * ones[:, :2], 20 * ones[:, :2], 0 * ones, 0.3 * ones)
    return (sb, vp)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    crop_to_image = np.tile(np.array([[2.0, 0, 10], [0, 2.0, 20]], np.float32), (BATCH, 1, 1))
    joints_crop = rng.uniform(8, 56, (BATCH, JOINTS, 2)).astype(np.float32)
    return {
        "image_u8": rng.integers(0, 256, (BATCH, 64, 64, 3), np.uint8),
        "crop_to_image": crop_to_image,
        "joints_px": geometry.apply_affine(crop_to_image, joints_crop),
        "joint_visible": np.ones((BATCH, JOINTS), np.float32),
        "pose_m": rng.normal(0, 0.3, (BATCH, JOINTS, 3)).astype(np.float32),
        "has_3d": np.ones(BATCH, np.float32),
        "image_size": np.full((BATCH, 2), 200, np.float32),
    }


def hyper(**changes):
    values = {
        "weights": losses.HEATMAP_WEIGHTS,
        "beta": 10.0,
        "balance": 0.0,
        "learning_rate": 0.1,
        "seed": 0,
        "step": 0,
    }
    return values | changes


def prepare(detector, lifters, options, optimizer=None):
    """A step that leaves SGD's direction visible in the parameters, and its first state."""
    train = make_train_step(detector, lifters, Update(optimizer or optax.identity()), options)
    return compiled(train.step), train.state, train.frozen


def gradients(old, new, learning_rate=0.1):
    return jax.tree.map(lambda a, b: (a - b) / learning_rate, old["params"], new["params"])


def assert_same(got, expected, tolerance=2e-5):
    """The largest difference, relative to the largest value, over all leaves."""
    largest = max(float(jnp.abs(v).max()) for v in expected.values())
    for name, value in expected.items():
        worst = float(jnp.abs(got[name] - value).max())
        assert worst <= tolerance * largest, f"{name}: {worst} of {largest}"


def whole_loss(detector, lifters, batch, weights, beta, top_k=10):
    """The guided loss as one function of the parameters, written without the two legs."""
    pure, params, others = PureModule.split(detector)

    def loss(params):
        module = pure.merge(params, others)
        out = module(module.spec.normalize(batch["image_u8"]), train=True)
        loss_2d_BK = loss_2d_per_joint(out, module.spec, batch)
        if not lifters:
            return weights.l_2d * loss_2d_BK.mean()
        kpts_px = geometry.apply_affine(batch["crop_to_image"], module.decode(out, beta))
        poses = [m.lift(kpts_px[:, None], batch["image_size"])[:, 0] for m in lifters]
        uniform = jnp.full(len(lifters), 1 / len(lifters))
        return losses.multi_model_loss(
            loss_2d_BK, jnp.stack(poses), batch["pose_m"], uniform, weights, top_k=top_k
        )[0]

    return params, loss


@pytest.mark.parametrize("kind", [slow("heatmap"), "simcc"])
def test_ft2d_takes_the_gradient_of_the_2d_loss(detectors, batch, kind):
    detector, weights = detectors[kind], losses.DEFAULT_WEIGHTS[kind]
    step, state, frozen = prepare(detector, (), GuidanceOptions())
    # A long step: SimCC's gradients are small beside the weights.
    new, metrics = step(state, frozen, batch, hyper(weights=weights, learning_rate=100.0))
    params, loss = whole_loss(detector, (), batch, weights, 10.0)
    value, expected = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-6)
    assert_same(gradients(state, new, learning_rate=100.0), expected, tolerance=1e-4)


@pytest.mark.parametrize(
    ("name", "count"), [slow("heatmap", 1), slow("heatmap", 2), ("simcc", 2), slow("rtmpose", 2)]
)
def test_two_legs_add_up_to_the_gradient_of_the_whole_loss(detectors, lifters, batch, name, count):
    detector = detectors[name]
    weights = losses.DEFAULT_WEIGHTS[detector.spec.kind]
    step, state, frozen = prepare(detector, lifters[:count], GuidanceOptions())
    new, metrics = step(state, frozen, batch, hyper(weights=weights))
    params, loss = whole_loss(detector, lifters[:count], batch, weights, 10.0)
    value, expected = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    assert_same(gradients(state, new), expected, tolerance=1e-4)


def test_balanced_guidance_holds_the_ratio_of_the_gradient_norms(detector, lifters, batch):
    step, state, frozen = prepare(detector, lifters, GuidanceOptions(balanced=True))
    _, metrics = step(state, frozen, batch, hyper(balance=0.5))
    np.testing.assert_allclose(metrics["grad_ratio"], 0.5, rtol=1e-4)
    assert abs(float(metrics["grad_ratio_unscaled"]) - 0.5) > 0.01


def test_balance_does_not_depend_on_the_scale_of_the_3d_weights(detector, lifters, batch):
    step, state, frozen = prepare(detector, lifters, GuidanceOptions(balanced=True))
    weights = losses.HEATMAP_WEIGHTS
    scaled = weights._replace(
        l_xy=7 * weights.l_xy,
        l_z=7 * weights.l_z,
        l_local=7 * weights.l_local,
        l_global=7 * weights.l_global,
    )
    once, _ = step(state, frozen, batch, hyper(balance=1.0))
    again, _ = step(state, frozen, batch, hyper(balance=1.0, weights=scaled))
    assert_same(again["params"], once["params"], tolerance=1e-5)


def test_settings_are_traced_not_compiled(detector, lifters, batch):
    step, state, frozen = prepare(detector, lifters, GuidanceOptions())
    for beta, rate in ((10.0, 0.1), (100.0, 0.01)):
        weights = losses.HEATMAP_WEIGHTS._replace(l_xy=rate)
        step(state, frozen, batch, hyper(beta=beta, learning_rate=rate, weights=weights))
    assert step._cache_size() == 1


def test_dwa_looks_at_the_two_steps_before(detector, lifters, batch):
    step, state, frozen = prepare(detector, lifters, GuidanceOptions())
    first, metrics = step(state, frozen, batch, hyper())
    history = first["guidance"]["dwa_history"]
    np.testing.assert_allclose(history[0], 1.0)
    np.testing.assert_allclose(history[1], [metrics["mse_0"], metrics["mse_1"]], rtol=1e-6)


def test_samples_without_3d_still_train_in_2d(detector, lifters, batch):
    step, state, frozen = prepare(detector, lifters, GuidanceOptions())
    flat = batch | {"has_3d": np.zeros(BATCH, np.float32)}
    new, metrics = step(state, frozen, flat, hyper())
    assert float(metrics["xy"]) == 0.0
    assert float(metrics["loss"]) > 0.0
    assert all(bool(jnp.isfinite(v).all()) for v in new["params"].values())


@pytest.mark.parametrize("junk", [0.0, 1e6, np.nan])
def test_what_stands_in_place_of_a_missing_3d_pose_reaches_nothing(detector, lifters, batch, junk):
    step, state, frozen = prepare(detector, lifters, GuidanceOptions())
    mixed = batch | {"has_3d": np.array([1, 0, 1], np.float32)}
    expected, terms = step(state, frozen, mixed, hyper())
    changed = mixed | {"pose_m": mixed["pose_m"].copy()}
    changed["pose_m"][1] = junk
    new, metrics = step(state, frozen, changed, hyper())
    for key, value in metrics.items():
        np.testing.assert_array_equal(value, terms[key], err_msg=key)
    assert_same(new["params"], expected["params"], tolerance=0)
    whole = step(state, frozen, batch, hyper())[1]
    assert float(whole["loss_2d"]) == float(terms["loss_2d"])
    assert float(whole["xy"]) != float(terms["xy"])


def test_a_batch_without_3d_leaves_the_lifters_weights_alone(detector, lifters, batch):
    step, state, frozen = prepare(detector, lifters, GuidanceOptions())
    state, _ = step(state, frozen, batch, hyper())
    flat = batch | {"has_3d": np.zeros(BATCH, np.float32), "pose_m": 0 * batch["pose_m"]}
    after, metrics = step(state, frozen, flat, hyper())
    for key, value in state["guidance"].items():
        np.testing.assert_array_equal(after["guidance"][key], value, err_msg=key)
    for key in ("xy", "z", "local_consistency", "global_consistency", "ohklm", "grad_ratio"):
        assert float(metrics[key]) == 0.0
    assert float(metrics["loss"]) == pytest.approx(0.8 * 0.5 * float(metrics["loss_2d"]), rel=1e-6)


def test_the_new_state_takes_the_place_of_the_old_one(detector, lifters, batch):
    """Every donated buffer is used again; one that could not be would warn, which is an error."""
    train = make_train_step(detector, lifters, options=GuidanceOptions(balanced=True))
    step = Replicas.create(num_devices=1).map_step(train.step)
    lowered = step.lower(train.state, train.frozen, batch, hyper())
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(train.state))
    assert lowered.compile().memory_analysis().alias_size_in_bytes == size


def test_lifters_are_passed_back_to_their_input_alone(lifters):
    """As much arithmetic backwards as forwards; the gradients of their weights would add half."""
    split = [PureModule.split(lifter) for lifter in lifters]
    modules, frozen = tuple(s[0] for s in split), tuple(s[1:] for s in split)
    kpts_px, sizes = jnp.zeros((BATCH, JOINTS, 2)), jnp.full((BATCH, 2), 200.0)

    def lift(frozen, kpts_px):
        return lift_all(modules, frozen, kpts_px, sizes)

    def both_ways(frozen, kpts_px):
        poses, pull_back = jax.vjp(lambda kpts_px: lift(frozen, kpts_px), kpts_px)
        return pull_back(poses)

    forwards = multiply_adds(lift, frozen, kpts_px)
    assert multiply_adds(both_ways, frozen, kpts_px) == 2 * forwards


@pytest.mark.parametrize(
    ("dtype", "given", "expected"),
    [
        ("float32", None, "highest"),
        ("float64", None, "highest"),
        ("bfloat16", None, "high"),
        ("bfloat16", "highest", "highest"),
        ("float32", "bfloat16", "bfloat16"),
    ],
)
def test_lifters_are_as_precise_as_told_or_as_goes_with_the_detector(dtype, given, expected):
    assert GuidanceOptions(dtype=dtype, lifter_precision=given).precision_of_lifters == expected
