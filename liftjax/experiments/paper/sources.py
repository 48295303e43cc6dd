"""The data sets of the tables: the user's own, or made in the work directory."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from etils import epath

from liftjax.data import windows
from liftjax.data.records import PoseDataset, read_metadata, split_names
from liftjax.errors import LiftjaxError, check_name
from liftjax.experiments.paper.published import ACTION_HEADS
from liftjax.experiments.paper.runs import Source, digest
from liftjax.experiments.paper.scales import TESTED_FRAMES, VIDEO_FRAMES, TablesScale

NAMES = ("human36m", "panoptic", "synthetic", "multicam")
_RECORDING_SAMPLES = 180  # pictures to train on in the demo recording: 60 frames, 3 cameras
_STRIDES = {"human36m": 40, "panoptic": 15}  # the paper's, of training samples
_SYNTHETIC_STRIDE = 3  # neighbours are too alike
_SYNTHETIC_SEED = 0  # the data stays the same whatever the seed of what is trained


def find(text: str, scale: TablesScale) -> Source:
    """The data set of `--data NAME` or `--data NAME=DIRECTORY`.

    Raises:
      LiftjaxError: an unknown name, or no data set in the directory.
    """
    name, _, directory = text.partition("=")
    check_name("data set", name, NAMES)
    if name == "multicam" and not directory:
        return Source(name, samples=_RECORDING_SAMPLES)
    if name == "synthetic" and not directory:
        return _synthetic(name, scale, scale.counts)
    directory = str(epath.Path(directory or f"data/{name}").expanduser().resolve())
    splits = split_names(directory)
    if "test" not in splits:
        raise LiftjaxError(
            f"{directory} has no split 'test' to measure on, only {', '.join(splits)}; prepare the "
            "data with a test split."
        )
    pictures = _pictures(directory)
    stride = _STRIDES.get(name, 1) if _is_video(pictures) else 1
    about = {"samples": int(pictures.every(stride).sum()), "stride": stride}
    lifter_split = "poses" if "poses" in splits else "train"
    version = digest(read_metadata(directory))
    return Source(name, directory, version, lifter_split=lifter_split, **about)


def find_clips(source: Source, scale: TablesScale) -> Source | None:
    """The data for lifters of several frames; None where the data has no clips.

    Synthetic clips are a data set of their own; elsewhere the test split itself must be clips. If
    the training split is not, there are no samples to train on.
    """
    if source.name == "synthetic" and not source.directory:
        counts = {**scale.clip_counts, "clip_frames": max(TESTED_FRAMES)}
        clips = _synthetic("clips", scale, counts)
        return dataclasses.replace(
            clips, stride=_SYNTHETIC_STRIDE, samples=clips.samples // _SYNTHETIC_STRIDE
        )
    if not source.directory or not _is_video(PoseDataset.open(source.directory, "test")):
        return None
    if _is_video(_pictures(source.directory)):
        return source
    return dataclasses.replace(source, samples=0)


def _pictures(directory: str) -> PoseDataset:
    dataset = PoseDataset.open(directory, "train")
    return dataset.select(dataset.labels["has_image"])


def _is_video(dataset: PoseDataset) -> bool:
    return len(dataset) > 0 and windows.find_clips(dataset.labels).are_video(VIDEO_FRAMES)


def _synthetic(name: str, scale: TablesScale, counts: Mapping[str, int]) -> Source:
    settings = {"seed": _SYNTHETIC_SEED, "crop_size": scale.stored_size, **counts}
    samples = counts["num_train"]
    return Source(
        name, settings=tuple(sorted(settings.items())), lifter_split="poses", samples=samples
    )


def actions(source: Source) -> tuple[str, ...]:
    """The actions of the test split, in the paper's order where it has them."""
    if source.name in ("human36m", "synthetic"):
        return tuple(ACTION_HEADS)
    if source.name == "multicam":
        return ()
    return tuple(np.unique(PoseDataset.open(source.directory, "test").labels["action"]).tolist())


def prepare(source: Source, folder: epath.Path) -> str:
    """The directory of the data set; one that is not the user's is made in `folder`."""
    if source.directory:
        return source.directory
    place = folder / source.reference.removeprefix("data:")
    if not place.exists():
        if source.name == "multicam":
            from data_prep.multicam.build import build_demo_recording

            build_demo_recording(place)
        else:
            from data_prep.synthetic.build import build_synthetic_people

            build_synthetic_people(place, **dict(source.settings))
    return str(place)


def test_samples(directory: str) -> PoseDataset:
    """The samples that are measured: those of the test split with a picture and a 3D pose."""
    dataset = PoseDataset.open(directory, "test")
    return dataset.select(dataset.labels["has_image"] & dataset.labels["has_3d"].astype(bool))
