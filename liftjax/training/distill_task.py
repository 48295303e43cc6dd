"""Distillation in two stages: a larger teacher trains a student, then the old head a new head."""

from flax import nnx
from ml_collections import ConfigDict

from liftjax.detectors.spec import Detector, DetectorSpec
from liftjax.errors import LiftjaxError, check_name
from liftjax.runtime.checkpoints import build_model, load_model
from liftjax.training.detector_task import (
    detector_spec,
    loss_weights,
    picture_batches,
    picture_names,
    pictures,
    starting_detector,
)
from liftjax.training.distill_step import make_head_step, make_student_step
from liftjax.training.task import Task, make_replicas, make_task, make_update
from liftjax.training.update import TrainStep


def make_distill_task(config: ConfigDict) -> Task:
    """The stage `config.distill.stage` for the detector of `config.detector`.

    Raises:
      LiftjaxError: settings contradict each other, or the teacher does not fit the student.
    """
    stages = {"student": _student_stage, "head": _head_stage}
    check_name("config.distill.stage", config.distill.stage, stages)
    _check(config)
    dataset = pictures(config)
    dataset = dataset.select(dataset.every(config.data.stride))
    student, model = starting_detector(config, dataset)
    _check_simcc(student.spec, config.detector.name)
    train = stages[config.distill.stage](config, student, dataset.skeleton.name)
    replicas = make_replicas(config)
    label_weight = loss_weights(config, student.spec.kind).l_2d

    def hyper(t: int) -> dict:
        left = 1 - t / config.steps if config.distill.decay else 1.0
        return {
            "label_weight": label_weight,
            "feature_weight": left * config.distill.feature_weight,
            "logit_weight": left * config.distill.logit_weight,
        }

    return make_task(
        config,
        replicas,
        train,
        name=f"{config.detector.name}, distillation ({config.distill.stage})",
        model=model,
        batches=picture_batches(config, dataset, student.spec.image_size, replicas),
        samples=picture_names(config, dataset),
        hyper=hyper,
    )


def _student_stage(config: ConfigDict, student: Detector, skeleton: str) -> TrainStep:
    teacher = _load_teacher(config.distill.teacher, student.spec, skeleton)
    return make_student_step(student, teacher, make_update(config), config.precision, config.seed)


def _head_stage(config: ConfigDict, student: Detector, skeleton: str) -> TrainStep:
    new_head = build_model(detector_spec(config, skeleton), config.seed).head
    return make_head_step(student, new_head, make_update(config), config.precision)


def _check(config: ConfigDict) -> None:
    """Raises a LiftjaxError if settings contradict each other."""
    distill = config.distill
    if config.loss.guidance != "none":
        raise LiftjaxError(
            f"Distillation cannot be guided by lifters; set loss.guidance=none instead of "
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
                "distill.stage=head continues from a trained detector; give "
                "--config.detector.checkpoint=RUN_DIRECTORY."
            )
        if distill.teacher:
            raise LiftjaxError(
                "distill.stage=head takes no teacher, because the old head of detector.checkpoint "
                "teaches; leave distill.teacher empty."
            )
        if distill.feature_weight:
            raise LiftjaxError(
                "distill.stage=head does not train the features; set distill.feature_weight=0."
            )


def _check_simcc(spec: DetectorSpec, name: str) -> None:
    if spec.kind != "simcc":
        raise LiftjaxError(
            f"Distillation is for SimCC detectors (rtmpose_*, dwpose_*); {name} gives {spec.kind}s."
        )


def _load_teacher(path: str, student: DetectorSpec, skeleton: str) -> nnx.Module:
    """The detector stored at `path`; raises if it does not fit the student."""
    teacher, meta = load_model(path, "detector")
    spec, name = teacher.spec, f"The teacher {meta['model']['name']} in {path}"
    _check_simcc(spec, name)
    if spec.skeleton != skeleton:
        joints = spec.skeleton or f"{spec.num_joints} joints without a name"
        raise LiftjaxError(
            f"{name} finds {joints}, the data have {skeleton}; use a teacher of {skeleton}."
        )
    if (spec.image_size, spec.stride) != (student.image_size, student.stride):
        sizes = ["x".join(map(str, s.image_size)) for s in (spec, student)]
        raise LiftjaxError(
            f"{name} takes crops of {sizes[0]}, the student of {sizes[1]}, so that their features "
            f"differ in size; set detector.image_size={spec.image_size}, or use another teacher."
        )
    return teacher
