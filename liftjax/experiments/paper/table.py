"""What a table is: cells, each with its measure and what the paper prints there."""

import dataclasses
from collections.abc import Iterator, Sequence

from liftjax.experiments.paper.measures import Measure
from liftjax.experiments.paper.runs import Run


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of numbers; `extra`: the paper does not have it."""

    key: str
    title: str
    unit: str = "mm"
    better: str = "lower"
    digits: int = 1
    extra: bool = False


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is measured, and what the paper prints there."""

    measure: Measure
    published: float | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """Cells by column. Rows of a group are compared with each other, and with its baseline."""

    labels: tuple[str, ...]
    cells: Sequence[Cell | None]
    group: str = ""
    baseline: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """One table, of the paper or beyond it."""

    key: str
    title: str
    caption: str
    row_heads: tuple[str, ...]
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: tuple[str, ...] = ()

    def runs(self) -> Iterator[Run]:
        """Every run that a cell needs; some more than once."""
        for row in self.rows:
            for cell in filter(None, row.cells):
                yield from cell.measure.runs


PCK = {"unit": "%", "better": "higher", "digits": 2}  # of a column
EXTRA_PCK = Column("pck", "PCK@0.2", **PCK, extra=True)
