"""The `panoptic` command: sequences of the CMU Panoptic Studio as a data set.

As in the released code of the paper, every `stride`-th frame is taken, from the first pose file of
a sequence on. Frames are counted by number, not by file, so that a missing file does not shift the
others. Each sequence counts as a subject and an action of its own, because the studio does not say
who is in it, and in some sequences several people come in turn.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data_prep import building, pictures
from data_prep.building import DatasetPlan, Problem
from data_prep.panoptic.calibration import read_cameras
from data_prep.panoptic.footage import check_thinned, find_footage, picture_files
from data_prep.panoptic.frames import MIN_CONFIDENCE, CameraFrames, relative
from data_prep.panoptic.poses import check_unit, pose_files
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.skeletons import PANOPTIC

TRAIN_SEQUENCES = (
    "171204_pose1", "171204_pose2", "171204_pose3", "171026_pose1", "171026_pose2",
    "171026_cello3", "161029_piano3", "161029_piano4", "170407_office2",
)  # fmt: skip
TEST_SEQUENCES = ("171026_pose3", "161029_piano2", "170915_office1")
CAMERAS = ("00_03", "00_06", "00_12", "00_13", "00_23")
STRIDE = 15
_FRAMES_A_PART = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", required=True, help="directory with the sequences, such as 171204_pose1"
    )
    parser.add_argument(
        "--sequences",
        nargs="+",
        metavar="NAME",
        help="sequences to take; default: the nine training and three test sequences of the paper",
    )
    parser.add_argument(
        "--test-sequences",
        nargs="+",
        metavar="NAME",
        default=TEST_SEQUENCES,
        help="sequences to test on; default: " + " ".join(TEST_SEQUENCES),
    )
    parser.add_argument(
        "--cameras",
        nargs="+",
        metavar="PANEL_NODE",
        default=CAMERAS,
        help="HD cameras; default: " + " ".join(CAMERAS),
    )
    parser.add_argument(
        "--stride",
        type=int,
        default=STRIDE,
        metavar="N",
        help="take every N-th frame, from a sequence's first pose on; default: %(default)s",
    )
    pictures.add_picture_arguments(parser)
    building.add_build_arguments(parser)


def run_command(args: argparse.Namespace) -> None:
    building.build_from_args(plan_panoptic(**building.plan_options(args)), args)


def plan_panoptic(
    source,
    *,
    sequences: Sequence[str] | None = None,
    test_sequences: Sequence[str] = TEST_SEQUENCES,
    cameras: Sequence[str] = CAMERAS,
    stride: int = STRIDE,
    full_frames: bool = False,
) -> DatasetPlan:
    """Plans a data set of the sequences in `source`; None takes the paper's twelve.

    If the calibration or the pictures of a camera are missing in one sequence, the plan has a
    problem and the sequence is built without the camera.

    Raises:
      LiftjaxError: a sequence is missing, no sequence has a camera, or a file is malformed.
    """
    source = Path(source).expanduser().absolute()
    if stride < 1:
        raise LiftjaxError(f"--stride {stride}: give 1 or more.")
    cameras = sorted(set(cameras))
    names = _chosen_sequences(source, sequences)
    for name in test_sequences:
        if name not in (*names, *TEST_SEQUENCES):
            raise unknown_name("test sequence", name, names)
    parts: dict[str, list] = {"train": [], "test": []}
    problems = []
    for name in names:
        found = list(_sequence_units(source, name, cameras, stride, full_frames))
        units = [unit for unit in found if isinstance(unit, CameraFrames)]
        lost = [problem for problem in found if isinstance(problem, Problem)]
        if not units:
            raise LiftjaxError(
                f"{source / name} has none of the cameras {', '.join(cameras)}: "
                f"{lost[0].kind}, {lost[0].file} {lost[0].detail}; choose others with --cameras."
            )
        parts["test" if name in test_sequences else "train"] += [(unit,) for unit in units]
        problems += lost
    _check_every_camera(cameras, parts, problems)
    return DatasetPlan(
        name="panoptic",
        skeleton=PANOPTIC.name,
        settings={
            "sequences": {split: sorted({u.sequence for (u,) in p}) for split, p in parts.items()},
            "cameras": cameras,
            "stride": stride,
            "min_confidence": MIN_CONFIDENCE,
            "full_frames": full_frames,
        },
        parts={split: chosen for split, chosen in parts.items() if chosen},
        metadata={
            "source": "CMU Panoptic Studio, http://domedb.perception.cs.cmu.edu",
            "license": "for non-commercial and research purposes only",
            "world_axes": "z up; the studio's (x, y, z) turned to (x, z, -y)",
        },
        problems=tuple(problems),
    )


def _chosen_sequences(source: Path, wanted: Sequence[str] | None) -> list[str]:
    """The sequences to build, sorted; raises if one is not there."""
    there = {path.parent.name for path in source.glob("*/calibration_*.json")}
    if not there:
        if own := sorted(source.glob("calibration_*.json")):
            hint = f"{own[0].name} is there: give the directory above"
        else:
            hint = f"expected for instance {source / TRAIN_SEQUENCES[0]}"
        raise LiftjaxError(f"{source} holds no Panoptic sequence with a calibration; {hint}.")
    names = sorted(set(wanted or TRAIN_SEQUENCES + TEST_SEQUENCES))
    missing = [name for name in names if not (source / name).is_dir()]
    if wanted and missing:
        raise unknown_name(f"sequence in {source}", missing[0], there)
    if missing:
        usable = [n for n in names if n not in missing] or sorted(there)
        raise LiftjaxError(
            f"{source} lacks the sequences {', '.join(missing)}; download them, or build from "
            f"those that are there: --sequences {' '.join(usable)}"
        )
    return names


def _check_every_camera(cameras: Sequence[str], parts: Mapping, problems: Sequence) -> None:
    """Raises if no sequence has a camera, which may be misspelt."""
    used = {unit.camera.name for chosen in parts.values() for (unit,) in chosen}
    for camera in cameras:
        if camera not in used:
            problem = next(p for p in problems if camera in p.file + p.detail)
            raise LiftjaxError(
                f"No sequence has camera {camera} ({problem.kind}: {problem.file} "
                f"{problem.detail}); leave it out: --cameras {' '.join(sorted(used))}"
            )


def _sequence_units(
    source: Path, name: str, cameras: Sequence[str], stride: int, full_frames: bool
) -> Iterator[CameraFrames | Problem]:
    """Units of some hundred frames of each camera, or the problem with the camera."""
    sequence = source / name
    calibration = sequence / f"calibration_{name}.json"
    calibrated = read_cameras(calibration, cameras)
    poses = pose_files(sequence)
    check_unit(poses)
    numbers = list(poses)
    frames = range(numbers[0], numbers[-1] + 1, stride)
    check_thinned(Path(poses[numbers[0]].path).parent, numbers, frames)
    yield from _without_pose(source, name, cameras, numbers, stride)
    for camera in cameras:
        if camera not in calibrated:
            file = str(calibration.relative_to(source))
            yield Problem("missing camera", file, None, f"no {camera}", len(frames))
            continue
        footage = find_footage(sequence, camera, frames, calibrated[camera].image_size)
        if isinstance(footage, Problem):
            yield relative(footage, source)
            continue
        # A video is always decoded from its start, so it is not divided.
        size = len(frames) if footage.video else _FRAMES_A_PART
        for start in range(0, len(frames), size):
            some = footage.part(start, start + size)
            yield CameraFrames(
                source=str(source),
                sequence=name,
                calibration=str(calibration),
                camera=calibrated[camera],
                poses=tuple(poses.get(number) for number in some.frames),
                footage=some,
                full_frames=full_frames,
            )


def _without_pose(
    source: Path, name: str, cameras: Sequence[str], numbers: Sequence[int], stride: int
) -> Iterator[Problem]:
    """A remark if there are pictures of the stride before the first pose or after the last."""
    for camera in cameras:
        outside = [
            n
            for n in picture_files(source / name / "hdImgs" / camera, camera)
            if (n - numbers[0]) % stride == 0 and not numbers[0] <= n <= numbers[-1]
        ]
        if outside:
            detail = f"{len(outside)} pictures of the stride, {outside[0]} to {outside[-1]}"
            yield Problem("pictures without pose", f"{name}/hdImgs/{camera}", None, detail, 0)
            return
