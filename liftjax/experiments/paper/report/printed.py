"""What markdown, LaTeX and CSV print of a table: its rows as text, its headings, its remarks.

Bold is the best of a group of rows. An interval is printed as ± if all intervals of the table are
about symmetric, else as [low, high]. Published numbers are printed under the measured ones, with
the difference, if both are of the same data; else apart, in a block of their own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

EXTRA = "†"  # marks columns that the paper does not have
MEASURED, PUBLISHED, DIFFERENCE = "measured", "published", "difference"
PrintedRow = tuple[list[str], list[str]]  # labels, cells
_ARROWS = {"lower": "↓", "higher": "↑"}
_UNEVEN = 0.25  # share of an interval's half width by which its middle may miss the value


class Style(NamedTuple):
    """How a format writes what it must treat specially."""

    text: Callable[[str], str]
    bold: Callable[[str], str]
    interval: Callable[[str], str]  # "± 0.4" or "[52.1, 53.0]"
    number: Callable[[str], str]  # with sign
    missing: str


def measured_cells(table: Mapping) -> Iterator[tuple[Mapping, Mapping, Mapping]]:
    """(row, column, cell) of every cell that is not a gap."""
    for row in table["rows"]:
        for column, cell in zip(table["columns"], row["cells"], strict=True):
            if cell is not None:
                yield row, column, cell


def has_interval(cell: Mapping) -> bool:
    """Whether the cell has a number with an interval."""
    return None not in (cell["value"], cell["low"], cell["high"])


def is_even(table: Mapping) -> bool:
    """Whether every interval of the table can be printed as ±."""
    for _, column, cell in measured_cells(table):
        if has_interval(cell):
            below, above = cell["value"] - cell["low"], cell["high"] - cell["value"]
            allowed = max(_UNEVEN * (below + above) / 2, 10.0 ** -column["digits"])
            if abs(above - below) / 2 > allowed:
                return False
    return True


def difference(cell: Mapping | None) -> float | None:
    """The measured number minus the published one; None where either is missing."""
    if cell is None or None in (cell["value"], cell["published"]):
        return None
    return cell["value"] - cell["published"]


def _number(value: float | None, digits: int, style: Style, sign: str = "") -> str:
    if value is None:
        return style.missing
    return style.number(f"{round(value, digits) + 0.0:{sign}.{digits}f}")


def _measured_text(cell: Mapping | None, digits: int, style: Style, even: bool) -> str:
    """The value of a cell with its interval, in bold if it is the best."""
    value = _number(cell and cell["value"], digits, style)
    if cell is None or cell["value"] is None:
        return value
    value = style.bold(value) if cell["best"] else value
    if not has_interval(cell):
        return value
    low, high = cell["low"], cell["high"]
    # ± takes the wider side, so that the printed interval covers the measured one.
    half = max(cell["value"] - low, high - cell["value"])
    interval = f"± {half:.{digits}f}" if even else f"[{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value} {style.interval(interval)}"


def _published_text(cell: Mapping | None, digits: int, style: Style) -> str:
    return _number(cell and cell["published"], digits, style)


def _difference_text(cell: Mapping | None, digits: int, style: Style) -> str:
    return _number(difference(cell), digits, style, "+")


def _has_published(row: Mapping) -> bool:
    return any(cell is not None and cell["published"] is not None for cell in row["cells"])


def headings(table: Mapping, rows: Sequence[PrintedRow]) -> list[str]:
    """The row heads and the columns' titles, as many as the printed rows have entries.

    A title names the unit if the table has several, says which end is better if the columns differ
    in that, and marks a column that the paper does not have.
    """
    labels = len(rows[0][0]) if rows else len(table["row_heads"])
    heads = [*table["row_heads"], *[""] * (labels - len(table["row_heads"]))]
    units, better = ({column[key] for column in table["columns"]} for key in ("unit", "better"))
    for column in table["columns"]:
        unit = f" ({column['unit']})" if len(units) > 1 and column["unit"] else ""
        arrow = f" {_ARROWS[column['better']]}" if len(better) > 1 and column["better"] else ""
        heads.append(column["title"] + unit + arrow + (f" {EXTRA}" if column["extra"] else ""))
    return heads


def remarks(table: Mapping) -> list[str]:
    """What a reader must know beyond the caption: the common unit, extras, the table's notes."""
    units, better = ({column[key] for column in table["columns"]} for key in ("unit", "better"))
    said = []
    if len(units) == 1 and (unit := units.pop()):
        best = f", {better.pop()} is better" if len(better) == 1 and "" not in better else ""
        said.append(f"All numbers in {unit}{best}.")
    if any(column["extra"] for column in table["columns"]):
        said.append(f"{EXTRA} Not in the paper.")
    return said + list(table["notes"])


def body_rows(table: Mapping, same_data: bool, style: Style) -> list[PrintedRow]:
    """The printed rows; three for a row with published numbers of this data."""
    stacked = same_data and any(_has_published(row) for row in table["rows"])
    rows, even = [], is_even(table)
    for row in table["rows"]:
        labels = [style.text(label) for label in row["labels"]]
        kind = [MEASURED] if stacked else []
        rows.append((labels + kind, _cell_texts(table, row, _measured_text, style, even)))
        if stacked and _has_published(row):
            for kind, text in ((PUBLISHED, _published_text), (DIFFERENCE, _difference_text)):
                rows.append(([*[""] * len(labels), kind], _cell_texts(table, row, text, style)))
    return rows


def published_rows(table: Mapping, style: Style) -> list[PrintedRow]:
    """The rows that have published numbers, with those alone."""
    return [
        ([style.text(label) for label in row["labels"]],
         _cell_texts(table, row, _published_text, style))
        for row in table["rows"]
        if _has_published(row)
    ]  # fmt: skip


def _cell_texts(table: Mapping, row: Mapping, text: Callable, *options) -> list[str]:
    pairs = zip(row["cells"], table["columns"], strict=True)
    return [text(cell, column["digits"], *options) for cell, column in pairs]


def published_title(table: Mapping) -> str:
    """The heading of published numbers that stand apart."""
    return f"Published, {table.get('published_on', 'Human3.6M')}"


def published_part(table: Mapping) -> dict:
    """The columns and rows of a table that have published numbers."""
    kept = [
        i
        for i in range(len(table["columns"]))
        if any(_has_published({"cells": [row["cells"][i]]}) for row in table["rows"])
    ]
    rows = [
        row | {"cells": [row["cells"][i] for i in kept]}
        for row in table["rows"]
        if _has_published(row)
    ]
    return table | {"columns": [table["columns"][i] for i in kept], "rows": rows}
