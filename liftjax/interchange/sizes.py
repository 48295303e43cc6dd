"""Which preset a network is, by the sizes that were read off its arrays.

Sizes that leave no trace there (heads of an attention, dropout, causality) are the preset's unless
the user says otherwise.
"""

import math
from typing import Any

from liftjax.nn.declaration import Found, Keywords, Preset


def differing(preset: Preset, sizes: Keywords) -> Keywords:
    """Those of `sizes` that are not the preset's."""
    return {k: size for k, size in sizes.items() if not _equal(size, preset.default(k))}


def _equal(a: Any, b: Any) -> bool:
    """Depths are rounded to whole blocks, so 0.167 and 1/6 are the same."""
    if isinstance(a, float) and isinstance(b, int | float):
        return math.isclose(a, b, abs_tol=0.01)
    return a == b


def best_preset(found: Found) -> str:
    """The preset with the fewest differing sizes; then of the same joints; then of that image."""

    def rank(name: str):
        preset = found.presets[name]
        return (
            len(differing(preset, found.sizes)),
            preset.skeleton != found.skeleton,
            preset.default("image_size") != found.image_size,
        )

    return min(found.presets, key=rank)
