"""How the published programs' weight files of detectors are read."""

import re
from collections.abc import Mapping

from liftjax.detectors.spec import IMAGENET_MEAN, IMAGENET_STD
from liftjax.nn.declaration import Source, State
from liftjax.nn.stated_joints import configuration

_MMPOSE_EXTRAS = {
    r"data_preprocessor\.": "colour mean and deviation, which liftjax has in its own spec",
    r"ema_": "moving averages beside the weights",
}


def without_mmpose_extras(state: State) -> tuple[State, list[str], tuple[str, ...]]:
    """`state` without what MMPose keeps beside the network; notes; warnings."""
    warnings = _colour_warnings(state)
    state, notes = drop_arrays(state, _MMPOSE_EXTRAS)
    return state, notes, warnings


def _colour_warnings(state: State) -> tuple[str, ...]:
    """One for each of MMPose's colour statistics that is not the ImageNet one of our specs."""
    warnings = []
    for name, ours in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        given = state.get(f"data_preprocessor.{name}")
        if given is None:
            continue
        theirs = [float(value) / 255 for value in given.reshape(-1)]
        if len(theirs) != 3 or max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) > 1e-3:
            shown = ", ".join(f"{value:.3f}" for value in theirs)
            warnings.append(f"trained with colour {name} ({shown}), liftjax feeds it {ours}")
    return tuple(warnings)


def stated_image_size(source: Source) -> tuple[int, int] | None:
    """(height, width) from the configuration that MMPose stores, or from a name with 256x192."""
    pattern = r"(?:input_size|image_size)=[\[(](\d+),\s*(\d+)[\])]"
    if found := re.search(pattern, configuration(source)):
        return int(found[2]), int(found[1])
    found = re.search(r"(?<!\d)(\d{2,3})x(\d{2,3})(?!\d)", source.name)
    return (int(found[1]), int(found[2])) if found else None


def drop_arrays(state: State, reasons: Mapping[str, str]) -> tuple[State, list[str]]:
    """`state` without the names that match a pattern of `reasons`, and a note on each group."""
    notes = []
    for pattern, reason in reasons.items():
        dropped = [key for key in state if re.match(pattern, key)]
        if dropped:
            notes.append(f"left {len(dropped)} arrays ({reason})")
            state = {key: value for key, value in state.items() if key not in dropped}
    return state, notes
