"""The sums of `ops.map_statistics` by a GPU kernel that reads every map once (Pallas, Triton).

A program of the kernel takes a stretch of positions (of all joints of a sample, or of a few
vectors) and goes through it tile by tile; XLA then combines the stretches of each map. On a CPU the
kernel is interpreted, for tests only. `docs/performance.md` says why there is none for TPUs.

Legend: B batch, K joints, P positions of a map, N maps; a tile has positions on one axis and maps
(lanes) on the other, both powers of two as Triton wants them.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from liftjax.ops import map_statistics as maps

_TILE = 4096  # numbers: 32 for each thread of four warps
_TILES = 8  # of a stretch, at most: 7 programs for a sample with 17 joints of 96x72 positions


def one_pass(values, beta, axes, normalizer, target=None) -> maps.Statistics:
    """`map_statistics.Statistics` on a GPU, and interpreted on a CPU."""
    beta = jnp.asarray(beta, jnp.promote_types(values.dtype, jnp.float32)).reshape(1)
    rows = () if target is None else (target.row_BH1K[:, :, 0], target.column_B1WK[:, 0])
    call = functools.partial(_statistics, axes=axes, normalizer=normalizer)
    found = jax.lax.platform_dependent(
        values,
        beta,
        *rows,
        cuda=functools.partial(call, interpret=False),
        cpu=functools.partial(call, interpret=True),
    )
    squares = None if target is None else found.pop()
    top, total, *sums = found
    return maps.Statistics(top, total, tuple(sums), squares)


def _statistics(values, beta, *profiles, axes, normalizer, interpret):
    """Statistics in a list, each with its axes kept."""
    map_shape = tuple(values.shape[axis] for axis in axes)
    P, planar = math.prod(map_shape), len(axes) == 2
    if planar:
        B, _, _, K = values.shape
        blocks, lanes, kept = B, pl.next_power_of_2(K), (B, 1, 1, K)
        values = values.reshape(B, P, K)
        length = max(_TILE // lanes, 1)
    else:
        kept = (*values.shape[:-1], 1)
        values = values.reshape(-1, P)
        length = min(pl.next_power_of_2(P), _TILE)
        lanes = _TILE // length
        blocks = pl.cdiv(len(values), lanes)
    tiles = min(_TILES, pl.cdiv(P, length))
    stretches = pl.cdiv(P, length * tiles)
    count = 2 + len(axes) + bool(profiles)
    kernel = functools.partial(
        _kernel, map_shape=map_shape, tile=(length, lanes), tiles=tiles, normalizer=normalizer
    )
    partial = pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct((count, blocks, stretches, lanes), beta.dtype),
        grid=(blocks, stretches),
        interpret=interpret,
        compiler_params=None if interpret else triton.CompilerParams(num_warps=4),
    )(values, beta, *profiles)
    found = _join(partial, beta[0], normalizer, count - bool(profiles))
    if planar:
        return [part[:, : values.shape[-1]].reshape(kept) for part in found]
    return [part.reshape(-1)[: len(values)].reshape(kept) for part in found]


def _kernel(values_ref, beta_ref, *refs, map_shape, tile, tiles, normalizer):
    """Statistics of a stretch of positions, of the maps of a block."""
    *profile_refs, out_ref = refs
    length, lanes = tile
    block, stretch = pl.program_id(0), pl.program_id(1)
    planar, P = len(map_shape) == 2, math.prod(map_shape)
    axis, beta = (0 if planar else 1), beta_ref[0]
    full = (length, lanes) if planar else (lanes, length)
    lane = jax.lax.broadcasted_iota(jnp.int32, full, 1 - axis)
    step = jax.lax.broadcasted_iota(jnp.int32, full, axis)

    def load(ref, *index, mask, other):
        return triton.load(ref.at[index], mask=mask, other=other).astype(beta.dtype)

    def add_tile(i, carry):
        top, squares, *sums = carry
        position = (stretch * tiles + i) * length + step
        if planar:
            here = position // map_shape[1], position % map_shape[1]
            mask = (position < P) & (lane < values_ref.shape[2])
            index = (block, position, lane)
        else:
            here = (position,)
            mask = (position < P) & (block * lanes + lane < values_ref.shape[0])
            index = (block * lanes + lane, position)
        values = load(values_ref, *index, mask=mask, other=-jnp.inf)
        tops = maps.safe_top(values.max(axis, keepdims=True), normalizer)
        new_top = jnp.maximum(top, tops)
        scale = maps.rescale(top, new_top, beta, normalizer)
        weight = maps.weights(values, new_top, beta, normalizer)
        factors = [jnp.ones_like(weight), *(along.astype(beta.dtype) for along in here)]
        sums = [
            old * scale + (weight * factor).sum(axis, keepdims=True)
            for old, factor in zip(sums, factors, strict=True)
        ]
        if profile_refs:
            row, column = (
                load(ref, block, along, lane, mask=mask, other=0)
                for ref, along in zip(profile_refs, here, strict=True)
            )
            error = jnp.where(mask, values, 0) - row * column
            squares = squares + jnp.square(error).sum(axis, keepdims=True)
        return (new_top, squares, *sums)

    zero = jnp.zeros([1 if i == axis else n for i, n in enumerate(full)], beta.dtype)
    lowest = maps.safe_top(zero - jnp.inf, normalizer)
    start = (lowest, zero, *[zero] * (1 + len(map_shape)))
    top, squares, *sums = jax.lax.fori_loop(0, tiles, add_tile, start)
    found = (top, *sums, squares) if profile_refs else (top, *sums)
    for i, part in enumerate(found):
        out_ref[i, block, stretch, :] = part.reshape(lanes)


def _join(partial, beta, normalizer, count):
    """Statistics (blocks, lanes) of whole maps; the first `count` are the top and weighted sums."""
    tops = partial[0]
    top = tops.max(axis=1)
    scale = maps.rescale(tops, top[:, None], beta, normalizer)
    weighted = [(part * scale).sum(axis=1) for part in partial[1:count]]
    return [top, *weighted, *(part.sum(axis=1) for part in partial[count:])]
