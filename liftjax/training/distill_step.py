"""The training step of distillation, as a pure function of one replica.

Stage one: a student learns from labels and from a frozen teacher's features and logits.

    images -> student backbone -> feature ------> head -> logits
                                     | projection            |
                                feature loss            logit loss    and the loss of the labels
                                     |                       |
    images -> teacher backbone -> feature ------> head -> logits

Stage two: the backbone is frozen, and a new head learns from labels and from the logits that the
old head gives for the same features.

Reference: "Effective Whole-body Pose Estimation with Two-stages Distillation" (DWPose, ICCV
workshops 2023).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax import losses
from liftjax.detectors.spec import Detector, DetectorSpec
from liftjax.nn.layers import Linear, unsynchronized
from liftjax.runtime.replicas import AXIS
from liftjax.runtime.state import Arrays, PureModule
from liftjax.training.detector_step import loss_2d_per_joint
from liftjax.training.update import Backward, TrainStep, Update, make_update_step

_HEAD = "head."  # what the paths of the head's variables begin with
_HYPER = {
    "label_weight": 1.0,
    "feature_weight": 7e-5,
    "logit_weight": 0.1,
    "learning_rate": 1e-4,
    "seed": 0,
    "step": 0,
}


def make_student_step(
    student: Detector, teacher: Detector, update: Update, dtype: str = "float32", seed: int = 0
) -> TrainStep:
    """The step of stage one.

    Args:
      student: the SimCC detector that is trained.
      teacher: the SimCC detector that it learns from, of the same output size.
      update: how gradients become a new state.
      dtype: of the networks' activations.
      seed: for the first weights of the projection, which maps the student's features to the
        teacher's channels. There is no projection where they have the same number of channels.

    Returns:
      The step. Its state is {"params", "others", "projection", "opt"}; `frozen` is (params, others)
      of the teacher; `hyper` holds "label_weight", "feature_weight", "logit_weight" and
      "learning_rate". For batches see `liftjax.data.pipeline`.
    """
    projection, bridge = None, {}
    channels = student.backbone.channels, teacher.backbone.channels
    if channels[0] != channels[1]:
        projection, bridge, _ = PureModule.split(Linear(*channels, rngs=nnx.Rngs(seed)))
    pure, params, others = PureModule.split(student)
    expert_pure, *frozen = PureModule.split(teacher)
    spec = student.spec

    def backward(state, frozen, batch, hyper):
        expert = expert_pure.merge(*frozen)
        taught_BHWC = expert.backbone(expert.spec.normalize(batch["image_u8"], jnp.dtype(dtype)))
        answer = expert.head(taught_BHWC)

        def loss_fn(trained):
            module = pure.merge(trained["student"], state["others"])
            images_BHWC = spec.normalize(batch["image_u8"], jnp.dtype(dtype))
            feature_BHWC = module.backbone(images_BHWC, train=True)
            out = module.head(feature_BHWC)
            seen_BHWC = feature_BHWC
            if projection is not None:
                seen_BHWC = projection.merge(trained["projection"], {})(feature_BHWC)
            feature = losses.feature_loss(seen_BHWC, taught_BHWC)
            value, metrics = _taught_loss(out, answer, spec, batch, hyper)
            value = value + hyper["feature_weight"] * feature
            return value, (metrics | {"feature": feature}, pure.others(module))

        return _gradients(loss_fn, state)

    state = {"params": params, "others": others, "projection": bridge}
    update = update._replace(averaged=unsynchronized(student))
    return _train_step(backward, update, state, tuple(frozen))


def make_head_step(
    student: Detector, new_head: nnx.Module, update: Update, dtype: str = "float32"
) -> TrainStep:
    """The step of stage two.

    Args:
      student: the SimCC detector; its head teaches, and is replaced by the new one in place.
      new_head: a head like its own, with the weights to start from.
      update: how gradients become a new state.
      dtype: of the networks' activations.

    Returns:
      The step. Its state is {"params": those of the new head, "others": those of the rest of the
      detector, "projection": {}, "opt"}; `frozen` is (params, others) of the old head; `hyper` and
      batches are those of `make_student_step`, without "feature_weight".
    """
    old_head, *frozen = PureModule.split(student.head)
    student.head = new_head
    pure, params, others = PureModule.split(student)
    spec = student.spec

    def backward(state, frozen, batch, hyper):
        module = pure.merge(state["params"], state["others"])
        feature_BHWC = module.backbone(spec.normalize(batch["image_u8"], jnp.dtype(dtype)))
        answer = old_head.merge(*frozen)(feature_BHWC)

        def loss_fn(trained):
            out = pure.merge(trained["student"], state["others"]).head(feature_BHWC)
            value, metrics = _taught_loss(out, answer, spec, batch, hyper)
            return value, (metrics, state["others"])

        return _gradients(loss_fn, state)

    head = {name: array for name, array in params.items() if name.startswith(_HEAD)}
    rest = {k: v for k, v in (params | others).items() if k not in head}
    state = {"params": head, "others": rest, "projection": {}}
    # The running statistics of the frozen backbone stay as they are on every device.
    return _train_step(backward, update._replace(averaged=frozenset()), state, tuple(frozen))


def trained_arrays(state: dict) -> dict[str, Arrays]:
    """What the optimizer changes: the student and, in stage one, the projection."""
    return {"student": state["params"], "projection": state["projection"]}


def _taught_loss(out, answer, spec: DetectorSpec, batch: dict, hyper: dict):
    """The weighted sum of the label loss and the logit loss, and each of them."""
    label = loss_2d_per_joint(out, spec, batch).mean()
    logit = losses.logit_loss(out.x, out.y, answer.x, answer.y)
    value = hyper["label_weight"] * label + hyper["logit_weight"] * logit
    return value, {"loss_2d": label, "logit": logit}


def _gradients(loss_fn: Callable, state: dict) -> tuple[dict, dict, dict]:
    """Gradients of this replica's share of loss_fn(trained), new statistics, metrics.

    Every sample weighs the same, so the loss of the whole batch is the mean of the replicas'.
    """
    share = 1 / jax.lax.axis_size(AXIS)

    def shared(trained):
        value, (metrics, others) = loss_fn(trained)
        return share * value, (metrics | {"loss": value}, others)

    grads, (metrics, others) = jax.grad(shared, has_aux=True)(trained_arrays(state))
    return grads, {"others": others}, jax.lax.pmean(metrics, AXIS)


def _train_step(backward: Backward, update: Update, state: dict, frozen: tuple) -> TrainStep:
    def replaced(trained):
        return {"params": trained["student"], "projection": trained["projection"]}

    state = state | {"opt": update.optimizer.init(trained_arrays(state))}
    return TrainStep(
        make_update_step(backward, update, trained_arrays, replaced), state, frozen, dict(_HYPER)
    )
