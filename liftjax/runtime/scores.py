"""The validation error of each checkpoint."""

import json
import math
from collections.abc import Iterable

from etils import epath

from liftjax import hosts
from liftjax.runtime.run_directory import read_json
from liftjax.writing import write_text


class Scores:
    """Validation errors by step, in RUN/scores.json; lower is better.

    They are not part of the checkpoints, because a state is saved before it is evaluated.

    Attributes:
      path: the file.
      steps: scores by step.
      title: what the scores are, in words.
    """

    def __init__(self, workdir: str | epath.Path, title: str = ""):
        self.path = epath.Path(workdir).resolve() / "scores.json"
        stored = read_json(self.path)
        self.title = title or stored.get("title", "")
        self.steps = {int(step): score for step, score in stored.get("steps", {}).items()}

    def forget_after(self, step: int) -> None:
        """Drops the scores of steps that a resumed run has not reached yet."""
        self.steps = {s: score for s, score in self.steps.items() if s <= step}

    def add(self, step: int, score: float) -> None:
        """Stores the score of a step; a score that is not finite counts as missing."""
        self.steps[step] = score if math.isfinite(score) else None
        if hosts.is_first():
            document = {"title": self.title, "steps": self.steps}
            write_text(self.path, json.dumps(document, indent=2))

    def best(self, among: Iterable[int]) -> int | None:
        """The earliest step with the lowest score; None without scores."""
        scored = [(self.steps[s], s) for s in among if self.steps.get(s) is not None]
        return min(scored)[1] if scored else None
