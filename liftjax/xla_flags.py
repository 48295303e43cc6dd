"""Settings that count only if they are made before jax starts: XLA's flags, its cache, memory.

The command line calls these functions first. What the user has set is left alone.

XLA ends the process at a flag that it does not know. So each flag was looked up in the jaxlib of
jax 0.10.2 and of 0.11.2, and flags for GPUs are set only where there are GPUs. With several GPUs,
the latency-hiding scheduler runs the sums over devices beside the backward pass; with one there is
nothing to hide. XLA's defaults are kept for the rest: command buffers (CUDA graphs), autotuning and
Triton for matrix products. `XLA_FLAGS=... python -m liftjax benchmark` tries others and writes them
beside its numbers, for example `--xla_gpu_enable_command_buffer=+WHILE`, which puts whole loops
(HRNet has some) into a graph, or `--xla_gpu_exhaustive_tiling_search=true`, which compiles longer.
"""

import ctypes
import importlib.util
import os
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path

SEVERAL_GPUS_FLAGS: tuple[str, ...] = ("--xla_gpu_enable_latency_hiding_scheduler=true",)
CACHE_VARIABLE = "LIFTJAX_XLA_CACHE"  # a folder, or "off"

_MALLOC_SETTINGS = ((-8, 1), (-4, 0), (-1, -1))  # M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD: never

Environment = MutableMapping[str, str]


def configure(environment: Environment = os.environ, devices: str = "/dev") -> None:
    """Sets XLA's flags for this machine, and quietens its log.

    Args:
      environment: variables to read and to change.
      devices: folder where the system lists its devices.
    """
    given = environment.get("XLA_FLAGS", "").split()
    names = {flag.split("=")[0] for flag in given}
    wanted = SEVERAL_GPUS_FLAGS if count_gpus(environment, devices) > 1 else ()
    added = [flag for flag in wanted if flag.split("=")[0] not in names]
    if added:
        environment["XLA_FLAGS"] = " ".join([*given, *added])
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    environment.setdefault("GRPC_VERBOSITY", "ERROR")


def count_gpus(environment: Environment, devices: str = "/dev") -> int:
    """NVIDIA GPUs that jax could use, without asking jax."""
    if environment.get("JAX_PLATFORMS", "cuda") in ("cpu", "tpu") or not os.path.isdir(devices):
        return 0
    present = sum(bool(re.fullmatch(r"nvidia\d+", name)) for name in os.listdir(devices))
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return present
    return min(present, sum(name.strip() not in ("", "-1") for name in visible.split(",")))


def keep_freed_memory(environment: Environment = os.environ) -> bool:
    """Makes the C library keep freed memory for the next step; returns whether it does.

    Every step on a CPU allocates its activations. By default glibc returns them to the kernel after
    the step, and the kernel clears tens of thousands of pages for the next one. With this setting
    the process keeps all the memory that it has ever needed until it ends. The function does
    nothing if jax is already imported or will not compute on a CPU, or without glibc.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environment)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if chosen or mallopt is None or "jax" in sys.modules or not _on_cpu(environment):
        return False
    return all(mallopt(option, value) for option, value in _MALLOC_SETTINGS)


def _on_cpu(environment: Environment) -> bool:
    """Whether jax will compute on the CPU, without asking jax."""
    if "JAX_PLATFORMS" in environment:
        return environment["JAX_PLATFORMS"] == "cpu"
    return not count_gpus(environment) and not importlib.util.find_spec("libtpu")


def share_gpu_memory() -> None:
    """Makes jax take a GPU's memory as it needs it, which leaves some for PyTorch.

    Jax gives nothing back: what a large step has taken stays with jax until the process ends.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def cache_compilations(environment: Environment = os.environ) -> None:
    """Makes jax keep compiled programs in the user's cache folder, for the next process.

    The folder is liftjax/xla in XDG_CACHE_HOME or ~/.cache; LIFTJAX_XLA_CACHE names another or says
    "off". Several processes may share it; if it cannot be written, nothing is kept. Programs that
    compile fast are kept too, because building a network takes a hundred of them. The user's own
    JAX_COMPILATION_CACHE_DIR, and jax's other variables, are left alone.
    """
    if "JAX_COMPILATION_CACHE_DIR" in environment or environment.get(CACHE_VARIABLE) == "off":
        return
    home = environment.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(environment.get(CACHE_VARIABLE) or f"{home}/liftjax/xla")
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the home folder is missing or belongs to somebody else
        return
    if os.access(folder, os.W_OK | os.X_OK):
        environment["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
