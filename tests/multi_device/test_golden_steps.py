from tests.multi_device.subprocesses import run_with_eight_devices


def test_golden_steps():
    run_with_eight_devices("golden_steps.py", x64=True)
