"""The commands in README.md and docs, to be run by tests."""

import re
import shlex
from pathlib import Path

from data_prep.__main__ import main as data_prep
from liftjax.cli import main as liftjax

ROOT = Path(__file__).parents[1]
TINY_DETECTOR = ["--config.detector.name=hrnet_tiny", "--config.detector.image_size=(64,64)"]
TINY_TRAINING = ["--config.steps=2", "--config.batch_size=4", "--config.optim.warmup_steps=0"]


def blocks(file: str) -> list[tuple[str, str]]:
    """(language, body) of every fenced block."""
    return re.findall(r"```(\w+)\n(.*?)```", (ROOT / file).read_text(), flags=re.DOTALL)


def commands(file: str) -> list[list[str]]:
    """The words of every shell line, continued lines joined, `a && b` taken apart."""
    text = "\n".join(body for language, body in blocks(file) if language == "sh")
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(part) for line in lines if line for part in line.split("&&")]


def cluster_commands(file: str) -> list[list[str]]:
    """What the lines that start processes elsewhere, or one of several, would run here alone.

    These are scripts for a scheduler (blocks of bash), --command=... of a launcher, and commands
    with --num-processes; their shared directories become local ones.
    """
    scripts = [shlex.split(line) for kind, body in blocks(file) if kind == "bash"
               for line in body.splitlines() if not line.startswith("#")]  # fmt: skip
    found = []
    for words in [*commands(file), *scripts]:
        remote = [w.removeprefix("--command=") for w in words if w.startswith("--command=")]
        words = shlex.split(remote[0]) if remote else words
        if "--num-processes" in words:
            words[words.index("--num-processes") + 1] = "1"
        elif not remote and words[0] != "srun":
            continue
        if "python" in words:
            local = [re.sub(r"^(gs://BUCKET|/shared)/", "", word) for word in words]
            found.append(local[local.index("python") :])
    return found


def run(words: list[str], extra: list[str]) -> None:
    """Runs `python -m liftjax|data_prep ...` with further arguments; it must succeed."""
    assert words[:2] == ["python", "-m"], words
    assert {"liftjax": liftjax, "data_prep": data_prep}[words[2]]([*words[3:], *extra]) == 0, words
