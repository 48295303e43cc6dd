"""The charts' specifications: valid, of the report's numbers, and only where there are some."""

import json

import pytest
import vl_convert

from liftjax.experiments.paper.report import charts
from tests.experiments.paper.report.sample_report import sample_report


@pytest.fixture(scope="module")
def report():
    return sample_report()


def compiled(specification: dict, runs=()) -> dict:
    """As Vega; raises where Vega-Lite refuses."""
    datasets = specification.get("datasets", {}) | {"runs": list(runs)}
    return vl_convert.vegalite_to_vega(specification | {"datasets": datasets})


def test_every_chart_compiles_and_follows_the_width_of_its_place(report):
    found = charts.charts(report)
    tables = {f"chart-table-{table['key']}" for table in report["tables"]}
    others = {"chart-curves", "chart-run", "chart-joints", "chart-actions", "chart-moved"}
    assert set(found) == tables | others
    for specification in found.values():
        assert specification["width"] == "container"
        assert compiled(specification, report["runs"])["marks"]


def test_what_the_report_lacks_has_no_chart(report):
    lacking = {"per_joint": None, "per_action": {"actions": [], "series": []}, "moved": []}
    runs = [run | {"curve": None} for run in report["runs"]]
    assert charts.charts(report | lacking | {"tables": [], "runs": runs}) == {}


def test_a_tables_values_are_its_cells_in_order(report):
    table = report["tables"][0]
    cells = [cell for row in table["rows"] for cell in row["cells"]]
    values = charts.table_values(table)
    assert None in cells
    for key in ("value", "low", "high", "best"):
        measured = [cell[key] for cell in cells if cell]
        assert [value[key] for value in values] == pytest.approx(measured, rel=1e-3)


@pytest.mark.parametrize("same_data", [False, True])
def test_published_numbers_are_drawn_only_beside_measures_of_the_same_data(report, same_data):
    table = report["tables"][1]
    chart = charts.table_chart(table, charts.table_values(table), same_data).to_dict()
    fields = json.dumps(chart["layer"])
    assert ("published" in fields) == same_data


def test_rows_with_equal_labels_stay_apart():
    row = {"labels": ["same"], "group": "", "cells": [{"value": 1.0, "low": None, "high": None,
           "seeds": [1.0], "published": None, "best": False, "p": None, "runs": []}]}  # fmt: skip
    table = {"key": "x", "rows": [row, row], "columns": [{"title": "mm", "unit": "mm"}]}
    values = charts.table_values(table)
    assert len({value["row"] for value in values}) == 2
    assert all(value["low"] == value["value"] == value["high"] for value in values)


def test_a_single_row_is_drawn_by_column_on_a_scale_that_shows_all(report):
    table = report["tables"][2]
    chart = charts.table_chart(table, charts.table_values(table), False).to_dict()
    encoding = chart["layer"][0]["encoding"]
    assert encoding["x"]["field"] == "column"
    assert encoding["y"]["scale"]["type"] == "log"  # 312 beside 55


def test_two_rows_are_drawn_by_column_in_two_colours(report):
    table = report["tables"][0]
    table = {**table, "columns": table["columns"][:4],
             "rows": [row | {"cells": row["cells"][:4]} for row in table["rows"][:2]]}  # fmt: skip
    chart = charts.table_chart(table, charts.table_values(table), True).to_dict()
    encodings = [layer["encoding"] for layer in chart["layer"]]
    assert all(encoding["x"]["field"] == "column" for encoding in encodings)
    assert all(encoding["xOffset"]["field"] == "row" for encoding in encodings)
    assert compiled(chart)["marks"]


def test_curves_keep_their_ends_when_they_are_thinned():
    curve = {"step": list(range(1001)), "loss": [1 / (1 + i) for i in range(1001)]}
    thinned = charts.thin(curve)
    assert len(thinned["step"]) == len(thinned["loss"]) == charts.CURVE_POINTS
    assert (thinned["step"][0], thinned["step"][-1]) == (0, 1000)
    assert thinned["loss"] == pytest.approx([1 / (1 + step) for step in thinned["step"]], rel=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2, 59, 60, 61])
def test_short_curves_lose_nothing_but_what_is_too_much(count):
    curve = {"step": list(range(count)), "loss": [None] * count}
    assert len(charts.thin(curve)["step"]) == min(count, charts.CURVE_POINTS)


def test_the_charts_are_written_for_a_version_of_the_library_that_is_there(report):
    specification = next(iter(charts.charts(report).values()))
    wanted = specification["$schema"].split("/v")[-1].removesuffix(".json").split(".")[:2]
    assert ".".join(wanted) in vl_convert.get_vegalite_versions()
