"""The training step of a detector through frozen lifters, as a pure function of one replica.

    images -> detector -> output -> soft-argmax -> crop pixels -> image pixels
           -> each lifter's own normalisation -> frozen lifters -> 3D poses -> losses

A lifter of several frames sees the keypoints of a sample among those of the frames around it
(`training.last_found`).

The 2D and the 3D terms each have a gradient with respect to the detector's output (heatmaps or
SimCC logits). Their norms are compared and, if asked for, balanced; their sum is propagated back
through the detector once.

Losses are those of the whole batch: the 2D losses of joints and the 3D poses are small, and are
gathered from all replicas; each replica then takes its own rows of their gradient.

Legend: B batch rows of a replica, N of all replicas, F frames of a sample that run through the
detector (`loss.window_frames`, by default 1), H x W x K heatmaps, K joints, M lifters.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from liftjax import geometry, losses
from liftjax.detectors.spec import Decoding, DetectorSpec
from liftjax.errors import LiftjaxError
from liftjax.lifters.spec import Lifter, Precision
from liftjax.nn.layers import unsynchronized
from liftjax.runtime import replicas
from liftjax.runtime.state import Arrays, PureModule
from liftjax.training.last_found import Seen
from liftjax.training.update import Backward, TrainStep, Update, make_update_step

_RATIO_MEMORY = 0.95  # of the running mean of the gradient ratio: about 20 steps
_SMALL = 1e-30


@dataclasses.dataclass(frozen=True)
class GuidanceOptions:
    """What is compiled into a guided step; its numbers are traced arguments (see `TrainStep`).

    Attributes:
      normalizer: of soft-argmax, "softmax" or "relu".
      quarter_pixel_shift: whether keypoints are shifted as in the released programs.
      top_k: joints of the hard-joint loss (see `losses.ohklm_loss`).
      dwa: whether dynamic weight averaging weighs the lifters; else they weigh the same.
      lifter_dropout: whether one of the lifters, or none, is left out of each step at random.
      balanced: whether the 3D gradient is scaled to `hyper["balance"]` times the 2D gradient.
      mask_invisible_3d: whether invisible joints are left out of the 3D terms.
      lifter_names: for the names of the metrics of each lifter.
      dtype: of the detector's activations.
      lifter_precision: None chooses by `dtype` (see `precision_of_lifters`).
    """

    normalizer: str = "softmax"
    quarter_pixel_shift: bool = False
    top_k: int = 10
    dwa: bool = True
    lifter_dropout: bool = False
    balanced: bool = False
    mask_invisible_3d: bool = False
    lifter_names: tuple[str, ...] = ()
    dtype: str = "float32"
    lifter_precision: Precision | None = None

    @property
    def precision_of_lifters(self) -> Precision:
        """`lifter_precision`, or else "high" for bfloat16 detectors and "highest" for others.

        The gradient at a 2D pose is J'(pose - truth). Late in training the difference is small, so
        that a rounding error of the pose becomes a large error of the gradient. Relative errors of
        the gradient where the difference is as large as the pose, and where it is a tenth of it
        (worst of four lifters at the paper's size, random weights, against float64; accelerators
        emulated): 'high' 2 and 4 % with TF32 (NVIDIA), below 0.2 % with three passes of bfloat16
        (TPU); 'default' on a TPU 4 and 32 %; 'bfloat16' 4 and 56 %.
        """
        return self.lifter_precision or ("high" if self.dtype == "bfloat16" else "highest")


def make_train_step(
    detector: nnx.Module,
    lifters: Sequence[Lifter] = (),
    update: Update = Update(optax.scale_by_adam()),  # noqa: B008
    options: GuidanceOptions = GuidanceOptions(),
    num_records: int = 0,
) -> TrainStep:
    """The step that trains a detector through frozen lifters; without lifters, FT-2D.

    Args:
      detector: a network of the registry, or one with its `spec`, `__call__` and `decode`.
      lifters: of the detector's joint set.
      update: the optimizer and how gradients are accumulated. The optimizer gives a direction: a
        step multiplies it by minus `hyper["learning_rate"]`.
      options: what is compiled into the step.
      num_records: where lifters see several frames, the length of the data set.

    Returns:
      The step. Its state is {"params", "others", "opt", "guidance"} and, with `num_records`,
      "found_px", the keypoints (num_records, K, 2) that the detector found last; `frozen` is
      (params, others) of each lifter; `hyper` holds "weights" (`losses.DEFAULT_WEIGHTS` of the
      detector's kind), "beta" (100), "balance" (used only if `options.balanced`),
      "learning_rate" (1e-4), "seed" and "step". For batches see `liftjax.data.pipeline`, and with
      `num_records` `liftjax.training.surroundings`.
    """
    pure, params, others = PureModule.split(detector)
    split = [PureModule.split(lifter) for lifter in lifters]
    update = update._replace(averaged=unsynchronized(detector))
    skeleton = lifters[0].spec.skeleton_2d if lifters else None
    backward = _make_backward(pure, detector.spec, tuple(s[0] for s in split), skeleton, options)
    state = {
        "params": params,
        "others": others,
        "opt": update.optimizer.init(params),
        "guidance": _initial_guidance(len(split)),
    }
    if num_records:
        state["found_px"] = jnp.zeros((num_records, detector.spec.num_joints, 2))
    hyper = {
        "weights": losses.DEFAULT_WEIGHTS[detector.spec.kind],
        "beta": 100.0,
        "balance": 0.0,
        "learning_rate": 1e-4,
        "seed": 0,
        "step": 0,
    }
    step = make_update_step(backward, update)
    return TrainStep(step, state, tuple(s[1:] for s in split), hyper)


def _initial_guidance(num_lifters: int) -> dict[str, jax.Array]:
    """What guidance keeps in the training state from step to step; nothing without lifters."""
    if not num_lifters:
        return {}
    return {
        "dwa_history": losses.initial_dwa_history(num_lifters),
        # Running mean of log(3D / 2D gradient norm), as a weighted sum and the weight so far.
        "log_ratio": jnp.zeros(()),
        "log_ratio_weight": jnp.zeros(()),
    }


def _make_backward(
    detector: PureModule,
    spec: DetectorSpec,
    lifters: tuple[PureModule, ...],
    skeleton: str | None,
    options: GuidanceOptions,
) -> Backward:
    """The backward pass of a step (see `training.update`).

    Args:
      detector: the network that is trained.
      spec: of the detector.
      lifters: those that guide it.
      skeleton: the joint set of their 2D input.
      options: see `make_train_step`.
    """

    def backward(state, frozen, batch, hyper):
        sample, frames, around = _split_batch(batch)
        images_BHWC = spec.normalize(frames["image_u8"], jnp.dtype(options.dtype))

        def forward(params):
            module = detector.merge(params, state["others"])
            with jax.named_scope("detector"):
                return module(images_BHWC, train=True), detector.others(module)

        out, pull_back, others = jax.vjp(forward, state["params"], has_aux=True)
        in_2d = jax.vjp(lambda out: _loss_2d(out, spec, frames, sample), out)
        if not lifters:
            grad_out, metrics = _ft2d(in_2d, hyper["weights"])
            (grads,) = pull_back(grad_out)
            return grads, {"others": others, "guidance": state["guidance"]}, metrics

        if around and "found_px" not in state:
            raise LiftjaxError(
                "The batch has windows of several frames; give make_train_step num_records."
            )
        module = detector.merge(state["params"], state["others"])
        seen = around and Seen(around, state["found_px"], skeleton)

        decoding = Decoding(hyper["beta"], options.normalizer, options.quarter_pixel_shift)

        def lift(out):
            with jax.named_scope("soft_argmax"):
                kpts_crop = decoding.keypoints(module, out)
            kpts_px = geometry.apply_affine(frames["crop_to_image"], kpts_crop)
            precision = options.precision_of_lifters
            poses = lift_all(lifters, frozen, kpts_px, sample["image_size"], precision, seen)
            return poses, kpts_px

        poses_MBK3, pull_3d, kpts_px = jax.vjp(lift, out, has_aux=True)
        in_3d = poses_MBK3, pull_3d
        grad_out, guidance, metrics = _guided(
            in_2d, in_3d, state["guidance"], sample, hyper, options
        )
        (grads,) = pull_back(grad_out)
        changes = {"others": others, "guidance": guidance}
        if seen:
            changes["found_px"] = seen.renewed(
                kpts_px, lambda pictures: decoding.detect(module, pictures, options.dtype)[1]
            )
        return grads, changes, metrics

    return backward


def _split_batch(batch):
    """The samples of a batch, all of their frames that run through the detector, and the rest."""
    if "around" not in batch:
        return batch, batch, None
    arrays = {key: array for key, array in batch.items() if key != "around"}
    frames = {key: array.reshape(-1, *array.shape[2:]) for key, array in arrays.items()}
    return {key: array[:, 0] for key, array in arrays.items()}, frames, batch["around"]


def _loss_2d(out, spec, frames, sample):
    """The 2D loss (B, K) of each joint of the samples: the mean over their frames."""
    loss_FK = loss_2d_per_joint(out, spec, frames)
    return loss_FK.reshape(len(sample["joint_visible"]), -1, loss_FK.shape[-1]).mean(axis=1)


def _ft2d(in_2d, weights):
    """Gradient of the plain 2D loss at the detector's output, and metrics."""
    loss_2d_BK, pull_2d = in_2d
    loss_2d_NK = replicas.gather(loss_2d_BK)
    loss_2d, pull = jax.vjp(lambda loss_NK: weights.l_2d * loss_NK.mean(), loss_2d_NK)
    (grad_NK,) = pull(jnp.ones_like(loss_2d))
    (grad,) = pull_2d(replicas.own_rows(grad_NK))
    return grad, {"loss": loss_2d, "loss_2d": loss_2d_NK.mean()}


def _guided(in_2d, in_3d, guidance, batch, hyper, options):
    """Gradient of the guided loss at the detector's output, new guidance state, metrics.

    Args:
      in_2d: the 2D losses (B, K), and the function that pulls their gradient back to the output.
      in_3d: the 3D poses (M, B, K, 3), and that function.
      guidance: of the state.
      batch: the samples.
      hyper: see `make_train_step`.
      options: see `make_train_step`.
    """
    (loss_2d_BK, pull_2d), (poses_MBK3, pull_3d) = in_2d, in_3d
    weights_M = _lifter_weights(guidance["dwa_history"], len(poses_MBK3), hyper, options)
    labels = {key: batch[key] for key in ("pose_m", "has_3d", "joint_visible")}
    labels = replicas.gather(labels)

    def parts(loss_2d_NK, poses_MNK3):
        part_2d, part_3d, terms = losses.guided_loss_terms(
            loss_2d_NK,
            poses_MNK3,
            labels["pose_m"],
            weights_M,
            hyper["weights"],
            top_k=options.top_k,
            joint_weight_BK=labels["joint_visible"] if options.mask_invisible_3d else None,
            has_3d_B=labels["has_3d"],
        )
        return (part_2d, part_3d), terms

    (part_2d, part_3d), pull, terms = jax.vjp(
        parts, replicas.gather(loss_2d_BK), replicas.gather(poses_MBK3, axis=1), has_aux=True
    )
    one, zero = jnp.ones_like(part_2d), jnp.zeros_like(part_2d)
    (grad_2d,) = pull_2d(replicas.own_rows(pull((one, zero))[0]))
    (grad_3d,) = pull_3d(replicas.own_rows(pull((zero, one))[1], axis=1))
    norm_2d, norm_3d = replicas.norm(grad_2d), replicas.norm(grad_3d)
    guidance = _remember(guidance, terms.mse_M, norm_2d, norm_3d, labels["has_3d"])
    scale = jnp.ones(())
    if options.balanced:
        weight = jnp.maximum(guidance["log_ratio_weight"], _SMALL)
        scale = hyper["balance"] * jnp.exp(-guidance["log_ratio"] / weight)
    metrics = {
        "loss": part_2d + scale * part_3d,
        # With and without the balancing.
        "grad_ratio": scale * _ratio(norm_3d, norm_2d),
        "grad_ratio_unscaled": _ratio(norm_3d, norm_2d),
        **_term_metrics(terms, options.lifter_names),
    }
    grad = jax.tree.map(lambda a, b: a + scale * b, grad_2d, grad_3d)
    return grad, guidance, metrics


def loss_2d_per_joint(out, spec: DetectorSpec, batch: dict) -> jax.Array:
    """The loss (B, K) of a detector's output against the 2D labels of a batch."""
    with jax.named_scope("loss_2d"):
        to_crop_B23 = geometry.invert_affine(batch["crop_to_image"])
        joints_crop_BK2 = geometry.apply_affine(to_crop_B23, batch["joints_px"])
        return out.loss_per_joint(spec, joints_crop_BK2, batch["joint_visible"])


def lift_all(
    lifters: tuple[PureModule, ...],
    frozen: tuple[tuple[Arrays, Arrays], ...],
    kpts_px: jax.Array,
    image_size_B2: jax.Array,
    precision: Precision = "highest",
    seen: Seen | None = None,
) -> jax.Array:
    """The 3D poses (M, B, K, 3) of the samples, in metres, that every lifter gives.

    Args:
      lifters: the networks.
      frozen: their arrays.
      kpts_px: (B, K, 2) of the samples; with `seen` (B * F, K, 2), of all their frames.
      image_size_B2: (width, height) of the pictures.
      precision: of the lifters, see `lifters.spec.Precision`.
      seen: what lifters of several frames see around the samples.
    """
    kpts_px_BFK2 = kpts_px.reshape(len(image_size_B2), -1, *kpts_px.shape[1:])

    def lift(number):
        lifter = lifters[number].merge(*frozen[number])
        kpts_px_BTK2 = kpts_px_BFK2
        if seen:
            kpts_px_BTK2, given_B = seen.window(number, kpts_px_BFK2)
        with jax.named_scope(type(lifter).__name__):
            poses_BMK3 = lifter.lift(kpts_px_BTK2, image_size_B2, precision=precision)
        if seen:
            poses_BMK3 = jnp.take_along_axis(poses_BMK3, given_B[:, None, None, None], axis=1)
        return poses_BMK3[:, 0]

    with jax.named_scope("lifters"):
        return jnp.stack([lift(number) for number in range(len(lifters))])


def _lifter_weights(history_2M, num_lifters, hyper, options) -> jax.Array:
    weights_M = jnp.full(num_lifters, 1 / num_lifters)
    if options.dwa:
        weights_M = losses.dwa_weights(history_2M)
    if options.lifter_dropout:
        key = replicas.shared_key(hyper["seed"], hyper["step"])
        weights_M = weights_M * losses.lifter_dropout_weights(key, num_lifters)
    return weights_M


def _ratio(norm_3d, norm_2d):
    return norm_3d / jnp.maximum(norm_2d, _SMALL)


def _remember(guidance, mse_M, norm_2d, norm_3d, has_3d_B):
    """The guidance state after a step.

    The ratio stays as it is after a batch without 2D or without 3D labels; the history of the
    lifters' losses stays as it is after a batch without 3D labels.
    """
    history_2M = losses.update_dwa_history(guidance["dwa_history"], mse_M)
    has_both = (norm_2d > 0) & (norm_3d > 0)
    log_ratio = jnp.log(jnp.where(has_both, norm_3d, 1)) - jnp.log(jnp.where(has_both, norm_2d, 1))
    kept = jnp.where(has_both, _RATIO_MEMORY, 1.0)
    return {
        "dwa_history": jnp.where((has_3d_B > 0).any(), history_2M, guidance["dwa_history"]),
        "log_ratio": kept * guidance["log_ratio"] + (1 - kept) * log_ratio,
        "log_ratio_weight": kept * guidance["log_ratio_weight"] + (1 - kept),
    }


def _term_metrics(terms: losses.LossTerms, names: tuple[str, ...]) -> dict[str, jax.Array]:
    names = names or tuple(map(str, range(terms.mse_M.shape[0])))
    scalars = {k: v for k, v in terms._asdict().items() if not k.endswith("_M")}
    per_lifter = {f"mse_{name}": terms.mse_M[m] for m, name in enumerate(names)}
    return scalars | per_lifter
