"""Programs compiled for a TPU and a GPU that are not there; needs the packages that compile them.

    pip install libtpu
    pip install --no-deps jax-cuda13-plugin jax-cuda13-pjrt nvidia-cuda-nvcc nvidia-nvvm

The counts are those of a tiny network, pinned a little above what they are, so that what makes a
program fatter is seen.
"""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.documents import ROOT
from tests.slow import slow

PACKAGES = {"v5e:2x2": ("libtpu",), "h200": ("jax_cuda13_plugin", "nvidia")}
# A TPU keeps most of the small maps on the chip, which is not memory traffic.
MOST = {
    "v5e:2x2": {"launches": 1400, "MiB": 6, "filled": 1},
    "h200": {"launches": 580, "MiB": 235, "filled": 0},
}


@pytest.mark.parametrize("topology", [slow("v5e:2x2"), "h200"])
def test_a_tiny_step_is_lean(topology, tmp_path):
    if not all(map(importlib.util.find_spec, PACKAGES[topology])):
        pytest.skip(f"not installed: {', '.join(PACKAGES[topology])}")
    out = tmp_path / "cost.json"
    command = [sys.executable, "-m", "liftjax", "benchmark", "cost", "--detector", "hrnet_tiny"]
    command += ["--batch-size", "32", "--lifters", "0", "--precision", "bfloat16"]
    command += ["--topology", topology, "--out", str(out)]
    # libtpu ends the process at a flag of XLA that is for CPUs alone.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    program, most = json.loads(out.read_text())["program"], MOST[topology]
    assert program["launches"] <= most["launches"]
    assert program["bytes"] <= most["MiB"] * 2**20
    filled = program["kinds"].get("filling with a constant", {"launches": 0})
    assert filled["launches"] <= most["filled"]
    assert not {"writing into stacks", "reading from stacks"} & set(program["kinds"])
    assert 0 < program["share_of_peak"] < 1
