"""The numbers that the paper's supplement prints, by table and cell.

They are in published.json, one printed row a line, so that the two can be compared by eye.
"""

import functools
import json
from importlib import resources

BETAS = (1, 10, 50, 100, 200, 500)  # of Table 6
AVERAGE = "Avg."
ACTION_HEADS = {  # the columns of Table 1 as the paper abbreviates them
    "Directions": "Dir.", "Discussion": "Disc.", "Eating": "Eat", "Greeting": "Greet",
    "Phoning": "Phone", "Photo": "Photo", "Posing": "Pose", "Purchases": "Purch.",
    "Sitting": "Sit", "SittingDown": "SitD.", "Smoking": "Smoke", "Waiting": "Wait",
    "WalkDog": "WalkD.", "Walking": "Walk", "WalkTogether": "WalkT.",
}  # fmt: skip
_ACTIONS = {head: action for action, head in ACTION_HEADS.items()}


def published(table: str, *key: str) -> float | None:
    """The printed number of a cell; None for a dash, and for what the paper has no cell of.

    Keys by table (an action by its name or by its head in print)::

        "1"           detector, "ft2d" | "ours", lifter, action | "Avg."; "gt", lifter, action
        "2"           detector, "ft2d" | "ours", "human36m" | "panoptic", "pck" | "mpjpe"
        "3"           "all" | "perfect", "ft2d" | "ours", "pck" | "mpjpe"
        "4", "5"      "ft2d" | "single:LIFTER" | "without:LIFTER", lifter that it is tested on
        "6"           beta, as f"{beta:g}"
        "7", "8"      "proposed", or a weight and its value, as f"{value:g}": "l_2d", "0.3"
        "relu"        "softmax" | "relu"
        "voting"      "voting" | "ours"
    """
    return cells(table).get(tuple(_ACTIONS.get(part, part) for part in key))


@functools.cache
def cells(table: str) -> dict[tuple[str, ...], float]:
    """All printed numbers of a table by key; {} if the paper has no such table."""
    found = {}
    for row, numbers in _tables().get(table, {"rows": {}})["rows"].items():
        if isinstance(numbers, list):
            keys = [(*row.split(), *column.split()) for column in _tables()[table]["columns"]]
            found |= dict(zip(keys, numbers, strict=True))
        else:
            found[tuple(row.split())] = numbers
    return {key: number for key, number in found.items() if number is not None}


def notes(table: str) -> list[str]:
    """What is odd about a table as printed, in sentences."""
    return list(_tables().get(table, {"notes": []})["notes"])


def proposed_weights(table: str) -> dict[str, float]:
    """The loss weights that the first row of Table 7 or 8 prints."""
    return dict(_tables()[table]["proposed"])


@functools.cache
def _tables() -> dict[str, dict]:
    text = resources.files(__package__).joinpath("published.json").read_text()
    return json.loads(text)["tables"]
