"""Which process this is, told by flags or by whatever has started it."""

import os
from importlib.machinery import ModuleSpec

import jax
import pytest

from liftjax import hosts
from liftjax.cli import main
from liftjax.errors import LiftjaxError

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[03-06]",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
    "SLURM_NODEID": "2",
    "SLURM_PROCID": "2",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
}
ADDRESS = {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234"}


@pytest.fixture
def started(monkeypatch):
    """What `start` joins with under these variables alone; None: it joins nothing."""
    for name in list(os.environ):
        if name.startswith(("JAX_", "SLURM_", "OMPI_", "TPU_", "MEGASCALE_", "CUDA_VISIBLE")):
            monkeypatch.delenv(name)
    joined = [None]
    monkeypatch.setattr(hosts, "_join", lambda place, timeout_s: joined.append(place))

    def start(variables=(), *flags):
        for name, value in dict(variables).items():
            monkeypatch.setenv(name, value)
        hosts.start(*flags)
        return joined[-1]

    return start


@pytest.mark.parametrize(
    "variables",
    [
        {},
        SLURM | {"SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # of a batch script, outside of srun
        OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"},
        {"TPU_WORKER_HOSTNAMES": "localhost"},
        ADDRESS | {"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"},
    ],
    ids=["laptop", "one task", "batch script", "one rank", "one TPU host", "one process"],
)
def test_one_process_joins_nothing(started, variables):
    assert started(variables) is None


def test_flags(started):
    address = "10.0.0.1:1234"
    assert started({}, address, 4, 3) == hosts.Place(3, 4, address, address, local_devices=[])
    assert started({}, "[::1]:1234", 2, 0).coordinator == "[::1]:1234"


@pytest.mark.parametrize(
    ("variables", "process"),
    [
        (SLURM, 2),
        (OPEN_MPI, 3),
        (ADDRESS | {"JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "1"}, 1),
    ],
    ids=["slurm", "open mpi", "variables"],
)
def test_what_a_scheduler_says(started, variables, process):
    place = started(variables)
    assert (place.process, place.count) == (process, 4)
    assert place.local_devices == []  # alone on its host, a process takes all of its devices


def test_a_coordinator_may_be_named_to_a_scheduler(started):
    assert started(SLURM | ADDRESS).coordinator == "10.0.0.1:1234"


@pytest.mark.parametrize(
    ("variables", "one_each"),
    [
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, True),
        (
            SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "JAX_LOCAL_DEVICE_IDS": "0,1"},
            True,
        ),  # JAX reads
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2,1(x3)"}, False),  # this is node 2 of 0 to 3
        (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, True),
        # Bound by the scheduler, a process sees one device and calls it 0.
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "CUDA_VISIBLE_DEVICES": "0"}, False),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "CUDA_VISIBLE_DEVICES": "0,1"}, True),
    ],
)
def test_several_processes_on_a_host_take_a_device_each(started, variables, one_each):
    assert started(variables).local_devices == (None if one_each else [])


@pytest.mark.parametrize(
    ("variables", "flags", "said"),
    [
        ({}, ("10.0.0.1:1234", None, None), "--num-processes and --process-id missing"),
        ({}, (None, 2, 1), "--coordinator missing"),
        ({}, ("10.0.0.1", 2, 1), "'10.0.0.1'; give HOST:PORT"),
        ({}, ("10.0.0.1:http", 2, 1), "give HOST:PORT"),
        ({}, ("10.0.0.1:70000", 2, 1), "give HOST:PORT"),
        ({}, ("10.0.0.1:1", 2, 2), "--num-processes 2 with --process-id 2: processes are numbered"),
        ({}, ("10.0.0.1:1", 0, 0), "--num-processes 0"),
        (ADDRESS, (), "JAX_NUM_PROCESSES and JAX_PROCESS_ID missing"),
        (ADDRESS | {"JAX_NUM_PROCESSES": "two"}, (), "JAX_NUM_PROCESSES is 'two'"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, (), "JAX_COORDINATOR_ADDRESS=HOST:PORT"),
    ],
)
def test_what_makes_no_sense_is_one_line(started, variables, flags, said):
    with pytest.raises(LiftjaxError, match=said) as error:
        started(variables, *flags)
    assert "\n" not in str(error.value)


TPU = {"TPU_ML_PLATFORM": "JAX"}  # as JAX marks a machine with TPU chips


def test_jax_finds_the_hosts_of_a_tpu_slice(started, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: ModuleSpec(name, None))
    place = started(TPU)
    assert (place.process, place.count, place.coordinator) == (None, None, None)
    assert place.where == "worker 0 of the TPU slice"


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (ValueError("coordinator_address should be defined."), False),
        (ConnectionError("no metadata server"), False),
        (RuntimeError("DEADLINE_EXCEEDED: connect\nand more"), True),
    ],
)
def test_a_tpu_host_that_knows_of_no_others_is_alone(failure, raised, monkeypatch):
    def fails(*_, **__):
        raise failure

    monkeypatch.setattr(jax.distributed, "initialize", fails)
    monkeypatch.setattr(hosts, "_started", False)
    place = hosts.Place(None, None, None, "worker 0 of the TPU slice")
    if raised:
        with pytest.raises(LiftjaxError, match="cannot start with the others: DEADLINE") as error:
            hosts._join(place, 5)
        assert "\n" not in str(error.value)
    else:
        hosts._join(place, 5)
    assert hosts.started() == raised


def test_one_process_is_quiet_and_first(capsys):
    hosts.announce()
    hosts.check_same("recipe", "anything")
    assert hosts.is_first()
    assert hosts.leave(2) == 2
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_the_command_line_takes_the_flags(command, tmp_path, capsys):
    arguments = [command, "--config", "ft2d", "--workdir", str(tmp_path)]
    assert main([*arguments, "--coordinator", "10.0.0.1:1234", "--process-id", "1"]) == 2
    assert "--num-processes missing" in capsys.readouterr().err
