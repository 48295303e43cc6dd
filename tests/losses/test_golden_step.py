"""Every golden term and gradient of the released training step."""

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
