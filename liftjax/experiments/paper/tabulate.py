"""Tables as measured: the cells of a definition filled from outcomes, compared within groups."""

import math
from collections.abc import Callable, Mapping, Sequence

from liftjax.experiments.paper import published
from liftjax.experiments.paper.measures import Sampled
from liftjax.experiments.paper.outcomes import Outcome
from liftjax.experiments.paper.statistics import estimate, holm, paired
from liftjax.experiments.paper.study import Study
from liftjax.experiments.paper.table import Cell, Column, Row, Table

Outcomes = Mapping[str, Outcome]  # by run id


def tabulate(
    define: Callable[[Sequence[Study]], Table],
    studies: Sequence[Sequence[Study]],
    outcomes: Outcomes,
) -> dict:
    """A table over all seeds as JSON.

    Args:
      define: of `definitions.TABLES`. studies: by seed, one a data set.
    """
    by_seed = [define(same_seed) for same_seed in studies]
    table = by_seed[0]
    rows = [
        _measure_row(same_row, outcomes)
        for same_row in zip(*(one.rows for one in by_seed), strict=True)
    ]
    _mark_best(table, rows)
    _compare(table, rows)
    return {
        "key": table.key,
        "title": table.title,
        "caption": table.caption,
        "notes": [*table.notes, *(f"In print: {note}" for note in published.notes(table.key))],
        "row_heads": list(table.row_heads),
        "columns": [vars(column) for column in table.columns],
        "rows": [
            {
                "labels": list(row.labels),
                "group": row.group,
                "cells": [cell and {k: v for k, v in cell.items() if k != "samples"}
                          for cell in cells],
            }
            for row, cells in zip(table.rows, rows, strict=True)
        ],
    }  # fmt: skip


def _measure_row(same_row: Sequence[Row], outcomes: Outcomes) -> list[dict | None]:
    """The cells of a row, given the row of each seed."""
    return [
        _measure_cell(cells, outcomes) if cells[0] else None
        for cells in zip(*(row.cells for row in same_row), strict=True)
    ]


def _measure_cell(cells: Sequence[Cell], outcomes: Outcomes) -> dict:
    samples: list[Sampled] = [cell.measure.of(outcomes) for cell in cells]
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
    """JSON has no NaN; five digits are more than anything here is good for."""
    return float(f"{number:.6g}") if number is not None and math.isfinite(number) else None


def _of_group(
    table: Table, rows: Sequence[list], group: str, column: int
) -> list[tuple[Row, dict]]:
    """Rows of a group that have a number in a column, with that cell."""
    return [
        (row, cells[column])
        for row, cells in zip(table.rows, rows, strict=True)
        if row.group == group and cells[column] and cells[column]["value"] is not None
    ]


def _groups(table: Table) -> list[str]:
    return list(dict.fromkeys(row.group for row in table.rows if row.group))


def _mark_best(table: Table, rows: Sequence[list]) -> None:
    """In each group the best of a column; where a group is one row, the best of that row."""
    for group in _groups(table):
        single = sum(row.group == group for row in table.rows) == 1
        if single:
            (cells,) = [c for row, c in zip(table.rows, rows, strict=True) if row.group == group]
            _mark([cell for cell in cells if cell and cell["value"] is not None], table.columns[0])
            continue
        for i, column in enumerate(table.columns):
            _mark([cell for _, cell in _of_group(table, rows, group, i)], column)


def _mark(cells: Sequence[dict], column: Column) -> None:
    """Marks the best among two or more."""
    if len(cells) < 2 or not column.better:
        return
    choose = min if column.better == "lower" else max
    best = choose(round(cell["value"], column.digits) for cell in cells)
    for cell in cells:
        cell["best"] = round(cell["value"], column.digits) == best


def _compare(table: Table, rows: Sequence[list]) -> None:
    """The p-value of each cell against the baseline of its group, in the same column; adjusted for
    the number of tests in the table."""
    tested = []
    for group in _groups(table):
        for i in range(len(table.columns)):
            found = _of_group(table, rows, group, i)
            baseline = [cell for row, cell in found if row.baseline]
            for row, cell in found:
                if baseline and not row.baseline:
                    tested.append((cell, paired(cell["samples"], baseline[0]["samples"]).p))
    for (cell, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
        cell["p"] = finite(p)
