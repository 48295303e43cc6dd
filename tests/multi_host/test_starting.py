"""Several processes find each other, or say in one line why not; none outlives the others for long.

What becomes of the training itself is the matter of test_training.
"""

import signal

import pytest

from liftjax import hosts
from tests.multi_host.processes import Processes, free_address, together
from tests.slow import slow

PROGRAM = ["-m", "tests.multi_host.program"]
TRAIN = ["-m", "liftjax", "train", "--config", "ft2d"]


def flags(address: str, number: int, *more: str) -> list[str]:
    several = ["--coordinator", address, "--num-processes", "2", "--process-id", str(number)]
    return [*several, *more]


def test_they_announce_themselves_and_work_together(tmp_path):
    with together([*PROGRAM, "steps"], 2, tmp_path) as processes:
        assert processes.wait() == [0, 0], processes.said(0)
    for i in range(2):
        said = processes.said(i)
        assert f"process {i} of 2, 1 of 2 devices: cpu" in said.splitlines()[0]
        assert "step 4" in said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "Process 0 of 2 waited 3 s for the others to connect to {}; start the same command on"),
        (1, "Process 1 of 2 waited 3 s for process 0 at {}, where nobody answers; start the same"),
    ],
)
def test_a_process_does_not_wait_for_ever(number, said, tmp_path):
    address = free_address()
    command = [*TRAIN, "--workdir=nowhere", *flags(address, number, "--start-timeout=3")]
    with Processes([command], tmp_path) as processes:
        assert processes.wait() == [2]
    assert processes.said(0).startswith(f"error: {said.format(address)}")
    assert processes.said(0).count("\n") == 1


def test_a_taken_port_is_one_line(tmp_path):
    with together([*PROGRAM, "wait"], 2, tmp_path / "first") as first:
        first.wait_for(lambda: "step 1" in first.said(0))
        command = [*TRAIN, "--workdir=nowhere", *flags(first.address, 0, "--start-timeout=3")]
        with Processes([command], tmp_path / "second") as second:
            assert second.wait() == [2]
    assert "Process 0 of 2 cannot listen at port" in second.said(0)
    assert second.said(0).count("\n") == 1


@pytest.mark.slow
def test_different_recipes_are_refused_by_all(tmp_path):
    address, workdir = free_address(), tmp_path / "run"
    commands = [
        [*TRAIN, f"--workdir={workdir}", f"--config.seed={i}", *flags(address, i)] for i in (0, 1)
    ]
    with Processes(commands, tmp_path / "logs") as processes:
        assert processes.wait() == [2, 2]
    for i in range(2):
        last = processes.said(i).splitlines()[-1]
        assert last.startswith(
            "error: The recipe of process 1 differs from that of process 0; give"
        )
    assert not workdir.exists()


@pytest.mark.slow
def test_a_scheduler_needs_no_flags(tmp_path):
    """As srun starts them: process by process another SLURM_PROCID."""
    job = {"SLURM_JOB_ID": free_address().rpartition(":")[2], "SLURM_STEP_NODELIST": "localhost"}
    job |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_NTASKS": "2"}
    tasks = [job | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(2)]
    with Processes([[*PROGRAM, "steps"]] * 2, tmp_path, *tasks) as processes:
        assert processes.wait() == [0, 0], processes.said(0)
    assert "process 1 of 2" in processes.said(1)


@pytest.mark.parametrize("number", [slow(0), 1])
def test_when_one_is_killed_the_other_ends(number, tmp_path):
    with together([*PROGRAM, "wait"], 2, tmp_path) as processes:
        processes.wait_for(lambda: "step 2" in processes.said(1 - number))
        processes.signal(number, signal.SIGKILL)
        statuses = processes.wait()
    assert statuses[number] == -signal.SIGKILL
    assert statuses[1 - number] not in (0, 2, 75)


@pytest.mark.slow
def test_when_one_fails_the_other_ends(tmp_path):
    with together([*PROGRAM, "error"], 2, tmp_path) as processes:
        statuses = processes.wait()
    assert statuses[1] == 2
    assert "error: a file is missing on this host" in processes.said(1)
    assert statuses[0] not in (0, 2, 75)
    assert hosts.AFTER_A_FAILURE in processes.said(0)
