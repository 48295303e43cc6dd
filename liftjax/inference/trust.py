"""How far keypoints can be trusted: how strongly they are drawn, and when `predict` warns.

Legend: P people, K keypoints.
"""

from collections.abc import Sequence

import numpy as np

from liftjax.data.records import RENDERED

SURE = 0.3
"""The score from which on keypoints are drawn as they are.

Heatmaps and SimCC vectors are both trained towards a peak that is 1 above its surroundings, and
MMPose draws the keypoints of both from 0.3 on. In held-out pictures of rendered people, of the
keypoints of a small HRNet (of a small RTMPose) 90 % (93 %) of those from 0.3 on lay within a tenth
of the box's longer side, 44 % (56 %) of those from 0.15 to 0.3, and 14 % (30 %) of those below.
"""
DOUBTFUL = SURE / 2
"""The score from which on keypoints are drawn, but faintly."""
FAINT = 0.35
"""How strongly doubtful keypoints are drawn, from 0 (not at all) to 1."""

# Of the usual score. One in forty held-out rendered pictures had less with the HRNet, one in nine
# with the RTMPose, and a photograph had a third with the HRNet. An RTMPose trained on rendered
# people gives high scores to noise, too, so that this does not notice it.
_FAR_BELOW = 0.6
_FOR_PHOTOS = "; for photos use published weights: python -m liftjax weights."


def strengths(scores: np.ndarray) -> np.ndarray:
    """How strongly keypoints of these scores are drawn: 1, FAINT or 0, in an array of any shape."""
    return np.select([scores >= SURE, scores >= DOUBTFUL], [1.0, FAINT], 0.0)


def pose_strengths(scores_PK: np.ndarray) -> np.ndarray:
    """How strongly people's 3D poses are drawn (P,): as the median of their keypoints."""
    return strengths(np.median(scores_PK, axis=-1))


def warning(
    given: str, mean_score: float, usual_score: float | None, trained_on: Sequence[str]
) -> str | None:
    """What to tell if the keypoints of an input are far less certain than in validation.

    Args:
      given: the input, as the user typed it.
      mean_score: of its keypoints.
      usual_score: of the detector's keypoints on its validation data; None if unknown.
      trained_on: what the detector was trained on, in words; empty if unknown.
    """
    if mean_score >= (SURE if usual_score is None else _FAR_BELOW * usual_score):
        return None
    usual = f"scores below {SURE:g} are doubtful"
    if usual_score is not None:
        usual = f"on its own validation data the detector had {usual_score:.2f}"
    told = f"{given}: the keypoints' mean score is {mean_score:.2f}; {usual}."
    told += " Check the people's boxes."
    if trained_on:
        told += f" The detector was trained on {' and '.join(trained_on)}"
        told += _FOR_PHOTOS if RENDERED in trained_on else "."
    return told
