import pytest

from tests.multi_device.subprocesses import run_with_eight_devices

FILES = ("eight_devices.py", "eight_devices_float64.py")


def test_eight_devices():
    run_with_eight_devices(*FILES, marked="not slow")


@pytest.mark.slow
@pytest.mark.parametrize("file", [*FILES, "golden_steps.py"])
def test_eight_devices_and_larger_networks(file):
    run_with_eight_devices(file, marked="slow")
