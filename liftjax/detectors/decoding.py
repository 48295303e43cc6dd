"""How keypoints are read off what a detector gives."""

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
        """As `recipe` evaluates; the defaults where it does not say. `beta` takes precedence."""
        loss = recipe.get("loss", {})
        beta = float(loss.get("beta", cls.beta) if beta is None else beta)
        if not 0 < beta <= _LARGEST_BETA:
            raise LiftjaxError(
                f"A beta of {beta:g}; take a number from above 0 to {_LARGEST_BETA:g}, such as "
                f"{cls.beta:g}."
            )
        return cls(
            beta=beta,
            normalizer=loss.get("normalizer", cls.normalizer),
            quarter_pixel=loss.get("quarter_pixel_shift", cls.quarter_pixel),
        )

    def as_recipe(self) -> dict[str, Any]:
        """The part of a recipe that says this."""
        return {
            "loss": {
                "beta": self.beta,
                "normalizer": self.normalizer,
                "quarter_pixel_shift": self.quarter_pixel,
            }
        }

    def keypoints(self, detector: nnx.Module, out: HeatmapOutput | SimCCOutput) -> jax.Array:
        """(B, K, 2) pixels of the crop."""
        return detector.decode(out, self.beta, self.normalizer, self.quarter_pixel)
