"""The published numbers: none missing, and those that the paper prints twice agree."""

import json
from collections import Counter

import numpy as np
import pytest
from scipy.optimize import nnls

from data_prep.human36m.names import ACTIONS as HUMAN36M_ACTIONS
from data_prep.synthetic.motions import ACTIONS as SYNTHETIC_ACTIONS
from liftjax.experiments.paper import published as module
from liftjax.experiments.paper.published import (
    ACTION_HEADS,
    AVERAGE,
    BETAS,
    cells,
    notes,
    proposed_weights,
    published,
)
from liftjax.losses.guidance import LossWeights

DETECTORS = ("hrnet", "rtmpose", "dwpose")
LIFTERS = ("simple_baseline", "iganet", "videopose3d", "mixste")
TABLES = ("1", "2", "3", "4", "5", "6", "7", "8", "relu", "voting")
ROWS = [*((d, m) for d in DETECTORS for m in ("ft2d", "ours")), ("gt",)]


def test_every_cell_is_there():
    counts = {table: len(cells(table)) for table in TABLES}
    assert counts == {
        "1": 28 * 16, "2": 6 * 4, "3": 2 * 4, "4": 4 + 4 * 3 + 4, "5": 4 + 4 * 3 + 4,
        "6": 6, "7": 1 + 4 * 2, "8": 1 + 3 * 2, "relu": 2, "voting": 2,
    }  # fmt: skip
    assert set(module._tables()) == set(TABLES)


@pytest.mark.parametrize(
    ("key", "number"),
    [
        (("1", "hrnet", "ft2d", "simple_baseline", "Avg."), 55.1),
        (("1", "dwpose", "ours", "mixste", "SittingDown"), 83.4),
        (("1", "gt", "simple_baseline", "Eat"), 36.5),
        (("2", "hrnet", "ft2d", "human36m", "pck"), 94.93),
        (("2", "dwpose", "ours", "panoptic", "mpjpe"), 46.20),
        (("3", "all", "ft2d", "mpjpe"), 53.90),
        (("3", "perfect", "ours", "pck"), 99.71),
        (("4", "ft2d", "iganet"), 55.3),
        (("4", "single:simple_baseline", "iganet"), 54.6),
        (("4", "single:simple_baseline", "simple_baseline"), None),
        (("5", "without:mixste", "mixste"), 53.9),
        (("5", "without:mixste", "iganet"), None),
        (("6", "100"), 52.85),
        (("7", "l_2d", "0.3"), 51.6),
        (("7", "proposed"), 51.6),
        (("8", "l_local", "20"), 51.1),
        (("relu", "softmax"), 51.6),
        (("voting", "voting"), 53.1),
        (("voting", "ours"), 51.6),
        (("2", "hrnet", "ft2d", "synthetic", "pck"), None),
        (("ablations", "ohklm"), None),
    ],
)
def test_a_cell_by_its_key(key, number):
    assert published(*key) == number


def test_actions_are_ours_and_heads_the_papers():
    assert tuple(ACTION_HEADS) == HUMAN36M_ACTIONS
    assert set(ACTION_HEADS) == set(SYNTHETIC_ACTIONS)
    for action, head in ACTION_HEADS.items():
        for row in ROWS:
            assert published("1", *row, "iganet", action) == published("1", *row, "iganet", head)


def test_rows_of_table_1_are_whole():
    counts = Counter(key[:-1] for key in cells("1"))
    assert counts == {(*row, lifter): 16 for row in ROWS for lifter in LIFTERS}


def test_avg_of_table_1_is_one_weighted_mean_of_the_actions():
    """Avg. is over frames, so the same share of each action makes it in all 28 rows.

    Numbers are printed to 0.1, so that one typed wrong by 2 mm or more would stand out. The plain
    mean of the actions, by contrast, is off by up to a millimetre.
    """
    rows = [[*row, lifter] for row in ROWS for lifter in LIFTERS]
    actions = np.array([[published("1", *row, a) for a in ACTION_HEADS] for row in rows])
    average = np.array([published("1", *row, AVERAGE) for row in rows])
    shares, _ = nnls(actions, average)
    assert shares.sum() == pytest.approx(1, abs=0.01)
    assert np.abs(actions @ shares - average).max() < 0.12
    assert np.abs(actions.mean(axis=1) - average).max() > 0.3


def test_table_1_gives_ft2d_of_table_2():
    for detector in DETECTORS:
        over_lifters = [published("1", detector, "ft2d", lifter, AVERAGE) for lifter in LIFTERS]
        printed = published("2", detector, "ft2d", "human36m", "mpjpe")
        assert np.mean(over_lifters) == pytest.approx(printed, abs=0.051)


def test_cross_validation_starts_from_ft2d_of_table_1():
    for table, detector in (("4", "hrnet"), ("5", "dwpose")):
        for lifter in LIFTERS:
            assert published(table, "ft2d", lifter) == published(
                "1", detector, "ft2d", lifter, AVERAGE
            )


def test_all_samples_of_table_3_are_rtmpose_of_table_2():
    for method in ("ft2d", "ours"):
        for measure in ("pck", "mpjpe"):
            of_table_2 = published("2", "rtmpose", method, "human36m", measure)
            assert published("3", "all", method, measure) == of_table_2
    assert "Table 2" in notes("3")[0]


def test_single_numbers_appear_again():
    single = published("1", "rtmpose", "ours", "simple_baseline", AVERAGE)
    assert single == published("7", "proposed") == published("relu", "softmax")
    assert single == published("voting", "ours")
    multi = published("2", "rtmpose", "ours", "human36m", "mpjpe")
    assert published("8", "proposed") == pytest.approx(multi, abs=0.051)
    assert round(published("6", "100"), 1) == pytest.approx(
        published("1", "hrnet", "ours", "simple_baseline", AVERAGE), abs=0.051
    )


def test_settings_are_those_of_the_tables():
    assert {(str(beta),) for beta in BETAS} == set(cells("6"))
    ours = LossWeights()._asdict()
    for table in ("7", "8"):
        proposed = proposed_weights(table)
        assert proposed == {name: ours[name] for name in proposed}
        varied = {key for key in cells(table) if key != ("proposed",)}
        assert {name for name, _ in varied} == set(proposed)
        assert len(varied) == 2 * len(proposed)
        assert all(float(value) != proposed[name] for name, value in varied)


def test_numbers_are_plausible():
    for table in TABLES:
        for key, number in cells(table).items():
            low, high = (90, 100) if "pck" in key else (25, 90)
            assert low < number <= high or (table, *key) == ("6", "1"), (table, key)


def test_no_row_is_given_twice():
    text = module.resources.files(module.__package__).joinpath("published.json").read_text()

    def unique(pairs):
        assert len(pairs) == len(dict(pairs))
        return dict(pairs)

    json.loads(text, object_pairs_hook=unique)
