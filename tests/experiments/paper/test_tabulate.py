"""Tables filled from outcomes whose errors are known: values, best, intervals, comparisons."""

import json
import math
import zlib

import numpy as np
import pytest
from scipy import stats

from liftjax.experiments.paper.definitions import TABLES
from liftjax.experiments.paper.measures import mpjpe, pck
from liftjax.experiments.paper.published import ACTION_HEADS
from liftjax.experiments.paper.scales import LIFTERS, TESTED_FRAMES
from liftjax.experiments.paper.statistics import holm
from liftjax.experiments.paper.table import Cell, Column, Row, Table
from liftjax.experiments.paper.tabulate import finite, tabulate
from tests.experiments.paper.hand_made import Run, labels, outcome
from tests.experiments.paper.studies import small_study

N = 40
LABELS = labels(["Walking"] * N)
MM = Column("mm", "MPJPE")
PERCENT = Column("pck", "PCK", unit="%", better="higher", digits=2)
METHODS = ("ft2d", "single", "multi")
ODD = {"ft2d": 9.0, "single": 5.0, "multi": 7.0}


def measured(errors_mm, seed=0):
    """Outcomes by run id: `errors_mm` by method, each sample some noise apart."""
    rng = np.random.default_rng(seed)
    noise_N = rng.normal(0, 1, N)
    noise_N -= noise_N.mean()
    return {
        f"{method}{seed}": outcome(LABELS, {"sb": error_mm + noise_N * (1 + 0.1 * i)})
        for i, (method, error_mm) in enumerate(errors_mm.items())
    }


def table(rows, columns=(MM,), **more):
    words = {"key": "k", "title": "t", "caption": "c", "row_heads": ("Method",)}
    return Table(**words, columns=columns, rows=tuple(rows), **more)


def by_method(seed, methods=METHODS, group="all", baseline="ft2d"):
    """A table of one number a method; studies are seeds here."""
    return table(
        Row((method,), (Cell(mpjpe(Run(f"{method}{seed}")), 50.0),), group, method == baseline)
        for method in methods
    )


def fill(define, outcomes, seeds=(0,)):
    found = tabulate(lambda studies: define(studies[0]), [(seed,) for seed in seeds], outcomes)
    json.dumps(found, allow_nan=False)
    return found


def column(filled, i=0):
    return [row["cells"][i] for row in filled["rows"]]


def test_values_with_what_belongs_to_them():
    found = fill(by_method, measured({"ft2d": 50.0, "single": 45.0, "multi": 47.0}))
    cells = column(found)
    assert [cell["value"] for cell in cells] == pytest.approx([50, 45, 47], abs=1e-3)
    for cell in cells:
        assert cell["low"] < cell["value"] < cell["high"]
        assert cell["seeds"] == [cell["value"]]
        assert cell["published"] == 50.0
    assert [cell["runs"] for cell in cells] == [["ft2d0"], ["single0"], ["multi0"]]
    assert [row["labels"] for row in found["rows"]] == [["ft2d"], ["single"], ["multi"]]
    assert set(cells[0]) == {"value", "low", "high", "seeds", "published", "best", "p", "runs"}
    assert found["columns"] == [
        {"key": "mm", "title": "MPJPE", "unit": "mm", "better": "lower", "digits": 1,
         "extra": False}
    ]  # fmt: skip


def test_the_lowest_error_is_the_best_and_so_are_its_equals_in_print():
    found = fill(by_method, measured({"ft2d": 50.0, "single": 45.04, "multi": 44.96}))
    assert [cell["best"] for cell in column(found)] == [False, True, True]
    found = fill(by_method, measured({"ft2d": 50.0, "single": 45.04, "multi": 44.94}))
    assert [cell["best"] for cell in column(found)] == [False, False, True]


def test_the_highest_share_is_the_best():
    shares = {"ft2d": 0.5, "single": 0.75, "multi": 0.25}
    outcomes = {
        f"{method}0": outcome(
            LABELS, {"sb": np.zeros(N)}, np.where(np.arange(N) < share * N, 0, 90)
        )
        for method, share in shares.items()
    }
    rows = [Row((m,), (Cell(pck(Run(f"{m}0"))),), "all") for m in METHODS]
    cells = column(fill(lambda _: table(rows, (PERCENT,)), outcomes))
    assert [cell["value"] for cell in cells] == [50, 75, 25]
    assert [cell["best"] for cell in cells] == [False, True, False]


def test_a_column_with_no_better_end_has_no_best():
    rows = by_method(0).rows
    plain = Column("n", "number", better="")
    found = fill(lambda _: table(rows, (plain,)), measured(dict.fromkeys(METHODS, 50.0)))
    assert not any(cell["best"] for cell in column(found))


def test_groups_are_compared_within():
    def define(_):
        pairs = {"a": ("ft2d", "single"), "b": ("multi",), "": ("base",)}
        return table(
            Row((m,), (Cell(mpjpe(Run(f"{m}0"))),), group, m == "ft2d")
            for group, methods in pairs.items()
            for m in methods
        )

    errors_mm = {"ft2d": 40.0, "single": 45.0, "multi": 99.0, "base": 1.0}
    cells = column(fill(define, measured(errors_mm)))
    assert [cell["best"] for cell in cells] == [True, False, False, False]
    assert [cell["p"] is None for cell in cells] == [True, False, True, True]


def test_a_table_of_one_row_has_its_best_along_the_row():
    columns = tuple(Column(m, m) for m in METHODS)
    row = Row(("MPJPE",), tuple(Cell(mpjpe(Run(f"{m}0"))) for m in METHODS), "all")
    found = fill(lambda _: table([row], columns), measured(ODD))
    assert [cell["best"] for cell in found["rows"][0]["cells"]] == [False, True, False]


def test_p_is_against_the_groups_baseline_in_the_same_column():
    outcomes = measured({"ft2d": 50.0, "single": 49.9, "multi": 40.0})
    ft2d, single, multi = column(fill(by_method, outcomes))
    assert ft2d["p"] is None
    assert multi["p"] < 1e-6
    values = [outcomes[f"{m}0"].error_mm("sb") for m in ("single", "ft2d")]
    wanted = stats.ttest_rel(*values).pvalue  # the larger of two: Holm leaves it as it is
    assert single["p"] == pytest.approx(wanted, rel=1e-3)


def test_p_is_adjusted_for_the_tests_of_the_table():
    outcomes = measured({"ft2d": 50.0, "single": 49.9, "multi": 49.9})
    _, alone = column(fill(lambda seed: by_method(seed, METHODS[:2]), outcomes))
    _, single, multi = column(fill(by_method, outcomes))
    values = [[outcomes[f"{m}0"].error_mm("sb") for m in (m, "ft2d")] for m in METHODS[1:]]
    raw = [stats.ttest_rel(*pair).pvalue for pair in values]
    assert alone["p"] == pytest.approx(raw[0], rel=1e-3)
    assert [single["p"], multi["p"]] == pytest.approx(holm(raw), rel=1e-3)
    assert single["p"] == pytest.approx(2 * raw[0], rel=1e-3)


def test_without_a_baseline_nothing_is_compared():
    outcomes = measured(dict.fromkeys(METHODS, 50.0))
    found = fill(lambda seed: by_method(seed, baseline=None), outcomes)
    assert [cell["p"] for cell in column(found)] == [None] * 3
    without = fill(lambda seed: by_method(seed, methods=METHODS[1:]), outcomes)
    assert [cell["p"] for cell in column(without)] == [None] * 2


def test_several_seeds_give_their_mean_and_students_interval():
    errors = [
        {"ft2d": 50.0, "single": 45.0, "multi": 46.0},
        {"ft2d": 52.0, "single": 46.0, "multi": 49.0},
    ]
    outcomes = measured(errors[0], 0) | measured(errors[1], 1)
    ft2d, single, _ = column(fill(by_method, outcomes, seeds=(0, 1)))
    assert ft2d["value"] == pytest.approx(51.0, abs=1e-3)
    assert ft2d["seeds"] == pytest.approx([50.0, 52.0], abs=1e-3)
    reach = stats.t.ppf(0.975, 1) * np.std([50, 52], ddof=1) / math.sqrt(2)
    assert (ft2d["low"], ft2d["high"]) == pytest.approx((51 - reach, 51 + reach), abs=1e-2)
    assert single["runs"] == ["single0", "single1"]
    raw = [stats.ttest_rel(guided, [50, 52]).pvalue for guided in ([45, 46], [46, 49])]
    assert single["p"] == pytest.approx(holm(raw)[0], rel=1e-3)


def test_a_cell_that_is_none_stays_none_and_is_not_compared():
    def define(_):
        full = [Cell(mpjpe(Run(f"{m}0"))) for m in METHODS]
        rows = [
            Row(("a",), (full[0], None), "all", baseline=True),
            Row(("b",), (None, full[1]), "all"),
            Row(("c",), (full[2], full[2]), "all"),
        ]
        return table(rows, (MM, Column("other", "other")))

    a, b, c = (r["cells"] for r in fill(define, measured(ODD))["rows"])
    assert (a[1], b[0]) == (None, None)
    assert c[0]["p"] is not None
    assert (b[1]["p"], c[1]["p"]) == (None, None)
    assert (c[0]["best"], b[1]["best"]) == (True, True)


def test_a_number_that_cannot_be_had_is_null():
    """No sample has the action: there is no mean, no interval, and nothing to be the best."""
    rows = [
        Row((m,), (Cell(mpjpe(Run(f"{m}0"), action="Sitting")),), "all", m == "ft2d")
        for m in METHODS
    ]
    cells = column(fill(lambda _: table(rows), measured(dict.fromkeys(METHODS, 50.0))))
    for cell in cells:
        assert (cell["value"], cell["low"], cell["p"], cell["best"]) == (None, None, None, False)


@pytest.mark.parametrize("number", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_none(number):
    assert finite(number) is None


class Invented(dict):
    """An outcome for whatever run is asked for, always the same one."""

    def __init__(self):
        actions = np.tile(list(ACTION_HEADS), 4)
        self.labels = labels(actions, frame=np.arange(len(actions)))

    def __missing__(self, run):
        rng, count = np.random.default_rng(zlib.crc32(run.encode())), len(self.labels["action"])
        errors_mm = {name: rng.uniform(20, 60, (count, 17)) for name in LIFTERS}
        errors_mm |= {f"{n} {f}": mm for n, mm in errors_mm.items() for f in TESTED_FRAMES[1:]}
        self[run] = outcome(self.labels, errors_mm, rng.uniform(0, 21, (count, 17)))
        return self[run]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_every_table_can_be_filled(seeds):
    outcomes = Invented()
    studies = [(small_study(seed),) for seed in seeds]
    for key, define in TABLES.items():
        found = tabulate(define, studies, outcomes)
        json.dumps(found, allow_nan=False)
        defined = define(studies[0])
        for row, wanted in zip(found["rows"], defined.rows, strict=True):
            assert [cell is None for cell in row["cells"]] == [c is None for c in wanted.cells]
            for cell in filter(None, row["cells"]):
                # All 2D may be wrong somewhere, and then no sample is perfect.
                assert cell["value"] is not None or key == "3", (key, row["labels"])
                assert len(cell["seeds"]) == len(seeds)
        for group in {row.group for row in defined.rows} - {""}:
            rows = [row for row in found["rows"] if row["group"] == group]
            assert group.startswith("gt ") or any(c and c["best"] for r in rows for c in r["cells"])
