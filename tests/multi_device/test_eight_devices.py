from tests.multi_device.subprocesses import run_with_eight_devices


def test_eight_devices():
    run_with_eight_devices("eight_devices.py", x64=False)
