"""Several processes work as one program: how they find each other, agree, and end.

Every host runs the same command. A process learns about the others from the flags of the command
line, from JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or from the program that
started it: SLURM, Open MPI or a Cloud TPU slice, which JAX asks. The others connect to process 0.

When a process dies, those that wait for it stop too, with a status other than 0: at once if it was
process 0 or if the network reports it, otherwise after 100 seconds without a sign of life. The
checkpoints stay whole; the same command on all hosts resumes.
"""

import dataclasses
import hashlib
import importlib.util
import os
import socket
import sys
import threading

from liftjax.errors import LiftjaxError, Preempted, first_line

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
FLAGS = ("--coordinator", "--num-processes", "--process-id")
GRACEFUL = (0, Preempted.EX_TEMPFAIL)  # exit statuses that all processes reach together

AFTER_A_FAILURE = (
    "error: one of several processes has failed; if the cause is not above, look at what the "
    "others printed. The same command on all hosts continues from the last checkpoint."
)

_AN_HOUR = 3600
_PATIENCE_S = 5  # how long a process that has failed waits for the others at its end
_started = _joined = False  # whether this process has begun to join others, and has joined them


@dataclasses.dataclass(frozen=True)
class Place:
    """This process among several. None stands for what JAX finds out by itself.

    Attributes:
      process: number of this process.
      count: number of processes.
      coordinator: host:port of process 0.
      where: what messages call the coordinator.
      local_devices: the value of `local_device_ids` for JAX: an empty list for all accelerators of
        the host, None for one, when several processes share the host.
    """

    process: int | None
    count: int | None
    coordinator: str | None
    where: str
    local_devices: list | None = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        return "This process" if self.process is None else f"Process {self.process} of {self.count}"


def start(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout_s: int = 300,
) -> None:
    """Joins this process with the others, if there are others. Call it before JAX computes.

    The first three arguments are given together, or not at all: then the environment decides.

    Args:
      coordinator: host:port of process 0.
      num_processes: number of processes.
      process_id: number of this process, from 0.
      timeout_s: how long to wait for the others.

    Raises:
      LiftjaxError: the arguments contradict each other, or the others have not come in time.
    """
    flags = (coordinator, num_processes, process_id)
    given = any(flag is not None for flag in flags)
    place = _checked(FLAGS, *flags) if given else _from_environment()
    if place is not None and place.count != 1:
        _join(place, timeout_s)


def _checked(names: tuple, address: str | None, count: int | None, process: int | None) -> Place:
    """The place that three values describe; `names` is what messages call them."""
    values = (address, count, process)
    missing = [name for name, value in zip(names, values, strict=True) if value is None]
    if missing:
        raise LiftjaxError(f"{', '.join(names)} belong together; {' and '.join(missing)} missing.")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise LiftjaxError(
            f"{names[0]} is {address!r}; give HOST:PORT of process 0, such as 10.0.0.1:1234."
        )
    if count < 1 or not 0 <= process < count:
        raise LiftjaxError(
            f"{names[1]} {count} with {names[2]} {process}: processes are numbered from 0 to one "
            "less than their number."
        )
    return Place(process, count, address, address, _local_devices(1))


def _from_environment() -> Place | None:
    """The place that a scheduler has given this process; None if it is alone."""
    env = os.environ
    address = env.get(VARIABLES[0])
    if any(name in env for name in VARIABLES[1:]):
        return _checked(VARIABLES, address, *map(_number, VARIABLES[1:]))
    count = _number("OMPI_COMM_WORLD_SIZE") or 1
    if count > 1:
        if address is None and "OMPI_MCA_orte_hnp_uri" not in env:
            raise LiftjaxError(
                "Open MPI 5 does not say where process 0 is; name it to all processes with "
                "mpirun -x JAX_COORDINATOR_ADDRESS=HOST:PORT."
            )
        devices = _local_devices(_number("OMPI_COMM_WORLD_LOCAL_SIZE") or 1)
        process, where = _number("OMPI_COMM_WORLD_RANK"), "the host of mpirun"
        return Place(process, count, address, address or where, devices)
    count = _number("SLURM_STEP_NUM_TASKS") or 1
    if count > 1 and "SLURM_STEP_NODELIST" in env:
        devices = _local_devices(_slurm_tasks_here())
        process, where = _number("SLURM_PROCID"), f"the first node of {env['SLURM_STEP_NODELIST']}"
        return Place(process, count, address, address or where, devices)
    if _has_tpu():
        where = address or "worker 0 of the TPU slice"
        return Place(None, None, address, where, _local_devices(1))
    return None if address is None else _checked(VARIABLES, address, None, None)


def _has_tpu() -> bool:
    if importlib.util.find_spec("libtpu") is None:  # jax takes a second to import
        return False
    import jax  # noqa: F401  (sets the variable if the machine has TPU chips)

    return "TPU_ML_PLATFORM" in os.environ


def _number(name: str) -> int | None:
    text = os.environ.get(name)
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    raise LiftjaxError(f"{name} is {text!r} in the environment; it must be a number.")


def _slurm_tasks_here() -> int:
    """Tasks of the step on this node, from a list such as 2(x3),1."""
    counts = []
    for part in os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1").split(","):
        tasks, _, nodes = part.rstrip(")").partition("(x")
        counts += [int(tasks)] * int(nodes or 1)
    node = int(os.environ.get("SLURM_NODEID", 0))
    return counts[min(node, len(counts) - 1)]


def _local_devices(processes_here: int) -> list | None:
    """See `Place`: whether this process must share the devices of its host."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    bound = len(visible) == 1 and visible[0]  # the scheduler has given it one already
    shares = processes_here > 1 and not bound
    return None if shares or "JAX_LOCAL_DEVICE_IDS" in os.environ else []


def _join(place: Place, timeout_s: int) -> None:
    """Connects to the others, or raises a LiftjaxError after `timeout_s`.

    It connects in a thread: JAX's own time-out ends the process from C++ with a stack trace, and
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
                place.coordinator,
                place.count,
                place.process,
                place.local_devices,
                initialization_timeout=timeout_s + _AN_HOUR,
                # For others that still write at the end of a run; dead ones are noticed sooner.
                shutdown_timeout_seconds=_AN_HOUR,
            )
        except Exception as error:
            failures.append(error)

    global _started, _joined
    _started = True
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if failures and place.count is None and isinstance(failures[0], ValueError | OSError):
        _started = False  # nobody knows of other hosts: a TPU of one host, away from Google's cloud
        return
    if failures:
        raise LiftjaxError(f"{place.name} cannot start with the others: {first_line(failures[0])}")
    if thread.is_alive():
        raise LiftjaxError(
            f"{place.name} waited {timeout_s} s for {_whom(place)}; start the same command on all "
            "hosts, or give them more time with --start-timeout."
        )
    _started = _joined = place.count is not None or jax.process_count() > 1


def _check_port(place: Place) -> None:
    """Raises a LiftjaxError if process 0 cannot listen at its port.

    Without the check two coordinators would share a port silently and mix up their processes.
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
    """What a process waits for, as far as it can tell."""
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
    """Prints, on each of several processes, which process it is and which devices it has."""
    import jax

    if not jax.distributed.is_initialized() or jax.process_count() == 1:
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
      what: name of the text in the message, such as "recipe".
      text: any text.
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
    """Returns the exit status, unless this is one of several processes and has failed.

    Such a process ends here: it would wait for the others at its exit, and they for its part of a
    step.
    """
    if not _started or status in GRACEFUL:
        return status
    import jax

    sys.stdout.flush()
    sys.stderr.flush()
    if _joined:  # when all fail alike, they leave without errors about each other
        ending = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        ending.start()
        ending.join(_PATIENCE_S)
    os._exit(status)
