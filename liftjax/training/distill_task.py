"""Distillation in two stages: a student taught by a larger teacher, then a head by its elder."""

from typing import Any

from flax import nnx
from ml_collections import ConfigDict

from liftjax.data.records import PoseDataset
from liftjax.detectors.spec import DetectorSpec
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.nn.layers import Linear
from liftjax.runtime.checkpoints import build_model, load_model
from liftjax.runtime.state import PureModule
from liftjax.training.common import initial_state, make_hyper, make_replicas, make_update
from liftjax.training.detector_task import (
    loss_weights,
    picture_batches,
    picture_names,
    pictures,
    starting_detector,
)
from liftjax.training.distill_step import (
    make_head_step,
    make_student_step,
    split_head,
    trained_arrays,
)
from liftjax.training.task import Task
from liftjax.training.update import Step, Update


def build(config: ConfigDict) -> Task:
    """The stage `config.distill.stage` for the detector of `config.detector`.

    Raises:
      LiftjaxError: settings that contradict each other, or a teacher that cannot teach.
    """
    stages = {"student": _student_stage, "head": _head_stage}
    if config.distill.stage not in stages:
        raise unknown_name("config.distill.stage", config.distill.stage, stages)
    _check(config)
    return stages[config.distill.stage](config, pictures(config))


def _student_stage(config: ConfigDict, dataset: PoseDataset) -> Task:
    student, model = starting_detector(config, dataset)
    _check_simcc(student.spec, config.detector.name)
    teacher = _load_teacher(config.distill.teacher, student.spec, dataset.skeleton.name)
    projection, bridge = None, {}
    if student.backbone.channels != teacher.backbone.channels:
        linear = Linear(
            student.backbone.channels, teacher.backbone.channels, rngs=nnx.Rngs(config.seed)
        )
        projection, bridge, _ = PureModule.split(linear)
    pure, params, others = PureModule.split(student)
    teacher_pure, *frozen = PureModule.split(teacher)
    update = make_update(config, student)
    step = make_student_step(pure, student.spec, teacher_pure, projection, update, config.precision)
    return _task(
        config,
        dataset,
        model=model,
        spec=student.spec,
        state={"params": params, "others": others, "projection": bridge},
        frozen=tuple(frozen),
        step=step,
        update=update,
    )


def _head_stage(config: ConfigDict, dataset: PoseDataset) -> Task:
    student, model = starting_detector(config, dataset)
    _check_simcc(student.spec, config.detector.name)
    old_head, *frozen = PureModule.split(student.head)
    student.head = build_model(model, config.seed).head
    pure, params, others = PureModule.split(student)
    head, rest = split_head(params, others)
    # The backbone's statistics stay as they are, on every device.
    update = make_update(config, student)._replace(averaged=frozenset())
    return _task(
        config,
        dataset,
        model=model,
        spec=student.spec,
        state={"params": head, "others": rest, "projection": {}},
        frozen=tuple(frozen),
        step=make_head_step(pure, student.spec, old_head, update, config.precision),
        update=update,
    )


def _task(
    config: ConfigDict,
    dataset: PoseDataset,
    *,
    model: dict,
    spec: DetectorSpec,
    state: dict[str, Any],
    frozen: Any,
    step: Step,
    update: Update,
) -> Task:
    replicas = make_replicas(config)
    each_step = make_hyper(config)
    label_weight = loss_weights(config, spec.kind).l_2d

    def hyper(t: int) -> dict:
        left = 1 - t / config.steps if config.distill.decay else 1.0
        return {
            "label_weight": label_weight,
            "feature_weight": left * config.distill.feature_weight,
            "logit_weight": left * config.distill.logit_weight,
            **each_step(t),
        }

    return Task(
        name=f"{config.detector.name}, distillation ({config.distill.stage})",
        state=initial_state(config, opt=update.optimizer.init(trained_arrays(state)), **state),
        frozen=frozen,
        step=step,
        hyper=hyper,
        batches=picture_batches(config, dataset, spec.image_size, replicas),
        samples=picture_names(config, dataset),
        meta={"model": model, "recipe": config.to_dict()},
        replicas=replicas,
    )


def _check(config: ConfigDict) -> None:
    """Raises a LiftjaxError where the recipe contradicts itself."""
    distill = config.distill
    if config.loss.guidance != "none":
        raise LiftjaxError(
            f"Distillation is not guided by lifters; set loss.guidance=none, not "
            f"{config.loss.guidance}."
        )
    for key in ("feature_weight", "logit_weight"):
        if distill[key] < 0:
            raise LiftjaxError(f"config.distill.{key} is {distill[key]}; 0 switches it off.")
    if distill.stage == "student" and not distill.teacher:
        raise LiftjaxError(
            "distill.stage=student needs a teacher; give --config.distill.teacher=RUN_DIRECTORY."
        )
    if distill.stage == "head":
        if not config.detector.checkpoint:
            raise LiftjaxError(
                "distill.stage=head goes on from a trained detector; give "
                "--config.detector.checkpoint=RUN_DIRECTORY."
            )
        if distill.teacher:
            raise LiftjaxError(
                "distill.stage=head takes no teacher: the old head of detector.checkpoint teaches; "
                "leave distill.teacher empty."
            )
        if distill.feature_weight:
            raise LiftjaxError(
                "distill.stage=head leaves the features as they are; set distill.feature_weight=0."
            )


def _check_simcc(spec: DetectorSpec, name: str) -> None:
    if spec.kind != "simcc":
        raise LiftjaxError(
            f"Distillation is for SimCC detectors (rtmpose_*, dwpose_*); {name} gives {spec.kind}s."
        )


def _load_teacher(path: str, student: DetectorSpec, skeleton: str) -> nnx.Module:
    """The detector stored at `path`, if it can teach the student."""
    teacher, meta = load_model(path, "detector")
    spec, name = teacher.spec, f"The teacher {meta['model']['name']} in {path}"
    _check_simcc(spec, name)
    if spec.skeleton != skeleton:
        joints = spec.skeleton or f"{spec.num_joints} joints without a name"
        raise LiftjaxError(
            f"{name} finds {joints}, the data has {skeleton}; take a teacher trained on {skeleton}."
        )
    if (spec.image_size, spec.stride) != (student.image_size, student.stride):
        sizes = ["x".join(map(str, s.image_size)) for s in (spec, student)]
        raise LiftjaxError(
            f"{name} takes crops of {sizes[0]}, the student of {sizes[1]}, so that their features "
            f"differ in size; set detector.image_size={spec.image_size}, or take another teacher."
        )
    return teacher
