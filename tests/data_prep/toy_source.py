"""A small source and its builder, to try the building engine on.

`python -m tests.data_prep.toy_source SOURCE OUT [--processes N] [--shard I/N]` builds from the
files that `write_source` makes: one JSON file a sequence, a list of frame numbers.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data_prep.building import DatasetPlan, Problem, Unit, add_build_arguments, build_from_args
from liftjax.data.schema import Record
from tests.data.builders import make_record

SPLITS = {"train": ("S1", "S5"), "test": ("S9",)}
ACTIONS = ("Walking", "Sitting", "Eating")


def write_source(source: Path, frames: int = 6) -> None:
    for subject in ("S1", "S5", "S9"):
        for action in ACTIONS:
            for camera in ("a", "b"):
                file = source / subject / f"{action}.{camera}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(list(range(frames))))


def pose(scale: float = 1.0) -> np.ndarray:
    """(17, 3) metres times `scale`: somebody who stands upright."""
    pose = np.zeros((17, 3))
    pose[:, 1] = [0, 0, 0.45, 0.9, 0, 0.45, 0.9, -0.2, -0.4, -0.5, -0.6, *[-0.4, -0.2, 0] * 2]
    pose[:, 0] = [0, -1, -1, -1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 2, -2, -2, -2]
    pose[:, 0] *= 0.1
    return pose * scale


@dataclasses.dataclass(frozen=True)
class Sequence(Unit):
    name: str
    inputs: tuple[str, ...]
    seconds: float = 0.0
    scales: tuple[float, ...] = (1.0,)  # of the poses, in turn

    def records(self) -> Iterator[Record | Problem]:
        subject, action, camera = self.name.split("/")
        for frame in json.loads(Path(self.inputs[0]).read_text()):
            time.sleep(self.seconds)
            if frame < 0:
                yield Problem("negative frame", Path(self.inputs[0]).name, frame)
                continue
            noise = np.random.default_rng([frame, *self.name.encode()])
            picture = noise.integers(0, 255, (60, 45, 3), np.uint8)
            yield make_record(
                frame,
                image=cv2.imencode(".jpg", picture)[1].tobytes(),
                subject=subject,
                action=action,
                camera=camera,
                has_3d=True,
                pose_m=pose(self.scales[frame % len(self.scales)]),
                root_m=(0, 0, 4),
                camera_K=((100, 0, 80), (0, 100, 60), (0, 0, 1)),
                camera_R=np.eye(3),
                camera_t=np.zeros(3),
                camera_distortion=np.zeros(5),
            )


def plan(source: Path, seconds: float = 0.0, scale: float = 1.0) -> DatasetPlan:
    """One part a subject and action."""
    parts = {split: [] for split in SPLITS}
    for split, subjects in SPLITS.items():
        for subject in subjects:
            for action in ACTIONS:
                files = sorted((source / subject).glob(f"{action}.*.json"))
                parts[split].append(
                    tuple(
                        Sequence(
                            f"{subject}/{action}/{f.suffixes[0][1:]}", (str(f),), seconds, (scale,)
                        )
                        for f in files
                    )
                )
    return DatasetPlan("toy", "human36m", {"scale": scale}, parts, {"source": "toy"})


def contents(directory) -> dict[str, bytes]:
    """The files of a folder by name."""
    return {f.name: f.read_bytes() for f in Path(directory).iterdir()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("--seconds", type=float, default=0.0)
    add_build_arguments(parser)
    args = parser.parse_args()
    build_from_args(plan(args.source, args.seconds), args)


if __name__ == "__main__":
    main()
