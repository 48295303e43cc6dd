"""Every network of the package once more in PyTorch, as a PyTorch user would write it.

The speed benchmark compares with these twins, and the tests hold our networks against them. A twin
has upstream's state_dict: `load_state_dict(as_tensors(liftjax.torch_weights.dump(module)))` is
strict, and the outputs are then equal. Twins have no dropout, because neither detectors nor frozen
lifters use it.

Only this folder needs PyTorch.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import nnx

from liftjax import registry, torch_weights
from liftjax.errors import LiftjaxError, needs

with needs("The twin of a network", "PyTorch", "torch"):
    import torch

from liftjax.benchmark.torch_peer.hrnet import HRNet
from liftjax.benchmark.torch_peer.iganet import IGANet
from liftjax.benchmark.torch_peer.mixste import MixSTE
from liftjax.benchmark.torch_peer.rtmpose import rtmpose
from liftjax.benchmark.torch_peer.simple_baseline import SimpleBaseline
from liftjax.benchmark.torch_peer.videopose3d import VideoPose3D


def create_detector(name: str, num_joints: int | None = None, **options) -> torch.nn.Module:
    """The twin of `liftjax.create_detector(name, ...)`, with PyTorch's initial weights.

    It takes normalised images (B, 3, H, W), in either memory format, and gives heatmaps
    (B, K, h, w), or for a SimCC detector the logits along x (B, K, X) and along y (B, K, Y).

    Raises:
      LiftjaxError: unknown name, skeleton or keyword; the message names the nearest.
    """
    return _create(registry.create_detector, name, num_joints=num_joints, **options)


def create_lifter(name: str, **options) -> torch.nn.Module:
    """The twin of `liftjax.create_lifter(name, ...)`, with PyTorch's initial weights.

    It takes normalised poses (B, T, K, 2) and gives (B, T', K, 3), as ours.

    Raises:
      LiftjaxError: unknown name, skeleton or keyword; the message names the nearest.
    """
    return _create(registry.create_lifter, name, **options)


def twin_of(module: nnx.Module) -> torch.nn.Module:
    """The PyTorch network with the sizes and weights of `module`, a detector or a lifter.

    Raises:
      LiftjaxError: the network has no twin.
    """
    twin = _unweighted_twin(module)
    twin.load_state_dict(as_tensors(torch_weights.dump(module)))  # fails if a size was misread
    return twin


def as_tensors(state: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """A state_dict of arrays as one of tensors; they share memory."""
    return {key: torch.from_numpy(value) for key, value in state.items()}


def _create(create: Callable, name: str, **options) -> torch.nn.Module:
    return _unweighted_twin(nnx.eval_shape(lambda: create(name, **options, rngs=nnx.Rngs(0))))


def _unweighted_twin(module: nnx.Module) -> torch.nn.Module:
    """The twin of a module, which may have shapes in place of its arrays."""
    name = type(module).__name__
    if name not in _TWINS:
        raise LiftjaxError(f"{name} has no PyTorch twin; there are {', '.join(_TWINS)}.")
    return _TWINS[name](module)


_TWINS: dict[str, Callable[[Any], torch.nn.Module]] = {
    "HRNet": lambda ours: HRNet(
        num_joints=ours.spec.num_joints,
        width=ours.final_layer.kernel.shape[-2],
        stem_width=ours.conv1.kernel.shape[-1],
        stem_blocks=len(ours.layer1),
        modules=[len(stage) for stage in (ours.stage2, ours.stage3, ours.stage4)],
        blocks=len(ours.stage2[0].branches[0]),
    ),
    "RTMPose": lambda ours: rtmpose(
        deepen=len(ours.backbone.stage2[-1].blocks) / 6,
        widen=ours.backbone.channels / 1024,
        num_joints=ours.spec.num_joints,
        image_size=ours.spec.image_size,
        features=ours.head.gau.res_scale.scale.shape[0],
        attention_dim=ours.head.gau.attention_dim,
    ),
    "SimpleBaseline": lambda ours: SimpleBaseline(
        num_joints=ours.spec.num_joints,
        linear_size=ours.w1.kernel.shape[-1],
        num_stages=len(ours.linear_stages),
    ),
    "VideoPose3D": lambda ours: VideoPose3D(
        num_joints=ours.spec.num_joints,
        widths=ours.widths,
        channels=ours.expand_conv.kernel.shape[-1],
        causal=ours.causal,
        strided=ours.strided,
        kernels=[conv.kernel.shape[0] for conv in ours.layers_conv[::2]],
    ),
    "IGANet": lambda ours: IGANet(
        skeleton=ours.spec.skeleton,
        layers=len(ours.IGANet.blocks),
        channels=ours.fcn.kernel.shape[0],
        num_heads=ours.IGANet.blocks[0].attn.num_heads,
    ),
    "MixSTE": lambda ours: MixSTE(
        num_joints=ours.spec.num_joints,
        num_frames=ours.spec.num_frames,
        embed_dim=ours.STEblocks[0].mlp.fc1.kernel.shape[0],
        hidden=ours.STEblocks[0].mlp.fc1.kernel.shape[1],
        depth=len(ours.STEblocks),
        num_heads=ours.STEblocks[0].attn.num_heads,
    ),
}
