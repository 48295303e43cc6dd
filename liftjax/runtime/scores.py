"""What each checkpoint achieved in validation."""

import json
import math
from collections.abc import Iterable

from etils import epath

from liftjax import hosts
from liftjax.runtime.run_directory import read_json
from liftjax.writing import write_text


class Scores:
    """Validation errors and keypoint scores by step, in RUN/scores.json.

    They are not part of the checkpoints, because a state is saved before it is evaluated.

    Attributes:
      path: the file.
      steps: errors by step; lower is better.
      title: what the errors are, in words.
      keypoints: mean scores of a detector's keypoints, by step.
    """

    def __init__(self, workdir: str | epath.Path, title: str = ""):
        self.path = epath.Path(workdir).resolve() / "scores.json"
        stored = read_json(self.path)
        self.title = title or stored.get("title", "")
        self.steps = _by_step(stored, "steps")
        self.keypoints = _by_step(stored, "keypoint_scores")  # runs of older versions have none

    def forget_after(self, step: int) -> None:
        """Drops the scores of steps that a resumed run has not reached yet."""
        self.steps = {s: score for s, score in self.steps.items() if s <= step}
        self.keypoints = {s: score for s, score in self.keypoints.items() if s <= step}

    def add(self, step: int, score: float | None = None, keypoints: float | None = None) -> None:
        """Stores what is known of a step; an error that is not finite counts as missing.

        Args:
          step: of the checkpoint.
          score: the validation error; None if it was not measured.
          keypoints: the mean score of the keypoints; None if there are none.
        """
        if score is not None:
            self.steps[step] = score if math.isfinite(score) else None
        if keypoints is not None and math.isfinite(keypoints):
            self.keypoints[step] = keypoints
        if hosts.is_first():
            document = {"title": self.title, "steps": self.steps}
            document |= {"keypoint_scores": self.keypoints} if self.keypoints else {}
            write_text(self.path, json.dumps(document, indent=2))

    def best(self, among: Iterable[int]) -> int | None:
        """The earliest step with the lowest score; None without scores."""
        scored = [(self.steps[s], s) for s in among if self.steps.get(s) is not None]
        return min(scored)[1] if scored else None

    def usual_keypoint_score(self, step: int) -> float | None:
        """The mean score of the keypoints at the last evaluation up to a step; None if unknown."""
        return self.keypoints.get(max((s for s in self.keypoints if s <= step), default=None))


def _by_step(stored: dict, key: str) -> dict[int, float | None]:
    return {int(step): score for step, score in stored.get(key, {}).items()}
