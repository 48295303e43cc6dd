"""One training step of distillation, as a pure function of one replica.

Stage one: a student learns from labels, and from a frozen teacher's feature and logits.

    images -> student backbone -> feature ------> head -> logits
                                     | projection            |
                                feature loss            logit loss    and the loss of the labels
                                     |                       |
    images -> teacher backbone -> feature ------> head -> logits

Stage two: the backbone is frozen too, and a fresh head learns from labels and from the logits that
the old head makes of the same feature.

Reference: "Effective Whole-body Pose Estimation with Two-stages Distillation" (DWPose, ICCV
workshops 2023).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from liftjax import losses
from liftjax.detectors.spec import DetectorSpec
from liftjax.runtime.replicas import AXIS
from liftjax.runtime.state import Arrays, PureModule
from liftjax.training.step import loss_2d_per_joint
from liftjax.training.update import Backward, Step, Update, make_update_step

HEAD = "head."  # what the paths of the head's variables begin with


def trained_arrays(state: dict) -> dict[str, Arrays]:
    """What the optimizer changes: the student and, in stage one, the projection."""
    return {"student": state["params"], "projection": state["projection"]}


def make_student_step(
    student: PureModule,
    spec: DetectorSpec,
    teacher: PureModule,
    projection: PureModule | None,
    update: Update,
    dtype: str = "float32",
) -> Step:
    """The step (state, frozen, batch, hyper) -> (state, metrics) of stage one.

    Args:
      student, spec: the detector that is trained. teacher: the one that it learns from.
      projection: takes the student's feature to the teacher's channels; None: they are equal.
      update: the optimizer and what belongs to it. dtype: of the networks' activations.

    state: {"params", "others", "projection", "opt"}.
    frozen: (params, others) of the teacher, which uses its running statistics.
    batch: see `liftjax.data.pipeline`.
    hyper: {"label_weight", "feature_weight", "logit_weight", "learning_rate"}, traced.
    """

    def backward(state, frozen, batch, hyper):
        expert = teacher.merge(*frozen)
        taught_BHWC = expert.backbone(expert.spec.normalize(batch["image_u8"], jnp.dtype(dtype)))
        answer = expert.head(taught_BHWC)

        def loss_fn(trained):
            module = student.merge(trained["student"], state["others"])
            images_BHWC = spec.normalize(batch["image_u8"], jnp.dtype(dtype))
            feature_BHWC = module.backbone(images_BHWC, train=True)
            out = module.head(feature_BHWC)
            seen_BHWC = feature_BHWC
            if projection is not None:
                seen_BHWC = projection.merge(trained["projection"], {})(feature_BHWC)
            feature = losses.feature_loss(seen_BHWC, taught_BHWC)
            value, metrics = _taught_loss(out, answer, spec, batch, hyper)
            value = value + hyper["feature_weight"] * feature
            return value, (metrics | {"feature": feature}, student.others(module))

        return _gradients(loss_fn, state)

    return _step(backward, update)


def make_head_step(
    student: PureModule,
    spec: DetectorSpec,
    old_head: PureModule,
    update: Update,
    dtype: str = "float32",
) -> Step:
    """The step (state, frozen, batch, hyper) -> (state, metrics) of stage two.

    Args:
      student, spec: the detector. old_head: the head that it had, which teaches the new one.
      update, dtype: as for :func:`make_student_step`.

    state: {"params": the new head's, "others": the rest of the detector, which stays as it is,
      "projection": {}, "opt"}.
    frozen: (params, others) of the old head.
    batch, hyper: as for :func:`make_student_step`, without "feature_weight".
    """

    def backward(state, frozen, batch, hyper):
        module = student.merge(state["params"], state["others"])
        feature_BHWC = module.backbone(spec.normalize(batch["image_u8"], jnp.dtype(dtype)))
        answer = old_head.merge(*frozen)(feature_BHWC)

        def loss_fn(trained):
            out = student.merge(trained["student"], state["others"]).head(feature_BHWC)
            value, metrics = _taught_loss(out, answer, spec, batch, hyper)
            return value, (metrics, state["others"])

        return _gradients(loss_fn, state)

    return _step(backward, update)


def split_head(params: Arrays, others: Arrays) -> tuple[Arrays, Arrays]:
    """A detector's arrays as (the head's parameters, all the rest)."""
    head = {name: array for name, array in params.items() if name.startswith(HEAD)}
    return head, {k: v for k, v in (params | others).items() if k not in head}


def _taught_loss(out, answer, spec: DetectorSpec, batch: dict, hyper: dict):
    """The loss of the labels and of the teacher's logits, weighted, and each alone."""
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


def _step(backward: Backward, update: Update) -> Step:
    def placed(trained):
        return {"params": trained["student"], "projection": trained["projection"]}

    return make_update_step(backward, update, trained_arrays, placed)
