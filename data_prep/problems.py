"""What is wrong in a source: never passed over in silence."""

import collections
import csv
import dataclasses
import io
import os
from collections.abc import Iterable
from pathlib import Path

from liftjax.names import readable


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong or worth knowing in the source.

    Attributes:
      kind: one of a builder's few phrases, by which problems are counted.
      file: the file at fault, relative to the source. frame: original number, if it is one frame.
      detail: what else there is to say. dropped: records left out because of it; 0 for a remark.
    """

    kind: str
    file: str
    frame: int | None = None
    detail: str = ""
    dropped: int = 1


def last_parts(path: str) -> str:
    """The end of a path, which tells a file from its namesakes."""
    return os.path.join(*Path(path).parts[-3:])


def count(problems: Iterable[Problem]) -> dict[str, dict[str, int]]:
    """Problems and records left out, by kind."""
    counts = collections.defaultdict(lambda: {"problems": 0, "dropped": 0})
    for problem in problems:
        counts[problem.kind]["problems"] += 1
        counts[problem.kind]["dropped"] += problem.dropped
    return dict(counts)


def as_csv(problems: Iterable[Problem]) -> str:
    """A table with those first for which records were left out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(Problem)])
    ordered = sorted(problems, key=lambda problem: not problem.dropped)
    writer.writerows(dataclasses.astuple(problem) for problem in ordered)
    return readable(text.getvalue())
