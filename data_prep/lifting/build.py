"""`python -m data_prep lifting`: VideoPose3D's files as records without pictures.

Every frame of data_3d_h36m.npz becomes one record for each of the four cameras. Its 2D joints are
the projection of the 3D ones, or those of a data_2d file (`--keypoints`), ground truth or detected.
The joint sets of such files that are not Human3.6M's are converted where that is possible (COCO).
"""

import argparse
import collections
from collections.abc import Iterator
from pathlib import Path

from data_prep.building import DatasetPlan, Problem, add_build_arguments, build_from_args
from data_prep.human36m.cameras import SUBJECTS
from data_prep.human36m.names import assign_trials, parse_sequence
from data_prep.lifting.two_d import Detections, Projections
from data_prep.lifting.view import View
from liftjax.data.videopose3d import CAMERAS, Poses, read_positions_3d
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M

SPLITS = {"train": ("S1", "S5", "S6", "S7", "S8"), "test": ("S9", "S11")}


def plan(source, keypoints=None, stride: int = 1) -> DatasetPlan:
    """All sequences of `source` from four cameras.

    Args:
      source: data_3d_h36m.npz. keypoints: a data_2d_h36m_*.npz; None projects the 3D.
      stride: take frames whose number is a multiple.

    Raises:
      LiftjaxError: a file is missing, damaged, of another format, unit or frame rate, or wants to
        run something.
    """
    if stride < 1:
        raise LiftjaxError(f"--stride {stride}: it must be at least 1.")
    source = Path(source).expanduser().absolute()
    poses = read_positions_3d(source)
    two_d = Detections(Path(keypoints).expanduser().absolute()) if keypoints else Projections()
    parts, problems = collections.defaultdict(list), []
    for subject, sequence, found in _sequences(poses, source.name, stride):
        if isinstance(found, Problem):
            problems.append(found)
            continue
        world_m = poses[subject][sequence]
        views, lost = two_d.views(subject, sequence, len(world_m), stride)
        problems += lost
        units = tuple(
            View(
                name=f"{subject}/{sequence}/{camera}",
                inputs=(str(source), *two_d.inputs),
                subject=subject,
                action=found[0],
                trial=found[1],
                camera=camera,
                stride=stride,
                world_m=world_m,
                keypoints_px=px,
            )
            for camera, px in views.items()
        )
        for unit in units[:1]:
            unit.check_scale()
            parts[next(s for s in SPLITS if subject in SPLITS[s])].append(units)
    if not parts:
        reasons = "".join(f"; {p.kind}: {p.detail}" for p in problems[:3])
        raise LiftjaxError(f"{source}: none of its sequences can be used{reasons}.")
    return DatasetPlan(
        name="human36m_poses",
        skeleton=HUMAN36M.name,
        settings={"stride": stride, "keypoints": two_d.name},
        parts={split: parts[split] for split in SPLITS if split in parts},
        metadata={
            "source": "Human3.6M through VideoPose3D's files",
            "keypoints": two_d.name,
            "licence": "Human3.6M's: academic use, not to be passed on",
        },
        problems=tuple(problems),
        sheet=False,
    )


def _sequences(
    poses: Poses, file: str, stride: int
) -> Iterator[tuple[str, str, tuple[str, int] | Problem]]:
    """(subject, sequence, (action, trial) or why it cannot be used), sorted."""
    for subject in sorted(poses):
        named = {sequence: parse_sequence(sequence) for sequence in sorted(poses[subject])}
        numbers = collections.defaultdict(list)
        for action, number in filter(None, named.values()):
            numbers[action].append(number)
        for sequence, parsed in named.items():
            where = f"{subject}/{sequence}"
            lost = len(poses[subject][sequence][::stride]) * len(CAMERAS)
            if subject not in SUBJECTS:
                yield subject, sequence, Problem("no camera parameters", file, None, where, lost)
            elif parsed is None:
                yield subject, sequence, Problem("unknown action", file, None, where, lost)
            else:
                action, number = parsed
                if numbers[action].count(number) > 1:
                    raise LiftjaxError(
                        f"{file}: {where} is there under another spelling too; remove one of them."
                    )
                yield (
                    subject,
                    sequence,
                    (
                        action,
                        assign_trials(subject, action, numbers[action])[number],
                    ),
                )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m data_prep lifting`."""
    parser.add_argument("--source", required=True, help="VideoPose3D's data_3d_h36m.npz")
    parser.add_argument(
        "--keypoints",
        metavar="FILE",
        help="its data_2d_h36m_NAME.npz: 2D joints as detected; default: the 3D ones projected",
    )
    parser.add_argument(
        "--stride", type=int, default=1, metavar="N", help="take every N-th frame; default: all"
    )
    add_build_arguments(parser)


def run_command(args: argparse.Namespace) -> None:
    """Builds the data set that parsed arguments describe."""
    build_from_args(plan(args.source, args.keypoints, args.stride), args)
