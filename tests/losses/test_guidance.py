import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax import losses
from liftjax.losses import LossWeights
from tests.losses.arrays import normal
from tests.slow import one_in

# As one program each: every operation alone would be one to compile.
multi_model_loss, single_model_loss, guided_loss_terms = (
    jax.jit(loss, static_argnames="top_k")
    for loss in (losses.multi_model_loss, losses.single_model_loss, losses.guided_loss_terms)
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
    total, terms = multi_model_loss(**step)
    pose_terms = [
        single_model_loss(step["loss_2d_BK"], pose, step["true_BK3"], step["weights"])[0]
        for pose in step["poses_MBK3"]
    ]
    # The single-model losses share the 2D term, and the lifters' weights sum to one.
    expected = (
        0.8 * np.dot(step["lifter_weights_M"], np.stack(pose_terms))
        + 15 * losses.consistency_loss(step["poses_MBK3"])
        + 5 * losses.global_loss(step["poses_MBK3"], step["true_BK3"])
    )
    assert float(total) == pytest.approx(float(expected), rel=1e-5)
    part_2d, part_3d, _ = guided_loss_terms(**step)
    assert float(part_2d + part_3d) == pytest.approx(float(total), rel=1e-6)
    assert float(part_2d) == pytest.approx(
        0.8 * (0.5 * float(terms.loss_2d) + 0.3 * float(terms.ohklm)), rel=1e-5
    )


def test_one_lifter_is_the_single_model_loss(step):
    pose = step["poses_MBK3"][0]
    weights = step["weights"]._replace(l_single=1.0, l_local=0.0, l_global=0.0)
    args = step | {"poses_MBK3": pose[None], "lifter_weights_M": jnp.ones(1), "weights": weights}
    multi, _ = multi_model_loss(**args)
    single, terms = single_model_loss(step["loss_2d_BK"], pose, step["true_BK3"], step["weights"])
    assert float(multi) == float(single)
    expected = 0.5 * terms.loss_2d + 0.3 * terms.ohklm + 10 * terms.xy + 20 * terms.z
    assert float(single) == pytest.approx(float(expected), rel=1e-6)


def test_gradient_parts_do_not_mix(step):
    def part(index, loss_2d, poses):
        args = step | {"loss_2d_BK": loss_2d, "poses_MBK3": poses}
        return guided_loss_terms(**args)[index]

    grads = [
        jax.grad(part, argnums=(1, 2))(i, step["loss_2d_BK"], step["poses_MBK3"]) for i in (0, 1)
    ]
    assert grads[0][0].any()
    assert not grads[0][1].any()
    assert not grads[1][0].any()
    assert grads[1][1].any()


@pytest.mark.parametrize(
    ("mask", "dtype"),
    one_in(4, itertools.product(("sample_weight_B", "has_3d_B"), (bool, jnp.float32))),
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
    terms, expected = (guided_loss_terms(**args)[2]._asdict() for args in (masked, absent))
    if mask == "has_3d_B":
        expected["loss_2d"] = step["loss_2d_BK"].mean()
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-5, err_msg=name)

    def total(poses):
        return multi_model_loss(**masked | {"poses_MBK3": poses})[0]

    gradient = jax.grad(total)(step["poses_MBK3"])
    assert np.isfinite(gradient).all()
    assert not gradient[:, 2].any()


def test_batch_without_any_3d_label_has_no_3d_loss(step):
    masked = step | {"true_BK3": jnp.full((4, 17, 3), jnp.nan), "has_3d_B": jnp.zeros(4)}
    (total, terms), gradient = jax.value_and_grad(
        lambda poses: multi_model_loss(**masked | {"poses_MBK3": poses}), has_aux=True
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
    terms, expected = (guided_loss_terms(**args)[2] for args in (masked, absent))
    for name in ("ohklm", "xy", "z", "local_consistency", "global_consistency", "mse_M"):
        np.testing.assert_allclose(getattr(terms, name), getattr(expected, name), rtol=1e-5)


def test_weights_are_traced(step):
    traces = []

    @jax.jit
    def total(weights, step):
        traces.append(1)
        return multi_model_loss(**step, weights=weights)[0]

    rest = {k: v for k, v in step.items() if k != "weights"}
    for weights in (losses.SIMCC_WEIGHTS, losses.HEATMAP_WEIGHTS):
        total(jax.tree.map(jnp.float32, weights), rest)
    assert len(traces) == 1


def test_published_weight_sets():
    assert losses.SIMCC_WEIGHTS == (0.5, 0.3, 10, 20, 0.8, 15, 5)
    assert losses.HEATMAP_WEIGHTS == (0.5, 0.3, 0.02, 0.04, 0.8, 0.1, 0.05)


def test_low_precision_is_raised_and_float64_kept(step):
    low = {k: v.astype(jnp.bfloat16) for k, v in step.items() if k.endswith(("BK", "BK3"))}
    assert multi_model_loss(**step | low)[0].dtype == jnp.float32
    with jax.enable_x64(True):
        wide = {k: jnp.asarray(v, jnp.float64) for k, v in step.items() if k != "weights"}
        assert multi_model_loss(**wide, weights=step["weights"])[0].dtype == jnp.float64


def test_shape_mismatches_raise():
    pred, true = normal(2, 5, 3), normal(2, 5, 3)
    with pytest.raises(ValueError, match="lifters"):
        multi_model_loss(
            jnp.ones((2, 5)), pred[None], true, jnp.ones(2), losses.SIMCC_WEIGHTS, top_k=3
        )
