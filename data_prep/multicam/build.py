"""The `multicam` command: from calibrated footage to a data set.

:mod:`layout` describes the source directory, :mod:`detections` and :mod:`calibration` the files.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from data_prep.building import DatasetPlan, Unit, add_build_arguments, build_dataset, parse_shard
from data_prep.finishing import check_replaceable
from data_prep.multicam import demo_recording
from data_prep.multicam.calibration import UNITS_M
from data_prep.multicam.layout import RecordingFiles, find_recordings
from data_prep.multicam.recording import MAX_LAG, check_convertible, read_recording, reconstruct
from data_prep.multicam.records import camera_units
from data_prep.multicam.report import format_report, reprojection_report
from data_prep.pictures import add_picture_arguments
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.skeletons import SKELETONS

TRAIN_SHARE, TEST_SHARE = 0.6, 0.3  # of the frames, from both ends; those between are left out
CACHE = "~/.cache/liftjax"  # where downloads go
_TARGETS = ("human36m", "panoptic")
# Options whose names are those of the arguments of plan_multicam.
_SETTINGS = (
    "calibration", "unit", "cameras", "test", "stride", "max_lag", "skeleton", "joint_set",
    "on_video", "first_frame", "full_frames",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m data_prep multicam`."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--source",
        metavar="DIR",
        help="a recording, or a directory with several, as Pose2Sim lays them out: videos/ (cam01."
        "mp4 ...), pose/ (cam01_json/ ...: OpenPose, RTMPose or MMPose JSON) and calibration/ "
        "(*.toml of Pose2Sim or Anipose, or *.qca.txt), in the recording or above",
    )
    what.add_argument(
        "--demo-recording",
        action="store_true",
        help="the demo recording of Pose2Sim: 3 cameras, 100 frames of a man on a beam",
    )
    parser.add_argument(
        "--test",
        nargs="+",
        default=(),
        metavar="NAME",
        help="recordings to test on; default: the last 30%% of each recording's frames are for "
        "testing and the first 60%% for training",
    )
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=(),
        metavar="NAME",
        help="cameras to use, by their names in the calibration; NAME=FILE if the video and the "
        "detections have another name; default: all",
    )
    parser.add_argument(
        "--stride", type=int, default=1, metavar="N", help="keep every N-th frame; default: all"
    )
    parser.add_argument(
        "--no-sync",
        dest="max_lag",
        action="store_const",
        const=0,
        default=MAX_LAG,
        help="assume that the cameras are in step; default: estimate lags of whole frames, at most "
        f"{MAX_LAG}, from the person's motion",
    )
    parser.add_argument(
        "--skeleton", choices=_TARGETS, default=_TARGETS[0], help="joints; default: %(default)s"
    )
    parser.add_argument(
        "--detections-skeleton",
        dest="joint_set",
        choices=sorted(SKELETONS),
        metavar="NAME",
        help=f"joints of the detections ({', '.join(sorted(SKELETONS))}), if the file does not say "
        "and they are not the usual ones of their number",
    )
    parser.add_argument(
        "--detections-on",
        dest="on_video",
        choices=("calibration", "video"),
        default="calibration",
        help="whose pixels the detections are in, where a video was scaled or got bars after the "
        "calibration; default: %(default)s",
    )
    parser.add_argument(
        "--first-frame",
        type=int,
        metavar="N",
        help="the number of a video's first frame in the names or ids of the detections, usually 0 "
        "or 1; default: found from the numbers and the videos' lengths, where these show it",
    )
    parser.add_argument("--calibration", metavar="FILE", help="default: the nearest one")
    parser.add_argument(
        "--calibration-unit",
        dest="unit",
        choices=sorted(UNITS_M),
        default="m",
        help="of a .toml file's translations; default: %(default)s",
    )
    add_picture_arguments(parser)
    add_build_arguments(parser)
    parser.add_argument(
        "--wheel", metavar="FILE", help=f"{demo_recording.WHEEL}, instead of a download"
    )
    parser.add_argument("--cache", default=CACHE, help="where downloads go; default: %(default)s")


def run_command(args: argparse.Namespace) -> None:
    """Builds the data set that parsed arguments describe."""
    options = {"processes": args.processes, "shard": parse_shard(args.shard)}
    check_replaceable(args.out)
    args.on_video = args.on_video == "video"
    settings = {name: getattr(args, name) for name in _SETTINGS}
    if args.demo_recording:
        build_demo_recording(args.out, args.wheel, args.cache, settings, **options)
    else:
        build_dataset(plan_multicam(args.source, **settings), args.out, **options)


def build_demo_recording(
    out, wheel: str | None = None, cache: str = CACHE, settings: dict | None = None, **options
) -> dict | None:
    """Builds the data set of the demo recording in `out`.

    Args:
      out: directory.
      wheel: the file with the recording; None downloads it.
      cache: where downloads go.
      settings: arguments of :func:`plan_multicam` in place of the demo's own.
      options: of :func:`data_prep.building.build`.
    """
    check_replaceable(out)
    wheel = wheel or demo_recording.download_wheel(cache)
    numbers = ("max_lag", "first_frame")  # 0 says something
    given = {key: value for key, value in (settings or {}).items() if value or key in numbers}
    with demo_recording.unpacked_recording(wheel) as preset:
        try:
            return build_dataset(plan_multicam(**preset | given), out, **options)
        except LiftjaxError as error:  # the temporary folder would tell the user nothing
            message = str(error).replace(str(preset["source"]), str(wheel))
            raise LiftjaxError(message) from error


def plan_multicam(
    source,
    *,
    calibration=None,
    unit: str = "m",
    cameras: Sequence[str] = (),
    test: Sequence[str] = (),
    stride: int = 1,
    max_lag: int = MAX_LAG,
    skeleton: str = "human36m",
    joint_set: str | None = None,
    on_video: bool = False,
    first_frame: int | None = None,
    full_frames: bool = False,
    only: str | None = None,
    names: tuple[str, str] | None = None,
    metadata: dict | None = None,
    files: dict[str, bytes] | None = None,
) -> DatasetPlan:
    """Finds, follows and triangulates people; prints how well that went.

    Args: as the options' help describes them, and
      only: the path of one recording below the source, to take no other.
      names: subject and action of all records, instead of the folders' names.
      metadata, files: to store with the records.
    """
    if stride < 1:
        raise LiftjaxError(f"--stride {stride}: give 1 or more.")
    if first_frame is not None and first_frame < 0:
        raise LiftjaxError(f"--first-frame {first_frame}: give 0 or more.")
    found, problems = find_recordings(source, calibration, cameras, unit, only, names)
    tested = _tested(found, test)
    parts: dict[str, list[tuple[Unit, ...]]] = {"train": [], "test": []}
    reports, lags = {}, {}
    for each in found:
        recording = read_recording(each, joint_set, on_video, first_frame)
        check_convertible(recording.joint_set, skeleton)
        poses = reconstruct(recording, skeleton, max_lag, stride)
        problems += [*recording.problems, *poses.problems]
        reports[each.name] = reprojection_report(recording, poses)
        camera_names = [camera.name for camera in each.cameras]
        lags[each.name] = dict(zip(camera_names, poses.lags.frames, strict=True))
        print(format_report(each.name, reports[each.name]))
        for split, rows in _split_rows(len(poses.frames), tested.get(each.name)).items():
            units = camera_units(recording, poses, rows, full_frames)
            parts[split] += [(unit,) for unit in units]
    report = json.dumps({"recordings": reports}, indent=2) + "\n"
    return DatasetPlan(
        name="multicam",
        skeleton=skeleton,
        settings={
            "cameras": list(cameras),
            "names": names,
            "test": sorted(test),
            "stride": stride,
            "max_lag": max_lag,
            "calibration_unit": unit,
            "detections_skeleton": joint_set,
            "detections_on_video": on_video,
            "first_frame": first_frame,
            "full_frames": full_frames,
            "source_sha256": _digest(found),
        },
        parts=parts,
        metadata={**(metadata or {}), "lags": lags},
        problems=problems,
        files={**(files or {}), "report.json": report.encode()},
        unit="camera runs",
    )


def _tested(found: Sequence[RecordingFiles], test: Sequence[str]) -> dict[str, bool]:
    """Recording name -> whether it is for testing; empty if each is to be cut in two."""
    if not test:
        return {}
    chosen = set()
    for name in test:
        matching = {f.name for f in found if name in (f.name, f.action)}
        if not matching:
            raise unknown_name("recording", name, [f.name for f in found])
        if len(matching) > 1:
            raise LiftjaxError(f"--test {name} may be {' or '.join(sorted(matching))}; say which.")
        chosen |= matching
    if len(chosen) == len(found):
        raise LiftjaxError("--test names all recordings; none is left for training.")
    return {f.name: f.name in chosen for f in found}


def _split_rows(total: int, for_test: bool | None) -> dict[str, np.ndarray]:
    """Split -> indices of its poses: all in one, or for None the beginning and the end."""
    if for_test is not None:
        return {"test" if for_test else "train": np.arange(total)}
    if total < 2:
        raise LiftjaxError("The recording has one frame; that is not enough to train and test.")
    train, test = (max(1, round(share * total)) for share in (TRAIN_SHARE, TEST_SHARE))
    return {"train": np.arange(train), "test": np.arange(total - test, total)}


def _digest(found: Sequence[RecordingFiles]) -> str:
    """Of all calibrations and detections: what the poses are computed from."""
    digest = hashlib.sha256()
    for recording in found:
        paths = [recording.calibration]
        for path in recording.detections:
            paths += [path] if path.is_file() else sorted(path.glob("*.json"))
        for path in paths:
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
