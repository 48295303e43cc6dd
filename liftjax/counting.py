"""The size of a network, counted in the network itself without computing anything.

Counting a large network takes a second or two. So the counts of liftjax's own networks are kept in
the user's cache folder until liftjax's code changes.
"""

import contextlib
import functools
import hashlib
import json
import math
import os
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax.nn.declaration import Preset
from liftjax.nn.operations import multiply_adds
from liftjax.registry import create_network, find_preset
from liftjax.writing import whole_file

_OUTPUTS = {
    "heatmap": "heatmaps", "simcc": "SimCC", "metres": "m", "zscore": "standardised m",
}  # fmt: skip


class NetworkSize(NamedTuple):
    """What a preset costs and gives, at its own size and joint set.

    Attributes:
      parameters: how many numbers are trained.
      gmacs: 10^9 multiply-adds for one crop or frame (papers call them FLOPs).
      output: what comes out of the network, before it is decoded or scaled.
    """

    parameters: int
    gmacs: float
    output: str


def network_size(name: str) -> NetworkSize:
    """The size of the preset called `name`.

    Raises:
      LiftjaxError: there is no such preset.
    """
    return _kept_size(name, find_preset(name)[1])


@functools.cache
def _kept_size(name: str, preset: Preset) -> NetworkSize:
    """The size in the cache folder, or else counted and, where that is possible, put there."""
    if not preset.cls.__module__.startswith("liftjax."):
        return _count(name)  # nobody tells when the code of others changes
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    key = f"{name} {preset.keywords} {preset.skeleton} {_code()}"
    file = Path(home, "liftjax", "sizes", hashlib.sha256(key.encode()).hexdigest()[:16])
    with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError):
        return NetworkSize(**json.loads(file.expanduser().read_text()))
    size = _count(name)
    with contextlib.suppress(OSError, RuntimeError):  # there may be no home to write to
        file.expanduser().parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file.expanduser()) as partial:
            partial.write_text(json.dumps(size._asdict()))
    return size


@functools.cache
def _code() -> str:
    """A digest of everything that makes a network what it is."""
    root = Path(__file__).parent
    folders = (root / name for name in ("detectors", "lifters", "nn", "ops"))
    files = [Path(__file__), *sorted(file for folder in folders for file in folder.glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _count(name: str) -> NetworkSize:
    parameters, outputs = [], []

    def build_and_call(key):
        module = create_network(name, rngs=nnx.Rngs(key))
        spec = module.spec
        parameters.extend(math.prod(leaf.shape) for leaf in jax.tree.leaves(
            nnx.to_pure_dict(nnx.state(module, nnx.Param))
        ))  # fmt: skip
        if hasattr(spec, "image_size"):
            outputs.append((spec.kind, 1))
            return jax.tree.leaves(module(jnp.zeros((1, *spec.image_size, 3))))
        outputs.append((spec.output, spec.num_frames))
        return module(jnp.zeros((1, spec.num_frames, spec.num_joints_2d, 2)))

    total = multiply_adds(build_and_call, jax.eval_shape(lambda: jax.random.key(0)))
    ((output, frames),) = outputs
    return NetworkSize(sum(parameters), total / frames / 1e9, _OUTPUTS[output])
