"""Soft-argmax, alone and with the heatmap loss, against the speed of memory.

The forward pass must read the map once; forward and backward together must read it twice and write
its gradient once. These bytes are counted for every implementation, even if it moves more.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from liftjax.benchmark.stages import Queued
from liftjax.benchmark.timing import Candidate, Comparison
from liftjax.losses import detection
from liftjax.ops import soft_argmax

SOFT_ARGMAX_2D, SOFT_ARGMAX_1D = "soft-argmax", "soft-argmax, SimCC"
LOSS_2D = "soft-argmax and heatmap loss"
EAGER = "PyTorch, eager"
PASSES = {"forward": 1, "forward + backward": 3}  # times that the bytes of the map are moved
_BETA, _SIGMA = 100.0, 3.0

Prepared = tuple[Callable[[], Any], dict]  # the call to be timed, and no facts


class Maps(NamedTuple):
    """The shape of a detector's output: (B, H, W, K) or, for SimCC, (B, K, X)."""

    kind: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, spec, batch_size: int) -> "Maps":
        if spec.kind == "heatmap":
            return cls(spec.kind, (batch_size, *spec.output_size, spec.num_joints))
        return cls(spec.kind, (batch_size, spec.num_joints, spec.output_size[0]))

    @property
    def bytes(self) -> int:
        return 4 * int(np.prod(self.shape))


def map_candidates(maps: Maps, with_torch: bool) -> Iterator[Candidate]:
    """Both passes of every implementation on random maps, float32 as detectors give them."""
    heat = np.random.default_rng(0).normal(size=maps.shape).astype(np.float32)
    for stage, implementations in _implementations(maps.kind).items():
        calls = {name: functools.partial(_jax_call, f) for name, f in implementations.items()}
        if with_torch and stage != LOSS_2D:
            calls[EAGER] = _torch_call
        for (way, call), passes in itertools.product(calls.items(), PASSES):
            prepare = functools.partial(call, heat, passes != "forward")
            yield Candidate(f"{stage}: {passes}", way, prepare)


def compare_maps(found: Comparison, maps: Maps, copy_bytes_per_s: float) -> None:
    """Adds to the rows the bytes a second, their share of a copy, and `speedup`.

    The speedup is the seconds of eager PyTorch over the seconds of the row.
    """
    for row, seconds in found.timed():
        row["bytes"] = maps.bytes * PASSES[row["stage"].rpartition(": ")[2]]
        row["bytes_per_s"] = row["bytes"] / seconds
        row["share_of_copy"] = row["bytes_per_s"] / copy_bytes_per_s
        eager = found.median(row["stage"], EAGER)
        if eager:
            row["speedup"] = eager / seconds


def _implementations(kind: str) -> dict[str, dict[str, Callable]]:
    """By stage and name, functions of a map alone: what this platform has."""
    names = soft_argmax.names(jax.default_backend())
    if kind != "heatmap":
        return {SOFT_ARGMAX_1D: {n: _alone(soft_argmax.IMPLEMENTATIONS_1D[n]) for n in names}}
    return {
        SOFT_ARGMAX_2D: {n: _alone(soft_argmax.IMPLEMENTATIONS[n]) for n in names},
        LOSS_2D: {n: _with_loss(detection.IMPLEMENTATIONS[n]) for n in names},
    }


def _alone(function: Callable) -> Callable:
    return lambda heat: function(heat, _BETA, "softmax")


def _with_loss(function: Callable) -> Callable:
    def of_map(heat_BHWK):
        B, H, W, K = heat_BHWK.shape
        center_BK2 = jnp.full((B, K, 2), 0.5) * jnp.asarray([W, H]).reshape(1, 1, 2)
        return function(heat_BHWK, center_BK2, jnp.ones((B, K)), _SIGMA, _BETA, "softmax")

    return of_map


def _jax_call(function: Callable, heat: np.ndarray, backward: bool) -> Prepared:
    heat = jnp.asarray(heat)
    if not backward:
        compiled = jax.jit(function).lower(heat).compile()
        return lambda: compiled(heat), {}
    cotangent = jax.tree.map(
        lambda aval: jnp.linspace(0.5, 1, aval.size).reshape(aval.shape),
        jax.eval_shape(function, heat),
    )

    def both(heat, cotangent):
        value, pull = jax.vjp(function, heat)
        return value, pull(cotangent)

    compiled = jax.jit(both).lower(heat, cotangent).compile()
    return lambda: compiled(heat, cotangent), {}


def _torch_call(heat: np.ndarray, backward: bool) -> Prepared:
    """As one would write it in eager PyTorch, channels first; on the GPU if PyTorch has one."""
    import torch

    from liftjax.benchmark.torch_peer import losses as peer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    function = peer.soft_argmax_1d
    if heat.ndim == 4:
        function, heat = peer.soft_argmax_2d, np.ascontiguousarray(heat.transpose(0, 3, 1, 2))
    placed = torch.from_numpy(heat).to(device).requires_grad_(backward)

    def call():
        out = function(placed, _BETA)
        if backward:
            placed.grad = None
            out.backward(torch.ones_like(out))
        return Queued(torch.cuda.synchronize if device == "cuda" else lambda: None)

    return call, {}
