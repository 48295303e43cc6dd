"""Training a lifter on 2D poses, of single frames or of windows of them."""

import numpy as np
from ml_collections import ConfigDict

from liftjax.data import windows
from liftjax.data.records import PoseDataset, PoseStatistics, read_metadata
from liftjax.errors import LiftjaxError
from liftjax.lifters.spec import Lifter
from liftjax.prediction import strided_form
from liftjax.runtime.checkpoints import build_model, load_same_model
from liftjax.runtime.state import assign, flat_arrays
from liftjax.training.lifter_step import make_lifter_step
from liftjax.training.task import Task, make_replicas, make_task, make_update, prepare


def make_lifter_task(config: ConfigDict) -> Task:
    """The lifter of `config.lifter`, trained on the poses of `config.data`."""
    _check_data(config)
    replicas = make_replicas(config)
    dataset = PoseDataset.open(config.data.dir, config.data.split)
    dataset = dataset.where(subjects=config.data.subjects or None)
    dataset = dataset.select(dataset.labels["has_3d"])
    if not len(dataset):
        raise LiftjaxError(
            f"{config.data.dir}: split {config.data.split} has no 3D poses"
            f"{' of the subjects asked for' if config.data.subjects else ''}, which a lifter "
            "learns from; choose another data set or split."
        )
    spec = model_spec(config, dataset.skeleton.name)
    if config.lifter.checkpoint:
        lifter = load_same_model(config.lifter.checkpoint, spec)
    else:
        lifter = build_model(spec, config.seed)
        if hasattr(lifter, "set_statistics"):
            lifter.set_statistics(*statistics(dataset))
    cut = training_windows(lifter, config, dataset)
    lifter = _trained_form(lifter, spec)
    prepare(lifter, config)
    train = make_lifter_step(
        lifter, pose_arrays(dataset), make_update(config), dataset.skeleton.name, config.lifter.loss
    )

    def samples(step: int) -> list[str]:
        rows = windows.train_rows(cut, config.batch_size, config.seed, step, config.lifter.flip)
        return dataset.names(cut.batch(rows % len(cut))["index"][:, 0])

    return make_task(
        config,
        replicas,
        train,
        name=config.lifter.name,
        model=spec,
        batches=lambda start: windows.train_batches(
            cut, config.batch_size, config.seed, start, config.lifter.flip, replicas.part
        ),
        samples=samples,
    )


def _check_data(config: ConfigDict) -> None:
    """Raises a LiftjaxError for settings that only apply to pictures."""
    set_ones = [key for key, value in config.data.augment.items() if value]
    if set_ones:
        raise LiftjaxError(
            f"config.data.augment.{set_ones[0]} applies to pictures only; to mirror the poses "
            "that a lifter is trained on, set config.lifter.flip=True."
        )
    if config.data.stride != 1:
        raise LiftjaxError(
            "config.data.stride applies to pictures only; a lifter is trained on every frame, so "
            "build its data set with the stride."
        )
    if len(config.data.shares):
        raise LiftjaxError(
            "config.data.shares applies to pictures only; a lifter draws from all poses alike."
        )


def model_spec(config: ConfigDict, skeleton: str) -> dict:
    """What a checkpoint stores to rebuild the recipe's lifter."""
    return {
        "kind": "lifter",
        "name": config.lifter.name,
        "skeleton": skeleton,
        "num_frames": config.lifter.num_frames,
        **config.lifter.overrides.to_dict(),
    }


def statistics(dataset: PoseDataset) -> PoseStatistics:
    """Mean and standard deviation of the data: the stored ones if this is a whole split."""
    if len(dataset.directories) == 1:
        split = read_metadata(dataset.directory).get("splits", {}).get(dataset.split, {})
        if split.get("records") == len(dataset) and "statistics" in split:
            return PoseStatistics(**split["statistics"])
    return dataset.statistics()


def pose_arrays(dataset: PoseDataset) -> dict[str, np.ndarray]:
    """joints_px, pose_m and image_size of all records, which windows are cut from."""
    fields = ("joints_px", "pose_m", "image_size")
    return {name: np.asarray(dataset.labels[name], np.float32) for name in fields}


def training_windows(lifter: Lifter, config: ConfigDict, dataset: PoseDataset) -> windows.Windows:
    """Windows of as many frames as the lifter takes; every frame is an output frame once."""
    spec = lifter.spec
    if spec.frames == "any" and spec.num_frames > 1:
        raise LiftjaxError(
            f"lifter.num_frames={spec.num_frames}: {config.lifter.name} lifts every frame alone; "
            "set 1."
        )
    clips = windows.find_clips(dataset.labels, dataset.part)
    if spec.num_frames > 1 and clips.lengths.max() == 1:
        raise LiftjaxError(
            f"{dataset.directory}: split {dataset.split} has single frames alone, and "
            f"{config.lifter.name} wants {spec.num_frames} in a row; take a data set with "
            "sequences, or lifter.num_frames=1."
        )
    if spec.frames == "strided":
        return windows.cut(clips, spec.receptive_field, 1, lifter.frames_before)
    given = spec.num_frames - spec.receptive_field + 1 if spec.frames == "sliding" else None
    return windows.cut(clips, spec.num_frames, given or spec.num_frames, lifter.frames_before)


def _trained_form(lifter: Lifter, spec: dict) -> Lifter:
    """The lifter, or a cheaper one with the same weights where a window has one output frame.

    For a dilated VideoPose3D that is the strided form, as its authors train it: batch norm then
    sees only the frames that the output depends on.
    """
    if lifter.spec.frames != "sliding" or lifter.spec.num_frames > lifter.spec.receptive_field:
        return lifter
    cheapest = strided_form(spec)
    assign(cheapest, flat_arrays(lifter))
    return cheapest
