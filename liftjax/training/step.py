"""One training step of a detector through frozen lifters, as a pure function.

    images -> detector -> output -> soft-argmax -> crop pixels -> image pixels
           -> each lifter's own normalisation -> frozen lifters -> 3D poses -> losses

The backward pass has two legs that meet at the detector's output (heatmaps or SimCC logits): the
2D and the 3D terms each give a gradient there, their norms are compared and, if asked, balanced,
and the sum goes back through the detector once.

Legend: B batch, H x W x K heatmaps, K joints, M lifters.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from liftjax import geometry, losses
from liftjax.data import targets
from liftjax.detectors.spec import DetectorSpec
from liftjax.training.state import Arrays, PureModule

_RATIO_MEMORY = 0.95  # of the running mean of the gradient ratio: about 20 steps

Step = Callable[[dict, tuple, dict, dict], tuple[dict, dict]]


@dataclasses.dataclass(frozen=True)
class Options:
    """What is compiled into a step; the numbers are traced arguments (see :func:`make_step`)."""

    normalizer: str = "softmax"
    quarter_pixel_shift: bool = False
    top_k: int = 10
    dwa: bool = True
    lifter_dropout: bool = False
    balanced: bool = False
    mask_invisible_3d: bool = False


def initial_guidance(num_lifters: int) -> dict[str, jax.Array]:
    """The part of the training state that guidance carries from step to step; FT-2D: nothing."""
    if not num_lifters:
        return {}
    return {
        "dwa_history": losses.initial_dwa_history(num_lifters),
        # Running mean of log(3D / 2D gradient norm), as a weighted sum and the weight so far.
        "log_ratio": jnp.zeros(()),
        "log_ratio_weight": jnp.zeros(()),
    }


def make_step(
    detector: PureModule,
    spec: DetectorSpec,
    lifters: tuple[PureModule, ...],
    optimizer: optax.GradientTransformation,
    options: Options,
) -> Step:
    """The step (state, frozen, batch, hyper) -> (state, metrics); FT-2D without lifters.

    state: {"params", "others", "opt", "guidance"}.
    frozen: (params, others) of each lifter; never differentiated, never changed.
    batch: see `liftjax.data.pipeline`.
    hyper: {"weights": losses.LossWeights, "beta", "balance", "learning_rate", "key"}: traced, so
      that one compilation serves all their settings.
    """

    def step(state, frozen, batch, hyper):
        images_BHWC = spec.normalize(batch["image_u8"])

        def forward(params):
            module = detector.merge(params, state["others"])
            return module(images_BHWC, train=True), detector.others(module)

        out, pull_back, others = jax.vjp(forward, state["params"], has_aux=True)
        if lifters:
            decode = detector.merge(state["params"], state["others"]).decode
            grad_out, guidance, metrics = _guided(
                out, decode, spec, lifters, frozen, state["guidance"], batch, hyper, options
            )
        else:
            grad_out, metrics = _ft2d(out, spec, batch, hyper["weights"])
            guidance = state["guidance"]
        (grads,) = pull_back(grad_out)
        updates, opt = optimizer.update(grads, state["opt"], state["params"])
        updates = jax.tree.map(lambda u: -hyper["learning_rate"] * u, updates)
        params = optax.apply_updates(state["params"], updates)
        state = {"params": params, "others": others, "opt": opt, "guidance": guidance}
        return state, metrics | {"grad_norm": optax.tree.norm(grads)}

    return step


def _ft2d(out, spec, batch, weights):
    """Gradient of the plain 2D loss at the detector's output, and metrics."""

    def loss(out):
        loss_2d = loss_2d_per_joint(out, spec, batch).mean()
        return weights.l_2d * loss_2d, loss_2d

    (value, loss_2d), grad = jax.value_and_grad(loss, has_aux=True)(out)
    return grad, {"loss": value, "loss_2d": loss_2d}


def _guided(out, decode, spec, lifters, frozen, guidance, batch, hyper, options):
    """Gradient of the guided loss at the detector's output, new guidance state, metrics."""

    def lift(out):
        kpts_crop_BK2 = decode(out, hyper["beta"], options.normalizer, options.quarter_pixel_shift)
        kpts_px_BK2 = geometry.apply_affine(batch["crop_to_image"], kpts_crop_BK2)
        return lift_all(lifters, frozen, kpts_px_BK2, batch["image_size"])

    loss_2d_BK, pull_2d = jax.vjp(lambda out: loss_2d_per_joint(out, spec, batch), out)
    poses_MBK3, pull_3d = jax.vjp(lift, out)
    weights_M = _lifter_weights(guidance["dwa_history"], len(lifters), hyper["key"], options)

    def parts(loss_2d_BK, poses_MBK3):
        part_2d, part_3d, terms = losses.guided_loss_terms(
            loss_2d_BK,
            poses_MBK3,
            batch["pose_m"],
            weights_M,
            hyper["weights"],
            top_k=options.top_k,
            joint_weight_BK=batch["joint_visible"] if options.mask_invisible_3d else None,
            has_3d_B=batch["has_3d"],
        )
        return (part_2d, part_3d), terms

    (part_2d, part_3d), pull, terms = jax.vjp(parts, loss_2d_BK, poses_MBK3, has_aux=True)
    one, zero = jnp.ones_like(part_2d), jnp.zeros_like(part_2d)
    (grad_2d,) = pull_2d(pull((one, zero))[0])
    (grad_3d,) = pull_3d(pull((zero, one))[1])
    norm_2d, norm_3d = optax.tree.norm(grad_2d), optax.tree.norm(grad_3d)
    guidance = _remember(guidance, terms.mse_M, norm_2d, norm_3d)
    scale = jnp.ones(())
    if options.balanced:
        scale = hyper["balance"] * jnp.exp(-guidance["log_ratio"] / guidance["log_ratio_weight"])
    metrics = {
        "loss": part_2d + scale * part_3d,
        "grad_ratio": norm_3d / norm_2d,
        "guidance_scale": scale,
        **_term_metrics(terms),
    }
    grad = jax.tree.map(lambda a, b: a + scale * b, grad_2d, grad_3d)
    return grad, guidance, metrics


def loss_2d_per_joint(out, spec: DetectorSpec, batch: dict) -> jax.Array:
    """The detector's 2D loss of each joint (B, K): heatmap MSE or SimCC divergence."""
    to_crop_B23 = geometry.invert_affine(batch["crop_to_image"])
    joints_crop_BK2 = geometry.apply_affine(to_crop_B23, batch["joints_px"])
    visible_BK = batch["joint_visible"]
    if spec.kind == "heatmap":
        maps_BHWK, weight_BK = targets.gaussian_heatmaps(
            joints_crop_BK2, visible_BK, spec.output_size, spec.stride, spec.sigma
        )
        return losses.heatmap_loss_per_joint(out.heatmaps, maps_BHWK, weight_BK)
    label_x, label_y, weight_BK = targets.simcc_labels(
        joints_crop_BK2, visible_BK, spec.image_size, 1 / spec.stride, spec.sigma
    )
    return losses.simcc_loss_per_joint(out.x, out.y, label_x, label_y, weight_BK)


def lift_all(
    lifters: tuple[PureModule, ...],
    frozen: tuple[tuple[Arrays, Arrays], ...],
    kpts_px_BK2: jax.Array,
    image_size_B2: jax.Array,
) -> jax.Array:
    """What every lifter makes of single frames: (M, B, K, 3) metres."""
    poses = [
        pure.merge(*arrays).lift(kpts_px_BK2[:, None], image_size_B2)[:, 0]
        for pure, arrays in zip(lifters, frozen, strict=True)
    ]
    return jnp.stack(poses)


def _lifter_weights(history_2M, num_lifters, key, options) -> jax.Array:
    weights_M = jnp.full(num_lifters, 1 / num_lifters)
    if options.dwa:
        weights_M = losses.dwa_weights(history_2M)
    if options.lifter_dropout:
        weights_M = weights_M * losses.lifter_dropout_weights(key, num_lifters)
    return weights_M


def _remember(guidance, mse_M, norm_2d, norm_3d):
    log_ratio = jnp.log(norm_3d + 1e-30) - jnp.log(norm_2d + 1e-30)
    fresh = 1 - _RATIO_MEMORY
    return {
        "dwa_history": losses.update_dwa_history(guidance["dwa_history"], mse_M),
        "log_ratio": _RATIO_MEMORY * guidance["log_ratio"] + fresh * log_ratio,
        "log_ratio_weight": _RATIO_MEMORY * guidance["log_ratio_weight"] + fresh,
    }


def _term_metrics(terms: losses.LossTerms) -> dict[str, jax.Array]:
    scalars = {k: v for k, v in terms._asdict().items() if not k.endswith("_M")}
    per_lifter = {f"mse_{m}": terms.mse_M[m] for m in range(terms.mse_M.shape[0])}
    return scalars | per_lifter
