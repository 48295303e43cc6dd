"""Training a lifter on 2D poses, of single frames or of windows of them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from liftjax.data import windows
from liftjax.data.records import PoseDataset, PoseStatistics, read_metadata
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.lifters.mirror import mirror_2d, mirror_3d
from liftjax.lifters.spec import Lifter
from liftjax.metrics import mpjpe
from liftjax.runtime.checkpoints import build_model, load_same_model
from liftjax.runtime.replicas import AXIS, own_key
from liftjax.runtime.state import PureModule
from liftjax.training.common import initial_state, make_hyper, make_replicas, make_update, prepare
from liftjax.training.task import Task
from liftjax.training.update import Step, Update, make_update_step


def build(config: ConfigDict) -> Task:
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
    _, params, others = PureModule.split(lifter)
    trained = _trained_form(lifter, spec)
    prepare(trained, config)
    pure = PureModule.split(trained)[0]
    update = make_update(config, trained)

    def samples(step: int) -> list[str]:
        rows = windows.train_rows(cut, config.batch_size, config.seed, step, config.lifter.flip)
        return dataset.names(cut.batch(rows % len(cut))["index"][:, 0])

    return Task(
        name=config.lifter.name,
        state=initial_state(config, params, others, update.optimizer.init(params)),
        frozen=pose_arrays(dataset),
        step=make_lifter_step(pure, update, config.lifter.loss, dataset.skeleton.name),
        hyper=make_hyper(config),
        batches=lambda start: windows.train_batches(
            cut, config.batch_size, config.seed, start, config.lifter.flip, replicas.part
        ),
        samples=samples,
        meta={"model": spec, "recipe": config.to_dict()},
        replicas=replicas,
    )


def _check_data(config: ConfigDict) -> None:
    """Raises for settings of pictures, which would do nothing here."""
    set_ones = [key for key, value in config.data.augment.items() if value]
    if set_ones:
        raise LiftjaxError(
            f"config.data.augment.{set_ones[0]} is of pictures; for a lifter there is "
            "config.lifter.flip=True."
        )
    if len(config.data.shares):
        raise LiftjaxError("config.data.shares is of pictures; a lifter takes all poses alike.")


def model_spec(config: ConfigDict, skeleton: str) -> dict:
    """What `checkpoints.build_model` builds."""
    return {
        "kind": "lifter",
        "name": config.lifter.name,
        "skeleton": skeleton,
        "num_frames": config.lifter.num_frames,
        **config.lifter.overrides.to_dict(),
    }


def statistics(dataset: PoseDataset) -> PoseStatistics:
    """Mean and deviation of the data: as stored with the data set if this is a whole split."""
    if len(dataset.directories) == 1:
        split = read_metadata(dataset.directory).get("splits", {}).get(dataset.split, {})
        if split.get("records") == len(dataset) and "statistics" in split:
            return PoseStatistics(**split["statistics"])
    return dataset.statistics()


def pose_arrays(dataset: PoseDataset) -> dict[str, np.ndarray]:
    """What windows are cut from, for the device: joints_px, pose_m, image_size of all records."""
    fields = ("joints_px", "pose_m", "image_size")
    return {name: np.asarray(dataset.labels[name], np.float32) for name in fields}


def training_windows(lifter: Lifter, config: ConfigDict, dataset: PoseDataset) -> windows.Windows:
    """Windows of as many frames as the lifter takes; every frame of the data is given once."""
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
    """The lifter, or one with the same weights that computes less where a window gives one frame.

    Of a dilated VideoPose3D that is the strided one, as its authors train it: batch norm then sees
    the frames that the output depends on, and no others.
    """
    one = lifter.spec.frames == "sliding" and lifter.spec.num_frames == lifter.spec.receptive_field
    if not one or lifter.spec.num_frames == 1 or spec.get("dense"):
        return lifter
    return build_model(spec | {"strided": True})


def make_lifter_step(pure: PureModule, update: Update, loss: str, skeleton: str) -> Step:
    """The pure training step on a batch of windows (see `windows.train_batches`).

    Args:
      loss: 'mpjpe' (mean distance) or 'mse', in the raw scale.
    """
    losses = {"mpjpe": _distance, "mse": _square}
    if loss not in losses:
        raise unknown_name("lifter.loss", loss, losses)

    def backward(state, frozen, batch, hyper):
        kpts_px_BTK2, pose_m_BMK3, size_B2 = _poses(frozen, batch, skeleton)
        key = own_key(hyper["seed"], hyper["step"], hyper.get("part"))

        def share(params):
            """This replica's share of the loss and of the error, and new statistics."""
            lifter = pure.merge(params, state["others"])
            normal_BTK2 = lifter.normalize(kpts_px_BTK2, size_B2)
            raw_BMK3 = lifter(normal_BTK2, train=True, rngs=nnx.Rngs(dropout=key))
            value = _mean(losses[loss](raw_BMK3, lifter.target(pose_m_BMK3)), batch["weight"])
            error_m = _mean(mpjpe(lifter.to_metres(raw_BMK3), pose_m_BMK3), batch["weight"])
            return value, ((value, error_m), pure.others(lifter))

        grads, (values, others) = jax.grad(share, has_aux=True)(state["params"])
        value, error_m = jax.lax.psum(values, AXIS)
        return grads, {"others": others}, {"loss": value, "mpjpe_mm": 1000 * error_m}

    return make_update_step(backward, update)


def _poses(arrays, batch, skeleton: str) -> tuple[jax.Array, jax.Array, jax.Array]:
    """2D of the frames taken, 3D of the frames given, image sizes; mirrored where a flip is due."""
    kpts_px_BTK2, pose_m_BMK3 = (
        arrays["joints_px"][batch["inputs"]],
        arrays["pose_m"][batch["index"]],
    )
    size_B2 = arrays["image_size"][batch["index"][:, 0]]
    flip_B111 = batch["flip"][:, None, None, None]
    mirrored_BTK2 = mirror_2d(kpts_px_BTK2, size_B2, skeleton)
    kpts_px_BTK2 = jnp.where(flip_B111, mirrored_BTK2, kpts_px_BTK2)
    pose_m_BMK3 = jnp.where(flip_B111, mirror_3d(pose_m_BMK3, skeleton), pose_m_BMK3)
    return kpts_px_BTK2, pose_m_BMK3, size_B2


def _mean(values: jax.Array, weight_BM: jax.Array) -> jax.Array:
    """This replica's share of the mean of (B, M, ...) over all frames that count."""
    weight = weight_BM.reshape(weight_BM.shape + (1,) * (values.ndim - 2))
    return (values * weight).mean() / jax.lax.psum(weight.mean(), AXIS)


def _distance(raw: jax.Array, true: jax.Array) -> jax.Array:
    """Distance of joints, with gradient 0 rather than NaN where it is 0 (such as a root's)."""
    squared = jnp.square(raw - true).sum(axis=-1)
    apart = squared > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0)


def _square(raw: jax.Array, true: jax.Array) -> jax.Array:
    return jnp.square(raw - true)
