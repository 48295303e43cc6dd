"""The machine a benchmark ran on, and a file name made of it."""

import os
import platform
import re
from pathlib import Path
from typing import Any

import jax

from liftjax.data.workers import available_cores

_VARIABLES = (
    "XLA_FLAGS", "LIBTPU_INIT_ARGS", "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_MEM_FRACTION", "JAX_DEFAULT_MATMUL_PRECISION", "OMP_NUM_THREADS",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """Processor, cores of this process, memory in bytes, and the device that computes."""
    device = jax.devices()[0]
    memory = (device.memory_stats() or {}).get("bytes_limit")
    return {
        "cpu": _cpu_model(),
        "cores": available_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "device": _cpu_model() if device.platform == "cpu" else device.device_kind,
        "platform": device.platform,
        "platform_version": device.client.platform_version.strip().splitlines()[0],
        "device_memory_bytes": memory,
    }


def environment() -> dict[str, str]:
    """The environment variables that change what is measured, if they are set."""
    return {name: os.environ[name] for name in _VARIABLES if name in os.environ}


def torch_versions() -> dict[str, str]:
    """Versions of PyTorch and of its libraries; empty if it is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    found = {"torch": torch.__version__, "torch_threads": str(torch.get_num_threads())}
    if torch.cuda.is_available():
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return found


def file_name(prefix: str, precisions: list[str]) -> str:
    """Such as step_nvidia-h200_bfloat16.json, or step_intel-xeon-8375c-2-cores_float32.json."""
    about = describe()
    name = about["device"]
    if about["platform"] == "cpu":
        name = f"{name} {about['cores']} cores"
    return f"{prefix}_{slug(name)}_{'_'.join(precisions)}.json"


def slug(name: str) -> str:
    """A device's name in lower case, without trade marks and clock rates."""
    name = re.sub(r"\((r|tm)\)|\bcpu\b|@.*?ghz|processor", " ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", path.read_text(), flags=re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()
