"""The validation error of each checkpoint."""

import json
import math
from collections.abc import Iterable

from etils import epath

from liftjax import hosts
from liftjax.runtime.run_directory import read_json
from liftjax.writing import write_text


class Scores:
    """Validation errors by step, lower is better, in RUN/scores.json.

    They stand beside the checkpoints, not in them, so that a state is safe on disk before it is
    evaluated.

    Attributes:
      path: the file. steps: scores by step. title: what they are, in words.
    """

    def __init__(self, workdir: str | epath.Path, title: str = ""):
        self.path = epath.Path(workdir).resolve() / "scores.json"
        stored = read_json(self.path)
        self.title = title or stored.get("title", "")
        self.steps = {int(step): score for step, score in stored.get("steps", {}).items()}

    def forget_after(self, step: int) -> None:
        """Drops the scores of steps that a resumed run has yet to come to."""
        self.steps = {s: score for s, score in self.steps.items() if s <= step}

    def add(self, step: int, score: float) -> None:
        """Notes the score of a step; one that is not finite is no score to be best by."""
        self.steps[step] = score if math.isfinite(score) else None
        if hosts.is_first():
            document = {"title": self.title, "steps": self.steps}
            write_text(self.path, json.dumps(document, indent=2))

    def best(self, among: Iterable[int]) -> int | None:
        """The step of the lowest score, the earlier of equal ones; None where none has a score."""
        scored = [(self.steps[s], s) for s in among if self.steps.get(s) is not None]
        return min(scored)[1] if scored else None
