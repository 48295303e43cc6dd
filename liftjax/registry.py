"""Every network by name: one dictionary of detectors, one of lifters.

A preset is a class, the keyword arguments that make it the published size, and what one needs to
know before using it. Keyword overrides make other sizes.

Networks of your own stand in the same dictionaries: a module of yours adds its presets, and
LIFTJAX_IMPORT=that_module (several with commas between) has every command import it.
"""

import dataclasses
import importlib
import inspect
import os
from typing import Any

from flax import nnx

from liftjax.detectors.hrnet import HRNet
from liftjax.detectors.rtmpose import RTMPose
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.lifters.iganet import IGANet
from liftjax.lifters.mixste import MixSTE
from liftjax.lifters.simple_baseline import SimpleBaseline
from liftjax.lifters.videopose3d import VideoPose3D
from liftjax.skeletons import get_skeleton


@dataclasses.dataclass(frozen=True)
class Preset:
    """A network of a certain size.

    Attributes:
      cls: the module. keywords: its constructor's arguments.
      gives: what comes out of the network, before it is decoded or scaled.
      paper: where it was published. licence: of the authors' code, under which weights come.
      skeleton: joint set of the published weights, and the default here.
      parameters: trained ones, at that joint set and the preset's size.
      gmacs: 10^9 multiply-adds of one forward pass (papers call them FLOPs), of one crop or frame.
    """

    cls: type[nnx.Module]
    keywords: dict[str, Any]
    gives: str
    paper: str
    licence: str
    skeleton: str
    parameters: int
    gmacs: float


def _hrnet(parameters: int, gmacs: float, **keywords) -> Preset:
    keywords = {"image_size": (384, 288), **keywords}
    paper = "Sun et al., CVPR 2019"
    return Preset(HRNet, keywords, "heatmaps", paper, "MIT", "coco", parameters, gmacs)


def _rtmpose(parameters: int, gmacs: float, deepen: float, widen: float, **keywords) -> Preset:
    keywords = {"image_size": (256, 192), "deepen": deepen, "widen": widen, **keywords}
    paper = "Jiang et al., arXiv 2303.07399"
    return Preset(RTMPose, keywords, "SimCC", paper, "Apache-2.0", "coco", parameters, gmacs)


def _dwpose(parameters: int, gmacs: float, deepen: float, widen: float) -> Preset:
    preset = _rtmpose(parameters, gmacs, deepen, widen)
    return dataclasses.replace(preset, paper="Yang et al., ICCVW 2023", skeleton="wholebody")


def _lifter(cls, gives: str, paper: str, licence: str, parameters: int, gmacs: float) -> Preset:
    return Preset(cls, {}, gives, paper, licence, "human36m", parameters, gmacs)


# hrnet_small, hrnet_tiny and rtmpose_tiny train on a CPU. Per second of training, one block a
# branch beats two.
_CPU_HRNET = {"image_size": (128, 96), "stem_blocks": 1, "modules": (1, 1, 1), "blocks": 1}

DETECTORS: dict[str, Preset] = {
    "hrnet_w32": _hrnet(28_536_113, 17.2, width=32),
    "hrnet_w48": _hrnet(63_595_745, 35.3, width=48),
    "hrnet_small": _hrnet(688_913, 0.0551, width=16, stem_width=16, **_CPU_HRNET),
    "hrnet_tiny": _hrnet(173_201, 0.0142, width=8, stem_width=8, **_CPU_HRNET),
    "rtmpose_t": _rtmpose(3_337_007, 0.355, 0.167, 0.375),
    "rtmpose_s": _rtmpose(5_473_251, 0.676, 0.33, 0.5),
    "rtmpose_m": _rtmpose(13_587_611, 1.92, 0.67, 0.75),
    "rtmpose_l": _rtmpose(27_660_339, 4.14, 1.0, 1.0),
    "rtmpose_x": _rtmpose(49_434_283, 17.2, 1.33, 1.25, image_size=(384, 288)),
    "rtmpose_tiny": _rtmpose(
        1_317_339, 0.0405, 0.167, 0.25, image_size=(128, 96), channels=64, attention_dim=32
    ),
    "dwpose_t": _dwpose(5_519_779, 0.548, 0.167, 0.375),
    "dwpose_s": _dwpose(8_383_575, 0.905, 0.33, 0.5),
    "dwpose_m": _dwpose(17_953_039, 2.22, 0.67, 0.75),
    "dwpose_l": _dwpose(33_480_871, 4.51, 1.0, 1.0),
}

LIFTERS: dict[str, Preset] = {
    "simple_baseline": _lifter(
        SimpleBaseline, "standardised m", "Martinez et al., ICCV 2017", "MIT", 4_296_755, 0.00428
    ),
    "videopose3d": _lifter(
        VideoPose3D, "m", "Pavllo et al., CVPR 2019", "CC BY-NC 4.0", 4_291_635, 0.00428
    ),
    "iganet": _lifter(IGANet, "m", "Liu et al., ICASSP 2023", "MIT", 10_623_657, 0.185),
    "mixste": _lifter(MixSTE, "m", "Zhang et al., CVPR 2022", "none stated", 33_659_907, 0.502),
}


def list_detectors() -> list[str]:
    """Names that :func:`create_detector` takes, those of LIFTJAX_IMPORT last."""
    return list(DETECTORS)


def list_lifters() -> list[str]:
    """Names that :func:`create_lifter` takes, those of LIFTJAX_IMPORT last."""
    return list(LIFTERS)


def create_detector(
    name: str,
    *,
    skeleton: str | None = None,
    num_joints: int | None = None,
    image_size: tuple[int, int] | None = None,
    rngs: nnx.Rngs,
    **overrides,
) -> nnx.Module:
    """A 2D pose detector with fresh weights.

    Args:
      name: one of :func:`list_detectors`.
      skeleton: joint set that it finds. num_joints: the number of joints of a set without a name.
        By default the joint set of the published weights.
      image_size: (height, width) of the person crop; default: the preset's.
      rngs: random numbers of the initial weights.
      **overrides: sizes that differ from the preset's.

    Raises:
      LiftjaxError: unknown name, skeleton or keyword; the message names the nearest.
    """
    preset = get_preset("detector", name)
    if skeleton is None and num_joints is None:
        skeleton = preset.skeleton
    if num_joints is None:
        num_joints = get_skeleton(skeleton).num_joints
    if num_joints < 1:
        raise LiftjaxError(f"{name} with {num_joints} joints; it finds 1 or more.")
    if image_size is not None:
        overrides["image_size"] = image_size
    return _create(name, preset, overrides, num_joints=num_joints, skeleton=skeleton, rngs=rngs)


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
    preset = get_preset("lifter", name)
    return _create(name, preset, overrides, skeleton=skeleton, num_frames=num_frames, rngs=rngs)


def get_preset(kind: str, name: str) -> Preset:
    """The preset of the `kind` ("detector" or "lifter") called `name`."""
    presets = {"detector": DETECTORS, "lifter": LIFTERS}[kind]
    if name not in presets:
        error = unknown_name(kind, name, presets)
        raise LiftjaxError(f"{error} LIFTJAX_IMPORT=MODULE adds a {kind} of your own.")
    return presets[name]


def _create(name: str, preset: Preset, overrides: dict, **common) -> nnx.Module:
    known = inspect.signature(preset.cls.__init__).parameters
    for keyword in overrides:
        if keyword not in known:
            raise unknown_name(f"keyword of {name}", keyword, known)
    try:
        return preset.cls(**common, **(preset.keywords | overrides))
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        if not overrides or isinstance(error, LiftjaxError):
            raise
        given = ", ".join(f"{keyword}={value!r}" for keyword, value in overrides.items())
        raise LiftjaxError(f"{name} cannot be built with {given}: {error}") from error


def _import_others(names: str) -> None:
    """Imports the modules in `names` (commas between), which add presets of their own."""
    for name in filter(None, (name.strip() for name in names.split(","))):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise LiftjaxError(
                f"LIFTJAX_IMPORT names {name}, and there is no such module; run in its folder "
                "(python -m liftjax ...), or have that in PYTHONPATH."
            ) from None


_import_others(os.environ.get("LIFTJAX_IMPORT", ""))
