from tests.multi_device.subprocesses import run_with_eight_devices


def test_eight_devices_float64():
    run_with_eight_devices("eight_devices_float64.py", x64=True)
