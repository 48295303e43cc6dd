"""The command `models`: a table of all networks."""

from tqdm import tqdm

from liftjax.counting import network_size
from liftjax.detectors.spec import IMAGENET_MEAN, IMAGENET_STD
from liftjax.registry import DETECTORS, LIFTERS, Preset
from liftjax.skeletons import get_skeleton
from liftjax.tables import text_table

_NOTE = """\
Parameters and multiply-adds (10^9, of one crop or frame) are those of the joint set and the size
shown; both can be changed (skeleton=, image_size=, num_frames= and each network's own keywords).
Detectors take crops of height x width, RGB, less {mean},
divided by {std}, on a scale of 0 to 1. They give heatmaps or SimCC vectors,
which decode to pixels of the crop. Lifters take pixels of the image and give metres.
The licence is that of the authors' code; weights are published under their own, which
python -m liftjax weights lists."""


def print_models() -> str:
    """Prints the table of all presets; returns it."""
    names = [*DETECTORS, *LIFTERS]
    for name in tqdm(names, "counting, once", unit="network", leave=False, delay=1):
        network_size(name)
    detectors = [
        _row(name, preset, "{} x {}".format(*preset.default("image_size")))
        for name, preset in DETECTORS.items()
    ]
    lifters = [_row(name, preset, "1 frame") for name, preset in LIFTERS.items()]
    tables = [
        text_table([kind, *_COLUMNS], rows, left=(0, 1, 3, 6, 7, 8))
        for kind, rows in (("detector", detectors), ("lifter", lifters))
    ]
    text = "\n\n".join([*tables, _NOTE.format(mean=IMAGENET_MEAN, std=IMAGENET_STD)])
    print(text)
    return text


_COLUMNS = (
    "input", "joints", "joint set", "parameters", "10^9 mult-adds", "output", "paper", "licence",
)  # fmt: skip


def _row(name: str, preset: Preset, size: str) -> list[str]:
    counted = network_size(name)
    return [
        name,
        size,
        str(get_skeleton(preset.skeleton).num_joints),
        preset.skeleton,
        f"{counted.parameters / 1e6:.2f} M",
        f"{counted.gmacs:.3g}",
        counted.output,
        preset.paper,
        preset.licence,
    ]
