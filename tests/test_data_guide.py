"""Every command of docs/data.md is run, on small sources in the layouts that it names."""

import shutil
from pathlib import Path

from liftjax.data.records import PoseDataset
from tests.data_prep.coco import photographs
from tests.data_prep.human36m import trees
from tests.data_prep.lifting import files
from tests.data_prep.multicam import synthetic_recording
from tests.data_prep.panoptic import studio
from tests.documents import TINY_DETECTOR, TINY_TRAINING, commands, run

ONE_PROCESS = ["--processes=1"]
SMALL = {
    "--source Human3.6M": [*ONE_PROCESS, "--train-stride=1", "--test-stride=1"],
    "data_prep panoptic": [
        *ONE_PROCESS, "--sequences", studio.TRAIN, studio.TEST, "--cameras", "00_03",
    ],
    "data_prep coco": ONE_PROCESS,
    "data_prep multicam": ONE_PROCESS,
    "data_prep lifting": ONE_PROCESS,
    "data_prep synthetic": ["--train=4", "--test=0", "--poses=0", "--height=48", "--width=36"],
    "data_prep merge": [],
    "--config coco_h36m": [*TINY_TRAINING, *TINY_DETECTOR, "--config.data.workers=0"],
    "--config lifter": [*TINY_TRAINING, "--config.lifter.overrides.channels=8"],
    "evaluate": ["--config.data.eval_batch_size=16"],
    "export-2d": [],
    "benchmark data": ["--repeats=1", "--steps=2", "--detector=hrnet_tiny", "--batch-size=4"],
}  # fmt: skip


def write_sources():
    takes = trees.takes(
        [(s, "Directions", 1) for s in ("S1", "S5", "S6", "S7", "S8", "S9", "S11")], frames=3
    )
    trees.write_archive(Path("Human3.6M"), takes)
    for name in (studio.TRAIN, studio.TEST):
        studio.write(Path("panoptic"), name, nodes=(3,))
    photographs.write(Path("coco"))
    synthetic_recording.write_source(Path("footage"))
    files.save_3d("data_3d_h36m.npz", files.poses(sequences=("Directions 1",), frames=30))


def test_the_commands_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sources()
    ran = set()
    for words in commands("docs/data.md"):
        line = " ".join(words)
        key = next((key for key in SMALL if key in line), None)
        assert key, f"no tiny version of: {line}"
        ran.add(key)
        if "--shard" in line:
            shutil.rmtree("data/human36m")
            for shard in ("0/2", "1/2"):
                run([*words[:-1], shard], SMALL[key])
            continue
        if key == "export-2d":
            detector = [*TINY_TRAINING, *TINY_DETECTOR, "--config.data.dir=data/human36m"]
            run(
                ["python", "-m", "liftjax", "train", "--config", "ft2d", "--workdir", "runs/multi"],
                detector,
            )
        run(words, SMALL[key])
    assert ran == set(SMALL)
    assert len(PoseDataset.open("data/human36m", "train")) == 5 * 4 * 3
