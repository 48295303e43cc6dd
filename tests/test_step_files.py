"""The files of a guided step: few enough to read in an hour, and three that only CPUs need."""

import importlib.util

import pytest

from tests.documents import ROOT


@pytest.mark.slow
def test_a_guided_step_runs_few_files():
    spec = importlib.util.spec_from_file_location("step_files", ROOT / "docs" / "step_files.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    files = script.step_files("hrnet_tiny", ["simple_baseline"])
    assert "guided_loss_terms" in files["liftjax/losses/guidance.py"]
    assert "apply_gradients" in files["liftjax/training/update.py"]
    for_cpus = {f"liftjax/ops/{name}.py" for name in ("conv_cpu", "onednn", "onednn_build")}
    assert len(set(files) - for_cpus) <= 19, list(files)
