"""How keypoints are read off a detector's output."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from liftjax.detectors.heatmaps import HeatmapOutput
from liftjax.detectors.simcc import SimCCOutput
from liftjax.errors import LiftjaxError

_LARGEST_BETA = 1e9  # float32 overflows beyond


@dataclasses.dataclass(frozen=True)
class Decoding:
    """The soft-argmax that a detector was trained with, see `ops.soft_argmax`."""

    beta: float = 100.0
    normalizer: str = "softmax"
    quarter_pixel: bool = False

    @classmethod
    def of_recipe(cls, recipe: Mapping[str, Any], beta: float | None = None) -> "Decoding":
        """The soft-argmax of a recipe, with defaults for what it does not say.

        Args:
          recipe: of the detector's training; may be empty.
          beta: overrides the recipe's.
        """
        loss = recipe.get("loss", {})
        beta = float(loss.get("beta", cls.beta) if beta is None else beta)
        if not 0 < beta <= _LARGEST_BETA:
            raise LiftjaxError(
                f"A beta of {beta:g} is out of range; take a number above 0 and up to "
                f"{_LARGEST_BETA:g}, such as {cls.beta:g}."
            )
        return cls(
            beta=beta,
            normalizer=loss.get("normalizer", cls.normalizer),
            quarter_pixel=loss.get("quarter_pixel_shift", cls.quarter_pixel),
        )

    def as_recipe(self) -> dict[str, Any]:
        """The part of a recipe that says how to decode."""
        return {
            "loss": {
                "beta": self.beta,
                "normalizer": self.normalizer,
                "quarter_pixel_shift": self.quarter_pixel,
            }
        }

    def keypoints(self, detector: nnx.Module, out: HeatmapOutput | SimCCOutput) -> jax.Array:
        """Keypoints (B, K, 2) in pixels of the crop."""
        return detector.decode(out, self.beta, self.normalizer, self.quarter_pixel)
