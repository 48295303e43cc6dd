"""The core requirements are enough to train, and what needs an extra says which in one line."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.__main__ import COMMANDS
from liftjax import cli
from tests.documents import ROOT, TINY, TINY_DETECTOR, TINY_TRAINING
from tests.test_packaging import copy_sources

# What the extras bring, and PyTorch.
MODULES = (
    "av", "cdflib", "h5py", "matplotlib", "altair", "vl_convert", "jinja2", "markupsafe",
    "jax2onnx", "onnx", "onnxruntime", "gcsfs", "griffe", "torch",
)  # fmt: skip

# Runs command lines one after another as if the modules were not installed; prints the outcomes.
SCRIPT = """
import contextlib, io, json, sys

class Missing:
    def find_spec(name, path, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing)
from data_prep.__main__ import main as data_prep
from liftjax.cli import main as liftjax
outcomes, stderr = [], sys.stderr
for program, *arguments in json.load(sys.stdin):
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(stderr):
        try:
            status = {"data_prep": data_prep, "liftjax": liftjax}[program](arguments)
        except SystemExit as stop:
            status = stop.code
    outcomes.append((status, said.getvalue()))
print(json.dumps(outcomes))
"""

_TRAINING, _DETECTOR = " ".join(TINY_TRAINING), " ".join([*TINY_DETECTOR, *TINY_TRAINING])
LIFTER = [
    f"data_prep synthetic --out data/synthetic {' '.join(TINY['data_prep synthetic'])}",
    "liftjax train --config lifter --workdir lifter --config.lifter.name=videopose3d "
    f"--config.lifter.overrides.channels=8 {_TRAINING}",
    "liftjax evaluate --workdir lifter",
    "liftjax export --checkpoint lifter --format safetensors --out lifter.safetensors",
    "liftjax import-weights lifter.safetensors --out again",
]
DETECTOR = [
    *LIFTER,
    f"liftjax train --config ft2d --workdir base {_DETECTOR}",
    "liftjax evaluate --workdir base --config.lifters.videopose3d=lifter",
    "liftjax export --checkpoint base --format safetensors --out base.safetensors",
    "liftjax export --checkpoint base --format stablehlo --out base.stablehlo",
    "liftjax predict man.jpg --detector base --lifter lifter --out out",
    "liftjax models",
]

VIDEO, DATA, REPORT, ONNX, PEOPLE = (
    rf"pip install '(liftjax|\.)\[{extra}\]'\."
    for extra in ("video", "data", "report", "onnx", "people")
)
REFUSED = {
    "liftjax predict walk.mp4 --detector base --out out": f"Reading videos needs PyAV: {VIDEO}",
    "liftjax predict man.jpg --detector base --out out --person-detector net.onnx": (
        f"net.onnx: running an ONNX file needs onnxruntime: {PEOPLE}"
    ),
    "liftjax demo": f"Drawing figures needs Matplotlib: {REPORT}",
    "liftjax tables 1 --scale tiny": REPORT,
    "liftjax export --model simple_baseline --skeleton human36m --format onnx --out x.onnx": (
        rf"--format onnx \(unlike stablehlo\) needs jax2onnx and onnxruntime: {ONNX}"
    ),
    "liftjax export --model simple_baseline --skeleton human36m --format torch --out x.pth": (
        r"--format torch \(unlike safetensors\) needs PyTorch: pip install torch\."
    ),
    "data_prep human36m --source archive --out h36m": f"Reading .cdf files needs cdflib: {DATA}",
    "data_prep human36m --source fetch --out h36m": f"Reading annot.h5 needs h5py: {DATA}",
}


def outcomes(folder: Path, commands, missing=(), python=sys.executable) -> list[tuple[int, str]]:
    """The exit status of each command line, and what it wrote to stderr."""
    given = json.dumps([shlex.split(command) for command in commands])
    run = subprocess.run(
        [str(python), "-c", SCRIPT, *missing],
        input=given, cwd=folder, stdout=subprocess.PIPE, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT) if python == sys.executable else ""},
    )  # fmt: skip
    return [tuple(outcome) for outcome in json.loads(run.stdout)]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A directory with what the commands read."""
    (tmp_path / "walk.mp4").write_bytes(b"no video")
    (tmp_path / "net.onnx").write_bytes(b"no network")
    cv2.imwrite(str(tmp_path / "man.jpg"), np.full((96, 72, 3), 99, np.uint8))
    for name in ("D2_Positions", "D3_Positions_mono"):
        (tmp_path / "archive" / "S1" / "MyPoseFeatures" / name).mkdir(parents=True)
    (tmp_path / "fetch" / "S1" / "Directions-1" / "imageSequence" / "54138969").mkdir(parents=True)
    (tmp_path / "fetch" / "S1" / "Directions-1" / "annot.h5").write_bytes(b"no file")
    return tmp_path


def check_work(folder: Path, work=DETECTOR, **where) -> None:
    """The core is enough for these commands."""
    for command, (status, said) in zip(work, outcomes(folder, work, **where), strict=True):
        assert status == 0, (command, said)


def check_help(folder: Path, **where) -> None:
    """Every command explains itself."""
    (commands,) = (action.choices for action in cli._parser()._actions if action.choices)
    lines = [f"liftjax {name} --help" for name in commands]
    lines += [f"data_prep {name} --help" for name in COMMANDS]
    for command, (status, said) in zip(lines, outcomes(folder, lines, **where), strict=True):
        assert (status, said) == (0, ""), command


def check_refusals(folder: Path, **where) -> None:
    """What needs an extra says which one."""
    for command, (status, said) in zip(REFUSED, outcomes(folder, REFUSED, **where), strict=True):
        assert status == 2, (command, said)
        assert re.search(rf"(\A|\n)error: [^\n]*{REFUSED[command]}\n\Z", said), (command, said)
        assert said.count("error: ") == 1


@pytest.mark.slow
@pytest.mark.parametrize("work", [LIFTER, DETECTOR], ids=["lifter", "detector"])
def test_the_core_trains_evaluates_imports_and_exports(folder, work):
    check_work(folder, work, missing=MODULES)


@pytest.mark.parametrize("check", [check_help, check_refusals])
def test_without_the_packages_of_all_extras(folder, check):
    check(folder, missing=MODULES)


@pytest.mark.slow
def test_in_a_fresh_environment_with_the_core_alone(folder, tmp_path):
    (tmp_path / "sources").mkdir()
    sources = copy_sources(tmp_path / "sources")
    with tempfile.TemporaryDirectory() as environment:  # a gigabyte that is not kept
        venv.create(environment, with_pip=True)
        (python,) = Path(environment).glob("*/python")
        pip = [python, "-m", "pip", "install", "--quiet", sources]
        installed = subprocess.run(pip, capture_output=True, text=True)
        if installed.returncode:
            pytest.skip(f"pip cannot install here: {installed.stderr.splitlines()[-1]}")
        for check in (check_work, check_help, check_refusals):
            check(folder, python=python)
