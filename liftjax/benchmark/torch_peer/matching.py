"""The twin of one of our modules: its sizes read off the module, its weights copied."""

from collections.abc import Callable
from typing import Any

from flax import nnx
from torch import nn

from liftjax import torch_weights
from liftjax.benchmark import torch_peer
from liftjax.errors import LiftjaxError


def twin_of(module: nnx.Module) -> nn.Module:
    """The PyTorch network with the sizes and weights of `module`, a detector or a lifter.

    It has no dropout, which neither detectors nor frozen lifters use.

    Raises:
      LiftjaxError: the network has no twin.
    """
    name = type(module).__name__
    if name not in _SIZES:
        raise LiftjaxError(f"{name} has no PyTorch twin; there are {', '.join(_SIZES)}.")
    twin = getattr(torch_peer, name)(**_SIZES[name](module))
    # Where a size was misread this fails, for it is strict.
    twin.load_state_dict(torch_peer.as_tensors(torch_weights.dump(module)))
    return twin


def _hrnet(module) -> dict[str, Any]:
    stages = (module.stage2, module.stage3, module.stage4)
    return {
        "num_joints": module.spec.num_joints,
        "width": module.final_layer.kernel.shape[-2],
        "stem_width": module.conv1.kernel.shape[-1],
        "stem_blocks": len(module.layer1),
        "modules": tuple(len(stage) for stage in stages),
        "blocks": len(module.stage2[0].branches[0]),
    }


def _rtmpose(module) -> dict[str, Any]:
    return {
        "num_joints": module.spec.num_joints,
        "image_size": module.spec.image_size,
        "deepen": len(module.backbone.stage2[-1].blocks) / 6,
        "widen": module.backbone.channels / 1024,
        "channels": module.head.gau.res_scale.scale.shape[0],
        "attention_dim": module.head.gau.attention_dim,
    }


def _simple_baseline(module) -> dict[str, Any]:
    return {
        "skeleton": module.spec.skeleton,
        "linear_size": module.w1.kernel.shape[-1],
        "num_stages": len(module.linear_stages),
        "dropout": 0.0,
    }


def _videopose3d(module) -> dict[str, Any]:
    return {
        "skeleton": module.spec.skeleton,
        "num_frames": module.spec.num_frames,
        "filter_widths": module.widths,
        "channels": module.expand_conv.kernel.shape[-1],
        "causal": module.causal,
        "dropout": 0.0,
        "dense": False,  # which a module does not tell
        "strided": module.strided,
    }


def _iganet(module) -> dict[str, Any]:
    blocks = module.IGANet.blocks
    return {
        "skeleton": module.spec.skeleton,
        "layers": len(blocks),
        "channels": module.fcn.kernel.shape[0],
        "num_heads": blocks[0].attn.num_heads,
        "dropout_scale": 0.0,
    }


def _mixste(module) -> dict[str, Any]:
    channels, hidden = module.STEblocks[0].mlp.fc1.kernel.shape
    return {
        "skeleton": module.spec.skeleton,
        "num_frames": module.spec.num_frames,
        "embed_dim": channels,
        "depth": len(module.STEblocks),
        "num_heads": module.STEblocks[0].attn.num_heads,
        "mlp_ratio": hidden / channels,
        "drop_path": 0.0,
    }


_SIZES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "HRNet": _hrnet,
    "RTMPose": _rtmpose,
    "SimpleBaseline": _simple_baseline,
    "VideoPose3D": _videopose3d,
    "IGANet": _iganet,
    "MixSTE": _mixste,
}
