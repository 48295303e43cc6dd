"""The tables' cells: every printed number has its place, and every cell the right runs."""

import collections
import functools

import pytest

from liftjax.experiments.paper import definitions, published
from liftjax.experiments.paper.beyond import BEYOND
from liftjax.experiments.paper.command import make_plan
from liftjax.experiments.paper.definitions import PAPER_TABLES, TABLES
from liftjax.experiments.paper.plan import TablesPlan
from liftjax.experiments.paper.runs import in_order
from liftjax.experiments.paper.scales import SMALL
from tests.experiments.paper.studies import PANOPTIC, small_study, study

STUDIES = (study(), study(PANOPTIC))
PRINTED = ("1", "2", "3", "4", "5", "6", "7", "8", "relu", "voting")
SB = "simple_baseline"


@functools.cache
def table(key):
    return TABLES[key](STUDIES)


def cells(of):
    """(labels, column's key, cell) of each cell that is measured."""
    for row in of.rows:
        for column, cell in zip(of.columns, row.cells, strict=True):
            if cell is not None:
                yield row.labels, column.key, cell


def find(key, labels, column):
    (cell,) = [
        cell for found, where, cell in cells(table(key)) if (found, where) == (labels, column)
    ]
    return cell


def run_of(key, labels, column):
    (run,) = find(key, labels, column).measure.runs
    return run


def test_all_tables_of_the_paper_are_there():
    assert set(PRINTED) | {"gt"} == set(PAPER_TABLES)
    assert not set(PAPER_TABLES) & set(BEYOND)
    for key, define in TABLES.items():
        assert define(STUDIES).key == key


@pytest.mark.parametrize("key", PRINTED)
def test_every_printed_number_stands_in_one_cell(key, monkeypatch):
    """Told by what was looked up, as different cells may have one number."""

    def address(of, *parts):
        return (of, *parts) if published.published(of, *parts) is not None else None

    monkeypatch.setattr(definitions, "published", address)
    found = [cell.published for _, _, cell in cells(TABLES[key](STUDIES)) if cell.published]
    assert len(set(found)) == len(found)
    assert {address[1:] for address in found} == set(published.cells(key))


@pytest.mark.parametrize(
    ("key", "labels", "column", "value"),
    [
        ("1", ("HRNet (FT-2D)", "SB"), "Directions", 45.6),
        ("1", ("HRNet (Ours)", "SB"), "Purchases", 49.3),
        ("1", ("RTMPose (Ours)", "IGANet"), "Avg.", 49.7),
        ("1", ("DWPose (FT-2D)", "MixSTE"), "SittingDown", 88.5),
        ("1", ("GT", "VPose"), "WalkTogether", 34.3),
        ("2", ("HRNet", "FT-2D"), "human36m pck", 94.93),
        ("2", ("DWPose", "Ours"), "human36m mpjpe", 52.3),
        ("2", ("RTMPose", "Ours"), "panoptic mpjpe", 45.75),
        ("2", ("DWPose", "FT-2D"), "panoptic pck", 93.05),
        ("3", ("Multi-model", "Ours"), "perfect mpjpe", 46.6),
        ("3", ("Multi-model", "FT-2D"), "all pck", 95.07),
        ("4", ("FT-2D", "-"), "mixste", 59.3),
        ("4", ("Single-model (Ours)", "IGANet"), SB, 54.5),
        ("4", ("Single-model (Ours)", "SB"), "iganet", 54.6),
        ("4", ("Multi-model (Ours)", "w/o VPose"), "videopose3d", 53.8),
        ("5", ("Multi-model (Ours)", "w/o MixSTE"), "mixste", 53.9),
        ("5", ("Single-model (Ours)", "MixSTE"), "iganet", 51.7),
        ("6", ("MPJPE",), "1", 319.41),
        ("6", ("MPJPE",), "500", 56.3),
        ("7", ("Vary λ_2D", "0.7"), "mpjpe", 52.0),
        ("7", ("Vary λ_xy", "5"), "mpjpe", 51.8),
        ("8", ("Vary λ_local", "20"), "mpjpe", 51.1),
        ("8", ("Proposed", ""), "mpjpe", 50.6),
        ("relu", ("ReLU",), "mpjpe", 53.1),
        ("voting", ("RTMPose, single-model (Ours)",), "mpjpe", 51.6),
        ("gt", ("MPJPE",), "iganet", 35.0),
    ],
)
def test_the_labels_of_printed_numbers(key, labels, column, value):
    assert find(key, labels, column).published == value


def test_the_runs_behind_some_cells():
    one, other = STUDIES
    assert run_of("1", ("HRNet (Ours)", "IGANet"), "Eating") == one.single("hrnet", "iganet")
    assert run_of("1", ("DWPose (FT-2D)", "SB"), "Avg.") == one.ft2d("dwpose")
    assert run_of("1", ("GT", "SB"), "Avg.") == one.truth()
    assert run_of("2", ("HRNet", "Ours"), "human36m pck") == one.multi("hrnet")
    assert run_of("2", ("HRNet", "Ours"), "panoptic pck") == other.multi("hrnet")
    assert run_of("4", ("Single-model (Ours)", "MixSTE"), SB) == one.single("hrnet", "mixste")
    left_out = one.multi("dwpose", without="iganet")
    assert run_of("5", ("Multi-model (Ours)", "w/o IGANet"), "iganet") == left_out
    assert run_of("6", ("MPJPE",), "100") == one.single("hrnet", SB)
    varied = one.single("rtmpose", SB, **{"loss.weights.l_z": 30.0})
    assert run_of("7", ("Vary λ_z", "30"), "mpjpe") == varied
    assert run_of("8", ("Proposed", ""), "mpjpe") == one.multi("rtmpose")
    assert run_of("relu", ("softmax",), "mpjpe") == one.single("rtmpose", SB)
    perfect = find("3", ("Single-model, SB", "Ours"), "perfect mpjpe").measure
    assert set(perfect.runs) == {one.single("rtmpose", SB), one.ft2d("rtmpose")}


@pytest.mark.parametrize("key", ["4", "5"])
def test_lifters_are_tested_where_they_did_not_guide(key):
    """The only runs of tables 4 and 5 that meet a lifter they know are none."""
    one = STUDIES[0]
    for labels, column, cell in cells(table(key)):
        (run,) = cell.measure.runs
        assert column not in run.recipe["lifters"], labels
        assert column in dict(run.lifters)
    counts = [sum(cell is not None for cell in row.cells) for row in table(key).rows]
    assert counts == [4, *[3] * len(one.lifters), *[1] * len(one.lifters)]


def test_betas_are_those_of_the_paper_and_the_scales_own():
    paper, small = table("6"), TABLES["6"]((small_study(),))
    assert [column.key for column in paper.columns] == ["1", "10", "50", "100", "200", "500"]
    extra = [column.key for column in small.columns if column.extra]
    assert (len(small.columns), extra) == (7, ["30"])
    for column, cell in zip(small.columns, small.rows[0].cells, strict=True):
        (run,) = cell.measure.runs
        assert run.recipe["loss"]["beta"] == float(column.key)
        assert cell.published == published.published("6", column.key)


def test_proposed_weights_are_what_the_others_vary():
    """The recipes' weights for RTMPose are the paper's; one differs in each other row."""
    for key in ("7", "8"):
        proposed = published.proposed_weights(key)
        changed = collections.Counter()
        for row in table(key).rows[1:]:
            weights = row.cells[0].measure.runs[0].recipe["loss"]["weights"]
            (name,) = [name for name, value in weights.items() if value is not None]
            assert weights[name] != proposed[name]
            changed[name] += 1
        assert changed == dict.fromkeys(proposed, 2)


@pytest.mark.parametrize("key", TABLES)
def test_tables_are_rectangular_and_name_their_rows_once(key):
    one = table(key)
    assert len({column.key for column in one.columns}) == len(one.columns)
    assert len({row.labels for row in one.rows}) == len(one.rows)
    for row in one.rows:
        assert len(row.cells) == len(one.columns)
        assert len(row.labels) == len(one.row_heads)
    baselines = [row.group for row in one.rows if row.baseline]
    assert len(set(baselines)) == len(baselines)


@pytest.mark.parametrize("key", TABLES)
def test_the_plan_of_a_table_has_every_run_of_its_cells(key):
    plan = TablesPlan((key,), (STUDIES,))
    planned = plan.runs()
    for labels, column, cell in cells(table(key)):
        assert set(cell.measure.runs) <= set(planned), (labels, column)
        assert all(run.lifters for run in cell.measure.runs)
    assert in_order(planned) == planned


def test_everything_at_the_small_scale_is_56_runs():
    plan = make_plan(["all"], ["synthetic"], SMALL, [0])
    assert plan.tables == tuple(PAPER_TABLES)
    assert len(plan.runs()) == 56
    kinds = collections.Counter(run.kind for run in plan.runs())
    assert kinds == {"lifter": 4, "truth": 1, "detector": 51}
    rest = make_plan([key for key in PAPER_TABLES if key not in ("3", "voting", "gt")],
                     ["synthetic"], SMALL, [0])  # fmt: skip
    assert set(rest.runs()) == set(plan.runs())


def test_more_seeds_are_as_many_runs_again_and_more_tables_share():
    one, three = (make_plan(["2"], ["synthetic"], SMALL, seeds) for seeds in ([0], [0, 1, 2]))
    assert len(three.runs()) == 3 * len(one.runs())
    both = make_plan(["2", "1"], ["synthetic"], SMALL, [0])
    assert both.tables == ("1", "2")
    assert len(both.runs()) < len(one.runs()) + len(both.runs_of("1"))


def test_ablations_are_apart_and_name_no_run_twice():
    plan = make_plan(["ablations"], ["synthetic"], SMALL, [0])
    runs = [run for row in TABLES["ablations"](plan.studies[0]).rows
            for run in row.cells[0].measure.runs]  # fmt: skip
    assert len(set(runs)) == len(runs)
    assert plan.studies[0][0].multi("rtmpose") in runs
