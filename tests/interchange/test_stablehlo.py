"""StableHLO files: what `jax.export` reads off the disk gives what the program gives."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save

from liftjax.errors import LiftjaxError
from liftjax.interchange import exporting, programs, stablehlo, verify
from liftjax.interchange.exporting import ProgramOptions
from tests.interchange.networks import CLIPS, LIFTER_SIZES, network
from tests.slow import one_in, slow

SMALL = ["linear_size=8"]


@pytest.mark.parametrize(
    ("name", "head"),
    [
        slow("hrnet_tiny", "poses"),
        slow("rtmpose_tiny", "maps"),
        slow("dwpose_t", "keypoints"),
    ],
)
def test_detectors(tmp_path, name, head):
    lifters = {other: network(other) for other in LIFTER_SIZES} if head == "poses" else None
    check(tmp_path, programs.detector_program(network(name), head, lifters=lifters))


@pytest.mark.parametrize("name", one_in(2, LIFTER_SIZES))
def test_lifters(tmp_path, name):
    check(tmp_path, programs.lifter_program(network(name, CLIPS.get(name, 1))))


def check(folder, program):
    """One file for three platforms; equal to the program at batch 1 and 5."""
    path = folder / "a.stablehlo"
    stablehlo.write(path, program)
    exported = jax.export.deserialize(path.read_bytes())
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert str(exported.in_avals[0].shape[0]) == "B"
    assert stablehlo.check(path, program).difference <= verify.TOLERANCE


@pytest.mark.parametrize("weights", ["inside", "beside"])
def test_lines_in_the_sidecar_run_the_file(tmp_path, monkeypatch, weights):
    exporting.export_network(
        str(tmp_path / "a.stablehlo"),
        format="stablehlo",
        model="simple_baseline",
        overrides=SMALL,
        options=ProgramOptions(weights=weights),
    )
    about = json.loads((tmp_path / "a.stablehlo.json").read_text())
    beside = tmp_path / "a.stablehlo.safetensors"
    assert beside.exists() == (weights == "beside")
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    arrays = {port["name"]: np.ones([3, *port["shape"][1:]], np.float32)
              for port in about["inputs"]}  # fmt: skip
    monkeypatch.chdir(tmp_path)
    exec("\n".join(about["run"]), arrays)
    assert arrays["poses"].shape == (3, 1, 17, 3)
    if weights == "beside":
        assert load_file(beside)["w1.kernel"].shape == (34, 8)


def test_files_that_differ_are_deleted(tmp_path, monkeypatch):
    """The weights beside are spoilt on their way to the disk."""

    def spoilt(arrays):
        return save({k: v + 0.1 if k.endswith("kernel") else v for k, v in arrays.items()})

    monkeypatch.setattr(stablehlo.safetensors, "save", spoilt)
    with pytest.raises(LiftjaxError, match=r"differs from JAX by .* has been deleted"):
        exporting.export_network(
            str(tmp_path / "a.stablehlo"),
            format="stablehlo",
            model="simple_baseline",
            overrides=SMALL,
            options=ProgramOptions(weights="beside"),
        )
    assert not list(tmp_path.iterdir())
