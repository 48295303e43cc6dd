"""What is wrong in a source. It is always named, never passed over in silence."""

import collections
import csv
import dataclasses
import io
import os
from collections.abc import Iterable
from pathlib import Path

from liftjax.errors import first_line
from liftjax.names import readable


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong or worth knowing in the source.

    Attributes:
      kind: one of a few phrases of the builder; problems are counted by it.
      file: the file with the fault, relative to the source.
      frame: its original number, if the problem is about one frame.
      detail: what else there is to say.
      dropped: how many records are left out because of it; 0 for a remark.
    """

    kind: str
    file: str
    frame: int | None = None
    detail: str = ""
    dropped: int = 1


class Unusable(Exception):
    """No record can be made of this part of the source.

    Attributes:
      kind, detail: of the problem to report.
    """

    def __init__(self, kind: str, detail: str = ""):
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail


def why_unreadable(error: Exception) -> str:
    """The reason why a JSON file could not be read, in one line."""
    return f"no {error}" if isinstance(error, KeyError) else first_line(error)


def last_parts(path: str) -> str:
    """The end of a path, which tells a file from others of the same name."""
    return os.path.join(*Path(path).parts[-3:])


def count_problems(problems: Iterable[Problem]) -> dict[str, dict[str, int]]:
    """The numbers of problems and of records left out, by kind."""
    counts = collections.defaultdict(lambda: {"problems": 0, "dropped": 0})
    for problem in problems:
        counts[problem.kind]["problems"] += 1
        counts[problem.kind]["dropped"] += problem.dropped
    return dict(counts)


def problems_csv(problems: Iterable[Problem]) -> str:
    """A table of all problems; those that cost records come first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(Problem)])
    ordered = sorted(problems, key=lambda problem: not problem.dropped)
    writer.writerows(dataclasses.astuple(problem) for problem in ordered)
    return readable(text.getvalue())
