"""Tables as measured: the cells of a definition filled from outcomes, compared within groups."""

import math
from collections.abc import Callable, Iterator, Sequence

from liftjax.experiments.paper import published
from liftjax.experiments.paper.outcomes import Outcomes
from liftjax.experiments.paper.statistics import estimate, holm, paired
from liftjax.experiments.paper.study import Study
from liftjax.experiments.paper.table import Cell, Column, Table

Filled = Sequence[Sequence[dict | None]]  # cells by row and column


def tabulate(
    define: Callable[[Sequence[Study]], Table],
    studies: Sequence[Sequence[Study]],
    outcomes: Outcomes,
) -> dict:
    """A table over all seeds as JSON.

    Args:
      define: of `definitions.TABLES`.
      studies: by seed, one a data set.
      outcomes: of all runs of the table.
    """
    by_seed = [define(same_seed) for same_seed in studies]
    table = by_seed[0]
    filled = [
        [
            _fill(cells, outcomes) if cells[0] else None
            for cells in zip(*(row.cells for row in same_row), strict=True)
        ]
        for same_row in zip(*(one.rows for one in by_seed), strict=True)
    ]
    _mark_best(table, filled)
    _compare(table, filled)
    for cell in (cell for cells in filled for cell in cells if cell):
        del cell["samples"]
    return {
        "key": table.key,
        "title": table.title,
        "caption": table.caption,
        "notes": [*table.notes, *(f"In print: {note}" for note in published.notes(table.key))],
        "row_heads": list(table.row_heads),
        "columns": [vars(column) for column in table.columns],
        "rows": [
            {"labels": list(row.labels), "group": row.group, "cells": cells}
            for row, cells in zip(table.rows, filled, strict=True)
        ],
    }


def _fill(cells: Sequence[Cell], outcomes: Outcomes) -> dict:
    """A cell as measured, given that of each seed."""
    samples = [cell.measure.of(outcomes) for cell in cells]
    found = estimate(samples)
    return {
        "value": finite(found.mean),
        "low": finite(found.low),
        "high": finite(found.high),
        "seeds": [finite(value) for value in found.seeds],
        "published": cells[0].published,
        "best": False,
        "p": None,
        "runs": sorted({run.id for cell in cells for run in cell.measure.runs}),
        "samples": samples,
    }


def finite(number: float | None) -> float | None:
    """The number to six digits; None for NaN and infinity, which JSON lacks."""
    return float(f"{number:.6g}") if number is not None and math.isfinite(number) else None


def _groups(table: Table, filled: Filled) -> Iterator[list[tuple[bool, Sequence[dict | None]]]]:
    """The rows of each group: whether it is the baseline, and its cells."""
    for group in dict.fromkeys(row.group for row in table.rows if row.group):
        yield [
            (row.baseline, cells)
            for row, cells in zip(table.rows, filled, strict=True)
            if row.group == group
        ]


def _has_value(cell: dict | None) -> bool:
    return cell is not None and cell["value"] is not None


def _mark_best(table: Table, filled: Filled) -> None:
    """Marks the best of each column of a group; in a group of one row, the best of that row."""
    for group in _groups(table, filled):
        if len(group) == 1:
            _mark(group[0][1], table.columns[0])
            continue
        for i, column in enumerate(table.columns):
            _mark([cells[i] for _, cells in group], column)


def _mark(cells: Sequence[dict | None], column: Column) -> None:
    """Marks the best among two or more numbers."""
    cells = [cell for cell in cells if _has_value(cell)]
    if len(cells) < 2 or not column.better:
        return
    choose = min if column.better == "lower" else max
    best = choose(round(cell["value"], column.digits) for cell in cells)
    for cell in cells:
        cell["best"] = round(cell["value"], column.digits) == best


def _compare(table: Table, filled: Filled) -> None:
    """The p-value of each cell against the baseline of its group, in the same column; adjusted for
    the number of tests in the table."""
    tested, p_values = [], []
    for group in _groups(table, filled):
        for i in range(len(table.columns)):
            found = [(baseline, cells[i]) for baseline, cells in group if _has_value(cells[i])]
            baselines = [cell for baseline, cell in found if baseline]
            for baseline, cell in found:
                if baselines and not baseline:
                    tested.append(cell)
                    p_values.append(paired(cell["samples"], baselines[0]["samples"]).p)
    for cell, p in zip(tested, holm(p_values), strict=True):
        cell["p"] = finite(p)
