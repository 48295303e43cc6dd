"""The `synthetic` command: rendered pictures of people with exact labels, as many as wanted.

There are three splits: "train" and "test" with pictures of different people, and "poses", which has
labels without pictures for training lifters.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Sequence

import cv2
import jax
import numpy as np

from data_prep import building
from data_prep.building import DatasetPlan, Unit
from data_prep.pictures import JPEG_QUALITY, encode_jpeg
from data_prep.synthetic import body, labels
from data_prep.synthetic.labels import Moment
from data_prep.synthetic.render import CameraView, Scene, render_batch
from data_prep.synthetic.scene import Difficulty, Setting, random_setting
from liftjax.data.schema import Record
from liftjax.data.workers import available_cores
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M

NUM_TRAIN, NUM_TEST, NUM_POSES = 6000, 1500, 40000
_BATCH = 32
_LABELS_AT_ONCE = 1024
_RECORDS_PER_PART = {"train": 256, "test": 256, "poses": 4096}


@dataclasses.dataclass(frozen=True)
class PeopleSettings:
    """What decides a record, besides its split and its index.

    Attributes:
      seed: the same seed gives the same data set.
      crop_size: (height, width) of the stored pictures.
      difficulty: how often furniture hides a part, or clothes match the wall.
      clip_frames: length of the clips that all splits consist of, at 50 frames per second; with 1,
        every record is a pose by itself.
    """

    seed: int = 0
    crop_size: tuple[int, int] = (160, 120)
    difficulty: Difficulty = Difficulty()  # noqa: RUF009 (frozen)
    clip_frames: int = 1

    def check(self) -> None:
        if self.seed < 0:
            raise LiftjaxError(f"The seed is {self.seed}; it must be 0 or greater.")
        if min(self.crop_size) < 16:
            raise LiftjaxError(
                f"Pictures of {self.crop_size} (height, width) pixels; 16 is the least."
            )
        for name, share in dataclasses.asdict(self.difficulty).items():
            if not 0 <= share <= 1:
                raise LiftjaxError(f"The share --{name} is {share}; it must lie between 0 and 1.")
        if self.clip_frames < 1:
            raise LiftjaxError(f"Clips of {self.clip_frames} frames; 1 is the least.")


@dataclasses.dataclass(frozen=True)
class RecordRange(Unit):
    """The records `start` to `start + count` of a split; those of "poses" have no pictures."""

    settings: PeopleSettings
    split: str
    start: int
    count: int
    inputs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.split} {self.start}"

    def records(self) -> Iterator[Record]:
        settings, split, stop = self.settings, self.split, self.start + self.count
        batch = _LABELS_AT_ONCE if split == "poses" else min(_BATCH, self.count)
        waiting = None
        for first in range(self.start, stop, batch):
            indices = range(first, min(first + batch, stop))
            moments = [labels.moment(split, i, settings.clip_frames) for i in indices]
            points_m = np.stack([labels.pose_of(settings.seed, split, m)[0] for m in moments])
            labelled = labels.label(moments, points_m, settings.crop_size)
            if split == "poses":
                yield from labelled
                continue
            rooms = [room_of(settings, split, i, m) for i, m in zip(indices, moments, strict=True)]
            # The device draws this batch while the one before it is compressed and written.
            drawn = _draw(labelled, moments, points_m, rooms, settings.crop_size, batch)
            if waiting:
                yield from _with_pictures(*waiting)
            waiting = labelled, drawn
        if waiting:
            yield from _with_pictures(*waiting)


def room_of(settings: PeopleSettings, split: str, index: int, at: Moment) -> Setting:
    """The room around record `index` of a split; all frames of a clip have the room of the first.

    Args:
      at: what the record shows.
    """
    rng = labels.generator(settings.seed, split, "setting", index // settings.clip_frames)
    points_m, chair = labels.pose_of(settings.seed, split, at.first)
    position = at.camera.position
    return random_setting(rng, at.subject, points_m, chair, position, settings.difficulty)


def _draw(labelled, moments, points_m, rooms: Sequence[Setting], crop_size, batch) -> jax.Array:
    """Pictures (batch, H, W, 3), computed in the background; the last ones fill up the batch."""
    dressed = body.dress(points_m, [m.subject for m in moments], [room.outfit for room in rooms])
    view = _stack([_view(record) for record in labelled])
    scenes = Scene(**vars(dressed), **_stack([room.scene for room in rooms]), view=view)
    missing = batch - len(labelled)
    scenes = jax.tree.map(lambda a: np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]), scenes)
    together = None if jax.default_backend() == "cpu" else batch
    return render_batch(scenes, tuple(crop_size), together)


def _stack(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _view(record: Record) -> CameraView:
    names = CameraView._fields
    return CameraView(*(np.asarray(getattr(record, name), np.float32) for name in names))


def _with_pictures(labelled: list[Record], drawn: jax.Array) -> Iterator[Record]:
    for record, picture in zip(labelled, np.asarray(drawn), strict=False):
        image = encode_jpeg(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        yield dataclasses.replace(record, image=image)


def plan_synthetic_people(
    *,
    num_train: int = NUM_TRAIN,
    num_test: int = NUM_TEST,
    num_poses: int = NUM_POSES,
    **settings,
) -> DatasetPlan:
    """Plans a data set of synthetic people.

    Args:
      num_train, num_test, num_poses: records of each split; a split without any is left out.
      **settings: see :class:`PeopleSettings`.
    """
    counts = {"train": num_train, "test": num_test, "poses": num_poses}
    if min(counts.values()) < 0 or not any(counts.values()):
        raise LiftjaxError(
            f"Records wanted: {counts}; give a positive number for at least one split."
        )
    people = PeopleSettings(**settings)
    people.check()
    parts = {split: [] for split, count in counts.items() if count}
    for split, of_split in parts.items():
        size = _RECORDS_PER_PART[split]
        for start in range(0, counts[split], size):
            count = min(size, counts[split] - start)
            of_split.append((RecordRange(people, split, start, count),))
    return DatasetPlan(
        name="synthetic_people",
        skeleton=HUMAN36M.name,
        settings={
            "seed": people.seed,
            "counts": counts,
            "crop_size": list(people.crop_size),
            "difficulty": dataclasses.asdict(people.difficulty),
            "jpeg_quality": JPEG_QUALITY,
            "clip_frames": people.clip_frames,
        },
        parts=parts,
        metadata={"source": "synthetic people", "licence": "Apache-2.0"},
        unit="parts",
    )


def build_synthetic_people(out, *, processes: int | None = None, **settings) -> None:
    """Builds a data set of synthetic people.

    Args:
      out: directory of the data set.
      processes: number of workers; None takes :func:`usual_processes`.
      **settings: see :func:`plan_synthetic_people`.
    """
    made = plan_synthetic_people(**settings)
    processes = usual_processes(made) if processes is None else processes
    building.build_dataset(made, out, processes=processes)


def usual_processes(made: DatasetPlan) -> int:
    """One process per core if a CPU renders more than two parts, else one."""
    parts = sum(len(pieces) for split, pieces in made.parts.items() if split != "poses")
    return available_cores() if parts > 2 and jax.default_backend() == "cpu" else 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    usual = PeopleSettings()
    whole, share = {"type": int, "metavar": "N"}, {"type": float, "metavar": "SHARE"}
    height, width = usual.crop_size
    clip = "length of clips, at 50 frames per second; 1 for poses by themselves"
    occluded = "share of pictures with furniture in front of the person"
    camouflage = "share of pictures whose person wears the colours of the wall"
    for name, default, text, kind in (
        ("seed", usual.seed, "another seed gives another data set", whole),
        ("train", NUM_TRAIN, "number of training pictures", whole),
        ("test", NUM_TEST, "number of test pictures", whole),
        ("poses", NUM_POSES, "number of poses without a picture, for training lifters", whole),
        ("clip-frames", usual.clip_frames, clip, whole),
        ("height", height, "height of the stored pictures in pixels", whole),
        ("width", width, "width of the stored pictures in pixels", whole),
        ("occluded", usual.difficulty.occluded, occluded, share),
        ("camouflage", usual.difficulty.camouflage, camouflage, share),
    ):
        text = f"{text}; default: %(default)s"
        parser.add_argument(f"--{name}", default=default, help=text, **kind)
    building.add_build_arguments(parser)
    parser.set_defaults(processes=None)  # see usual_processes


def run_command(args: argparse.Namespace) -> None:
    given = building.plan_options(args)
    made = plan_synthetic_people(
        **{f"num_{split}": given.pop(split) for split in ("train", "test", "poses")},
        crop_size=(given.pop("height"), given.pop("width")),
        difficulty=Difficulty(given.pop("occluded"), given.pop("camouflage")),
        **given,
    )
    if args.processes is None:
        args.processes = usual_processes(made)
    building.build_from_args(made, args)
