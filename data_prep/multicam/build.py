"""The `multicam` command: from calibrated footage to a data set.

What a source directory looks like is told in :mod:`data_prep.multicam.layout`, what detections and
calibrations may look like in :mod:`detections` and :mod:`calibration`.
"""

import argparse
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_prep import pictures
from data_prep.building import DatasetPlan, Unit, add_build_arguments, build_dataset, parse_shard
from data_prep.finishing import check_replaceable
from data_prep.multicam import demo_recording
from data_prep.multicam.calibration import UNITS_M
from data_prep.multicam.layout import Files, find_recordings
from data_prep.multicam.recording import (
    MAX_LAG,
    Poses,
    check_convertible,
    read_recording,
    reconstruct,
)
from data_prep.multicam.records import units
from data_prep.multicam.report import check, format_report
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.skeletons import SKELETONS

TRAIN_SHARE, TEST_SHARE = 0.6, 0.3  # of the frames, from both ends; those between are left out
CACHE = "~/.cache/liftjax"  # where downloads go
_TARGETS = ("human36m", "panoptic")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--source",
        metavar="DIR",
        help="a recording, or a directory with several, as Pose2Sim lays them out: videos/ (cam01."
        "mp4 ...), pose/ (cam01_json/ ...: OpenPose, RTMPose or MMPose JSON) and calibration/ "
        "(*.toml as Pose2Sim and Anipose write, or *.qca.txt), in the recording or above",
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
        help="recordings to test on; without it, the last 30%% of each recording's frames are for "
        "testing and the first 60%% for training",
    )
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=(),
        metavar="NAME",
        help="the cameras to use, as the calibration calls them; NAME=FILE if its video and "
        "detections have another name; default: all",
    )
    parser.add_argument(
        "--stride", type=int, default=1, metavar="N", help="keep every N-th frame; default: all"
    )
    parser.add_argument(
        "--no-sync", action="store_true", help="take the cameras to be in step; else lags of whole "
        f"frames, at most {MAX_LAG}, are estimated from the person's motion"
    )  # fmt: skip
    parser.add_argument(
        "--skeleton", choices=_TARGETS, default=_TARGETS[0], help="joints; default: %(default)s"
    )
    parser.add_argument(
        "--detections-skeleton",
        choices=sorted(SKELETONS),
        metavar="NAME",
        help=f"joints of the detections ({', '.join(sorted(SKELETONS))}), if the file does not say "
        "and they are not the usual ones of their number",
    )
    parser.add_argument(
        "--detections-on",
        choices=("calibration", "video"),
        default="calibration",
        help="whose pixels the detections are in, where a video was scaled or got bars after the "
        "calibration; default: %(default)s",
    )
    parser.add_argument(
        "--first-frame",
        type=int,
        metavar="N",
        help="the number of a video's first frame in the names or ids of the detections, 0 or 1 as "
        "a rule; default: found from the numbers and the videos' lengths, where these show it",
    )
    parser.add_argument("--calibration", metavar="FILE", help="instead of the nearest one")
    parser.add_argument(
        "--calibration-unit", choices=sorted(UNITS_M), default="m", help="of a .toml file's "
        "translations; default: %(default)s"
    )  # fmt: skip
    pictures.add_picture_arguments(parser)
    add_build_arguments(parser)
    parser.add_argument("--wheel", help=f"{demo_recording.WHEEL} on disk, instead of a download")
    parser.add_argument("--cache", default=CACHE, help="where downloads go; default: %(default)s")


def run_command(args: argparse.Namespace) -> None:
    options = {"processes": args.processes, "shard": parse_shard(args.shard)}
    check_replaceable(args.out)
    settings = {
        "calibration": args.calibration,
        "unit": args.calibration_unit,
        "cameras": args.cameras,
        "test": args.test,
        "stride": args.stride,
        "max_lag": 0 if args.no_sync else MAX_LAG,
        "skeleton": args.skeleton,
        "joint_set": args.detections_skeleton,
        "on_video": args.detections_on == "video",
        "first_frame": args.first_frame,
        "full_frames": args.full_frames,
    }
    if args.demo_recording:
        build_demo_recording(args.out, args.wheel, args.cache, settings, **options)
    else:
        build_dataset(plan(args.source, **settings), args.out, **options)


def build_demo_recording(
    out, wheel: str | None = None, cache: str = CACHE, settings: dict | None = None, **options
) -> dict | None:
    """Fetches the demo recording, unless `wheel` has it, and builds its data set in `out`.

    Args:
      settings: of :func:`plan`, to differ from the demo's own.
      options: of :func:`data_prep.building.build_dataset`.
    """
    check_replaceable(out)
    wheel = wheel or demo_recording.fetch(cache)
    numbers = ("max_lag", "first_frame")  # 0 says something
    given = {key: value for key, value in (settings or {}).items() if value or key in numbers}
    with demo_recording.unpacked(wheel) as (folder, license_text):
        preset = {
            "calibration": folder / demo_recording.CALIBRATION,
            "cameras": demo_recording.CAMERAS,
            "only": demo_recording.TRIAL,
            "names": (demo_recording.SUBJECT, demo_recording.ACTION),
            "metadata": {"source": demo_recording.PACKAGE, "license": "BSD-3-Clause"},
            "files": {"LICENSE-pose2sim.txt": license_text.encode()},
        }
        try:
            return build_dataset(plan(folder, **preset | given), out, **options)
        except LiftjaxError as error:  # the temporary folder would tell the user nothing
            raise LiftjaxError(str(error).replace(str(folder), str(wheel))) from error


def plan(
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
    """Finds, follows and triangulates; prints how well that went. See the options' help.

    Args:
      only: the one recording to take, by its path below the source.
      names: subject and action of all records, instead of the folders' names.
      metadata, files: to store with the records.
    """
    if stride < 1:
        raise LiftjaxError(f"--stride {stride}: give 1 or more.")
    if first_frame is not None and first_frame < 0:
        raise LiftjaxError(f"--first-frame {first_frame}: give 0 or more.")
    found, problems = find_recordings(source, calibration, cameras, unit, only, names)
    tested = _tested(found, test)
    splits: dict[str, list[tuple[Unit, ...]]] = {"train": [], "test": []}
    reports = {}
    for each in found:
        recording = read_recording(each, joint_set, on_video, first_frame)
        check_convertible(recording.joint_set, skeleton)
        poses = reconstruct(recording, skeleton, max_lag, stride)
        problems += [*recording.problems, *poses.problems]
        reports[each.name] = check(recording, poses)
        print(format_report(each.name, reports[each.name]))
        for split, rows in _rows(poses, tested.get(each.name)).items():
            splits[split] += [(made,) for made in units(recording, poses, rows, full_frames)]
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
        parts=splits,
        metadata={**(metadata or {}), "lags": _lags(reports)},
        problems=problems,
        files={**(files or {}), "report.json": _json({"recordings": reports})},
        unit="camera runs",
    )


def _tested(found: Sequence[Files], test: Sequence[str]) -> dict[str, bool]:
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


def _rows(poses: Poses, for_test: bool | None) -> dict[str, np.ndarray]:
    """Split -> indices of its poses: all in one, or for None the beginning and the end."""
    total = len(poses.frames)
    if for_test is not None:
        return {"test" if for_test else "train": np.arange(total)}
    train, test = (max(1, round(share * total)) for share in (TRAIN_SHARE, TEST_SHARE))
    if total < 2:
        raise LiftjaxError("The recording has one frame; that is not enough to train and test.")
    return {"train": np.arange(train), "test": np.arange(total - test, total)}


def _lags(reports: dict) -> dict:
    return {
        name: {camera: c["lag_frames"] for camera, c in report["cameras"].items()}
        for name, report in reports.items()
    }


def _digest(found: Sequence[Files]) -> str:
    """Of all calibrations and detections: what the poses are computed from."""
    digest = hashlib.sha256()
    for file in _read_files(found):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _read_files(found: Sequence[Files]) -> Iterable[Path]:
    for files in found:
        yield files.calibration
        for path in files.detections:
            yield from [path] if path.is_file() else sorted(path.glob("*.json"))


def _json(document: dict) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()
