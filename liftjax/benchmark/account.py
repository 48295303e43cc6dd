"""What a compiled program launches, moves and computes, and how long a chip should take for it.

On a TPU the time is the sum of the compiler's own estimates, in cycles. It is a model, not a
measurement; what runs beside the core (copies between memories, sums over devices) is not in it. On
a GPU every launch takes the longer of its memory traffic and its arithmetic, plus the cost of the
launch; nothing overlaps, no array is still in the cache, and the choice that XLA makes by timing
kernels on a real GPU (autotuning, Triton's products) is left out.
"""

import re
from collections.abc import Callable, Iterable

from liftjax.benchmark.chips import Chip
from liftjax.benchmark.hlo import Operation, Program

_MADE_BY_JAX = re.compile(
    r"(p?jit|shard_map|while|cond|body|branch_\d+_fun|checkpoint|rematted_computation|remat\d*"
    r"|closed_call|core_call|custom_[jv][vj]p_call.*|scan)(\(.*\))?$"
)


def account(text: str, chip: Chip, flops: int) -> dict:
    """The account of a program.

    Args:
      text: of the program, compiled for `chip`.
      chip: a device.
      flops: arithmetic of the program. A TPU's program does not tell: it has convolutions that
        multiply with zeros.

    Returns:
      "seconds", "share_of_peak", "launches" and "bytes" in all, and again, without the share, by
      "kinds" of operation and by "layers" of the network.
    """
    operations = Program(text).operations()
    total = _sums(operations, chip)
    return total | {
        "share_of_peak": flops / (total["seconds"] * chip.peak_flops),
        "kinds": _grouped(operations, chip, lambda operation: operation.kind),
        "layers": _grouped(operations, chip, lambda operation: layer(operation.source)),
    }


def seconds(operation: Operation, chip: Chip) -> float:
    """How long one run of an operation should take."""
    if chip.platform == "tpu":
        return operation.cycles / chip.clock_hz
    arithmetic = operation.flops / chip.flops.get(operation.dtype, chip.flops["f32"])
    return max(arithmetic, operation.bytes / chip.bytes_per_s) + chip.launch_s


def layer(source: str, depth: int = 3) -> str:
    """The scopes that an operation stands in, from the path that JAX gives it; "-" without any.

    `jit(step)/jvp(detector)/stage2/fuse/add` is `detector/stage2/fuse`. Forward and backward are
    the same layer, and so is what is computed again.
    """
    scopes = []
    for part in source.split("/")[:-1]:
        while found := re.fullmatch(r"(?:jvp|transpose|vmap)\((.*)\)", part):
            part = found[1]
        if part and not _MADE_BY_JAX.match(part):
            scopes.append(part)
    again = [i for i, scope in enumerate(scopes) if scope == scopes[0]]
    return "/".join(scopes[max(again, default=0) :][:depth]) or "-"


def _grouped(
    operations: Iterable[Operation], chip: Chip, key: Callable[[Operation], str]
) -> dict[str, dict]:
    groups: dict[str, list[Operation]] = {}
    for operation in operations:
        groups.setdefault(key(operation), []).append(operation)
    sums = {name: _sums(group, chip) for name, group in groups.items()}
    return dict(sorted(sums.items(), key=lambda item: -item[1]["seconds"]))


def _sums(operations: Iterable[Operation], chip: Chip) -> dict:
    operations = list(operations)
    return {
        "seconds": sum(o.times * seconds(o, chip) for o in operations),
        "launches": sum(o.times for o in operations),
        "bytes": sum(o.times * o.bytes for o in operations),
    }
