"""Compiles a function and says how long that took, how much memory it needs, what it computes."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from liftjax.nn.operations import count_multiply_adds


def compile_program(function: Any, *arguments: Any, again: bool = False) -> tuple[Callable, dict]:
    """A jitted `function` compiled for `arguments`, and facts about it.

    trace_s: seconds in Python, tracing and lowering.
    cold_s: seconds in XLA, with an empty cache of compiled programs.
    warm_s: with `again`, seconds to load the program from that cache after `jax.clear_caches()`, as
      the next process does; tracing again is not counted.
    program_bytes: memory of the program on the device while it runs, see :func:`program_bytes`.
    flops: twice the multiply-adds of its convolutions and matrix products, counted in the traced
      program in the form that accelerators run. XLA's own cost analysis counts a loop once.
    """
    with _fresh_cache():
        begun = time.perf_counter()
        traced = function.trace(*arguments)
        lowered = traced.lower()
        lowered_at = time.perf_counter()
        compiled = lowered.compile()
        facts = {
            "trace_s": lowered_at - begun,
            "cold_s": time.perf_counter() - lowered_at,
            "program_bytes": program_bytes(compiled),
            "flops": 2 * count_multiply_adds(traced.jaxpr.jaxpr),
        }
        if again:
            jax.clear_caches()
            lowered = function.lower(*arguments)
            begun = time.perf_counter()
            lowered.compile()
            facts["warm_s"] = time.perf_counter() - begun
    return compiled, facts


def program_bytes(compiled: Any, platform: str | None = None) -> int:
    """The memory of a compiled program on one device, as XLA accounts for it.

    It consists of arguments, temporaries, and results that share no memory with arguments.

    Args:
      compiled: a compiled function.
      platform: platform that it is compiled for; None: where JAX runs.
    """
    memory = compiled.memory_analysis()
    if (platform or jax.default_backend()) == "tpu":
        # Its temporaries share memory; elsewhere the peak omits them.
        return memory.peak_memory_in_bytes
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.argument_size_in_bytes + memory.temp_size_in_bytes + results


@contextlib.contextmanager
def _fresh_cache() -> Iterator[None]:
    """JAX's persistent cache is an empty folder, and keeps every program."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]

    def use(values) -> None:
        for name, value in zip(names, values, strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()

    with tempfile.TemporaryDirectory() as folder:
        use((folder, 0.0))
        try:
            yield
        finally:
            use(before)
