"""Chips that programs can be compiled for without having one, and what they reach.

Peaks are from the makers' data sheets. A TPU's time is the compiler's estimate in cycles; it has no
clock of its own, so the clock here is the peak divided by the operations of a cycle. A GPU's time
is estimated from what a large product and a large copy reach.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from liftjax.errors import LiftjaxError, first_line


@dataclasses.dataclass(frozen=True)
class Chip:
    """A device.

    Attributes:
      platform: "tpu" or "cuda".
      peak_flops: bfloat16 FLOP/s by the data sheet.
      clock_hz: of a TPU; turns the compiler's cycles into seconds.
      flops: reached by a GPU's large products, by dtype of the operands.
      bytes_per_s: reached by a GPU's large copies.
      launch_s: what starting one kernel costs a GPU.
      target: what XLA needs to know of a GPU.
    """

    platform: str
    peak_flops: float
    clock_hz: float = 0.0
    flops: dict[str, float] = dataclasses.field(default_factory=dict)
    bytes_per_s: float = 0.0
    launch_s: float = 0.0
    target: str = ""


_TPUS = {
    "v4": Chip("tpu", 137.5e12, 1.05e9),
    "v5e": Chip("tpu", 197e12, 1.5e9),
    "v5p": Chip("tpu", 459e12, 1.75e9),
    "v6e": Chip("tpu", 918e12, 1.75e9),
}

_TARGET = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: {bandwidth} device_memory_size: {memory}
  l2_cache_size: 52428800 clock_rate_ghz: 1.98 cuda_compute_capability {{ major: 9 }}
}}
platform_name: "CUDA" device_description_str: "{name}"
dnn_version_info {{ major: 9 minor: 12 }} runtime_version {{ major: 13 minor: 0 patch: 0 }}
"""


def _hopper(name: str, bandwidth: float, memory: float) -> Chip:
    return Chip(
        "cuda",
        989e12,
        # Large products reach 0.8 of the data sheet's figure, float32 in full precision 0.9 of 67.
        flops={"bf16": 790e12, "f16": 790e12, "f32": 60e12, "f64": 60e12},
        bytes_per_s=0.9 * bandwidth,
        launch_s=2e-6,
        target=_TARGET.format(name=name, bandwidth=int(bandwidth), memory=int(memory)),
    )


GPUS = {
    "h100": _hopper("NVIDIA H100 80GB HBM3", 3.35e12, 85e9),
    "h200": _hopper("NVIDIA H200", 4.8e12, 150e9),
}


def find_chip(topology: str) -> Chip:
    """The chip of a topology such as "v5e:2x4" or "h200".

    Raises:
      LiftjaxError: a chip that is not known.
    """
    name = topology.partition(":")[0]
    chips = GPUS | _TPUS
    if name not in chips:
        raise LiftjaxError(
            f"--topology {topology}: its chip is not known; known: {', '.join(chips)}. "
            "TPUs take a shape too, as in v5e:2x4."
        )
    return chips[name]


def mesh(topology: str, axis: str) -> Mesh:
    """All devices of a topology on one axis. Nothing can run on them.

    Raises:
      LiftjaxError: an unknown chip, a shape that does not exist, or a package that is missing.
    """
    from jax.experimental import topologies

    chip = find_chip(topology)
    if chip.platform == "cuda":
        count = topology.partition(":")[2] or "1"
        name, more = "", {"target_config": chip.target, "topology": f"1x1x{count}"}
        needed = "jax-cuda13-plugin, jax-cuda13-pjrt, nvidia-cuda-nvcc and nvidia-nvvm"
    else:
        # No server knows about a machine that is not there.
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
        name, more, needed = topology, {}, "libtpu"
    try:
        found = topologies.get_topology_desc(name, chip.platform, **more)
    except Exception as error:
        raise LiftjaxError(
            f"--topology {topology} cannot be compiled for ({first_line(error)}); it takes a name "
            f"such as v5e:2x4 or h200, and needs the packages {needed}."
        ) from error
    return Mesh(np.array(found.devices), (axis,))


def compiler_options(chip: Chip) -> dict[str, str | bool | int]:
    """Options for compiling without the device: nothing can be timed to choose among kernels."""
    if chip.platform != "cuda":
        return {}
    import nvidia

    toolkit = next(Path(folder) / "cu13" for folder in nvidia.__path__)
    return {
        "xla_gpu_autotune_level": 0,
        "xla_gpu_enable_triton_gemm": False,
        "xla_gpu_cuda_data_dir": str(toolkit),
    }
