"""Several processes as one program: how they find each other, agree, and end.

Each host runs the same command. A process learns of the others from the command line's flags, from
JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or from what has started it: SLURM,
Open MPI, a Cloud TPU slice. Process 0 is the coordinator that the others connect to.

When a process dies, those that wait for it stop too, with a status that is not 0: at once if it was
process 0 or if the network tells of it, else when no sign of life has come for 100 seconds. No
checkpoint suffers; the same command on all hosts resumes.
"""

import dataclasses
import hashlib
import importlib.util
import os
import socket
import sys
import threading
from typing import Any

from liftjax.errors import LiftjaxError, Preempted, first_line

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
FLAGS = ("--coordinator", "--num-processes", "--process-id")
GRACEFUL = (0, Preempted.EX_TEMPFAIL)  # exit statuses that all processes reach together

AFTER_A_FAILURE = (
    "error: one of several processes has failed; if the cause is not above, look at what the "
    "others printed. The same command on all hosts goes on from the last checkpoint."
)

_AN_HOUR = 3600
_PATIENCE_S = 5  # with other processes at the end of one that has failed
_started = _joined = False  # whether this process has tried to join others, and has


@dataclasses.dataclass(frozen=True)
class Place:
    """This process among several.

    Attributes:
      process, count: its number and how many there are; None where JAX is to find out.
      coordinator: host:port of process 0; None where JAX is to find out.
      where: what messages call the coordinator.
      device_per_process: of several on a host, each takes one of its accelerators.
    """

    process: int | None
    count: int | None
    coordinator: str | None
    where: str
    device_per_process: bool = False

    @property
    def name(self) -> str:
        return "This process" if self.process is None else f"Process {self.process} of {self.count}"

    @property
    def _devices_told(self) -> bool:
        return self.device_per_process or "JAX_LOCAL_DEVICE_IDS" in os.environ

    def arguments(self) -> dict[str, Any]:
        """What `jax.distributed.initialize` takes."""
        return {
            "coordinator_address": self.coordinator,
            "num_processes": self.count,
            "process_id": self.process,
            # No list would have JAX take one device a process wherever a scheduler numbers them.
            "local_device_ids": None if self._devices_told else [],
        }


def start(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout_s: int = 300,
) -> None:
    """Joins this process with the others, if there are others; before JAX is used otherwise.

    Args:
      coordinator: host:port of process 0. num_processes, process_id: how many there are, and which
        this one is. All three or none: then the environment tells.
      timeout_s: how long to wait for the others.

    Raises:
      LiftjaxError: flags that make no sense, or others that have not come in time.
    """
    flags = (coordinator, num_processes, process_id)
    given = any(flag is not None for flag in flags)
    place = _from_flags(*flags) if given else _from_environment()
    if place is not None and place.count != 1:
        _join(place, timeout_s)


def _from_flags(coordinator, num_processes, process_id, names: tuple = FLAGS) -> Place:
    """The place that three values name; `names` is what messages call them."""
    values = (coordinator, num_processes, process_id)
    missing = [name for name, value in zip(names, values, strict=True) if value is None]
    if missing:
        raise LiftjaxError(f"{', '.join(names)} belong together; {' and '.join(missing)} missing.")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise LiftjaxError(
            f"{names[0]} is {coordinator!r}; give HOST:PORT of process 0, such as 10.0.0.1:1234."
        )
    if num_processes < 1 or not 0 <= process_id < num_processes:
        raise LiftjaxError(
            f"{names[1]} {num_processes} with {names[2]} {process_id}: processes are numbered from "
            "0 to one less than there are."
        )
    return Place(process_id, num_processes, coordinator, coordinator)


def _from_environment() -> Place | None:
    """The place that a scheduler has given this process; None if it is alone."""
    env = os.environ
    address, count, process = (env.get(name) for name in VARIABLES)
    if count is not None or process is not None:
        numbers = (_number(name) for name in VARIABLES[1:])
        return _from_flags(address, *numbers, names=VARIABLES)
    if "OMPI_COMM_WORLD_SIZE" in env and env["OMPI_COMM_WORLD_SIZE"] != "1":
        return _from_open_mpi(address)
    if "SLURM_STEP_NODELIST" in env and env.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return _from_slurm(address)
    if _on_tpu_slice():
        return Place(None, None, address, address or "worker 0 of the TPU slice")
    if address is not None:
        return _from_flags(address, None, None, names=VARIABLES)
    return None


def _from_open_mpi(address: str | None) -> Place:
    if address is None and "OMPI_MCA_orte_hnp_uri" not in os.environ:
        raise LiftjaxError(
            "Open MPI 5 does not tell where process 0 is; name it to all of them with "
            "mpirun -x JAX_COORDINATOR_ADDRESS=HOST:PORT."
        )
    rank, size = _number("OMPI_COMM_WORLD_RANK"), _number("OMPI_COMM_WORLD_SIZE")
    here = _number("OMPI_COMM_WORLD_LOCAL_SIZE") or 1
    return Place(rank, size, address, address or "the host of mpirun", _one_device_each(here))


def _from_slurm(address: str | None) -> Place:
    task, tasks = _number("SLURM_PROCID"), _number("SLURM_STEP_NUM_TASKS")
    where = address or f"the first node of {os.environ['SLURM_STEP_NODELIST']}"
    return Place(task, tasks, address, where, _one_device_each(_slurm_tasks_here()))


def _number(name: str) -> int | None:
    text = os.environ.get(name)
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    raise LiftjaxError(f"{name} is {text!r} in the environment; it must be a number.")


def _slurm_tasks_here() -> int:
    """Tasks of the step on this node, of a list such as 2(x3),1."""
    counts = []
    for part in os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        tasks, _, nodes = part.rstrip(")").partition("(x")
        counts += [int(tasks)] * int(nodes or 1)
    node = int(os.environ.get("SLURM_NODEID", 0))
    return counts[min(node, len(counts) - 1)]


def _one_device_each(processes_here: int) -> bool:
    """Whether the processes of a host must share out its devices, as nobody has done it yet."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return processes_here > 1 and not (len(visible) == 1 and visible[0])


def _on_tpu_slice() -> bool:
    """Whether this is a host of a Cloud TPU slice, or of several, that has more hosts."""
    if importlib.util.find_spec("libtpu") is None:
        return False
    import jax  # noqa: F401  (sets what is looked at next, where the machine has TPU chips)

    env = os.environ
    if "TPU_ML_PLATFORM" not in env:
        return False
    hosts = env.get("TPU_PROCESS_ADDRESSES") or env.get("TPU_WORKER_HOSTNAMES")
    slices = env.get("MEGASCALE_NUM_SLICES")
    if hosts is None and "TPU_SKIP_MDS_QUERY" not in env:
        hosts = _tpu_metadata("worker-network-endpoints")
        slices = slices or ("2" if "MEGASCALE_NUM_SLICES" in _tpu_metadata("tpu-env") else "1")
    return len((hosts or "").split(",")) * int(slices or 1) > 1


def _tpu_metadata(key: str) -> str:
    """An attribute of the machine that Google's metadata server tells; empty if there is none."""
    import urllib.request  # 0.1 s, which --help does not wait for

    server = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
    request = urllib.request.Request(
        f"http://{server}/computeMetadata/v1/instance/attributes/{key}",
        headers={"Metadata-Flavor": "Google"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def _join(place: Place, timeout_s: int) -> None:
    """Connects to the others, or raises a LiftjaxError after `timeout_s`.

    In a thread, since JAX's own time-out ends the process from C++ with a stack trace, and since
    Ctrl-C does not reach a main thread that waits there.
    """
    import jax

    if jax.distributed.is_initialized():
        return
    _check_port(place)
    failures = []

    def connect():
        try:
            jax.distributed.initialize(
                **place.arguments(),
                initialization_timeout=timeout_s + _AN_HOUR,
                # At the end of a run, for others that still write; dead ones are noticed sooner.
                shutdown_timeout_seconds=_AN_HOUR,
            )
        except Exception as error:
            failures.append(error)

    global _started, _joined
    _started = True
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if failures:
        raise LiftjaxError(f"{place.name} cannot start with the others: {first_line(failures[0])}")
    if thread.is_alive():
        raise LiftjaxError(
            f"{place.name} waited {timeout_s} s for {_whom(place)}; start the same command on all "
            "hosts, or give them more time with --start-timeout."
        )
    _joined = True


def _check_port(place: Place) -> None:
    """Raises a LiftjaxError if process 0 cannot listen at its port.

    Two coordinators would share a port without a word, and mix up their processes.
    """
    if place.process != 0 or place.coordinator is None:
        return
    port = int(place.coordinator.rpartition(":")[2])
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise LiftjaxError(
            f"{place.name} cannot listen at port {port} ({error.strerror}); name another to all."
        ) from None


def _whom(place: Place) -> str:
    """What a process waits for in vain, as far as it can tell."""
    if place.process == 0:
        return f"the others to connect to {place.where}"
    silent = place.coordinator is not None and not _answers(place.coordinator)
    return f"process 0 at {place.where}{', where nobody answers' if silent else ' and the others'}"


def _answers(address: str) -> bool:
    """Whether something listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def announce() -> None:
    """Each of several processes says which it is and what it has, before they work together."""
    import jax

    if not jax.distributed.is_initialized():
        return
    local = jax.local_devices()
    print(
        f"process {jax.process_index()} of {jax.process_count()}, {len(local)} of "
        f"{jax.device_count()} devices: {local[0].device_kind} on {socket.gethostname()}",
        flush=True,
    )


def is_first() -> bool:
    """Whether this is the process that prints and writes files: the only one, or number 0."""
    import jax

    return jax.process_index() == 0


def check_same(what: str, text: str) -> None:
    """Raises a LiftjaxError on all processes unless all have the same `text`.

    Args:
      what: names it in the message, such as "recipe".
    """
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    digests = np.asarray(multihost_utils.process_allgather(digest))
    others = [str(i) for i, other in enumerate(digests) if (other != digests[0]).any()]
    if others:
        raise LiftjaxError(
            f"The {what} of process {', '.join(others)} differs from that of process 0; give all "
            "hosts the same command and the same files."
        )


def started() -> bool:
    """Whether this process has tried to join others."""
    return _started


def leave(status: int) -> int:
    """`status`, to exit with; of several processes, one that has failed ends here.

    Otherwise it would wait for the others at the exit, and they for its part of a step.
    """
    if not _started or status in GRACEFUL:
        return status
    import jax

    sys.stdout.flush()
    sys.stderr.flush()
    if _joined:  # those that fail alike part in peace
        ending = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        ending.start()
        ending.join(_PATIENCE_S)
    os._exit(status)
