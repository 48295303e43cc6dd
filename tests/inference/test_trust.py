"""How strongly keypoints are drawn, and when `predict` warns."""

import numpy as np
import pytest

from liftjax.data.records import RENDERED
from liftjax.inference import trust


def test_strength_never_falls_as_the_score_rises():
    strengths = trust.strengths(np.linspace(-1, 2, 301))
    assert (np.diff(strengths) >= 0).all()
    assert set(strengths) == {0, trust.FAINT, 1}
    at = trust.strengths(np.array([trust.DOUBTFUL - 1e-6, trust.DOUBTFUL, trust.SURE, np.nan]))
    assert at.tolist() == [0, trust.FAINT, 1, 0]


def test_a_pose_is_as_certain_as_most_of_its_keypoints():
    scores = np.array([[0.9] * 9 + [0.0] * 8, [0.2] * 9 + [0.9] * 8, [0.1] * 9 + [0.9] * 8])
    assert trust.pose_strengths(scores).tolist() == [1, trust.FAINT, 0]
    assert trust.pose_strengths(scores[:0]).shape == (0,)


def test_a_warning_says_what_was_found_what_is_usual_and_what_to_do():
    assert trust.warning("a.jpg", 0.28, 0.54, [RENDERED]) == (
        "a.jpg: the keypoints' mean score is 0.28; on its own validation data the detector had "
        "0.54. Check the people's boxes. The detector was trained on rendered people (data_prep "
        "synthetic); for photos use published weights: python -m liftjax weights."
    )
    real = trust.warning("a.jpg", 0.28, 0.54, ["COCO 2017 keypoints", "other data before"])
    assert real.endswith("trained on COCO 2017 keypoints and other data before.")
    unknown = trust.warning("a.jpg", 0.2, None, [])
    assert unknown.endswith("is 0.20; scores below 0.3 are doubtful. Check the people's boxes.")


@pytest.mark.parametrize("usual", [0.5, 0.05, 1.4])
def test_scores_are_compared_with_the_usual_one_of_any_scale(usual):
    assert trust.warning("a.jpg", 0.9 * usual, usual, [RENDERED]) is None
    assert trust.warning("a.jpg", 2 * usual, usual, [RENDERED]) is None
    assert trust.warning("a.jpg", 0.5 * usual, usual, [RENDERED]) is not None


def test_without_a_usual_score_good_ones_are_good():
    assert trust.warning("a.jpg", trust.SURE, None, []) is None
