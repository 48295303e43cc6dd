"""The commands of docs/tables.md: their arguments are parsed and their plans made, on small data.

The plans are not carried out here: `tests/experiments/paper` does that at tiny scale.
"""

import re
import shlex
from pathlib import Path

from tests.data_prep.human36m import trees
from tests.data_prep.panoptic import studio
from tests.documents import blocks, commands, run

PREP = ["python", "-m", "data_prep"]
HUMAN36M = [*PREP, "human36m", "--source", "Human3.6M", "--out", "data/human36m", "--processes=1"]
PANOPTIC = [*PREP, "panoptic", "--source", "panoptic", "--out", "data/panoptic", "--processes=1"]


def write_data():
    takes = trees.takes([(s, "Directions", 1) for s in ("S1", "S9", "S11")], frames=3)
    trees.write_archive(Path("Human3.6M"), takes)
    run(HUMAN36M, ["--subjects=S1,S9,S11", "--train-stride=1", "--test-stride=1"])
    for name in (studio.TRAIN, studio.TEST):
        studio.write(Path("panoptic"), name, nodes=(3,))
    run(PANOPTIC, ["--sequences", studio.TRAIN, studio.TEST, "--cameras", "00_03"])
    export = ["export", "--model=hrnet_w32", "--skeleton=human36m", "--format=orbax"]
    run(["python", "-m", "liftjax", *export, "--out=runs/coco_h36m"], [])


def table_commands() -> list[list[str]]:
    """Those of shell lines, and those inside scripts."""
    scripts = " ".join(body for language, body in blocks("docs/tables.md") if language == "bash")
    text = scripts.replace("\\\n", " ")
    inside = [shlex.split(one) for one in re.findall(r"python -m liftjax tables[^&\n]*", text)]
    return [*commands("docs/tables.md"), *inside]


def test_every_command_has_a_plan(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_data()
    found = table_commands()
    assert len(found) > 3
    for words in found:
        capsys.readouterr()
        run(words, [] if "--dry-run" in words else ["--dry-run"])
        assert re.search(r"\d+ runs, \d+ to do: about", capsys.readouterr().out)
    assert not list(tmp_path.glob("runs/tables*"))
