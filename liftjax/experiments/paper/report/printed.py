"""What markdown and LaTeX print of a table: its rows as text, its headings, its remarks.

Bold is the best of a group of rows. An interval stands as ± where all of a table's intervals lie
evenly around their values, else as [low, high]. Published numbers stand under the measured ones,
with the difference, where both are of the same data; else apart, in a block of their own.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

EXTRA = "†"  # marks columns that the paper does not have
MEASURED, THERE, DIFFERENCE = "measured", "published", "difference"
_ARROWS = {"lower": "↓", "higher": "↑"}
_UNEVEN = 0.25  # share of an interval's half width by which its middle may miss the value


class Style(NamedTuple):
    """How a format writes what it must treat specially."""

    text: Callable[[str], str]
    bold: Callable[[str], str]
    interval: Callable[[str], str]  # "± 0.4" or "[52.1, 53.0]"
    number: Callable[[str], str]  # with sign
    missing: str


def has_interval(cell: Mapping | None) -> bool:
    return cell is not None and None not in (cell["value"], cell["low"], cell["high"])


def is_even(table: Mapping) -> bool:
    """Whether ± can say every interval of the table."""
    for row in table["rows"]:
        for cell, column in zip(row["cells"], table["columns"], strict=True):
            if not has_interval(cell):
                continue
            below, above = cell["value"] - cell["low"], cell["high"] - cell["value"]
            allowed = max(_UNEVEN * (below + above) / 2, 10.0 ** -column["digits"])
            if abs(above - below) / 2 > allowed:
                return False
    return True


def measured_text(cell: Mapping | None, digits: int, even: bool, style: Style) -> str:
    """The value of a cell with its interval, in bold if it is the best."""
    if cell is None or cell["value"] is None:
        return style.missing
    value = style.number(f"{cell['value']:.{digits}f}")
    value = style.bold(value) if cell["best"] else value
    if not has_interval(cell):
        return value
    low, high = cell["low"], cell["high"]
    if even:
        # The wider side: the interval said covers the interval meant.
        half = max(cell["value"] - low, high - cell["value"])
        return f"{value} {style.interval(f'± {half:.{digits}f}')}"
    return f"{value} {style.interval(f'[{low:.{digits}f}, {high:.{digits}f}]')}"


def published_text(cell: Mapping | None, digits: int, style: Style) -> str:
    if cell is None or cell["published"] is None:
        return style.missing
    return style.number(f"{cell['published']:.{digits}f}")


def difference_text(cell: Mapping | None, digits: int, style: Style) -> str:
    """Measured less published."""
    apart = difference(cell)
    return (
        style.missing
        if apart is None
        else style.number(f"{round(apart, digits) + 0.0:+.{digits}f}")
    )


def difference(cell: Mapping | None) -> float | None:
    """Measured less published; None where either is missing."""
    if cell is None or None in (cell["value"], cell["published"]):
        return None
    return cell["value"] - cell["published"]


def has_published(row: Mapping) -> bool:
    return any(cell is not None and cell["published"] is not None for cell in row["cells"])


def column_titles(table: Mapping) -> list[str]:
    """Titles with what is better, the unit where the table has several, and the mark of extras.

    What is better is said once, in the caption's words, where all columns agree.
    """
    units = {column["unit"] for column in table["columns"]}
    better = {column["better"] for column in table["columns"]}
    titles = []
    for column in table["columns"]:
        unit = f" ({column['unit']})" if len(units) > 1 and column["unit"] else ""
        arrow = f" {_ARROWS[column['better']]}" if len(better) > 1 and column["better"] else ""
        titles.append(column["title"] + unit + arrow + (f" {EXTRA}" if column["extra"] else ""))
    return titles


def remarks(table: Mapping) -> list[str]:
    """What a reader must know beyond the caption: the common unit, extras, the table's notes."""
    units = {column["unit"] for column in table["columns"]}
    better = {column["better"] for column in table["columns"]}
    said = []
    if len(units) == 1 and (unit := units.pop()):
        best = f", {better.pop()} is better" if len(better) == 1 and "" not in better else ""
        said.append(f"All numbers in {unit}{best}.")
    if any(column["extra"] for column in table["columns"]):
        said.append(f"{EXTRA} Not in the paper.")
    return said + list(table["notes"])


def body_rows(table: Mapping, same_data: bool, style: Style) -> list[tuple[list[str], list[str]]]:
    """(labels, cells) of each printed row; three for a row with published numbers of this data."""
    even, digits = is_even(table), [column["digits"] for column in table["columns"]]

    def cells(row, text, *options):
        return [text(c, d, *options, style) for c, d in zip(row["cells"], digits, strict=True)]

    stacked = same_data and any(has_published(row) for row in table["rows"])
    rows = []
    for row in table["rows"]:
        labels = [style.text(label) for label in row["labels"]]
        kind = [MEASURED] if stacked else []
        rows.append((labels + kind, cells(row, measured_text, even)))
        if stacked and has_published(row):
            blank = [""] * len(labels)
            rows.append(([*blank, THERE], cells(row, published_text)))
            rows.append(([*blank, DIFFERENCE], cells(row, difference_text)))
    return rows


def published_title(table: Mapping) -> str:
    return f"published, {table.get('published_on', 'Human3.6M')}"


def published_rows(table: Mapping, style: Style) -> list[tuple[list[str], list[str]]]:
    """(labels, cells) of the rows with published numbers, and those alone."""
    digits = [column["digits"] for column in table["columns"]]
    return [
        (
            [style.text(label) for label in row["labels"]],
            [published_text(*pair, style) for pair in zip(row["cells"], digits, strict=True)],
        )
        for row in table["rows"]
        if has_published(row)
    ]


def published_block(table: Mapping) -> dict | None:
    """The published numbers alone, as a table of the columns and rows that have any."""
    rows = [row for row in table["rows"] if has_published(row)]
    if not rows:
        return None
    kept = [
        i
        for i in range(len(table["columns"]))
        if any(row["cells"][i] and row["cells"][i]["published"] is not None for row in rows)
    ]
    return table | {
        "columns": [table["columns"][i] for i in kept],
        "rows": [row | {"cells": [row["cells"][i] for i in kept]} for row in rows],
    }
