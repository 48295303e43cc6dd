"""The pages of the repository as things to try: commands, Python examples, links.

A page is covered as soon as it exists. Of every command the arguments are parsed and the recipe is
built; then the page is gone through from top to bottom in an empty directory, as a reader would:

- a command (`sh` and `bash` blocks) runs with what TINY adds to make it short, unless PARSED_ONLY
  says why not. What a scheduler or launcher would start elsewhere runs here, alone;
- a `python` block is executed, with the networks that SMALLER names; one whose first line is a
  comment with a file's name is saved as that file. A `py` block is a signature;
- the files and runs that its commands read, and nobody can download, are made by PREPARE in
  test_pages.py.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from data_prep import __main__ as data_prep
from liftjax import cli
from liftjax.recipes import load_recipe

ROOT = Path(__file__).parents[1]
PAGES = [
    str(path.relative_to(ROOT))
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
]

EXTRAS = ("cpu", "data", "people", "report", "video", "all", "onnx", "docs", "cuda", "tpu", "gcs")

TINY_DETECTOR = ["--config.detector.name=hrnet_tiny", "--config.detector.image_size=(64,64)"]
TINY_TRAINING = [
    "--config.steps=2", "--config.batch_size=4", "--config.optim.warmup_steps=0",
    "--config.data.workers=0",
]  # fmt: skip
_RTMPOSE = ["--config.detector.name=rtmpose_tiny", "--config.detector.image_size=(64,64)"]
_ONE_PROCESS = "--processes=1"
_SMALL_PICTURES = ["--height=48", "--width=36"]

# What makes a command short; the first whose pattern is found in the line.
TINY: dict[str, list[str]] = {
    r"data_prep synthetic .*--clip-frames": [
        "--clip-frames=30", "--train=60", "--test=30", "--poses=60", *_SMALL_PICTURES,
    ],
    "data_prep synthetic": ["--train=20", "--test=8", "--poses=60", *_SMALL_PICTURES],
    "data_prep human36m": [_ONE_PROCESS, "--train-stride=1", "--test-stride=1"],
    "data_prep panoptic": [
        _ONE_PROCESS, "--sequences", "171204_pose1", "171026_pose3", "--cameras", "00_03",
    ],
    "data_prep merge": [],
    "data_prep": [_ONE_PROCESS],
    r"train .*lifter\.name=mixste": [
        *TINY_TRAINING, *(f"--config.lifter.overrides.{o}" for o in ("embed_dim=16", "depth=1")),
    ],
    r"train .*lifter\.name=iganet": [
        *TINY_TRAINING, *(f"--config.lifter.overrides.{o}" for o in ("channels=16", "layers=1")),
    ],
    r"train .*lifter\.name=videopose3d": [*TINY_TRAINING, "--config.lifter.overrides.channels=8"],
    "train --config lifter ": TINY_TRAINING,
    r"train .*detector\.name=rtmpose": [*TINY_TRAINING, *_RTMPOSE],
    r"train .*detector\.name=plain": [*TINY_TRAINING, "--config.detector.image_size=(64,64)"],
    "train .*evaluate_every": [*TINY_TRAINING, *TINY_DETECTOR, "--config.evaluate_every=1"],
    "liftjax train": [*TINY_TRAINING, *TINY_DETECTOR],
    "liftjax evaluate": ["--config.data.eval_batch_size=16"],
    "liftjax (export|export-2d|import-weights|models|predict|weights)": [],
    "liftjax demo": ["--scale=tiny", "--steps=4"],
    "liftjax tables": ["--dry-run"],
    "benchmark data": ["--repeats=1", "--steps=2", "--detector=hrnet_tiny", "--batch-size=4"],
    "benchmark": [
        *("--detector=hrnet_tiny", "--repeats=1", "--batch-size=1", "--peer=none", "--lifters=0"),
        *("--map-batch-size=2", "--precision=float32"),
    ],
}  # fmt: skip
PARSED_ONLY = {
    "liftjax weights ": "it fetches files; tests/weights fetches some from a server of its own",
    "checkpoint=dwpose_l/wholebody": "it fetches a file; tests/weights starts a training so",
    "predict photo.jpg": "it fetches files; tests/weights has such a call with a server of its own",
    "--person-detector": "it takes a file that is not ours; tests/inference runs one of its kind",
    "--out docs/benchmarks": "the same as the benchmark of docs/performance.md, for hours",
    "benchmark cost": "it compiles the largest networks, for TPUs with libtpu",
}
NEEDS = {"--format onnx": "jax2onnx"}  # an extra: without it these are parsed alone
SMALLER = {"hrnet_w32": "hrnet_tiny", "384, 288": "128, 96"}
ELSEWHERE = ("gcloud", "srun", "scontrol")  # programs of other machines


def text(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, body) of every fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", text(page), flags=re.DOTALL | re.MULTILINE)


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text(page), flags=re.DOTALL | re.MULTILINE)


def commands(shell: str) -> Iterator[list[str]]:
    """The words of every command of a shell block, with variables before it, keywords left out."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        command = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|"):
                if command and command[0] not in ("for", "if", "fi", "done", "wait"):
                    yield command
                command = []
            elif command or word not in ("do", "then"):
                command.append(word)


def local(words: list[str]) -> Iterator[list[str]]:
    """What a command would run here and alone: nothing, itself, or what it starts elsewhere."""
    launched = [w.removeprefix("--command=") for w in words if w.startswith("--command=")]
    if launched:
        words = shlex.split(launched[0])
    elif words[0] == "srun":
        words = words[1:]
    elif words[0] in ELSEWHERE:
        return
    words = [re.sub(r"^(gs://BUCKET|/shared)/", "", word) for word in words]
    if "--num-processes" in words:
        words[words.index("--num-processes") + 1] = "1"
    if any("$SLURM_ARRAY_TASK_ID/" in word for word in words):
        yield from ([re.sub(r"^\$SLURM\w+/.*", f"{i}/2", w) for w in words] for i in (0, 1))
    else:
        yield words


def check(words: list[str]) -> None:
    """Parses the arguments of a command and builds its recipe; raises what is wrong with it."""
    words = without_variables(words)
    if words[:2] == ["python", "-m"] and words[2] in ("liftjax", "data_prep"):
        parse(words[2], words[3:])
    elif words[:2] == ["pip", "install"]:
        _check_install(words[2:])
    elif words[0] != "export" and words[:3] != ["python", "-m", "pytest"] and words[0] != "ruff":
        raise ValueError(f"a program that tests do not know: {words}")


def without_variables(words: list[str]) -> list[str]:
    """NAME=value before a command left out."""
    first = next(i for i, word in enumerate(words) if not re.match(r"[A-Z_]+=", word))
    return words[first:]


def parse(program: str, arguments: list[str]) -> None:
    if program == "data_prep":
        data_prep._parser(arguments[:1]).parse_args(arguments)
        return
    rest, overrides = cli._split(arguments, "--config.")
    rest, _ = cli._split(rest, "--model.")
    args = cli._parser().parse_args(rest)
    assert hasattr(args, "config") or not overrides, arguments
    if hasattr(args, "config"):
        load_recipe(args.config or "ft2d", overrides)


def _check_install(arguments: list[str]) -> None:
    """The files and extras that `pip install` is told of exist."""
    if arguments[0] == "-r":
        assert (ROOT / arguments[1]).is_file(), arguments
    for extra in re.findall(r"(?:\.|liftjax)\[(\w+)\]", " ".join(arguments)):
        assert extra in EXTRAS, arguments


def go_through(page: str) -> list[str]:
    """Does what the page says, in the working directory; returns the lines that ran."""
    ran, variables = [], {}
    for language, body in blocks(page):
        if language == "python":
            _python(body)
        if language not in ("sh", "bash"):
            continue
        for words in (one for given in commands(body) for one in local(given)):
            if words[0] == "export":
                variables |= dict(word.split("=", 1) for word in words[1:])
            elif _runs(words):
                run(without_variables(words), tiny(words), variables)
                ran.append(shlex.join(words))
    return ran


def _python(body: str) -> None:
    file = re.match(r"# (\w+\.py)\n", body)
    if file:
        Path(file[1]).write_text(body)
        return
    for large, small in SMALLER.items():
        body = body.replace(large, small)
    exec(body, {})


def _runs(words: list[str]) -> bool:
    line = " ".join(words)
    ours = re.search(r"python -m (liftjax|data_prep) ", line)
    missing = (part for part, module in NEEDS.items() if not importlib.util.find_spec(module))
    return bool(ours) and not any(part in line for part in (*PARSED_ONLY, *missing))


def tiny(words: list[str]) -> list[str]:
    """The further arguments that make a command short."""
    line = " ".join(words)
    for pattern, extra in TINY.items():
        if re.search(pattern, line):
            return extra
    raise ValueError(f"nothing in TINY makes this short, nothing in PARSED_ONLY excuses it: {line}")


def run(words: list[str], extra: list[str], variables: dict[str, str] | None = None) -> None:
    """Runs `python -m liftjax|data_prep ...` with further arguments; it must succeed.

    With environment variables it has a process of its own.
    """
    assert words[:2] == ["python", "-m"], words
    if variables:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, *words[1:], *extra]
        subprocess.run(command, check=True, env=os.environ | variables | {"PYTHONPATH": path})
        return
    program = {"liftjax": cli.main, "data_prep": data_prep.main}[words[2]]
    assert program([*words[3:], *extra]) == 0, words


def spans(page: str) -> list[list[str]]:
    """Commands within sentences, in backticks."""
    found = re.findall(r"`(python -m (?:liftjax|data_prep) [^`]+)`", prose(page))
    return [shlex.split(" ".join(one.split())) for one in found]


def links(page: str) -> list[str]:
    """Targets of links and pictures that are not on the web."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in found if not re.match(r"https?:|mailto:", target)]


def anchors(page: str) -> set[str]:
    """What a link to a heading may be called, as GitHub does it."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    explicit = re.findall(r'<a (?:id|name)="([^"]+)"', prose(page))
    return {name.strip().replace(" ", "-") for name in plain} | set(explicit)


def paths(page: str) -> list[str]:
    """Files and folders of the repository that sentences name in backticks."""
    return re.findall(r"`((?:liftjax|configs|data_prep|tests|docs)/[\w./]*)`", prose(page))
