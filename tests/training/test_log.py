"""Rows of the log, and which steps a run may not go on from."""

import csv

import numpy as np
import pytest
from etils import epath

from liftjax.errors import LiftjaxError
from liftjax.training.log import Log, Window

NAN = float("nan")


def window(*losses, skipped=None):
    """A window of steps 1, 2, ... with these losses; those that are not finite were skipped."""
    one = Window(lambda metrics: metrics, skipped)
    for step, loss in enumerate(losses, start=1):
        metrics = {"loss": np.float32(loss), "grad_norm": np.float32(1)}
        if skipped is not None:
            metrics["skipped"] = np.float32(not np.isfinite(loss))
        one.add(step, metrics, 0.0)
    return one


def test_a_row_holds_means(tmp_path):
    row = window(1, 2, 6)
    assert row.first_bad(closing=True) is None
    values = row.close(batch_size=4)
    assert values["loss"] == 3
    assert values["grad_norm"] == 1
    assert values["data_wait"] == 0
    assert "skipped" not in values


def test_the_first_bad_step_is_named_with_its_terms():
    bad = window(1, 2, NAN, 3, np.inf).first_bad()
    assert bad.step == 3
    assert list(bad.terms) == ["loss"]


def test_skipped_steps_are_counted_over_the_run_and_left_out_of_means():
    row = window(1, NAN, 3, skipped=4)
    assert row.first_bad(closing=True) is None
    values = row.close(batch_size=4)
    assert values["skipped"] == 5
    assert values["loss"] == 2
    row.add(4, {"loss": np.float32(NAN), "skipped": np.float32(1)}, 0.0)
    row.add(5, {"loss": np.float32(7), "skipped": np.float32(0)}, 0.0)
    assert row.first_bad(closing=True) is None
    assert row.close(batch_size=4)["skipped"] == 6


def test_a_window_of_skipped_steps_alone_ends_the_run_when_it_is_complete():
    row = window(NAN, NAN, skipped=0)
    assert row.first_bad() is None  # a checkpoint in the middle of it holds the state before
    assert row.first_bad(closing=True).step == 1


def test_a_value_that_is_never_finite_leaves_a_gap():
    row = Window(lambda metrics: metrics, 0)
    row.add(1, {"loss": 1.0, "ratio": np.inf, "skipped": 0.0}, 0.0)
    assert row.first_bad(closing=True) is None
    assert "ratio" not in row.close(batch_size=1)


def rows(directory):
    return list(csv.DictReader((directory / "metrics.csv").read_text().splitlines()))


def test_values_of_one_step_share_a_row(tmp_path):
    with Log(epath.Path(tmp_path), 0) as log:
        log.write(2, {"loss": 1.0})
        log.write(4, {"loss": 0.5})
        log.write(4, {"eval_mpjpe": 30.0})
    assert rows(tmp_path) == [
        {"step": "2", "loss": "1.0", "eval_mpjpe": ""},
        {"step": "4", "loss": "0.5", "eval_mpjpe": "30.0"},
    ]


@pytest.mark.parametrize(("start", "left"), [(0, []), (2, ["2"]), (3, ["2"]), (4, ["2", "4"])])
def test_rows_after_the_step_to_go_on_from_are_dropped(tmp_path, start, left):
    with Log(epath.Path(tmp_path), 0) as log:
        log.write(2, {"loss": 1.0})
        log.write(4, {"loss": 0.5})
    with Log(epath.Path(tmp_path), start) as log:
        log.write(6, {"loss": 0.25})
    assert [row["step"] for row in rows(tmp_path)] == [*left, "6"]


def test_only_one_process_writes(tmp_path):
    with Log(epath.Path(tmp_path), 0, active=False) as log:
        log.write(2, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


def test_a_log_that_somebody_has_saved_otherwise_is_named(tmp_path):
    (tmp_path / "metrics.csv").write_text("step;loss\n2;0.5\n")
    with pytest.raises(LiftjaxError, match=r"metrics.csv was changed .*; move it"):
        Log(epath.Path(tmp_path), start=2).__enter__()
