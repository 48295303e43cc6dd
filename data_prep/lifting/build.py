"""`python -m data_prep lifting`: VideoPose3D's files as records without pictures.

Every frame of data_3d_h36m.npz becomes one record for each of the four cameras. Its 2D joints are
the projection of the 3D ones, or come from a data_2d file (`--keypoints`), ground truth or
detected. If such a file has another joint set than Human3.6M's, it is converted where that is
possible (COCO).
"""

import argparse
import collections
from collections.abc import Iterator
from pathlib import Path

from data_prep.building import DatasetPlan, Problem, add_build_arguments, build_from_args
from data_prep.human36m.names import SPLITS, SUBJECTS, assign_trials, parse_sequence
from data_prep.lifting.keypoints import FileKeypoints, ProjectedKeypoints
from data_prep.lifting.views import SequenceView
from liftjax.data.videopose3d import CAMERAS, Poses, read_positions_3d
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m data_prep lifting`."""
    parser.add_argument("--source", required=True, help="VideoPose3D's data_3d_h36m.npz")
    parser.add_argument(
        "--keypoints",
        metavar="FILE",
        help="VideoPose3D's data_2d_h36m_NAME.npz, whose 2D joints to take; default: project the "
        "3D joints",
    )
    parser.add_argument(
        "--stride", type=int, default=1, metavar="N", help="take every N-th frame; default: all"
    )
    add_build_arguments(parser)


def run_command(args: argparse.Namespace) -> None:
    """Builds the data set that parsed arguments describe."""
    build_from_args(plan_lifting(args.source, args.keypoints, args.stride), args)


def plan_lifting(source, keypoints=None, stride: int = 1) -> DatasetPlan:
    """All sequences of `source` from four cameras.

    Args:
      source: data_3d_h36m.npz.
      keypoints: a data_2d_h36m_*.npz; None projects the 3D joints.
      stride: take frames whose number is a multiple of it.

    Raises:
      LiftjaxError: a file is missing, damaged, of another format, unit or frame rate, or wants to
        run something.
    """
    if stride < 1:
        raise LiftjaxError(f"--stride {stride}: give 1 or more.")
    source = Path(source).expanduser().absolute()
    poses = read_positions_3d(source)
    two_d = ProjectedKeypoints()
    if keypoints:
        two_d = FileKeypoints(Path(keypoints).expanduser().absolute())
    parts, problems = collections.defaultdict(list), []
    for subject, sequence, trial in _sequences(poses, source.name, stride):
        if isinstance(trial, Problem):
            problems.append(trial)
            continue
        world_m = poses[subject][sequence]
        views, lost = two_d.views(subject, sequence, len(world_m), stride)
        problems += lost
        units = tuple(
            SequenceView(
                name=f"{subject}/{sequence}/{camera}",
                inputs=(str(source), *two_d.inputs),
                subject=subject,
                action=trial[0],
                trial=trial[1],
                camera=camera,
                stride=stride,
                world_m=world_m,
                keypoints_px=px,
            )
            for camera, px in views.items()
        )
        if units:
            units[0].check_scale()
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
        counts = collections.Counter(filter(None, named.values()))
        for sequence, parsed in named.items():
            where = f"{subject}/{sequence}"
            if parsed and subject in SUBJECTS:
                action, number = parsed
                if counts[parsed] > 1:
                    raise LiftjaxError(
                        f"{file}: {where} is there under another spelling too; remove one of them."
                    )
                numbers = [n for a, n in counts if a == action]
                yield subject, sequence, (action, assign_trials(subject, action, numbers)[number])
            else:
                kind = "unknown action" if subject in SUBJECTS else "no camera parameters"
                lost = len(poses[subject][sequence][::stride]) * len(CAMERAS)
                yield subject, sequence, Problem(kind, file, None, where, lost)
