"""Every command and every Python example of the README is run, where it is long at tiny scale."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from data_prep.__main__ import main as data_prep
from liftjax.benchmark import torch_peer
from liftjax.cli import main as liftjax

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)

DETECTOR = ["--config.detector.name=hrnet_tiny", "--config.detector.image_size=(64,64)"]
TRAINING = ["--config.steps=2", "--config.batch_size=4"]
# What makes each command short; the demo and the recording have tests of their own.
RTMPOSE = ["--config.detector.name=rtmpose_tiny", "--config.detector.image_size=(64,64)"]
SMALL = {
    "data_prep synthetic": ["--train=16", "--test=8", "--poses=60", "--height=48", "--width=36"],
    "train --config lifter": [*TRAINING, "--config.lifter.overrides.{size}"],
    "--config.detector.name=rtmpose": [*TRAINING, *RTMPOSE],
    "train --config ft2d": [*TRAINING, *DETECTOR],
    "train --config multi_model": [*TRAINING, *DETECTOR],
    "evaluate --workdir": [],
    "models": [],
    "import-weights": [],
    "export": [],
    "benchmark": ["--detector=hrnet_tiny", "--repeats=1", "--batch-size=1"],
}
LIFTER_SIZE = {"mixste": "embed_dim=16", "iganet": "channels=16"}
ELSEWHERE = ("liftjax demo", "data_prep multicam", "pytest")


def commands() -> list[list[str]]:
    """The words of every shell line, continued lines joined, `a && b` taken apart."""
    text = "\n".join(body for language, body in BLOCKS if language == "sh")
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(part) for line in lines if line for part in line.split("&&")]


def test_it_opens_with_the_demo_and_the_tests():
    first = README.split("```sh\n")[1].splitlines()[:2]
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
    for words in commands():
        line = " ".join(words)
        if words[:2] == ["pip", "install"] or any(other in line for other in ELSEWHERE):
            continue
        assert words[:2] == ["python", "-m"], line
        key = next((key for key in SMALL if key in line), None)
        assert key, f"no tiny version of: {line}"
        name = next((name for name in LIFTER_SIZE if f"lifter.name={name}" in line), "mixste")
        extra = [word.replace("{size}", LIFTER_SIZE[name]) for word in SMALL[key]]
        run = {"liftjax": liftjax, "data_prep": data_prep}[words[2]]
        assert run([*words[3:], *extra]) == 0, line
        ran.add(key)
    assert ran == set(SMALL)


@pytest.mark.parametrize("code", [body for language, body in BLOCKS if language == "python"])
def test_the_python_examples_run(code):
    exec(code.replace("hrnet_w32", "hrnet_tiny").replace("384, 288", "128, 96"), {})
