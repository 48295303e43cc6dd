"""Which preset a state_dict is, from the shapes in it.

Each network's sizes can be read off its arrays, so nobody has to repeat them; what leaves no trace
there (heads of an attention, dropout, causality) is the preset's unless the user says otherwise.
"""

import inspect
import math
import re
from collections.abc import Iterable
from typing import Any

from flax import nnx

from liftjax import torch_weights
from liftjax.detectors.hrnet import HRNet
from liftjax.detectors.rtmpose import RTMPose
from liftjax.lifters.iganet import IGANet
from liftjax.lifters.mixste import MixSTE
from liftjax.lifters.simple_baseline import SimpleBaseline
from liftjax.lifters.videopose3d import VideoPose3D, resolve_widths
from liftjax.registry import DETECTORS, LIFTERS, create_detector, create_lifter

Shapes = dict[str, tuple[int, ...]]
Keywords = dict[str, Any]


def measure(network: type[nnx.Module], shapes: Shapes) -> Keywords:
    """The keywords of `network` that would give arrays of these shapes.

    Raises:
      KeyError: an array that tells a size is not there.
    """
    return _MEASURES[network](shapes)


def _count(shapes: Shapes, pattern: str) -> int:
    """How many different numbers stand where `pattern` has its group."""
    matches = (re.match(pattern, key) for key in shapes)
    return len({match[1] for match in matches if match})


def _hrnet(shapes: Shapes) -> Keywords:
    return {
        "width": shapes["stage2.0.branches.0.0.conv1.weight"][0],
        "stem_width": shapes["conv1.weight"][0],
        "stem_blocks": _count(shapes, r"layer1\.(\d+)\."),
        "modules": tuple(_count(shapes, rf"stage{stage}\.(\d+)\.") for stage in (2, 3, 4)),
        "blocks": _count(shapes, r"stage2\.0\.branches\.0\.(\d+)\."),
    }


def _rtmpose(shapes: Shapes) -> Keywords:
    sizes = {
        "widen": shapes["backbone.stem.2.conv.weight"][0] / 64,
        "deepen": _count(shapes, r"backbone\.stage2\.1\.blocks\.(\d+)\.") / 6,
    }
    if "head.gau.gamma" in shapes:
        sizes["channels"] = shapes["head.mlp.1.weight"][0]
        sizes["attention_dim"] = shapes["head.gau.gamma"][1]
    return sizes


def _simple_baseline(shapes: Shapes) -> Keywords:
    return {
        "linear_size": shapes["w1.weight"][0],
        "num_stages": _count(shapes, r"linear_stages\.(\d+)\."),
    }


def _videopose3d(shapes: Shapes) -> Keywords:
    convs = _count(shapes, r"layers_conv\.(\d+)\.")
    first = shapes["expand_conv.weight"]
    widths = (first[2], *(shapes[f"layers_conv.{i}.weight"][2] for i in range(0, convs, 2)))
    field = math.prod(widths)
    usual = all(width % 2 for width in widths) and resolve_widths(field, None) == widths
    sizes = {} if usual else {"filter_widths": widths}
    return {"num_frames": field, "channels": first[0], **sizes}


def _iganet(shapes: Shapes) -> Keywords:
    return {
        "layers": _count(shapes, r"IGANet\.blocks\.(\d+)\."),
        "channels": shapes["fcn.weight"][1],
    }


def _mixste(shapes: Shapes) -> Keywords:
    width = shapes["Spatial_pos_embed"][2]
    return {
        "num_frames": shapes["Temporal_pos_embed"][1],
        "embed_dim": width,
        "depth": _count(shapes, r"STEblocks\.(\d+)\."),
        "mlp_ratio": shapes["STEblocks.0.mlp.fc1.weight"][0] / width,
    }


_MEASURES = {
    HRNet: _hrnet,
    RTMPose: _rtmpose,
    SimpleBaseline: _simple_baseline,
    VideoPose3D: _videopose3d,
    IGANet: _iganet,
    MixSTE: _mixste,
}


def kind_of(name: str) -> str | None:
    """'detector' or 'lifter'; None for an unknown name."""
    return "detector" if name in DETECTORS else "lifter" if name in LIFTERS else None


def presets_of(network: type[nnx.Module]) -> list[str]:
    """Names of the presets that are this network."""
    return [name for name, preset in (DETECTORS | LIFTERS).items() if preset.cls is network]


def differing(name: str, sizes: Keywords) -> Keywords:
    """Those of `sizes` that the preset `name` has not."""
    preset = (DETECTORS | LIFTERS)[name]
    defaults = _defaults(preset.cls) | preset.keywords
    return {key: value for key, value in sizes.items() if not _equal(value, defaults.get(key))}


def best_preset(
    network: type[nnx.Module],
    sizes: Keywords,
    skeleton: str | None,
    image_size: tuple[int, int] | None,
) -> str:
    """The preset with the fewest differing sizes; then of the same joints; then of that image."""

    def rank(name: str):
        preset = (DETECTORS | LIFTERS)[name]
        return (
            len(differing(name, sizes)),
            preset.skeleton != skeleton,
            preset.keywords.get("image_size") != image_size,
        )

    return min(presets_of(network), key=rank)


def _defaults(network: type[nnx.Module]) -> Keywords:
    parameters = inspect.signature(network.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _equal(a: Any, b: Any) -> bool:
    """Depths are rounded to whole blocks, so 0.167 and 1/6 are one."""
    if isinstance(a, float) and isinstance(b, int | float):
        return math.isclose(a, b, abs_tol=0.01)
    return a == b


def nearest(keys: Iterable[str]) -> str:
    """The class of ours whose names, numbers apart, are most like `keys`."""
    theirs = _unnumbered(keys)

    def likeness(name: str) -> float:
        ours = _unnumbered(names(name))
        return len(ours & theirs) / len(ours | theirs)

    name = max(("hrnet_tiny", "rtmpose_tiny", *LIFTERS), key=likeness)
    return (DETECTORS | LIFTERS)[name].cls.__name__


def _unnumbered(keys: Iterable[str]) -> set[str]:
    return {re.sub(r"\d+", "#", key) for key in keys}


def names(preset: str) -> list[str]:
    """The names in the preset's state_dict; no array is made."""
    create = create_detector if preset in DETECTORS else create_lifter
    return list(torch_weights.shapes(nnx.eval_shape(lambda: create(preset, rngs=nnx.Rngs(0)))))
