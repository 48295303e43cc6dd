"""Every network by name: one dictionary of detectors, one of lifters.

A preset is a class and the keyword arguments that make it the published size; keyword overrides
make other sizes.
"""

import inspect
from typing import Any

from flax import nnx

from liftjax.detectors import hrnet
from liftjax.errors import unknown_name
from liftjax.lifters.iganet import IGANet
from liftjax.lifters.mixste import MixSTE
from liftjax.lifters.simple_baseline import SimpleBaseline
from liftjax.lifters.videopose3d import VideoPose3D

Preset = tuple[type[nnx.Module], dict[str, Any]]

DETECTORS: dict[str, Preset] = {
    name: (hrnet.HRNet, {"image_size": (384, 288), **preset})
    for name, preset in hrnet.PRESETS.items()
}

LIFTERS: dict[str, Preset] = {
    "simple_baseline": (SimpleBaseline, {}),
    "videopose3d": (VideoPose3D, {}),
    "iganet": (IGANet, {}),
    "mixste": (MixSTE, {}),
}


def list_detectors() -> list[str]:
    """Names that :func:`create_detector` takes."""
    return list(DETECTORS)


def list_lifters() -> list[str]:
    """Names that :func:`create_lifter` takes."""
    return list(LIFTERS)


def create_detector(
    name: str,
    *,
    num_joints: int = 17,
    image_size: tuple[int, int] | None = None,
    rngs: nnx.Rngs,
    **overrides,
) -> nnx.Module:
    """A 2D pose detector with fresh weights.

    Args:
      name: one of :func:`list_detectors`.
      num_joints: K, the number of keypoints.
      image_size: (height, width) of the person crop; default: the preset's.
      rngs: random numbers of the initial weights.
      **overrides: sizes that differ from the preset's.

    Raises:
      LiftjaxError: unknown name or keyword; the message names the nearest.
    """
    if image_size is not None:
        overrides["image_size"] = tuple(image_size)
    return _create("detector", DETECTORS, name, overrides, num_joints=num_joints, rngs=rngs)


def create_lifter(
    name: str,
    *,
    skeleton: str = "human36m",
    num_frames: int = 1,
    rngs: nnx.Rngs,
    **overrides,
) -> nnx.Module:
    """A 2D-to-3D lifter with fresh weights, at the paper's size unless overridden.

    Args:
      name: one of :func:`list_lifters`.
      skeleton: joint set of input and output.
      num_frames: T, frames that the lifter sees at once.
      rngs: random numbers of the initial weights.
      **overrides: sizes that differ from the preset's.

    Raises:
      LiftjaxError: unknown name, skeleton or keyword; the message names the nearest.
    """
    return _create(
        "lifter", LIFTERS, name, overrides, skeleton=skeleton, num_frames=num_frames, rngs=rngs
    )


def _create(kind: str, presets: dict[str, Preset], name: str, overrides: dict, **common):
    if name not in presets:
        raise unknown_name(kind, name, presets)
    cls, preset = presets[name]
    known = inspect.signature(cls.__init__).parameters
    for keyword in overrides:
        if keyword not in known:
            raise unknown_name(f"keyword of {name}", keyword, known)
    return cls(**common, **(preset | overrides))
