"""Which process this is, told by flags or by whatever has started it."""

import http.server
import importlib.machinery
import os
import threading

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
    arguments = started({}, "10.0.0.1:1234", 4, 3).arguments()
    assert arguments == {
        "coordinator_address": "10.0.0.1:1234",
        "num_processes": 4,
        "process_id": 3,
        "local_device_ids": [],  # all
    }
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
    arguments = started(variables).arguments()
    assert (arguments["process_id"], arguments["num_processes"]) == (process, 4)
    assert arguments["local_device_ids"] == []  # a process a host takes all of its devices


def test_a_coordinator_may_be_named_to_a_scheduler(started):
    assert started(SLURM | ADDRESS).coordinator == "10.0.0.1:1234"


@pytest.mark.parametrize(
    ("variables", "one_each"),
    [
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, True),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2,1(x3)"}, False),  # this is node 2 of 0 to 3
        (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, True),
        # Bound by the scheduler, a process sees one device and calls it 0.
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "CUDA_VISIBLE_DEVICES": "0"}, False),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "CUDA_VISIBLE_DEVICES": "0,1"}, True),
    ],
)
def test_several_processes_on_a_host_take_a_device_each(started, variables, one_each):
    assert started(variables).arguments()["local_device_ids"] == (None if one_each else [])


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


@pytest.fixture
def metadata(monkeypatch):
    """A metadata server of Google's cloud, and a machine with TPU chips as JAX marks it."""
    answers = {}

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path.rpartition("/")[2])
            self.send_response(200 if answer else 404)
            self.end_headers()
            self.wfile.write((answer or "").encode())

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(
            "importlib.util.find_spec", lambda name: importlib.machinery.ModuleSpec(name, None)
        )
        variables = {
            "TPU_ML_PLATFORM": "JAX",
            "GCE_METADATA_IP": f"127.0.0.1:{server.server_port}",
        }
        yield lambda **found: (answers.update(found), variables)[1]
        server.shutdown()


@pytest.mark.parametrize(
    ("endpoints", "environment", "several"),
    [
        ("t1v-n-0:0:10.1.0.2,t1v-n-1:1:10.1.0.3", "", True),
        ("host-0", "TYPE: 'v5e-8'", False),
        ("host-0", "MEGASCALE_NUM_SLICES: '2'", True),
        ("", "", False),
    ],
    ids=["slice", "one host", "two slices", "no answer"],
)
def test_a_tpu_slice_is_found(started, metadata, endpoints, environment, several):
    found = metadata(**{"worker-network-endpoints": endpoints, "tpu-env": environment})
    assert (started(found) is not None) == several


def test_a_tpu_slice_of_kubernetes_is_found(started, metadata):
    place = started(metadata() | {"TPU_WORKER_HOSTNAMES": "a,b", "TPU_SKIP_MDS_QUERY": "1"})
    assert place.arguments()["num_processes"] is None  # JAX asks on


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
