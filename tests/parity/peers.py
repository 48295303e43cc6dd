"""What the files here share: optional packages, PyTorch networks with random weights, our outputs.

Both sides compute in float64, where agreement to ten digits leaves no room for a different formula.
"""

import importlib
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from liftjax import torch_weights
from tests.goldens.weights import fill


def import_or_skip(name: str, cure: str) -> types.ModuleType:
    """The module, or the calling test file is skipped. `cure`: what makes it importable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except Exception as error:  # compiled parts of a package that do not fit raise anything
        reason = f"{name} does not import ({type(error).__name__}: {error}); {cure}"
        pytest.skip(reason, allow_module_level=True)


def images_BCHW(batch: int, height: int, width: int) -> torch.Tensor:
    """Normal noise; float32, as the weights, so that nothing is rounded on the way to us."""
    noise = np.random.default_rng(0).normal(size=(batch, 3, height, width))
    return torch.from_numpy(noise.astype(np.float32))


def randomize(network: torch.nn.Module, *inputs: torch.Tensor) -> torch.nn.Module:
    """Gives every weight a random value and batch norm the statistics of `inputs`.

    With other statistics the signal of a deep network dies out or explodes, and most of it could
    be wrong unseen. Leaves the network in evaluation mode.
    """
    state = {key: torch.from_numpy(fill(key, v.shape)) for key, v in network.state_dict().items()}
    network.load_state_dict(state)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(*inputs)
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()


def run(module: nnx.Module, images: torch.Tensor, **options):
    """Our float64 output for PyTorch's `images` (B, C, H, W), and the state_dict afterwards."""
    graph, state = nnx.split(module)

    @jax.jit
    def forward(state, images_BHWC):
        copy = nnx.merge(graph, state, copy=True)
        return copy(images_BHWC, **options), nnx.to_pure_dict(nnx.state(copy))

    with jax.enable_x64(True):
        output, after = forward(
            float64(nnx.to_pure_dict(state)), jnp.asarray(channels_last(images))
        )
        return output, torch_weights.dump(nnx.merge(graph, after))


def channels_last(images: torch.Tensor) -> np.ndarray:
    """(B, C, H, W) tensor to (B, H, W, C) float64 array."""
    return np.moveaxis(images.double().numpy(), 1, -1)


def float64(tree):
    """The arrays of `tree` in float64; to be called where JAX allows that type."""
    return jax.tree.map(lambda a: a.astype(jnp.float64), tree)


def difference(ours, theirs) -> float:
    """Largest absolute difference over the root mean square of `theirs`."""
    ours = np.asarray(ours)
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    return float(np.abs(ours - theirs).max() / np.sqrt(np.square(theirs).mean()))
