"""How the experiments ask for a detector's keypoints: as its recipe trained it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from liftjax.detectors.decoding import Decoding


def detection_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `prediction.predict_2d` that decide which keypoints come out."""
    return {**dataclasses.asdict(Decoding.of_recipe(recipe)), "precision": recipe["precision"]}
