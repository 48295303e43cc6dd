"""What a page says is done, from top to bottom, at tiny scale (see tests/documents.py)."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from liftjax import registry
from liftjax.benchmark import torch_peer
from liftjax.data.records import PoseDataset
from liftjax.recipes import load_recipe
from tests.data_prep.coco import photographs
from tests.data_prep.human36m import trees
from tests.data_prep.lifting import files
from tests.data_prep.multicam import synthetic_recording
from tests.data_prep.panoptic import studio
from tests.documents import PAGES, TINY_DETECTOR, blocks, go_through, run, tiny

SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
PREP = ["python", "-m", "data_prep"]


def write_sources() -> None:
    """One small source of each kind that data_prep reads, where docs/data.md has them."""
    trees.write_archive(
        Path("Human3.6M"), trees.takes([(s, "Directions", 1) for s in SUBJECTS], frames=3)
    )
    for name in (studio.TRAIN, studio.TEST):
        studio.write(Path("panoptic"), name, nodes=(3,))
    photographs.write(Path("coco"))
    synthetic_recording.write_source(Path("footage"))
    files.save_3d("data_3d_h36m.npz", files.poses(sequences=("Directions 1",), frames=30))


def write_run(directory: str, model: str, *options: str) -> None:
    """A run directory of an untrained network, with the recipe that a training leaves there."""
    given = ["--model", model, "--skeleton=human36m", "--format=orbax", "--out", directory]
    run(["python", "-m", "liftjax", "export", *given], [*options])
    overrides = [option.removeprefix("--config.") for option in TINY_DETECTOR]
    Path(directory, "config.json").write_text(json.dumps(load_recipe("ft2d", overrides).to_dict()))


def write_people() -> None:
    words = [*PREP, "synthetic", "--out=data/synthetic"]
    run(words, tiny(words))


def write_detector() -> None:
    for directory in ("runs/base", "runs/multi"):
        write_run(directory, "hrnet_tiny", "--model.image_size=(64,64)")


def write_lifters() -> None:
    write_run("runs/lifters/mixste", "mixste", "--model.embed_dim=16", "--model.depth=1")
    write_run("runs/lifters/iganet", "iganet", "--model.channels=16", "--model.layers=1")


def write_pictures() -> None:
    """street.jpg, and street.mp4 of six frames."""
    frames = np.random.default_rng(0).integers(0, 255, (6, 240, 420, 3), np.uint8)
    cv2.imwrite("street.jpg", frames[0])
    video = cv2.VideoWriter("street.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 25, (420, 240))
    for frame in frames:
        video.write(frame)
    video.release()
    found = [{"image_id": "street.jpg", "bbox": [40, 20, 160, 210], "score": 0.9, "category_id": 1}]
    Path("detections.json").write_text(json.dumps(found))


def write_published() -> None:
    """An RTMPose for whole bodies in a file such as MMPose writes, but a small network."""
    peer = torch_peer.create_detector("rtmpose_tiny", image_size=(64, 64), num_joints=133)
    torch.save({"meta": {}, "state_dict": peer.state_dict()}, "dw-ll_ucoco_384.pth")


def write_paper_data() -> None:
    """The data sets and the detector that docs/tables.md names."""
    write_sources()
    one = ["--processes=1"]
    for name, options in {
        "human36m": ["--source=Human3.6M", "--train-stride=1", "--test-stride=1"],
        "panoptic": ["--source=panoptic", "--sequences", studio.TRAIN, studio.TEST,
                     "--cameras", "00_03"],
    }.items():  # fmt: skip
        run([*PREP, name, f"--out=data/{name}"], [*one, *options])
    write_run("runs/coco_h36m", "hrnet_w32")


# What the commands of a page read and no earlier command of it makes.
PREPARE: dict[str, list[Callable[[], None]]] = {
    "README.md": [write_pictures],
    "docs/training.md": [write_people, write_detector, write_lifters],
    "docs/data.md": [write_sources, write_detector],
    "docs/tables.md": [write_paper_data],
    "docs/predict.md": [write_pictures, write_detector, write_lifters],
    "docs/checkpoints.md": [write_published, write_detector, write_lifters],
}


def check_data() -> None:
    """Built at once, and in two shares."""
    for directory in ("data/human36m", "human36m"):
        assert len(PoseDataset.open(directory, "train")) == 5 * 4 * 3


def check_tables() -> None:
    assert not list(Path().glob("runs/tables*")), "a plan leaves nothing"


AFTERWARDS = {
    "docs/data.md": check_data,
    "docs/tables.md": check_tables,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory; networks that a page adds are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    modules, known = set(sys.modules), [dict(d) for d in (registry.DETECTORS, registry.LIFTERS)]
    yield tmp_path
    for presets, before in zip((registry.DETECTORS, registry.LIFTERS), known, strict=True):
        presets.clear()
        presets.update(before)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("page", list(filter(blocks, PAGES)))
def test_it_can_be_done(page, folder):
    for prepare in PREPARE.get(page, []):
        prepare()
    go_through(page)
    AFTERWARDS.get(page, lambda: None)()
