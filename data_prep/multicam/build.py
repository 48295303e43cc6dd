"""The `multicam` command: from calibrated footage to a data set."""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.contact_sheet import contact_sheet
from data_prep.multicam import demo_recording
from data_prep.multicam.recording import Recording, check, make_records, reconstruct
from data_prep.building import check_replaceable, write_dataset
from liftjax.data.schema import Record
from liftjax.errors import LiftjaxError

TRAIN_SHARE, TEST_SHARE = 0.6, 0.3  # of the frames, from both ends; those between are left out
CACHE = "~/.cache/liftjax"  # where downloads go
_SHEET_FRAMES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--demo-recording",
        action="store_true",
        required=True,
        help="the demo recording of Pose2Sim: 3 cameras, 100 frames of a man on a beam",
    )
    parser.add_argument("--out", required=True, help="directory of the data set")
    parser.add_argument("--wheel", help=f"{demo_recording.WHEEL} on disk, instead of a download")
    parser.add_argument("--cache", default=CACHE, help="where downloads go; default: %(default)s")


def run(args: argparse.Namespace) -> None:
    build_demo_recording(args.out, args.wheel, args.cache)


def build_demo_recording(out, wheel: str | None = None, cache: str = CACHE) -> dict:
    """Fetches the demo recording, unless `wheel` has it, and builds its data set in `out`."""
    check_replaceable(out)
    wheel = wheel or demo_recording.fetch(cache)
    with tempfile.TemporaryDirectory() as folder:
        license_text = demo_recording.unpack(wheel, folder)
        metadata = {"source": demo_recording.PACKAGE, "license": "BSD-3-Clause"}
        files = {"LICENSE-pose2sim.txt": license_text.encode()}
        try:
            return build(demo_recording.read(folder), out, metadata, files)
        except LiftjaxError as error:  # the temporary folder would tell the user nothing
            raise LiftjaxError(str(error).replace(folder, str(wheel))) from error


def build(recording: Recording, out, metadata: dict, files: dict[str, bytes]) -> dict:
    """Writes the data set, report.json and contact_sheet.png to `out`; returns the report."""
    poses = reconstruct(recording)
    report = check(recording, poses)
    total = len(poses.frames)
    train, test = (max(1, round(share * total)) for share in (TRAIN_SHARE, TEST_SHARE))
    last_train, first_test = poses.frames[train - 1], poses.frames[-test]
    records = list(make_records(recording, poses))
    write_dataset(
        out,
        "multicam",
        {
            "train": (r for r in records if r.frame <= last_train),
            "test": (r for r in records if r.frame >= first_test),
        },
        {**metadata, "last_train_frame": int(last_train)},
        {
            **files,
            "report.json": (json.dumps(report, indent=2) + "\n").encode(),
            "contact_sheet.png": _sheet(records, poses.frames),
        },
    )
    print(format_report(report))
    print(f"Wrote {Path(out)}: {train} train and {test} test frames of each camera.")
    return report


def _sheet(records: Sequence[Record], frames: np.ndarray) -> bytes:
    """Frames spread over the recording, a row of them for each camera."""
    spread = np.linspace(0, len(frames) - 1, min(len(frames), _SHEET_FRAMES)).astype(int)
    chosen = set(frames[spread].tolist())
    return contact_sheet([r for r in records if r.frame in chosen], columns=len(chosen))


def format_report(report: dict) -> str:
    """The report as a table: median reprojection error in px (mm), joints by cameras."""
    cameras = report["cameras"]
    lines = [
        f"{report['frames']} frames; median reprojection error in px (mm)",
        f"{'':16}" + "".join(f"{name:>16}" for name in cameras),
    ]
    joints = next(iter(cameras.values()))["joints"]
    rows = [(joint, [c["joints"][joint] for c in cameras.values()]) for joint in joints]
    for name, cells in [*rows, ("all joints", list(cameras.values()))]:
        lines.append(f"{name:16}" + "".join(f"{_cell(cell):>16}" for cell in cells))
    if report["interpolated"]:
        counts = ", ".join(f"{joint} {n}" for joint, n in report["interpolated"].items())
        lines.append(f"frames in which a joint was interpolated: {counts}")
    if report["frames_without_person"]:
        lines.append(f"frames left out, the person not found: {report['frames_without_person']}")
    return "\n".join(lines)


def _cell(cell: dict) -> str:
    if cell["median_px"] is None:
        return "not seen"
    return f"{cell['median_px']:.1f} ({cell['median_mm']:.0f})"
