"""Evaluation during training, on data that is not trained on; it selects the best checkpoint."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from liftjax import evaluation, prediction
from liftjax.data.records import PoseDataset, split_directories, split_names
from liftjax.errors import LiftjaxError
from liftjax.runtime.checkpoints import build_model
from liftjax.runtime.state import Arrays, assign
from liftjax.training.task import Task

ON_TEST = "selected on test data"
KEYPOINT_SCORE = "eval_keypoint_score"

_ENOUGH = 256  # pictures for a mean score


@dataclasses.dataclass(frozen=True)
class Validation:
    """How a run is evaluated.

    Attributes:
      measure: takes the arrays of the model and returns values by name (`eval_...`).
      score: the name of the value that selects the best checkpoint; lower is better.
      remark: printed with every number that was selected by it.
    """

    measure: Callable[[Arrays], dict[str, float]]
    score: str
    remark: str = ""

    @property
    def title(self) -> str:
        """What the score is, in words."""
        return f"{self.score}, {self.remark}" if self.remark else self.score

    def describe(self, values: dict[str, float]) -> str:
        """The values in one line."""
        text = ", ".join(f"{key.removeprefix('eval_')} {v:.2f}" for key, v in values.items())
        return f"{text} ({self.remark})" if self.remark else text


def make_validation(config: ConfigDict, task: Task) -> Validation | None:
    """The evaluation that a recipe asks for with `evaluate_every`; None if it asks for none.

    Raises:
      LiftjaxError: the data are also trained on, or test data would select the best checkpoint
        without `select_on_test`.
    """
    if not config.evaluate_every:
        if config.keep_best:
            raise LiftjaxError("config.keep_best needs config.evaluate_every, the steps between.")
        return None
    _check_split(config)
    dataset = PoseDataset.open(config.data.dir, config.data.eval_split)
    dataset = dataset.where(subjects=config.data.eval_subjects or None)
    _check_subjects(config, dataset)
    spec = task.meta["model"]
    if spec["kind"] == "lifter":
        module, (report, score) = prediction.sliding_form(spec), _lifter(config, task, dataset)
    else:
        module, (report, score) = build_model(spec), _detector(config, task, dataset)

    def measure(arrays: Arrays) -> dict[str, float]:
        assign(module, jax.tree.map(np.asarray, arrays))
        return report(module)

    remark = ON_TEST if config.keep_best and config.data.eval_split != config.data.split else ""
    return Validation(measure, score, remark)


def make_keypoint_score(config: ConfigDict, task: Task) -> Callable[[Arrays], float] | None:
    """Measures the mean score of a detector's keypoints on some pictures of `data.eval_split`.

    `predict` compares the scores of other pictures with it. None for a lifter, and if there are no
    such pictures.
    """
    spec, directories = task.meta["model"], split_directories(config.data.dir)
    if spec["kind"] != "detector":
        return None
    if not all(config.data.eval_split in split_names(one) for one in directories):
        return None
    dataset = PoseDataset.open(directories, config.data.eval_split)
    wanted = dataset.labels["has_image"]
    if config.data.eval_subjects:
        wanted = wanted & np.isin(dataset.labels["subject"], list(config.data.eval_subjects))
    dataset = dataset.select(wanted)
    if not len(dataset):
        return None
    some = np.linspace(0, len(dataset) - 1, min(_ENOUGH, len(dataset))).round().astype(int)
    dataset, module = dataset.select(some), build_model(spec)

    def measure(arrays: Arrays) -> float:
        assign(module, jax.tree.map(np.asarray, arrays))
        _, scores_NK = prediction.predict_scored(module, dataset, **_detection(config, task))
        return float(scores_NK.mean(dtype=np.float64))

    return measure


def _check_split(config: ConfigDict) -> None:
    """Raises if another split than the training split selects the best checkpoint, unless asked."""
    other = config.data.eval_split != config.data.split
    if config.keep_best and other and not config.select_on_test:
        raise LiftjaxError(
            f"config.keep_best would select by the split {config.data.eval_split!r}; hold subjects "
            f"of the split {config.data.split!r} out (data.subjects, data.eval_subjects, "
            f"data.eval_split={config.data.split}), or set select_on_test=True."
        )


def _check_subjects(config: ConfigDict, dataset: PoseDataset) -> None:
    """Raises if subjects are both trained on and evaluated."""
    if config.data.eval_split != config.data.split:
        return
    evaluated, trained = set(dataset.labels["subject"].tolist()), set(config.data.subjects)
    shared = sorted(evaluated & trained) if trained else sorted(evaluated)
    if shared:
        raise LiftjaxError(
            f"{', '.join(shared)} of the split {config.data.split!r} would be trained on and "
            "evaluated; name others in data.subjects and data.eval_subjects."
        )


def _detector(config: ConfigDict, task: Task, dataset: PoseDataset):
    """PCK@0.2, and the MPJPE through each of the recipe's lifters."""
    dataset = dataset.with_pictures()
    lifters = evaluation.lifters_for(config, dataset)
    options = _detection(config, task)

    def report(detector) -> dict[str, float]:
        found, _, _ = evaluation.evaluate(
            detector, lifters, dataset, stride=config.data.eval_stride, **options
        )
        values = {"eval_pck": found["pck"], KEYPOINT_SCORE: found["score"]}
        for name, row in found["lifters"].items():
            values[f"eval_mpjpe_{name}"] = row["mpjpe"]
        last = {"eval_mpjpe": found["mean"]} if lifters else {"eval_error": 100 - found["pck"]}
        return values | last

    return report, "eval_mpjpe" if lifters else "eval_error"


def _detection(config: ConfigDict, task: Task) -> dict:
    """The arguments of `prediction.predict_scored` that a recipe gives."""
    size = {"batch_size": config.data.eval_batch_size, "replicas": task.replicas}
    return size | prediction.detection_settings(config)


def _lifter(config: ConfigDict, task: Task, dataset: PoseDataset):
    """The MPJPE of the 2D poses that the data set holds."""
    dataset = dataset.select(dataset.labels["has_3d"])
    if not len(dataset):
        raise LiftjaxError(f"{config.data.dir}: split {dataset.split} has no 3D poses.")
    flip, samples_N = config.lifter.flip_test, dataset.every(config.data.eval_stride)
    labels = dataset.select(samples_N).labels

    def report(lifter) -> dict[str, float]:
        pose_m_NK3 = prediction.lift_dataset(lifter, dataset, flip, replicas=task.replicas)
        errors_mm = evaluation.lifter_report(pose_m_NK3[samples_N], labels)["mpjpe"]
        return {"eval_mpjpe": errors_mm["average"]}

    return report, "eval_mpjpe"
