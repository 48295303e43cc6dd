"""Losses: every golden term and gradient, formulas by hand, masks, and weights of the lifters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax import geometry, losses, torch_weights
from liftjax.losses import LossWeights
from liftjax.ops.soft_argmax import soft_argmax_2d, soft_argmax_2d_plain
from liftjax.registry import create_lifter
from tests.goldens.weights import fill_state_dict

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.fixture(scope="module")
def batch(golden):
    """The golden training step, channels last, metres."""
    manifest, arrays = golden("losses_single_sb")
    run = manifest["runs"]["run"]
    return {
        "heat_BHWK": jnp.asarray(arrays["in_heatmap"].transpose(0, 2, 3, 1)),
        "target_BHWK": jnp.asarray(arrays["in_target"].transpose(0, 2, 3, 1)),
        "weight_BK": jnp.asarray(arrays["in_target_weight"][..., 0]),
        "true_BK3": jnp.asarray(arrays["in_joints_3d_cm"] / np.float32(100)),
        "image_size_B2": jnp.stack([arrays["in_width"], arrays["in_height"]], -1).astype(float),
        "heat_to_image": geometry.invert_affine(
            geometry.region_affine(arrays["in_center"], arrays["in_scale"][:, 0] * 200, (96, 72))
        ),
        "weights": LossWeights(
            l_2d=run["loss_2d_w"],
            l_o=run["ohklm_w"],
            l_xy=run["loss_3d_xy_w"],
            l_z=run["loss_3d_z_w"],
            l_single=run["loss_single_w"],
            l_local=0.0,
            l_global=0.0,
        ),
        "expected": arrays,
    }


@pytest.fixture(scope="module")
def lifter(golden, batch):
    manifest, _ = golden("simple_baseline")
    lifter = create_lifter("simple_baseline", skeleton="human36m", rngs=nnx.Rngs(0))
    arrays = batch["expected"]
    lifter.set_statistics(
        arrays["in_mean_2d"],
        arrays["in_std_2d"],
        arrays["in_mean_3d"] / 100,
        arrays["in_std_3d"] / 100,
    )
    torch_weights.load(lifter, fill_state_dict(manifest))
    return lifter


def golden_step(batch, lifter, decode):
    """(2D part, 3D part, terms, coordinates, poses) as a function of the heatmaps."""
    graph, state = nnx.split(lifter)

    def step(heat_BHWK, state):
        coords_BK2 = decode(heat_BHWK, 100.0)
        kpts_px_BK2 = geometry.apply_affine(jnp.asarray(batch["heat_to_image"]), coords_BK2)
        pose_BTK3 = nnx.merge(graph, state).lift(kpts_px_BK2[:, None], batch["image_size_B2"])
        poses_MBK3 = pose_BTK3[:, 0][None]
        parts = losses.guided_loss_terms(
            losses.heatmap_loss_per_joint(heat_BHWK, batch["target_BHWK"], batch["weight_BK"]),
            poses_MBK3,
            batch["true_BK3"],
            losses.dwa_weights(losses.initial_dwa_history(1)),
            batch["weights"],
        )
        return *parts, kpts_px_BK2, poses_MBK3

    return lambda heat_BHWK: step(heat_BHWK, state)


@pytest.mark.parametrize("decode", [soft_argmax_2d, soft_argmax_2d_plain])
def test_golden_step(batch, lifter, decode):
    expected = batch["expected"]
    step = golden_step(batch, lifter, decode)

    @jax.jit
    def run(heat_BHWK):
        def part(index):
            def scalar(h):
                out = step(h)
                return (out[0] + out[1] if index is None else out[index]), out

            return jax.grad(scalar, has_aux=True)(heat_BHWK)

        return part(0)[0], *part(None)

    grad_2d, grad_total, (part_2d, part_3d, terms, kpts_px, poses) = run(batch["heat_BHWK"])
    assert np.abs(kpts_px - expected["coords_image"]).max() <= 5e-3
    rms = np.sqrt(np.square(expected["preds_3d"]).mean())
    assert np.abs(poses - expected["preds_3d"]).max() <= 3e-5 * rms
    for ours, name in (
        (terms.loss_2d, "loss_2d"),
        (terms.ohklm, "ohklm_2d"),
        (part_2d, "weighted_2d"),
        (terms.xy, "xy_3d"),
        (terms.z, "z_3d"),
        (part_3d, "weighted_3d"),
        (part_2d + part_3d, "total"),
        (terms.lifter_weights_M, "model_weights"),
        (terms.mse_M, "per_model_mse_3d"),
        (terms.xy_M, "per_model_xy_3d"),
        (terms.z_M, "per_model_z_3d"),
        (terms.ohklm_M, "per_model_ohklm_2d"),
    ):
        np.testing.assert_allclose(ours, expected[name], rtol=1e-5, err_msg=name)
    for ours, name, tolerance in (
        (grad_2d, "grad_heatmap_2d", 1e-5),
        (grad_total, "grad_heatmap", 2e-4),
    ):
        ours = np.asarray(ours).transpose(0, 3, 1, 2)
        assert np.abs(ours - expected[name]).max() <= tolerance * np.abs(expected[name]).max()


# 2D losses by hand


def test_heatmap_loss_by_hand():
    heat, target = normal(2, 3, 4, 5), normal(2, 3, 4, 5)
    weight = jnp.asarray(RNG.uniform(size=(2, 5)), jnp.float32).at[0, 0].set(0)
    per_joint = losses.heatmap_loss_per_joint(heat, target, weight)
    b, k = 1, 3
    by_hand = 0.5 * np.mean((weight[b, k] * (heat[b, :, :, k] - target[b, :, :, k])) ** 2)
    assert float(per_joint[b, k]) == pytest.approx(float(by_hand), rel=1e-6)
    assert float(per_joint[0, 0]) == 0
    assert float(losses.heatmap_loss(heat, target, weight)) == pytest.approx(
        float(per_joint.mean()), rel=1e-6
    )
    kept = losses.heatmap_loss(heat, target, weight, sample_weight_B=jnp.asarray([0.0, 1.0]))
    assert float(kept) == pytest.approx(float(per_joint[1].mean()), rel=1e-6)


def test_simcc_loss_by_hand():
    x, y, target_x, target_y = normal(2, 3, 8), normal(2, 3, 6), normal(2, 3, 8), normal(2, 3, 6)
    weight = jnp.ones((2, 3)).at[1, 2].set(0)
    per_joint = losses.simcc_loss_per_joint(x, y, target_x, target_y, weight, beta=10.0)
    expected = 0.0
    for logits, label in ((x, target_x), (y, target_y)):
        p, q = (np.asarray(jax.nn.softmax(10 * v[0, 1]), np.float64) for v in (logits, label))
        expected += np.mean(q * np.log(q / p))
    assert float(per_joint[0, 1]) == pytest.approx(expected, rel=1e-4)
    assert float(per_joint[1, 2]) == 0
    same = losses.simcc_loss(target_x, target_y, target_x, target_y, weight)
    assert float(same) == pytest.approx(0, abs=1e-7)
    assert float(losses.simcc_loss(x, y, target_x, target_y, weight)) == pytest.approx(
        float(per_joint.mean()), rel=1e-6
    )


def test_ohklm_takes_the_joints_that_lift_worst():
    loss_2d = jnp.asarray([[1.0, 2, 4, 8], [1, 2, 4, 8]])
    error = jnp.asarray([[9.0, 0, 8, 1], [0, 1, 2, 3]])
    value, (by_2d, by_error) = jax.value_and_grad(losses.ohklm_loss, argnums=(0, 1))(
        loss_2d, error, 2
    )
    assert float(value) == pytest.approx(((1 + 4) / 2 + (4 + 8) / 2) / 2)
    np.testing.assert_allclose(by_2d, [[0.25, 0, 0.25, 0], [0, 0, 0.25, 0.25]])
    assert not by_error.any()
    everything = losses.ohklm_loss(loss_2d, error, 4)
    assert float(everything) == pytest.approx(float(loss_2d.mean()))
    with pytest.raises(ValueError, match="top_k is 10"):
        losses.ohklm_loss(loss_2d, error)


# 3D losses by hand


def test_lifting_losses_by_hand():
    pred, true = normal(2, 5, 3), normal(2, 5, 3)
    square = np.square(np.asarray(pred - true))
    weight = jnp.zeros((2, 5)).at[1, 2].set(1).at[0, 4].set(0.5)

    def weighted(values):
        return (values[1, 2] + 0.5 * values[0, 4]) / 1.5

    for loss, part in (
        (losses.lifting_loss, square),
        (losses.lifting_loss_xy, square[..., :2]),
        (losses.lifting_loss_z, square[..., 2:]),
    ):
        assert float(loss(pred, true)) == pytest.approx(part.mean(), rel=1e-6)
        assert float(loss(pred, true, weight)) == pytest.approx(weighted(part.mean(-1)), rel=1e-6)
        assert float(loss(pred, true, jnp.zeros((2, 5)))) == 0
    np.testing.assert_allclose(
        losses.per_joint_lifting_error(pred, true), square.mean(-1), rtol=1e-6
    )


def test_consistency_is_a_sum_over_pairs():
    poses = normal(3, 2, 5, 3)
    pairs = [np.square(poses[a] - poses[b]).mean() for a, b in ((0, 1), (0, 2), (1, 2))]
    assert float(losses.consistency_loss(poses)) == pytest.approx(sum(pairs), rel=1e-6)
    assert float(losses.consistency_loss(poses[:1])) == 0
    assert float(losses.consistency_loss(poses[:1].repeat(4, axis=0))) == 0
    assert np.isfinite(jax.grad(losses.consistency_loss)(poses[:1])).all()


def test_global_loss_is_that_of_the_mean_pose():
    poses, true = normal(3, 2, 5, 3), normal(2, 5, 3)
    expected = np.square(np.asarray(poses).mean(0) - np.asarray(true)).mean()
    assert float(losses.global_loss(poses, true)) == pytest.approx(expected, rel=1e-6)


# Weights of the lifters


def test_dwa_weights():
    history = losses.initial_dwa_history(4)
    np.testing.assert_allclose(losses.dwa_weights(history), [0.25] * 4)
    history = losses.update_dwa_history(history, jnp.asarray([1.0, 2, 3, 4]))
    history = losses.update_dwa_history(history, jnp.asarray([2.0, 2, 3, 1]))
    weights = losses.dwa_weights(history)
    ratios = np.exp(np.array([2, 1, 1, 0.25]) / 2)
    np.testing.assert_allclose(weights, ratios / ratios.sum(), rtol=1e-6)
    broken = jnp.asarray([[0.0, 1, jnp.nan, 1], [1, 1e30, 1, jnp.inf]])
    assert float(losses.dwa_weights(broken).sum()) == pytest.approx(1)


def test_lifter_dropout_drops_one_or_none_evenly():
    keys = jax.random.split(jax.random.key(0), 4000)
    factors = jax.vmap(lambda k: losses.lifter_dropout_weights(k, 3))(keys)
    assert set(map(tuple, np.asarray(factors).tolist())) == {
        (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1),
    }  # fmt: skip
    np.testing.assert_allclose((factors == 0).mean(axis=0), 1 / 4, atol=0.03)
    assert losses.lifter_dropout_weights(keys[0], 1).tolist() == [1]


# Combinations


@pytest.fixture
def step():
    return {
        "loss_2d_BK": jnp.abs(normal(4, 17)),
        "poses_MBK3": normal(3, 4, 17, 3),
        "true_BK3": normal(4, 17, 3),
        "lifter_weights_M": jnp.asarray([0.5, 0.3, 0.2]),
        "weights": LossWeights(0.5, 0.3, 10.0, 20.0, 0.8, 15.0, 5.0),
    }


def test_multi_model_loss_by_hand(step):
    total, terms = losses.multi_model_loss(**step)
    pose_terms = [
        losses.single_model_loss(step["loss_2d_BK"], pose, step["true_BK3"], step["weights"])[0]
        for pose in step["poses_MBK3"]
    ]
    # The single-model losses share the 2D term, and the lifters' weights sum to one.
    expected = (
        0.8 * np.dot(step["lifter_weights_M"], np.stack(pose_terms))
        + 15 * losses.consistency_loss(step["poses_MBK3"])
        + 5 * losses.global_loss(step["poses_MBK3"], step["true_BK3"])
    )
    assert float(total) == pytest.approx(float(expected), rel=1e-5)
    part_2d, part_3d, _ = losses.guided_loss_terms(**step)
    assert float(part_2d + part_3d) == pytest.approx(float(total), rel=1e-6)
    assert float(part_2d) == pytest.approx(
        0.8 * (0.5 * float(terms.loss_2d) + 0.3 * float(terms.ohklm)), rel=1e-5
    )


def test_one_lifter_is_the_single_model_loss(step):
    pose = step["poses_MBK3"][0]
    weights = step["weights"]._replace(l_single=1.0, l_local=0.0, l_global=0.0)
    args = step | {"poses_MBK3": pose[None], "lifter_weights_M": jnp.ones(1), "weights": weights}
    multi, _ = losses.multi_model_loss(**args)
    single, terms = losses.single_model_loss(
        step["loss_2d_BK"], pose, step["true_BK3"], step["weights"]
    )
    assert float(multi) == float(single)
    expected = 0.5 * terms.loss_2d + 0.3 * terms.ohklm + 10 * terms.xy + 20 * terms.z
    assert float(single) == pytest.approx(float(expected), rel=1e-6)


def test_gradient_parts_do_not_mix(step):
    def part(index, loss_2d, poses):
        args = step | {"loss_2d_BK": loss_2d, "poses_MBK3": poses}
        return losses.guided_loss_terms(**args)[index]

    grads = [
        jax.grad(part, argnums=(1, 2))(i, step["loss_2d_BK"], step["poses_MBK3"]) for i in (0, 1)
    ]
    assert grads[0][0].any()
    assert not grads[0][1].any()
    assert not grads[1][0].any()
    assert grads[1][1].any()


@pytest.mark.parametrize(
    ("mask", "dtype"),
    [("has_3d_B", jnp.float32), ("sample_weight_B", jnp.float32), ("sample_weight_B", bool)],
)
def test_masked_samples_are_as_good_as_absent(step, mask, dtype):
    # Sample 2 has no label; what stands there, even NaN, must not matter, nor its gradient.
    masked = {**step, mask: jnp.asarray([1, 1, 0, 1], dtype)}
    masked["true_BK3"] = step["true_BK3"].at[2].set(jnp.nan)
    kept = np.array([0, 1, 3])
    absent = step | {
        "loss_2d_BK": step["loss_2d_BK"][kept],
        "poses_MBK3": step["poses_MBK3"][:, kept],
        "true_BK3": step["true_BK3"][kept],
    }
    terms, expected = (losses.guided_loss_terms(**args)[2]._asdict() for args in (masked, absent))
    if mask == "has_3d_B":
        expected["loss_2d"] = step["loss_2d_BK"].mean()
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-5, err_msg=name)

    def total(poses):
        return losses.multi_model_loss(**masked | {"poses_MBK3": poses})[0]

    gradient = jax.grad(total)(step["poses_MBK3"])
    assert np.isfinite(gradient).all()
    assert not gradient[:, 2].any()


def test_batch_without_any_3d_label_has_no_3d_loss(step):
    masked = step | {"true_BK3": jnp.full((4, 17, 3), jnp.nan), "has_3d_B": jnp.zeros(4)}
    (total, terms), gradient = jax.value_and_grad(
        lambda poses: losses.multi_model_loss(**masked | {"poses_MBK3": poses}), has_aux=True
    )(step["poses_MBK3"])
    assert float(total) == pytest.approx(0.8 * 0.5 * float(terms.loss_2d), rel=1e-6)
    assert not gradient.any()


def test_joint_weights_reach_every_3d_term(step):
    weight = jnp.ones((4, 17)).at[:, 5:].set(0)
    masked = step | {"joint_weight_BK": weight, "top_k": 5}
    absent = step | {
        "poses_MBK3": step["poses_MBK3"][:, :, :5],
        "true_BK3": step["true_BK3"][:, :5],
        "loss_2d_BK": step["loss_2d_BK"][:, :5],
        "top_k": 5,
    }
    terms, expected = (losses.guided_loss_terms(**args)[2] for args in (masked, absent))
    for name in ("ohklm", "xy", "z", "local_consistency", "global_consistency", "mse_M"):
        np.testing.assert_allclose(getattr(terms, name), getattr(expected, name), rtol=1e-5)


def test_weights_are_traced(step):
    traces = []

    @jax.jit
    def total(weights, step):
        traces.append(1)
        return losses.multi_model_loss(**step, weights=weights)[0]

    rest = {k: v for k, v in step.items() if k != "weights"}
    for weights in (losses.SIMCC_WEIGHTS, losses.HEATMAP_WEIGHTS):
        total(jax.tree.map(jnp.float32, weights), rest)
    assert len(traces) == 1


def test_published_weight_sets():
    assert losses.SIMCC_WEIGHTS == (0.5, 0.3, 10, 20, 0.8, 15, 5)
    assert losses.HEATMAP_WEIGHTS == (0.5, 0.3, 0.02, 0.04, 0.8, 0.1, 0.05)


def test_low_precision_is_raised_and_float64_kept(step):
    low = {k: v.astype(jnp.bfloat16) for k, v in step.items() if k.endswith(("BK", "BK3"))}
    assert losses.multi_model_loss(**step | low)[0].dtype == jnp.float32
    with jax.enable_x64(True):
        wide = {k: jnp.asarray(v, jnp.float64) for k, v in step.items() if k != "weights"}
        assert losses.multi_model_loss(**wide, weights=step["weights"])[0].dtype == jnp.float64


def test_shape_mismatches_raise():
    pred, true = normal(2, 5, 3), normal(2, 5, 3)
    with pytest.raises(ValueError, match=r"\(1, 5, 3\)"):
        losses.lifting_loss(pred, true[:1])
    with pytest.raises(ValueError, match="weights"):
        losses.lifting_loss(pred, true, jnp.ones((2, 1)))
    with pytest.raises(ValueError, match="targets"):
        losses.heatmap_loss(normal(2, 3, 4, 5), normal(2, 3, 4, 1), jnp.ones((2, 5)))
    with pytest.raises(ValueError, match="lifters"):
        losses.multi_model_loss(
            jnp.ones((2, 5)), pred[None], true, jnp.ones(2), losses.SIMCC_WEIGHTS, top_k=3
        )
