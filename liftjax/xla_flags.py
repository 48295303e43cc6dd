"""What counts only if it is set before jax starts: XLA's flags, JAX's cache of programs, memory.

The command line calls these functions first. What the user has set is left alone.

Flags by platform. A flag that XLA does not know ends the process, so each was looked up in the
jaxlib of jax 0.10.2 and of 0.11.2, and those for GPUs are set only where there is one.

CPU: see CPU_FLAGS.

NVIDIA GPU, several in one machine: the latency-hiding scheduler runs the sums over devices beside
the backward pass; with a single GPU there is nothing to hide. Left as XLA has them, because its
defaults are what one would set: command buffers (CUDA graphs, `xla_gpu_enable_command_buffer`) for
fusions, cuBLAS, cuDNN and custom calls, from five launches on (`xla_gpu_graph_min_graph_size`);
autotuning at its level 4; Triton for matrix products (`xla_gpu_enable_triton_gemm`,
`xla_gpu_triton_gemm_any`). To be tried, by `XLA_FLAGS=... python -m liftjax benchmark`, which
writes the flags beside its numbers: `--xla_gpu_enable_command_buffer=+WHILE`, which puts whole
loops (HRNet's blocks are in some) into a graph, and `--xla_gpu_exhaustive_tiling_search=true`, for
a longer compilation. TPU: none.
"""

import ctypes
import importlib.util
import os
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path

CPU_FLAGS: tuple[str, ...] = ()
SEVERAL_GPUS_FLAGS: tuple[str, ...] = ("--xla_gpu_enable_latency_hiding_scheduler=true",)

CACHE_VARIABLE = "LIFTJAX_XLA_CACHE"  # a folder, or "off"


def configure(environment: MutableMapping[str, str] | None = None, devices: str = "/dev") -> None:
    """Sets the variables, in `os.environ` unless another mapping is given.

    Args:
      environment: what to read and to change.
      devices: where the system lists its devices.
    """
    environment = os.environ if environment is None else environment
    wanted = [*CPU_FLAGS, *(SEVERAL_GPUS_FLAGS if count_gpus(environment, devices) > 1 else ())]
    given = environment.get("XLA_FLAGS", "")
    set_already = {flag.split("=")[0] for flag in given.split()}
    added = [flag for flag in wanted if flag.split("=")[0] not in set_already]
    if added:
        environment["XLA_FLAGS"] = " ".join([given, *added]).strip()
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    environment.setdefault("GRPC_VERBOSITY", "ERROR")


def count_gpus(environment: MutableMapping[str, str], devices: str = "/dev") -> int:
    """NVIDIA GPUs that jax could use, without asking jax."""
    if environment.get("JAX_PLATFORMS", "cuda") in ("cpu", "tpu"):
        return 0
    if not os.path.isdir(devices):
        return 0
    present = [name for name in os.listdir(devices) if re.fullmatch(r"nvidia\d+", name)]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(present)
    named = [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    return min(len(present), len(named))


def on_cpu(environment: MutableMapping[str, str] | None = None, devices: str = "/dev") -> bool:
    """Whether jax will compute on the CPU, without asking jax.

    Args:
      environment: what to read; `os.environ` if None.
      devices: where the system lists its devices.
    """
    environment = os.environ if environment is None else environment
    if "JAX_PLATFORMS" in environment:
        return environment["JAX_PLATFORMS"] == "cpu"
    return not count_gpus(environment, devices) and not importlib.util.find_spec("libtpu")


_MALLOC_SETTINGS = ((-8, 1), (-4, 0), (-1, -1))  # M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD: never


def keep_freed_memory(environment: MutableMapping[str, str] | None = None) -> bool:
    """Has the C library keep freed memory for the next step; returns whether it does.

    A step on a CPU allocates its activations anew. By default glibc returns them to the kernel
    after every step, and the kernel clears tens of thousands of pages for the next one. With this
    the process keeps the most that it has needed until it ends. Does nothing if jax is imported
    already, if it will not compute on a CPU, or without glibc.
    """
    environment = os.environ if environment is None else environment
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environment)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if chosen or mallopt is None or "jax" in sys.modules or not on_cpu(environment):
        return False
    return all(mallopt(option, value) for option, value in _MALLOC_SETTINGS)


def share_gpu_memory(environment: MutableMapping[str, str] | None = None) -> None:
    """Lets jax take a GPU's memory as it needs it, which leaves some for PyTorch beside it.

    It gives nothing back: what a large step has taken stays with jax until the process ends.
    """
    environment = os.environ if environment is None else environment
    environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def cache_compilations(environment: MutableMapping[str, str] | None = None) -> None:
    """Has jax keep compiled programs in the user's cache folder, for the next process.

    The folder is liftjax/xla in XDG_CACHE_HOME or ~/.cache; LIFTJAX_XLA_CACHE names another or says
    "off". Several processes may share it; where it cannot be written nothing is kept. Programs that
    compile fast are kept too: building a network takes a hundred of them. A
    JAX_COMPILATION_CACHE_DIR of the user's, and jax's other variables, are left alone.
    """
    environment = os.environ if environment is None else environment
    if "JAX_COMPILATION_CACHE_DIR" in environment or environment.get(CACHE_VARIABLE) == "off":
        return
    home = environment.get("XDG_CACHE_HOME") or "~/.cache"
    folder = environment.get(CACHE_VARIABLE) or f"{home}/liftjax/xla"
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a home that is not there, or not ours
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    environment["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
