"""The arithmetic of the tables, on predictions whose every answer is known beforehand."""

import numpy as np
import pytest

from liftjax.experiments.paper import measures
from tests.experiments.paper.hand_made import JOINTS, Run, labels, outcome

RUN, OTHER, THIRD = Run("r"), Run("o"), Run("t")


def value(measure, outcomes):
    return measure.of(outcomes).value


def test_average_is_over_frames_not_over_actions():
    truth = labels(["Eating"] * 3 + ["Posing"])
    outcomes = {"r": outcome(truth, {"a": [10, 10, 10, 50]})}
    assert value(measures.mpjpe(RUN, "a"), outcomes) == pytest.approx(20)  # of actions: 30
    assert value(measures.mpjpe(RUN, "a", "Eating"), outcomes) == pytest.approx(10)
    assert value(measures.mpjpe(RUN, "a", "Posing"), outcomes) == pytest.approx(50)
    assert np.isnan(value(measures.mpjpe(RUN, "a", "Sitting"), outcomes))


def test_without_a_lifter_the_mean_over_all():
    outcomes = {"r": outcome(labels(["Eating"] * 2), {"a": [10, 20], "b": [30, 60]})}
    np.testing.assert_allclose(measures.mpjpe(RUN).of(outcomes).values_N, [20, 40], rtol=1e-5)


def test_samples_without_3d_do_not_count_in_3d():
    truth = labels(["Eating"] * 2, has_3d=[True, False])
    outcomes = {"r": outcome(truth, {"a": [10, 500]}, [0, 100])}
    for measure in (measures.mpjpe(RUN, "a"), measures.median_of_lifters_mpjpe(RUN)):
        sampled = measure.of(outcomes)
        assert sampled.value == pytest.approx(10)
        np.testing.assert_array_equal(sampled.weights_N, [1, 0])
        assert np.isfinite(sampled.values_N).all()
    assert value(measures.pck(RUN), outcomes) == 50


def test_p_mpjpe_forgives_a_shift():
    outcomes = {"r": outcome(labels(["Eating"]), {"a": [80]})}
    assert value(measures.p_mpjpe(RUN, "a"), outcomes) == pytest.approx(0, abs=1e-3)
    assert value(measures.p_mpjpe(RUN), outcomes) == pytest.approx(0, abs=1e-3)


def test_pck_pools_joints():
    """One of 17 and 1 of 2 visible joints wrong: 2 of 19, not the mean of the samples' shares."""
    visible = np.ones((2, JOINTS), bool)
    visible[1, 2:] = False
    far = np.zeros((2, JOINTS))
    far[:, 0] = 25
    far[1, 10] = 25  # not visible
    outcomes = {"r": outcome(labels(["Eating"] * 2, visible), {}, far)}
    sampled = measures.pck(RUN).of(outcomes)
    assert sampled.value == pytest.approx(100 * 17 / 19)
    np.testing.assert_allclose(sampled.values_N, [100 * 16 / 17, 50])


def test_pdj_is_relative_to_the_torso():
    truth = labels(["Eating"])
    truth["joints_px"][:] = 0
    truth["joints_px"][0, 11] = (30, 40)  # left shoulder, 50 px from the right hip at the origin
    for error_px, expected in ((9.9, 100), (10.1, 0)):
        outcomes = {"r": outcome(truth, {}, [error_px])}
        assert value(measures.pdj(RUN), outcomes) == expected


def test_pdj_leaves_out_people_without_a_torso():
    """Without 3D an invisible joint stands anywhere; with 3D it is where the pose has it."""
    visible = np.ones((3, JOINTS), bool)
    visible[1:, 11] = False  # the left shoulder of two
    truth = labels(["Eating"] * 3, visible, has_3d=[False, False, True])
    truth["joints_px"][:] = 0
    truth["joints_px"][:, 11] = (30, 40)
    truth["joints_px"][1, 11] = (0, 1)
    sampled = measures.pdj(RUN).of({"r": outcome(truth, {}, [9.9, 9.9, 10.1])})
    np.testing.assert_array_equal(sampled.weights_N, [JOINTS, 0, JOINTS - 1])
    np.testing.assert_array_equal(sampled.values_N, [100, 0, 0])


def test_perfect_2d_is_chosen_by_the_reference_alone():
    """Samples 0 and 2 are perfect under the reference, 1 and 2 under the run that is measured."""
    truth = labels(["Eating"] * 3)
    outcomes = {
        "o": outcome(truth, {"a": [10, 20, 30]}, [0, 25, 0]),
        "r": outcome(truth, {"a": [5, 6, 7]}, [25, 0, 0]),
    }
    subset = measures.on_perfect_2d(measures.mpjpe(RUN, "a"), OTHER)
    assert subset.runs == (RUN, OTHER)
    assert value(subset, outcomes) == pytest.approx(6)
    accuracy = measures.on_perfect_2d(measures.pck(RUN), OTHER)
    assert value(accuracy, outcomes) == pytest.approx(50)
    own = measures.on_perfect_2d(measures.pck(OTHER), OTHER)
    assert own.runs == (OTHER,)
    assert value(own, outcomes) == 100


def test_perfect_2d_disregards_hidden_joints():
    visible = np.ones((2, JOINTS), bool)
    visible[0, 3] = False
    far = np.zeros((2, JOINTS))
    far[:, 3] = 90
    outcomes = {"r": outcome(labels(["Eating"] * 2, visible), {"a": [1, 9]}, far)}
    assert value(measures.on_perfect_2d(measures.mpjpe(RUN), RUN), outcomes) == pytest.approx(1)


def test_nothing_perfect_is_no_number():
    outcomes = {"r": outcome(labels(["Eating"]), {"a": [1]}, [90])}
    subset = measures.on_perfect_2d(measures.mpjpe(RUN), RUN)
    assert np.isnan(value(subset, outcomes))
    assert not subset.of(outcomes).weights_N.any()


def test_voting_takes_the_best_in_2d_not_in_3d():
    truth = labels(["Eating"] * 3)
    outcomes = {
        "r": outcome(truth, {"a": [10, 20, 30], "b": [0, 0, 0]}, [1, 9, 9]),
        "o": outcome(truth, {"a": [1, 200, 3], "b": [2, 2, 2]}, [2, 2, 9]),
        "t": outcome(truth, {"a": [4, 5, 600], "b": [4, 4, 4]}, [3, 3, 3]),
    }
    voted = measures.voted_mpjpe((RUN, OTHER, THIRD), "a")
    assert voted.runs == (RUN, OTHER, THIRD)
    np.testing.assert_allclose(voted.of(outcomes).values_N, [10, 200, 600], rtol=1e-5)
    everyone = measures.voted_mpjpe((RUN, OTHER, THIRD))
    np.testing.assert_allclose(everyone.of(outcomes).values_N, [5, 101, 302], rtol=1e-5)


def test_voting_counts_visible_joints_and_passes_over_missing_keypoints():
    visible = np.ones((3, JOINTS), bool)
    visible[0, 0] = False
    visible[2] = False
    truth = labels(["Eating"] * 3, visible)
    hidden = np.ones((3, JOINTS))
    hidden[0, 0] = 1000  # where nobody sees it
    lost = outcome(truth, {"a": [7, 7, 7]}, np.full((3, JOINTS), 2.0))
    lost.kpts_px_NK2[1] = np.nan
    outcomes = {"r": lost, "o": outcome(truth, {"a": [1, 2, 3]}, hidden)}
    voted = measures.voted_mpjpe((RUN, OTHER), "a").of(outcomes)
    np.testing.assert_allclose(voted.values_N, [1, 2, 7], rtol=1e-5)  # nothing visible: the first


def test_median_of_lifters():
    truth = labels(["Eating"] * 2)
    outcomes = {"r": outcome(truth, {"a": [10, 1], "b": [-30, 2], "c": [40, 3], "d": [20, 40]})}
    median = measures.median_of_lifters_mpjpe(RUN)
    assert value(median, outcomes) == pytest.approx((15 + 2.5) / 2, rel=1e-5)


def test_average_of_measures_is_sample_by_sample():
    truth = labels(["Eating"] * 2)
    outcomes = {"r": outcome(truth, {"a": [10, 20]}), "o": outcome(truth, {"a": [20, 60]})}
    both = measures.average([measures.mpjpe(RUN, "a"), measures.mpjpe(OTHER, "a")])
    assert both.runs == (RUN, OTHER)
    np.testing.assert_allclose(both.of(outcomes).values_N, [15, 40], rtol=1e-5)
    assert measures.average([measures.mpjpe(RUN, "a")] * 2).runs == (RUN,)


def test_average_refuses_unlike_measures():
    with pytest.raises(ValueError, match="unit"):
        measures.average([measures.mpjpe(RUN), measures.pck(RUN)])
    outcomes = {"r": outcome(labels(["Eating", "Posing"]), {"a": [1, 2]})}
    actions = [measures.mpjpe(RUN, "a", action) for action in ("Eating", "Posing")]
    with pytest.raises(ValueError, match="same samples"):
        measures.average(actions).of(outcomes)
