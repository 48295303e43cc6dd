"""Runs tests that want several devices in a process of their own.

jax learns of them when it starts, and the other tests are to see one plain device.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run_with_eight_devices(*files: str, marked: str) -> None:
    """Runs pytest on files of this folder, with a marker expression; fails with what it printed."""
    # Eight threads on few cores: the patience of those that wait for the last is made long.
    flags = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 "
        "--xla_cpu_collective_call_warn_stuck_timeout_seconds=600 "
        "--xla_cpu_collective_call_terminate_timeout_seconds=1200"
    )
    told = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-m", marked, *(str(HERE / f) for f in files)],
        cwd=ROOT,
        env=os.environ | told,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
