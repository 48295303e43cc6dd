"""Every command and every Python example of the README is run, where it is long at tiny scale."""

from pathlib import Path

import pytest
import torch

from liftjax.benchmark import torch_peer
from tests.documents import (
    ROOT,
    TINY_DETECTOR,
    TINY_TRAINING,
    blocks,
    cluster_commands,
    commands,
    run,
)

# What makes each command short; the demo, the tables and the recording have tests of their own.
RTMPOSE = ["--config.detector.name=rtmpose_tiny", "--config.detector.image_size=(64,64)"]
SMALL = {
    "data_prep synthetic": ["--train=16", "--test=8", "--poses=60", "--height=48", "--width=36"],
    "train --config lifter": [*TINY_TRAINING, "--config.lifter.overrides.{size}"],
    "--config.detector.name=rtmpose": [*TINY_TRAINING, *RTMPOSE],
    "train --config ft2d": [*TINY_TRAINING, *TINY_DETECTOR],
    "train --config multi_model": [*TINY_TRAINING, *TINY_DETECTOR],
    "evaluate --workdir": [],
    "models": [],
    "import-weights": [],
    "export": [],
    "benchmark": [
        *("--detector=hrnet_tiny", "--repeats=1", "--batch-size=1", "--peer=none", "--lifters=0"),
        "--map-batch-size=2",
    ],
}
LIFTER_SIZE = {"mixste": "embed_dim=16", "iganet": "channels=16"}
ELSEWHERE = (
    "liftjax demo",
    "liftjax tables",
    "data_prep multicam",
    "pytest",
    "gcloud",
    "--num-processes",
)


def test_it_opens_with_the_demo_and_the_tests():
    first = (ROOT / "README.md").read_text().split("```sh\n")[1].splitlines()[:2]
    assert first[0] == "pip install -r requirements.txt && python -m liftjax demo"
    assert first[1] == "pip install -r tests/requirements.txt && python -m pytest"


def write_as_published(path: Path):
    """An RTMPose for whole bodies in a file such as MMPose writes, but a small network."""
    peer = torch_peer.create_detector("rtmpose_tiny", image_size=(64, 64), num_joints=133)
    torch.save({"meta": {}, "state_dict": peer.state_dict()}, path)


def test_the_commands_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_as_published(tmp_path / "dw-ll_ucoco_384.pth")
    ran = set()
    for words in commands("README.md"):
        line = " ".join(words)
        if words[:2] == ["pip", "install"] or any(other in line for other in ELSEWHERE):
            continue
        key = next((key for key in SMALL if key in line), None)
        assert key, f"no tiny version of: {line}"
        name = next((name for name in LIFTER_SIZE if f"lifter.name={name}" in line), "mixste")
        extra = [word.replace("{size}", LIFTER_SIZE[name]) for word in SMALL[key]]
        run(words, extra)
        ran.add(key)
    assert ran == set(SMALL)
    # A finished run of the same recipe is there by now: these find it and end at once.
    started = cluster_commands("README.md")
    assert len(started) == 3, started
    for words in started:
        run(words, SMALL["train --config ft2d"])


@pytest.mark.parametrize(
    "code", [body for language, body in blocks("README.md") if language == "python"]
)
def test_the_python_examples_run(code):
    exec(code.replace("hrnet_w32", "hrnet_tiny").replace("384, 288", "128, 96"), {})
