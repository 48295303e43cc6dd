"""Runs the tests that want several devices, or float64, in processes of their own.

jax learns both when it starts, and the other tests of this process are to see one plain device.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.parametrize(
    ("file", "x64"),
    [("eight_devices.py", "0"), ("eight_devices_float64.py", "1"), ("golden_steps.py", "1")],
)
def test_with_eight_devices(file, x64):
    # Eight threads on few cores: the patience of those that wait for the last is made long.
    flags = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 "
        "--xla_cpu_collective_call_warn_stuck_timeout_seconds=600 "
        "--xla_cpu_collective_call_terminate_timeout_seconds=1200"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", str(HERE / file)],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": x64},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
