"""The data set of synthetic people: rendered pictures with exact labels, as many as wanted.

`python -m data_prep synthetic --out DIR` writes three splits: "train" and "test" (five people and
two others), and "poses", labels without pictures for training lifters.
"""

import argparse
import dataclasses
from collections.abc import Iterator

import cv2
import jax
import numpy as np

from data_prep import building
from data_prep.building import Plan, Unit, add_build_arguments, build_from_args
from data_prep.synthetic import body, labels
from data_prep.synthetic.labels import Moment
from data_prep.synthetic.render import Scene, View, render_batch
from data_prep.synthetic.scene import Difficulty, Setting, random_setting
from data_prep.synthetic.solids import Boxes
from liftjax.data.schema import Record
from liftjax.data.workers import available_cores
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M

JPEG_QUALITY = 92
_BATCH = 32
_LABELS_AT_ONCE = 1024
_RECORDS_PER_PART = {"train": 256, "test": 256, "poses": 4096}


def records(
    seed: int,
    split: str,
    count: int,
    crop_size: tuple[int, int],
    *,
    start: int = 0,
    difficulty: Difficulty = Difficulty(),  # noqa: B008 (frozen)
    clip_frames: int = 1,
) -> Iterator[Record]:
    """Records `start` to `start + count` of a split; "poses" come without pictures.

    Args:
      seed, split: what the records are a function of, with their index and the settings below.
      crop_size: (height, width) of the pictures.
      difficulty: how often furniture hides a part, or clothes match the wall.
      clip_frames: so many records in a row are one clip of one motion; 1: poses by themselves.
    """
    batch = _LABELS_AT_ONCE if split == "poses" else min(_BATCH, max(count, 1))
    waiting = None
    for first in range(start, start + count, batch):
        indices = range(first, min(first + batch, start + count))
        moments = [labels.moment(split, i, clip_frames) for i in indices]
        poses = [labels.pose_of(seed, split, m) for m in moments]
        points_m = np.stack([points for points, _ in poses])
        labelled = labels.label(moments, points_m, crop_size)
        if split == "poses":
            yield from labelled
            continue
        settings = [
            setting_of(seed, split, i // clip_frames, m.first, difficulty)
            for i, m in zip(indices, moments, strict=True)
        ]
        # The device draws this batch while the one before it is compressed and written.
        pictures = _render(labelled, moments, points_m, settings, crop_size, batch)
        if waiting:
            yield from _with_pictures(*waiting)
        waiting = labelled, pictures
    if waiting:
        yield from _with_pictures(*waiting)


def setting_of(seed: int, split: str, index: int, at: Moment, difficulty: Difficulty) -> Setting:
    """The room around clip `index` of a split, which begins at the moment `at`."""
    rng = labels.generator(seed, split, "setting", index)
    points_m, chair = labels.pose_of(seed, split, at)
    return random_setting(rng, at.subject, points_m, chair, at.camera.position, difficulty)


def _render(labelled, moments, points_m, settings, crop_size, batch) -> jax.Array:
    """Pictures (batch, H, W, 3), computed in the background; the last ones fill up the batch."""
    dressed = body.dress(points_m, [m.subject for m in moments], [s.outfit for s in settings])
    scenes = Scene(
        cones=dressed.cones,
        cone_size=dressed.sizes,
        cone_looks=dressed.looks,
        cone_folds=dressed.folds,
        boxes=Boxes(np.stack([s.box_to_local for s in settings])),
        view=_stack([_view(record) for record in labelled]),
        light=_stack([s.light for s in settings]),
        film=_stack([s.film for s in settings]),
        **{
            name: np.stack([getattr(s, name) for s in settings])
            for name in ("box_size", "box_looks", "room_to_local", "room_size", "room_looks")
        },
    )
    missing = batch - len(labelled)
    scenes = jax.tree.map(lambda a: np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]), scenes)
    together = None if jax.default_backend() == "cpu" else batch
    return render_batch(scenes, tuple(crop_size), together)


def _stack(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _view(record: Record) -> View:
    arrays = (
        record.camera_K, record.camera_R, record.camera_t, record.camera_distortion,
        record.image_size, record.stored_to_image,
    )  # fmt: skip
    return View(*(np.asarray(a, np.float32) for a in arrays))


def _with_pictures(labelled: list[Record], pictures: jax.Array) -> Iterator[Record]:
    for record, picture in zip(labelled, np.asarray(pictures), strict=False):
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
        if not done:
            raise LiftjaxError(f"{record.name}: the picture could not be encoded as JPEG.")
        yield dataclasses.replace(record, image=jpeg.tobytes())


@dataclasses.dataclass(frozen=True)
class _Range(Unit):
    """Some records of a split, one after the other."""

    seed: int
    split: str
    start: int
    count: int
    crop_size: tuple[int, int]
    difficulty: Difficulty
    clip_frames: int
    inputs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.split} {self.start}"

    def records(self) -> Iterator[Record]:
        arguments = self.seed, self.split, self.count, self.crop_size
        more = {"difficulty": self.difficulty, "clip_frames": self.clip_frames}
        return records(*arguments, start=self.start, **more)


def plan(
    *,
    seed: int = 0,
    num_train: int = 6000,
    num_test: int = 1500,
    num_poses: int = 40000,
    crop_size: tuple[int, int] = (160, 120),
    difficulty: Difficulty = Difficulty(),  # noqa: B008 (frozen)
    clip_frames: int = 1,
) -> Plan:
    """The data set; a split of no records is left out.

    Args:
      seed: the same seed gives the same data set.
      num_train, num_test, num_poses: records of each split.
      crop_size: (height, width) of the stored pictures.
      difficulty: how often furniture hides a part, or clothes match the wall.
      clip_frames: length of the clips that all splits are made of, at 50 frames a second; 1: every
        record is a pose by itself.
    """
    counts = {"train": num_train, "test": num_test, "poses": num_poses}
    _check(seed, counts, crop_size, difficulty)
    if clip_frames < 1:
        raise LiftjaxError(f"Clips of {clip_frames} frames; 1 is the least.")
    common = tuple(crop_size), difficulty, clip_frames
    return Plan(
        name="synthetic_people",
        skeleton=HUMAN36M.name,
        settings={
            "seed": seed,
            "counts": counts,
            "crop_size": list(crop_size),
            "difficulty": dataclasses.asdict(difficulty),
            "jpeg_quality": JPEG_QUALITY,
            "clip_frames": clip_frames,
        },
        parts={
            split: [(_Range(seed, split, *piece, *common),) for piece in _pieces(split, count)]
            for split, count in counts.items()
            if count
        },
        metadata={"source": "synthetic people", "licence": "Apache-2.0"},
        unit="parts",
    )


def _pieces(split: str, count: int) -> list[tuple[int, int]]:
    """(start, count) of the parts of a split."""
    size = _RECORDS_PER_PART[split]
    return [(start, min(size, count - start)) for start in range(0, count, size)]


def build(out_dir, *, processes: int | None = None, **settings) -> None:
    """Builds the data set of :func:`plan`'s settings in `out_dir`.

    Args:
      out_dir: directory of the data set.
      processes: workers; None takes what :func:`usual_processes` says.
      **settings: see :func:`plan`.
    """
    made = plan(**settings)
    processes = usual_processes(made) if processes is None else processes
    building.build(made, out_dir, processes=processes)


def usual_processes(made: Plan) -> int:
    """One process a core where a CPU draws more than one part of pictures, else this one alone."""
    parts = sum(len(pieces) for split, pieces in made.parts.items() if split != "poses")
    return available_cores() if parts > 2 and jax.default_backend() == "cpu" else 1


def _check(seed, counts, crop_size, difficulty) -> None:
    if seed < 0:
        raise LiftjaxError(f"The seed is {seed}; it must be 0 or greater.")
    if min(counts.values()) < 0 or not any(counts.values()):
        raise LiftjaxError(
            f"Records wanted: {counts}; give a positive number for at least one split."
        )
    if min(crop_size) < 16:
        raise LiftjaxError(f"Pictures of {crop_size} (height, width) pixels; 16 is the least.")
    for name, share in dataclasses.asdict(difficulty).items():
        if not 0 <= share <= 1:
            raise LiftjaxError(f"The share --{name} is {share}; it must lie between 0 and 1.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m data_prep synthetic`."""
    usual = Difficulty()
    parser.add_argument("--seed", type=int, default=0, help="another seed, another data set")
    parser.add_argument("--train", type=int, default=6000, metavar="N", help="training pictures")
    parser.add_argument("--test", type=int, default=1500, metavar="N", help="test pictures")
    parser.add_argument(
        "--poses", type=int, default=40000, metavar="N", help="poses without a picture, for lifters"
    )
    parser.add_argument(
        "--clip-frames", type=int, default=1, metavar="T",
        help="make clips of so many frames, 50 a second; default: poses by themselves",
    )  # fmt: skip
    parser.add_argument("--height", type=int, default=160, help="of the stored pictures (pixels)")
    parser.add_argument("--width", type=int, default=120)
    parser.add_argument(
        "--occluded", type=float, default=usual.occluded, metavar="SHARE",
        help="of pictures with furniture in front of the person",
    )  # fmt: skip
    parser.add_argument(
        "--camouflage", type=float, default=usual.camouflage, metavar="SHARE",
        help="of pictures whose person wears the colours of the wall",
    )  # fmt: skip
    add_build_arguments(parser)
    parser.set_defaults(processes=None)  # see usual_processes


def run(args: argparse.Namespace) -> None:
    """Builds the data set that parsed arguments describe."""
    made = plan(
        seed=args.seed,
        num_train=args.train,
        num_test=args.test,
        num_poses=args.poses,
        crop_size=(args.height, args.width),
        difficulty=Difficulty(occluded=args.occluded, camouflage=args.camouflage),
        clip_frames=args.clip_frames,
    )
    if args.processes is None:
        args.processes = usual_processes(made)
    build_from_args(made, args)
