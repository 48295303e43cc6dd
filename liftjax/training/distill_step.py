"""One training step of distillation, as a pure function.

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
import optax

from liftjax import losses
from liftjax.detectors.spec import DetectorSpec
from liftjax.training.optim import apply_gradients
from liftjax.training.state import Arrays, PureModule
from liftjax.training.step import Step, loss_2d_per_joint

HEAD = "head."  # what the paths of the head's variables begin with


def trained_arrays(state: dict) -> dict[str, Arrays]:
    """What the optimizer changes: the student and, in stage one, the projection."""
    return {"student": state["params"], "projection": state["projection"]}


def make_student_step(
    student: PureModule,
    spec: DetectorSpec,
    teacher: PureModule,
    projection: PureModule | None,
    optimizer: optax.GradientTransformation,
) -> Step:
    """The step (state, frozen, batch, hyper) -> (state, metrics) of stage one.

    Args:
      student, spec: the detector that is trained. teacher: the one that it learns from.
      projection: takes the student's feature to the teacher's channels; None: they are equal.

    state: {"params", "others", "projection", "opt"}.
    frozen: (params, others) of the teacher, which uses its running statistics.
    batch: see `liftjax.data.pipeline`.
    hyper: {"label_weight", "feature_weight", "logit_weight", "learning_rate"}, traced.
    """

    def step(state, frozen, batch, hyper):
        expert = teacher.merge(*frozen)
        taught_BHWC = expert.backbone(expert.spec.normalize(batch["image_u8"]))
        answer = expert.head(taught_BHWC)

        def loss_fn(trained):
            module = student.merge(trained["student"], state["others"])
            feature_BHWC = module.backbone(spec.normalize(batch["image_u8"]), train=True)
            out = module.head(feature_BHWC)
            seen_BHWC = feature_BHWC
            if projection is not None:
                seen_BHWC = projection.merge(trained["projection"], {})(feature_BHWC)
            feature = losses.feature_loss(seen_BHWC, taught_BHWC)
            value, metrics = _taught_loss(out, answer, spec, batch, hyper)
            value = value + hyper["feature_weight"] * feature
            return value, (metrics | {"feature": feature}, student.others(module))

        return _update(loss_fn, state, optimizer, hyper["learning_rate"])

    return step


def make_head_step(
    student: PureModule,
    spec: DetectorSpec,
    old_head: PureModule,
    optimizer: optax.GradientTransformation,
) -> Step:
    """The step (state, frozen, batch, hyper) -> (state, metrics) of stage two.

    Args:
      student, spec: the detector. old_head: the head that it had, which teaches the new one.

    state: {"params": the new head's, "others": the rest of the detector, which stays as it is,
      "projection": {}, "opt"}.
    frozen: (params, others) of the old head.
    batch, hyper: as for :func:`make_student_step`, without "feature_weight".
    """

    def step(state, frozen, batch, hyper):
        module = student.merge(state["params"], state["others"])
        feature_BHWC = module.backbone(spec.normalize(batch["image_u8"]))
        answer = old_head.merge(*frozen)(feature_BHWC)

        def loss_fn(trained):
            out = student.merge(trained["student"], state["others"]).head(feature_BHWC)
            value, metrics = _taught_loss(out, answer, spec, batch, hyper)
            return value, (metrics, state["others"])

        return _update(loss_fn, state, optimizer, hyper["learning_rate"])

    return step


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


def _update(
    loss_fn: Callable,
    state: dict,
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array,
) -> tuple[dict, dict]:
    """The state after one step down the gradient of loss_fn(trained), and metrics."""
    before = trained_arrays(state)
    (value, (metrics, others)), grads = jax.value_and_grad(loss_fn, has_aux=True)(before)
    after, opt = apply_gradients(optimizer, grads, state["opt"], before, learning_rate)
    state = {
        "params": after["student"],
        "others": others,
        "projection": after["projection"],
        "opt": opt,
    }
    return state, {"loss": value, **metrics, "grad_norm": optax.tree.norm(grads)}
