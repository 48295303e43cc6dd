"""Runs a row of identical blocks, as a loop over stacked weights where that is asked for."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx


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
