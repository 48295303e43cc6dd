"""Training a detector: FT-2D, or guided by one or several frozen lifters."""

from collections.abc import Callable, Iterator

import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from liftjax import losses, registry
from liftjax.data.augment import Augment
from liftjax.data.pipeline import train_batches, train_samples
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError, check_name
from liftjax.lifters.spec import Lifter
from liftjax.prediction import strided_form
from liftjax.runtime.checkpoints import build_model, load_lifters, load_same_model
from liftjax.runtime.replicas import Replicas
from liftjax.training.detector_step import GuidanceOptions, make_train_step
from liftjax.training.surroundings import Surroundings
from liftjax.training.task import Task, make_replicas, make_task, make_update, prepare

METHODS = {"none": "FT-2D", "single": "single-model", "multi": "multi-model"}


def make_detector_task(config: ConfigDict) -> Task:
    """The detector of `config.detector` on `config.data`, guided as `config.loss` says."""
    replicas = make_replicas(config)
    every_frame = pictures(config)
    samples = np.flatnonzero(every_frame.every(config.data.stride))
    dataset = every_frame.select(samples)
    detector, spec = starting_detector(config, dataset)
    lifters = _lifters(config, dataset.skeleton.name)
    surroundings = _surroundings(config, every_frame, samples, lifters)
    options = GuidanceOptions(
        normalizer=config.loss.normalizer,
        quarter_pixel_shift=config.loss.quarter_pixel_shift,
        top_k=min(config.loss.top_k, dataset.skeleton.num_joints),
        dwa=config.loss.dwa,
        lifter_dropout=config.loss.lifter_dropout,
        balanced=config.loss.balance > 0,
        mask_invisible_3d=config.loss.mask_invisible_3d,
        lifter_names=tuple(lifters),
        dtype=config.precision,
        lifter_precision=config.loss.lifter_precision,
    )
    train = make_train_step(
        detector,
        list(lifters.values()),
        make_update(config),
        options,
        num_records=len(every_frame) if surroundings else 0,
    )
    image_size = detector.spec.image_size
    if surroundings:
        own = {"augment": _augment(config), "shares": config.data.shares}
        batches = surroundings.batches(config, image_size, replicas, **own)
        begin = surroundings.first_found(spec, config, replicas)
    else:
        batches, begin = picture_batches(config, dataset, image_size, replicas), None
    constant = {
        "weights": loss_weights(config, detector.spec.kind),
        "beta": config.loss.beta,
        "balance": config.loss.balance,
    }
    return make_task(
        config,
        replicas,
        train,
        name=f"{config.detector.name}, {METHODS[config.loss.guidance]}",
        model=spec,
        batches=batches,
        samples=picture_names(config, dataset),
        hyper=lambda t: constant,
        begin=begin,
    )


def pictures(config: ConfigDict) -> PoseDataset:
    """The samples of `config.data` that have a picture."""
    dataset = PoseDataset.open(config.data.dir, config.data.split)
    return dataset.where(subjects=config.data.subjects or None).with_pictures()


def picture_batches(
    config: ConfigDict, dataset: PoseDataset, image_size: tuple[int, int], replicas: Replicas
) -> Callable[[int], Iterator[dict]]:
    """This process's rows of batches of crops, `image_size` (height, width), from any step on."""
    augment = _augment(config)
    return lambda start: train_batches(
        dataset,
        image_size=image_size,
        batch_size=config.batch_size,
        seed=config.seed,
        start_step=start,
        num_workers=config.data.workers,
        cache=config.data.cache,
        shard=replicas.part,
        augment=augment,
        shares=config.data.shares,
    )


def _augment(config: ConfigDict) -> Augment:
    return Augment.of(config.data.augment.to_dict())


def picture_names(config: ConfigDict, dataset: PoseDataset) -> Callable[[int], list[str]]:
    """Names of the samples in the whole batch of a step."""
    order = config.batch_size, config.seed
    return lambda step: dataset.names(
        train_samples(dataset, *order, step, shares=config.data.shares)
    )


def loss_weights(config: ConfigDict, kind: str) -> losses.LossWeights:
    """The recipe's loss weights; those of the detector's kind where it names none."""
    named = {k: float(v) for k, v in config.loss.weights.items() if v is not None}
    weights = losses.DEFAULT_WEIGHTS[kind]._replace(**named)
    if config.loss.guidance == "single":
        weights = weights._replace(l_single=1.0, l_local=0.0, l_global=0.0)
    return weights


def detector_spec(config: ConfigDict, skeleton: str) -> dict:
    """What a checkpoint stores to rebuild the recipe's detector, for the joint set `skeleton`."""
    preset = registry.get_preset("detector", config.detector.name)
    return {
        "kind": "detector",
        "name": config.detector.name,
        "skeleton": skeleton,
        "image_size": tuple(config.detector.image_size or preset.default("image_size")),
        **config.detector.overrides.to_dict(),
    }


def starting_detector(config: ConfigDict, dataset: PoseDataset) -> tuple[nnx.Module, dict]:
    """The network to start from and the spec that rebuilds it."""
    spec = detector_spec(config, dataset.skeleton.name)
    if config.detector.checkpoint:
        detector = load_same_model(config.detector.checkpoint, spec)
    else:
        detector = build_model(spec, config.seed)
    prepare(detector, config)
    return detector, spec


def _lifters(config: ConfigDict, skeleton: str) -> dict[str, nnx.Module]:
    """The recipe's frozen lifters by name; raises if their number does not fit the guidance."""
    wanted = {"none": (0, 0), "single": (1, 1), "multi": (2, None)}
    check_name("loss.guidance", config.loss.guidance, wanted)
    least, most = wanted[config.loss.guidance]
    paths = config.lifters.to_dict()
    if most == 0:
        return {}
    if len(paths) < least or (most is not None and len(paths) > most):
        count = "one lifter" if most == 1 else "at least two lifters"
        raise LiftjaxError(
            f"loss.guidance={config.loss.guidance} takes {count}, the recipe names "
            f"{len(paths)}; give --config.lifters.NAME=RUN_DIRECTORY."
        )
    return load_lifters(paths, skeleton, strided_form)


def _surroundings(
    config: ConfigDict, dataset: PoseDataset, samples: np.ndarray, lifters: dict[str, Lifter]
) -> Surroundings | None:
    """The frames around the samples, if a lifter sees them."""
    if any(lifter.spec.receptive_field > 1 for lifter in lifters.values()):
        return Surroundings(dataset, samples, lifters, config.loss.window_frames)
    if config.loss.window_frames > 1:
        raise LiftjaxError(
            f"config.loss.window_frames is {config.loss.window_frames}, but no lifter that guides "
            "sees several frames; set 1, or name one that does."
        )
    return None
