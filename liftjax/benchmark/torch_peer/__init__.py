"""Every network of the package once more in PyTorch, as a PyTorch user would write it.

The speed benchmark compares with these twins, and the tests hold our networks against them. Each
has upstream's state_dict: `load_state_dict(as_tensors(liftjax.torch_weights.dump(module)))` is
strict, and the outputs are then equal. The sizes are read from `liftjax.registry`.

Only this folder needs PyTorch.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from liftjax import registry
from liftjax.errors import needs, unknown_name
from liftjax.skeletons import get_skeleton

with needs("The twin of a network", "PyTorch", "torch"):
    import torch

from liftjax.benchmark.torch_peer.hrnet import HRNet
from liftjax.benchmark.torch_peer.iganet import IGANet
from liftjax.benchmark.torch_peer.mixste import MixSTE
from liftjax.benchmark.torch_peer.rtmpose import RTMPose
from liftjax.benchmark.torch_peer.simple_baseline import SimpleBaseline
from liftjax.benchmark.torch_peer.videopose3d import VideoPose3D

_TWINS = {c.__name__: c for c in (HRNet, RTMPose, SimpleBaseline, VideoPose3D, IGANet, MixSTE)}


def create_detector(
    name: str,
    num_joints: int | None = None,
    image_size: tuple[int, int] | None = None,
    *,
    skeleton: str | None = None,
    **overrides,
) -> torch.nn.Module:
    """The twin of `liftjax.create_detector(name, ...)`, with PyTorch's initial weights.

    It takes normalised images (B, 3, H, W), in either memory format, and gives heatmaps
    (B, K, h, w), or for a SimCC detector the logits along x (B, K, X) and along y (B, K, Y).

    Raises:
      LiftjaxError: unknown name, skeleton or keyword; the message names the nearest.
    """
    preset = registry.get_preset("detector", name)
    if num_joints is None:
        num_joints = get_skeleton(skeleton or preset.skeleton).num_joints
    if image_size is not None:
        overrides["image_size"] = tuple(image_size)
    return _create(name, preset, overrides | {"num_joints": num_joints})


def create_lifter(
    name: str, skeleton: str = "human36m", num_frames: int = 1, **overrides
) -> torch.nn.Module:
    """The twin of `liftjax.create_lifter(name, ...)`, with PyTorch's initial weights.

    It takes normalised poses (B, T, K, 2) and gives (B, T', K, 3), as ours.

    Raises:
      LiftjaxError: unknown name, skeleton or keyword; the message names the nearest.
    """
    preset = registry.get_preset("lifter", name)
    return _create(name, preset, overrides | {"skeleton": skeleton, "num_frames": num_frames})


def as_tensors(state: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """A state_dict of arrays as one of tensors; they share memory."""
    return {key: torch.from_numpy(value) for key, value in state.items()}


def _create(name: str, preset: registry.Preset, given: dict[str, Any]) -> torch.nn.Module:
    """The twin of `preset.cls` with those of our constructor's arguments that it knows."""
    ours = inspect.signature(preset.cls.__init__).parameters
    for keyword in given:
        if keyword not in ours:
            raise unknown_name(f"keyword of {name}", keyword, ours)
    values = {k: p.default for k, p in ours.items()} | preset.keywords | given
    twin = _TWINS[preset.cls.__name__]
    return twin(**{keyword: values[keyword] for keyword in inspect.signature(twin).parameters})
