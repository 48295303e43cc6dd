"""Runs blocks of a network: as one loop, or in stages that the backward pass computes again."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax.ops.batch_norm import STATISTICS


def run_blocks(
    blocks: Sequence[nnx.Module], x: jax.Array, train: bool, scan: bool = False
) -> jax.Array:
    """``x = block(x, train)`` for every block; with `scan`, as one `lax.scan`.

    The scan compiles the block once instead of len(blocks) times. It also keeps XLA:CPU from
    fusing a whole residual chain into each of its consumers in the backward pass. The blocks stay
    stored one by one, under upstream's names.
    """
    if not scan or len(blocks) < 2:
        for block in blocks:
            x = block(x, train)
        return x
    graph = nnx.graphdef(blocks[0])
    states = [nnx.to_pure_dict(nnx.state(block)) for block in blocks]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def step(x, state):
        block = nnx.merge(graph, state)
        x = block(x, train)
        return x, nnx.to_pure_dict(nnx.state(block, nnx.BatchStat)) if train else None

    x, statistics = jax.lax.scan(step, x, stacked)
    if train:
        for i, block in enumerate(blocks):
            nnx.update(block, jax.tree.map(lambda leaf, i=i: leaf[i], statistics))
    return x


def rematerialise(module: nnx.Module, on: bool = True) -> None:
    """Lets the detector `module` train with less memory.

    Each stage is computed again in the backward pass. Until then only the maps between stages and
    the statistics of batch norm are kept. Weights, values and gradients are the same; a step does
    about a third more arithmetic.
    """
    for _, part in nnx.iter_modules(module):
        if hasattr(part, "remat"):
            part.remat = on


def run_stage(stage: Callable, modules: Sequence[nnx.Module], x: Any, remat: bool) -> Any:
    """``stage(modules, x)``; with `remat`, computed again in the backward pass.

    Args:
      stage: uses no other arrays than those of the modules and x, and changes nothing but running
        statistics.
    """
    if not remat:
        return stage(modules, x)
    graphs, states = zip(*(nnx.split(module) for module in modules), strict=True)
    states = [nnx.to_pure_dict(state) for state in states]
    kept = jax.checkpoint_policies.save_only_these_names(STATISTICS)

    @partial(jax.checkpoint, policy=kept)
    def pure(states, x):
        merged = [nnx.merge(*pair) for pair in zip(graphs, states, strict=True)]
        y = stage(merged, x)
        return y, [nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)) for module in merged]

    y, statistics = pure(states, x)
    for module, new in zip(modules, statistics, strict=True):
        nnx.update(module, new)
    return y
