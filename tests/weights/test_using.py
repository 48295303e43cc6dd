"""Names of published weights in place of run directories: in Python, commands and recipes."""

import contextlib
import dataclasses
import errno
import json
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors import safe_open

import liftjax
from liftjax import evaluation, hosts
from liftjax.cli import main
from liftjax.errors import LiftjaxError
from liftjax.experiments import export_2d
from liftjax.interchange import importing
from liftjax.recipes import load_recipe
from liftjax.runtime.checkpoints import find_checkpoint, load_model, load_same_model
from liftjax.training import run
from liftjax.training.detector_task import detector_spec
from liftjax.weights.published import PUBLISHED
from liftjax.weights.using import resolve, resolve_lifters, resolve_recipe, run_directory
from liftjax.writing import could_not_write
from tests.data.builders import make_dataset
from tests.interchange.checkpoints import mmpose_hrnet, save, state_dict
from tests.weights.publisher import publish, publishing

DETECTOR, BACKBONE = "hrnet_tiny/coco", "hrnet_tiny/imagenet"
LIFTER = "videopose3d/h36m_from_coco"
PERSON_DETECTOR = "yolox_nano/coco"


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """Publishers of a small HRNet, its backbone and a small VideoPose3D, by name."""
    hrnet = state_dict("hrnet_tiny", "coco")
    trees = {
        DETECTOR: {"state_dict": mmpose_hrnet(hrnet), "meta": {}},
        BACKBONE: {k: v for k, v in hrnet.items() if not k.startswith("final_layer")},
        LIFTER: {"model_pos": state_dict("videopose3d"), "epoch": 80},
    }
    usual = {DETECTOR: "hrnet_w32/coco", BACKBONE: "hrnet_w32/imagenet"}
    with contextlib.ExitStack() as stack:
        running = {}
        for name, tree in trees.items():
            content = Path(save(tmp_path / "file.pth", tree)).read_bytes()
            running[name] = stack.enter_context(publishing(content))
            entry = dataclasses.replace(PUBLISHED[usual.get(name, name)], name=name)
            size = entry.image_size and (64, 64)
            monkeypatch.setitem(PUBLISHED, name, dataclasses.replace(entry, image_size=size))
            publish(monkeypatch, running[name], name)
        yield running


def test_a_detector_is_fetched_and_imported_once(servers, folder, capsys):
    directory = run_directory(DETECTOR)
    assert directory == folder / "runs" / "1" / DETECTOR
    detector, meta = load_model(directory, "detector")
    assert (detector.spec.skeleton, detector.spec.image_size) == ("coco", (64, 64))
    weights = PUBLISHED[DETECTOR]
    record = (folder / f"{weights.file}.sha256").read_text()
    assert (
        meta["origin"].items()
        >= {
            "name": DETECTOR,
            "address": weights.address,
            "sha256": record.split()[0],
            "licence": "Apache-2.0",
            "paper": weights.paper,
            "file": weights.file,
        }.items()
    )
    assert "licence: Apache-2.0" in capsys.readouterr().out
    (folder / weights.file).unlink()  # the run directory is all that is needed
    assert run_directory(DETECTOR, offline=True) == directory
    assert len(servers[DETECTOR].gets) == 1


def test_a_lifter_gets_its_joints_from_the_list(servers):
    lifter, meta = load_model(run_directory(LIFTER), "lifter")
    assert (lifter.spec.skeleton_2d, lifter.spec.skeleton) == ("coco", "human36m")
    assert meta["origin"]["licence"] == "CC BY-NC 4.0, for non-commercial use only"


def test_threads_import_once(servers, monkeypatch):
    calls, real = [], importing.import_weights
    monkeypatch.setattr(
        importing, "import_weights", lambda *a, **k: (calls.append(a), real(*a, **k))
    )
    threads = [threading.Thread(target=run_directory, args=(LIFTER,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert run_directory(LIFTER, offline=True).exists()


def test_a_disk_that_is_full_at_the_end_is_told(servers, folder, monkeypatch):
    def write(target):
        raise could_not_write(target, full) from full

    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(importing, "write_run_directory", lambda out, *_: write(out))
    with pytest.raises(LiftjaxError, match=r"The disk of .* is full; free some of it"):
        run_directory(LIFTER)
    assert not (folder / "runs" / "1" / LIFTER).exists()


def test_processes_that_have_joined_import_in_another(servers, folder, monkeypatch, capsys):
    """Writing a checkpoint, they would wait for each other."""

    def other_process(command, env):
        assert command[:3] == [sys.executable, "-m", "liftjax"]
        assert env["JAX_PLATFORMS"] == "cpu"
        with monkeypatch.context() as alone:
            alone.setattr(hosts, "_started", False)
            return subprocess.CompletedProcess(command, main(command[3:]))

    monkeypatch.setattr(subprocess, "run", other_process)
    monkeypatch.setattr(hosts, "_started", True)
    with pytest.raises(LiftjaxError, match=f"{DETECTOR} could not be fetched and imported"):
        run_directory(DETECTOR, skeleton="human36m", offline=True)
    assert "--offline forbids it" in capsys.readouterr().err
    directory = run_directory(DETECTOR, skeleton="human36m")
    assert load_model(directory, "detector")[0].spec.skeleton == "human36m"


def test_only_names_of_the_right_kind_are_resolved(servers, folder, tmp_path, monkeypatch):
    assert resolve(LIFTER, "lifter") == str(folder / "runs" / "1" / LIFTER)
    with pytest.raises(LiftjaxError, match=f"{LIFTER} is a lifter, not a keypoint detector"):
        resolve(LIFTER, "detector")
    with pytest.raises(
        LiftjaxError, match=f"{BACKBONE} is a backbone, not a keypoint detector or a lifter"
    ):
        resolve(BACKBONE, "detector", "lifter")
    module, path = object(), Path(LIFTER)
    for other in ("runs/multi", "gs://bucket/run", "", None, module, path):
        assert resolve(other, "detector") is other
    monkeypatch.chdir(tmp_path)
    path.mkdir(parents=True)
    assert resolve(LIFTER, "detector") == LIFTER  # what exists is a path


@pytest.mark.parametrize(("name", "head"), [(DETECTOR, "copied 13"), (BACKBONE, "drew the head")])
def test_training_starts_from_published_weights(servers, name, head, tmp_path, folder, capsys):
    """They are converted to the joints of the data."""
    make_dataset(tmp_path / "data", count=2)
    recipe = load_recipe(
        "single_model",
        [f"data.dir={tmp_path / 'data'}", "detector.name=hrnet_tiny", f"lifters.v={LIFTER}"],
    )
    if name == DETECTOR:
        recipe.detector.image_size = (64, 64)
    recipe.detector.checkpoint = name
    resolve_recipe(recipe)
    made = f"{name}_as_human36m"
    assert find_checkpoint(name).is_relative_to(folder / "runs" / "1" / made)
    assert find_checkpoint(LIFTER).is_relative_to(folder / "runs" / "1" / LIFTER)
    assert (recipe.detector.checkpoint, recipe.lifters.v) == (name, LIFTER)  # on any machine
    assert head in capsys.readouterr().out
    load_same_model(recipe.detector.checkpoint, detector_spec(recipe, "human36m"))


def test_the_command_weights_lists_and_fetches(servers, folder, capsys):
    assert main(["weights"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in PUBLISHED)
    assert "CC BY-NC 4.0, for non-commercial use only" in said
    assert str(folder) in said
    assert PUBLISHED["iganet/h36m"].page in said
    assert main(["weights", DETECTOR, BACKBONE]) == 0
    said = capsys.readouterr().out
    assert f"{DETECTOR}: {folder / 'runs' / '1' / DETECTOR}" in said
    assert f"{BACKBONE}: {folder / PUBLISHED[BACKBONE].file}" in said
    assert main(["weights", LIFTER, "--skeleton", "coco"]) == 2
    assert "cannot be converted" in capsys.readouterr().err
    assert main(["weights"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "hrnet_tiny" in line]
    assert [row.split()[-2] for row in rows] == ["imported", "file"]
    assert main(["weights", LIFTER, "--offline"]) == 2
    assert "--offline forbids it" in capsys.readouterr().err
    assert not servers[LIFTER].asked


def test_predict_takes_names(servers, tmp_path, capsys):
    image = np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    command = ["predict", str(tmp_path / "a.png"), "--detector", DETECTOR, "--lifter", LIFTER]
    command += ["--out", str(tmp_path / "out"), "--write", "json"]
    assert main(command) == 0
    found = json.loads((tmp_path / "out" / "a.json").read_text())
    assert found["checkpoints"] == {"detector": DETECTOR, "lifters": [LIFTER]}
    assert (found["skeleton_2d"]["name"], found["skeleton_3d"]["name"]) == ("coco", "human36m")
    assert main([*command, "--offline"]) == 0
    capsys.readouterr()
    assert main([*command, "--offline", "--person-detector", PERSON_DETECTOR]) == 2
    assert f"{PERSON_DETECTOR}: it has not been fetched" in capsys.readouterr().err
    predictor = liftjax.Predictor(DETECTOR, {"one": LIFTER})
    assert predictor(image).poses_m["one"].shape == (1, 17, 3)


@pytest.mark.parametrize("format", ["safetensors", "stablehlo"])
def test_the_licence_goes_into_what_is_exported(servers, format, tmp_path, capsys):
    out = tmp_path / f"net.{format}"
    assert main(["export", "--checkpoint", LIFTER, "--format", format, "--out", str(out)]) == 0
    terms = "CC BY-NC 4.0, for non-commercial use only"
    assert f"licence of videopose3d's weights: {terms}" in capsys.readouterr().out
    if format == "safetensors":
        with safe_open(out, framework="numpy") as file:
            assert file.metadata()["licence"] == terms
    else:
        (network,) = json.loads(Path(f"{out}.json").read_text())["networks"]
        assert network["licence"]["published_weights"] == terms


@pytest.mark.parametrize(
    ("command", "module", "function"),
    [
        (["train"], run, "train"),
        (["evaluate"], evaluation, "evaluate_run"),
        (["export-2d", "--out", "x"], export_2d, "export_keypoints"),
    ],
)
def test_recipes_take_names(command, module, function, servers, folder, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(module, function, lambda *args, **_: calls.append(args))
    workdir = str(tmp_path) if command == ["train"] else DETECTOR
    names = ["--config", "ft2d", f"--config.lifters.v={LIFTER}", "--workdir", workdir]
    assert main([*command, *names]) == 0
    assert main([*command, *names, "--offline"]) == 0
    for recipe, directory, *_ in calls:
        assert recipe.lifters.v == LIFTER
        assert find_checkpoint(LIFTER).is_relative_to(folder / "runs" / "1" / LIFTER)
        assert directory == (
            workdir if command == ["train"] else str(folder / "runs" / "1" / DETECTOR)
        )


def test_a_recipe_without_names_asks_nobody(folder):
    recipe = load_recipe("ft2d", ["lifters.v=runs/v", "detector.checkpoint=runs/base"])
    resolve_lifters(recipe)
    resolve_recipe(recipe)
    assert (recipe.lifters.v, recipe.detector.checkpoint) == ("runs/v", "runs/base")
    assert not folder.exists()
