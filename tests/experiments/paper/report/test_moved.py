import numpy as np
import pytest

from liftjax.experiments.paper.report.moved import draw_moved, moved_joints
from liftjax.skeletons import HUMAN36M
from tests.experiments.paper.hand_made import JOINTS, labels, outcome


@pytest.fixture(scope="module")
def truth():
    has_3d = np.arange(40) % 4 != 3
    return labels(["Walking"] * 40, has_3d=has_3d)


def by_joint(value, joint=2):
    """(N, K) zeros but for one joint."""
    errors = np.zeros((40, JOINTS))
    errors[:, joint] = value
    return errors


def test_displacement_and_gain_of_each_joint(truth):
    before = outcome(truth, {"a": by_joint(50.0), "b": by_joint(30.0)}, by_joint(9.0))
    after = outcome(truth, {"a": by_joint(20.0), "b": by_joint(20.0)}, by_joint(4.0))
    rows = moved_joints(before, after, "HRNet")
    assert [row["joint"] for row in rows] == list(HUMAN36M.joints)
    assert {row["detector"] for row in rows} == {"HRNet"}
    assert rows[2]["displacement_px"] == pytest.approx(5, abs=1e-4)
    assert rows[2]["gain_mm"] == pytest.approx(20, abs=1e-3)
    for row in rows[:2] + rows[3:]:
        assert row["displacement_px"] == pytest.approx(0, abs=1e-4)
        assert row["gain_mm"] == pytest.approx(0, abs=1e-3)


def test_samples_without_3d_labels_do_not_count(truth):
    errors_mm = by_joint(10.0)
    errors_mm[~truth["has_3d"]] = 1e6
    before, after = outcome(truth, {"a": errors_mm}), outcome(truth, {"a": by_joint(4.0)})
    assert moved_joints(before, after)[2]["gain_mm"] == pytest.approx(6, abs=1e-3)


def test_the_interval_holds_the_mean_and_narrows_where_samples_agree(truth):
    rng = np.random.default_rng(0)
    wild = outcome(truth, {"a": by_joint(rng.uniform(0, 80, 40))}, by_joint(rng.uniform(0, 8, 40)))
    calm = outcome(truth, {"a": by_joint(30.0)}, by_joint(3.0))
    perfect = outcome(truth, {"a": by_joint(0.0)})
    of_wild, of_calm = moved_joints(wild, perfect)[2], moved_joints(calm, perfect)[2]
    for row in (of_wild, of_calm):
        assert row["low"] <= row["gain_mm"] <= row["high"]
        assert row["displacement_low"] <= row["displacement_px"] <= row["displacement_high"]
    assert of_wild["high"] - of_wild["low"] > 5
    assert of_calm["high"] - of_calm["low"] < 0.01


def test_it_is_drawn_for_any_number_of_detectors_even_if_nothing_moved(truth, tmp_path):
    same = outcome(truth, {"a": by_joint(0.0)})
    rows = [row for name in ("HRNet", "DWPose") for row in moved_joints(same, same, name)]
    caption = draw_moved(tmp_path / "moved.png", rows)
    assert "3D error it saves" in caption
    assert (tmp_path / "moved.png").read_bytes().startswith(b"\x89PNG")
