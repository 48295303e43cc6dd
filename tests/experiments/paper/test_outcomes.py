"""Outcomes: known errors come out again, and a file is read whole or refused in one line."""

import os

import numpy as np
import pytest

from liftjax import evaluation
from liftjax.errors import LiftjaxError
from liftjax.experiments.paper import outcomes
from tests.experiments.paper.hand_made import JOINTS, labels, outcome


def test_errors_in_3d_are_those_made():
    one = outcome(labels(["Eating"] * 3), {"a": [10, 20, 30], "b": [0, 0, 0]})
    np.testing.assert_allclose(one.error_mm("a"), [10, 20, 30], rtol=1e-5)
    np.testing.assert_allclose(one.joint_error_mm("a")[1], np.full(JOINTS, 20), rtol=1e-5)
    np.testing.assert_allclose(one.aligned_mm("a"), 0, atol=1e-3)  # moved as a whole
    assert one.lifters == ("a", "b")
    assert len(one) == 3


def test_median_of_lifters_is_of_poses():
    one = outcome(labels(["Eating"]), {"a": [10], "b": [-30], "c": [40]})
    np.testing.assert_allclose(one.median_error_mm, 10, rtol=1e-5)


def test_samples_without_3d_count_in_2d_only():
    one = outcome(labels(["Eating"] * 2, has_3d=[True, False]), {"a": [10, 20]}, [1, 2])
    np.testing.assert_array_equal(np.isnan(one.error_mm("a")), [False, True])
    np.testing.assert_array_equal(np.isnan(one.aligned_mm("a")), [False, True])
    np.testing.assert_allclose(one.mean_error_px_N, [1, 2], rtol=1e-6)


def test_2d_looks_at_visible_joints_alone():
    visible = np.ones((3, JOINTS), bool)
    visible[0, 5:] = False
    visible[2] = False
    far = np.zeros((3, JOINTS))
    far[:2, 5] = 30  # beyond 20 px; hidden in sample 0
    one = outcome(labels(["Eating"] * 3, visible), {}, far)
    np.testing.assert_allclose(one.mean_error_px_N, [0, 30 / JOINTS, np.nan])
    np.testing.assert_array_equal(one.correct_NK.sum(axis=-1), [5, JOINTS - 1, 0])
    np.testing.assert_array_equal(one.perfect_N, [True, False, False])


def test_a_joint_at_the_limit_is_wrong():
    near, far = 19.99, 20.01
    one = outcome(labels(["Eating"] * 2), {}, [near, far])
    np.testing.assert_array_equal(one.perfect_N, [True, False])


def test_moments_are_shared_by_cameras():
    truth = labels(["Eating"] * 4, camera=np.array(list("abab")), frame=np.array([3, 3, 4, 4]))
    one = outcome(truth, {})
    assert one.moment_N[0] == one.moment_N[1] != one.moment_N[2] == one.moment_N[3]


def test_agrees_with_the_evaluation_of_one_run():
    rng = np.random.default_rng(1)
    visible = rng.random((40, JOINTS)) < 0.8
    actions = ["Eating"] * 10 + ["Posing"] * 30
    one = outcome(
        labels(actions, visible), {"a": rng.normal(0, 50, (40, JOINTS))}, rng.normal(0, 20, 40)
    )
    report = evaluation.report(one.labels, one.skeleton, one.kpts_px_NK2, one.poses_m)
    assert report["lifters"]["a"]["mpjpe"] == pytest.approx(one.error_mm("a").mean())
    assert report["lifters"]["a"]["p_mpjpe"] == pytest.approx(one.aligned_mm("a").mean())
    assert report["pck"] == pytest.approx(100 * one.correct_NK.sum() / visible.sum())
    assert report["pdj"] == pytest.approx(100 * one.by_torso_NK.sum() / visible.sum())
    flat = labels(actions, visible, has_3d=np.arange(40) % 2 == 0)
    one = outcome(flat, {"a": np.zeros(40)}, rng.normal(0, 20, 40))
    report = evaluation.report(one.labels, one.skeleton, one.kpts_px_NK2, one.poses_m)
    assert 0 < one.with_torso_NK.sum() < visible.sum()
    assert report["pdj"] == pytest.approx(100 * one.by_torso_NK.sum() / one.with_torso_NK.sum())


def test_unknown_lifter_is_named():
    with pytest.raises(LiftjaxError, match=r"mixst.*'mixste'"):
        outcome(labels(["Eating"]), {"mixste": [1]}).error_mm("mixst")


def test_saved_and_read(tmp_path):
    one = outcome(labels(["Eating"] * 2), {"b": [1, 2], "a": [3, 4]}, [1, 2])
    outcomes.save(tmp_path / "o.npz", one.kpts_px_NK2, one.poses_m)
    read = outcomes.load(tmp_path / "o.npz", one.labels, one.skeleton)
    assert read.lifters == ("b", "a")  # in the order given
    assert read.kpts_px_NK2.dtype == read.pose_m("a").dtype == np.float32
    np.testing.assert_array_equal(read.kpts_px_NK2, one.kpts_px_NK2.astype(np.float32))
    np.testing.assert_array_equal(read.pose_m("b"), one.pose_m("b").astype(np.float32))
    assert os.listdir(tmp_path) == ["o.npz"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "o.npz"
    one = outcome(labels(["Eating"]), {"a": [1]})
    outcomes.save(path, one.kpts_px_NK2, one.poses_m)
    before = path.read_bytes()

    def full(stream, **arrays):
        stream.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        outcomes.save(path, one.kpts_px_NK2 + 1, one.poses_m)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["o.npz"]


def test_what_cannot_be_read_is_said(tmp_path):
    one, path = outcome(labels(["Eating"] * 2), {"a": [1, 2]}), tmp_path / "o.npz"
    with pytest.raises(LiftjaxError, match="missing"):
        outcomes.load(path, one.labels, one.skeleton)
    outcomes.save(path, one.kpts_px_NK2[:1], {"a": one.pose_m("a")[:1]})
    with pytest.raises(LiftjaxError, match="other data"):
        outcomes.load(path, one.labels, one.skeleton)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(LiftjaxError, match="damaged"):
        outcomes.load(path, one.labels, one.skeleton)
