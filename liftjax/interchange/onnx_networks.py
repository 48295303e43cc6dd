"""RTMPose, DWPose and HRNet as steps, whose layers have MMPose's names.

This is the arithmetic of `detectors.rtmpose`, `detectors.cspnext` and `detectors.hrnet` once more,
without numbers. A file of the same steps is one of these networks.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

from liftjax.detectors.hrnet import HRNet
from liftjax.interchange.onnx_steps import Step, conv_kind
from liftjax.registry import DETECTORS

ATTENTION = "the scale of the attention"  # which is no array of the state_dict

_MOST_BLOCKS = 8  # in the second stage of the largest RTMPose


def networks() -> Iterator[tuple[str, list[Step]]]:
    """Names and outputs of all networks whose weights can be read."""
    presets = [preset for preset in DETECTORS.values() if preset.cls is HRNet]
    sizes = ("stem_blocks", "modules", "blocks")
    for size in dict.fromkeys(tuple(map(preset.default, sizes)) for preset in presets):
        yield "HRNet", [_hrnet(*size)]
    for blocks in range(1, _MOST_BLOCKS + 1):
        yield "RTMPose", _rtmpose(blocks / 6)


def _conv(x: Step, name: str, size: int, stride: int = 1, *, depthwise=False, norm="") -> Step:
    return Step(conv_kind(size, stride, depthwise), x, name=name, norm=norm)


def _unit(x: Step, name: str, size: int, stride: int = 1, *, depthwise: bool = False) -> Step:
    """Convolution, batch norm, SiLU."""
    names = {"name": f"{name}.conv", "norm": f"{name}.bn"}
    return Step("silu", _conv(x, size=size, stride=stride, depthwise=depthwise, **names))


def _rtmpose(deepen: float) -> list[Step]:
    """See `detectors.cspnext` and `detectors.rtmpose`."""
    x = Step("image")
    for i, stride in enumerate((2, 1, 1)):
        x = _unit(x, f"backbone.stem.{i}", 3, stride)
    for stage, blocks in enumerate((3, 6, 6, 3), 1):
        front, last = f"backbone.stage{stage}.", stage == 4
        x = _unit(x, f"{front}0", 3, 2)
        if last:
            x = _unit(x, f"{front}1.conv1", 1)
            x = Step("concat", x, *(Step(f"largest of {size}", x) for size in (5, 9, 13)))
            x = _unit(x, f"{front}1.conv2", 1)
        x = _csp_layer(x, f"{front}{1 + last}.", max(round(blocks * deepen), 1), not last)
    return _head(x)


def _csp_layer(x: Step, front: str, blocks: int, shortcut: bool) -> Step:
    short, x = _unit(x, f"{front}short_conv", 1), _unit(x, f"{front}main_conv", 1)
    for i in range(blocks):
        y = _unit(x, f"{front}blocks.{i}.conv1", 3)
        y = _unit(y, f"{front}blocks.{i}.conv2.depthwise_conv", 5, depthwise=True)
        y = _unit(y, f"{front}blocks.{i}.conv2.pointwise_conv", 1)
        x = Step("add", x, y) if shortcut else y
    x = Step("concat", x, short)
    gate = _conv(Step("mean of the map", x), f"{front}attention.fc", 1)
    return _unit(Step("mul", x, Step("hard sigmoid", gate)), f"{front}final_conv", 1)


def _head(x: Step) -> list[Step]:
    def linear(x: Step, name: str) -> Step:
        return Step("linear", x, name=f"head.{name}")

    maps = _conv(x, "head.final_layer", 7)
    tokens = linear(Step("scale norm", maps, name="head.mlp.0.g"), "mlp.1")
    normed = Step("scale norm", tokens, name="head.gau.ln.g")
    mixed = Step("silu", linear(normed, "gau.uv"))
    gate, value, base = (Step(f"part {i}", mixed) for i in range(3))
    both = Step("times", base, name="head.gau.gamma")
    both = Step("plus", both, name="head.gau.beta")
    logits = Step("matmul", *(Step(f"part {i}", both) for i in range(2)))
    weights = Step("square", Step("relu", Step("times", logits, name=ATTENTION)))
    attended = linear(Step("mul", gate, Step("matmul", weights, value)), "gau.o")
    tokens = Step("add", Step("times", tokens, name="head.gau.res_scale.scale"), attended)
    return [linear(tokens, "cls_x"), linear(tokens, "cls_y")]


def _pair(x: Step, name: str, size: int, stride: int = 1, *, conv="0", norm="1") -> Step:
    """Convolution and batch norm, in HRNet mostly a list of the two."""
    name = f"backbone.{name}."
    return _conv(x, name + conv, size, stride, norm=name + norm)


def _numbered(x: Step, front: str, i: int, size: int, stride: int = 1) -> Step:
    return _conv(x, f"{front}conv{i}", size, stride, norm=f"{front}bn{i}")


_relu = partial(Step, "relu")


def _hrnet(stem_blocks: int, modules: tuple[int, int, int], blocks: int) -> Step:
    """See `detectors.hrnet`."""
    x = Step("image")
    for i in (1, 2):
        x = _relu(_numbered(x, "backbone.", i, 3, 2))
    for i in range(stem_blocks):
        front = f"backbone.layer1.{i}."
        y = _relu(_numbered(x, front, 1, 1))
        y = _numbered(_relu(_numbered(y, front, 2, 3)), front, 3, 1)
        x = _relu(Step("add", y, x if i else _pair(x, "layer1.0.downsample", 1)))
    xs = [x]
    for stage, count in enumerate(modules, 2):
        xs = _transition(xs, stage)
        for i in range(count):
            only_finest = stage == 4 and i == count - 1
            xs = _exchange(xs, f"stage{stage}.{i}.", blocks, 1 if only_finest else len(xs))
    return _conv(xs[0], "head.final_layer", 1)


def _transition(xs: list[Step], stage: int) -> list[Step]:
    """One more branch; the first transition also narrows the finest one."""
    name = f"transition{stage - 1}"
    kept = [_relu(_pair(xs[0], f"{name}.0", 3))] if stage == 2 else xs
    return [*kept, _relu(_pair(xs[-1], f"{name}.{len(xs)}.0", 3, 2))]


def _exchange(xs: list[Step], front: str, blocks: int, outputs: int) -> list[Step]:
    for i in range(blocks):
        for j, x in enumerate(xs):
            block = f"backbone.{front}branches.{j}.{i}."
            y = _numbered(_relu(_numbered(x, block, 1, 3)), block, 2, 3)
            xs = [*xs[:j], _relu(Step("add", x, y)), *xs[j + 1 :]]
    return [_fused(xs, i, f"{front}fuse_layers.{i}.") for i in range(outputs)]


def _fused(xs: list[Step], i: int, front: str) -> Step:
    total = None
    for j, x in enumerate(xs):
        if j > i:
            x = Step("enlarge", _pair(x, f"{front}{j}", 1))
        for step, (_, after) in enumerate(pairwise(range(j, i + 1))):
            x = _pair(x, f"{front}{j}.{step}", 3, 2)
            x = x if after == i else _relu(x)
        total = x if total is None else Step("add", total, x)
    return _relu(total)
