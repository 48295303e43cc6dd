"""The report's page in a real browser: what it shows is what the report says."""

import numpy as np
import pytest

from liftjax.experiments.paper.report import html
from tests.experiments.paper.report.sample_report import HOSTILE, sample_report, write_figures

MINUS, GAP = "\u2212", "\u2013"
SPACE = "#viewer .ljv-space canvas"
TRUTH = (31, 95, 214)

# Rows of a table as {labels, cells: [{text, best, interval} or null]}.
ROWS = """
return [...document.querySelectorAll(`${args[0]} tbody tr`)].map((row) => ({
  labels: [...row.querySelectorAll("th")].map((th) => th.textContent.trim()),
  cells: [...row.querySelectorAll("td")].map((td) => {
    if (td.classList.contains("none")) return null;
    const link = td.querySelector("a");
    return {
      text: (link ?? td).textContent.trim(),
      best: td.querySelector("b") !== null,
      interval: td.querySelector(".interval")?.textContent ?? "",
      published: td.querySelector(".published")?.textContent ?? "",
    };
  }),
}));
"""
# Charts are drawn when they come into view; waits until this one is there.
DRAWN = """
const place = document.getElementById(args[0]);
place.scrollIntoView({block: "center", behavior: "instant"});
for (let i = 0; i < 600 && !place.querySelector("svg"); i++) {
  await new Promise((done) => setTimeout(done, 50));
}
const marks = [...place.querySelectorAll("svg .mark-symbol path, svg .mark-rule line, " +
  "svg .mark-rect path, svg .mark-line path")];
return marks.filter((mark) => mark.getBoundingClientRect().width +
  mark.getBoundingClientRect().height > 1).length;
"""


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Writes the page of a report; gives its path."""

    def write_page(report):
        folder = tmp_path_factory.mktemp("report")
        write_figures(report, folder)
        return html.write_page(report, folder)

    return write_page


@pytest.fixture(scope="module")
def report():
    return sample_report()


@pytest.fixture(scope="module")
def path(write, report):
    return write(report)


@pytest.fixture
def page(open_page, path):
    """The page of the sample report."""
    return open_page(path, width=1400)


def draw_charts(page) -> None:
    """Draws every chart, after which nothing moves any more."""
    for chart in page.run("return [...document.querySelectorAll('.chart')].map((one) => one.id)"):
        page.run(DRAWN, chart)


def shown(value: float, digits: int, sign: str = "-") -> str:
    return f"{value:{sign}.{digits}f}".replace("-", MINUS)


def numbers(page, selector: str, column: int) -> list[float | None]:
    rows = page.run(ROWS, selector)
    return [row["cells"][column] and float(row["cells"][column]["text"]) for row in rows]


def test_tables_hold_the_reports_cells(page, report):
    for table in report["tables"]:
        rows = page.run(ROWS, f"#table-{table['key']} table.measured")
        assert [row["labels"] for row in rows] == [row["labels"] for row in table["rows"]]
        for row, found in zip(table["rows"], rows, strict=True):
            for cell, there, column in zip(
                row["cells"], found["cells"], table["columns"], strict=True
            ):
                assert (cell is None) == (there is None)
                if cell is None:
                    continue
                digits = column["digits"]
                assert there["text"] == shown(cell["value"], digits)
                assert there["best"] == cell["best"]
                assert shown(cell["low"], digits) in there["interval"]
                assert shown(cell["high"], digits) in there["interval"]
                assert there["published"] == ""  # it was measured on other data


def test_published_numbers_of_other_data_stand_apart(page, report):
    table = report["tables"][0]
    rows = page.run(ROWS, "#table-1 table.apart")
    kept = [i for i, column in enumerate(table["columns"]) if not column["extra"]]
    for row, found in zip(table["rows"], rows, strict=True):
        cells = [row["cells"][i] for i in kept]
        wanted = [shown(c["published"], 1) if c and c["published"] else GAP for c in cells]
        assert [cell["text"] for cell in found["cells"]] == wanted


def test_published_numbers_of_the_same_data_stand_beside_with_the_difference(open_page, write):
    report = sample_report(same_data=True)
    page = open_page(write(report))
    assert page.run("return document.querySelectorAll('table.apart').length") == 0
    cell = report["tables"][1]["rows"][0]["cells"][1]
    found = page.run(ROWS, "#table-2 table.measured")[0]["cells"][1]
    gap = round(round(cell["value"], 2) - cell["published"], 2)
    assert found["published"].split() == [
        shown(cell["published"], 2),
        shown(gap, 2, "+"),
    ]


def test_a_click_on_a_head_sorts_up_then_down_then_back(page):
    table, column, labels = "#table-1 table.measured", 1, 2
    head = f"{table} th:nth-child({labels + column + 1})"
    original = numbers(page, table, column)
    assert None in original  # a gap, which goes last either way
    values = sorted(value for value in original if value is not None)
    for expected in ([*values, None], [*values[::-1], None], original):
        page.click(head)
        assert numbers(page, table, column) == expected
    page.click(f"{table} th:nth-child(1)")
    names = [row["labels"][0] for row in page.run(ROWS, table)]
    assert names == sorted(names)


def test_heads_can_be_sorted_by_keys(page):
    head = "#table-2 table.measured thead th:last-child"
    page.run("document.querySelector(args[0]).focus()", head)
    page.press("Enter")
    found = numbers(page, "#table-2 table.measured", 2)
    assert found == sorted(found)
    assert page.run("return document.querySelector(args[0]).ariaSort", head) == "ascending"


def test_a_number_opens_the_configs_behind_it(page, report):
    runs = {run["id"]: run for run in report["runs"]}
    ids = report["tables"][0]["rows"][0]["cells"][0]["runs"]
    assert not page.run("return document.getElementById('run-dialog').open")
    page.click("#table-1 table.measured tbody td a")
    assert page.run("return document.getElementById('run-dialog').open")
    text = page.run("return document.getElementById('run-dialog').textContent")
    for run in (runs[i] for i in ids):
        assert run["title"] in text
        assert f"{run['steps']} steps" in text
    assert "detector.name" in text
    assert HOSTILE in text  # as text: nothing of it was run
    marks = """const dialog = document.getElementById("run-dialog");
    for (let i = 0; i < 600 && !dialog.querySelector(".chart svg"); i++) {
      await new Promise((done) => setTimeout(done, 50));
    }
    return dialog.querySelectorAll(".chart svg .mark-line path").length;"""
    assert page.run(marks) >= len(ids)
    page.click("#run-dialog [aria-label=Close]")
    assert not page.run("return document.getElementById('run-dialog').open")


def test_the_table_of_runs_opens_each_and_can_be_filtered(page, report):
    draw_charts(page)
    run = report["runs"][-1]
    page.run(
        """const find = document.getElementById("find-run");
        find.value = args[0];
        find.dispatchEvent(new Event("input", {bubbles: true}));""",
        run["id"],
    )
    visible = "return [...document.querySelectorAll('table.runs tbody tr:not([hidden])')].length"
    assert page.run(visible) == 1
    page.click(f"#run-{run['id']} a")
    assert run["title"] in page.run("return document.getElementById('run-dialog').innerText")
    page.press("Escape")


def test_charts_have_drawn_marks(page):
    for chart, least in {
        "chart-table-1": 10, "chart-table-2": 4, "chart-table-6": 3, "chart-curves": 2,
        "chart-joints": 17, "chart-actions": 3, "chart-moved": 17,
    }.items():  # fmt: skip
        assert page.run(DRAWN, chart) >= least, chart


def test_contents_lead_to_their_section_while_charts_are_being_drawn(page):
    top = page.run(
        """const top = () => document.getElementById("poses").getBoundingClientRect().top;
        document.querySelector("nav a[href='#poses']").click();
        for (let before = NaN; top() !== before; ) {
          before = top();
          await new Promise((done) => setTimeout(done, 500));
        }
        return top();"""
    )
    assert 0 <= top < 250


def test_the_3d_view_draws_and_turns(page, report):
    def blue_pixels():
        pixels = page.canvas(SPACE).astype(int)
        return int((np.abs(pixels[..., :3] - TRUTH).sum(-1) < 12).sum())

    draw_charts(page)
    x, y = page.middle(SPACE)
    page.settle()
    before = page.canvas(SPACE)
    assert blue_pixels() > 50
    azimuth = page.run("return reportViewer.state().azimuth")
    page.drag((x, y), (x + 120, y))
    assert page.run("return reportViewer.state().azimuth") > azimuth + 10
    assert (page.canvas(SPACE) != before).any()
    assert blue_pixels() > 50
    page.click("#viewer [aria-label='Next frame']")
    second = report["poses"]["samples"][1]
    text = page.run("return document.querySelector('#viewer').textContent")
    assert second["title"] in text
    assert all(shown(mm, 1) in text for mm in second["mpjpe"].values())


def test_figures_are_in_the_file(page, report):
    shown_sizes = """const images = [...document.querySelectorAll("#figures img")];
    for (const image of images) { image.loading = "eager"; await image.decode(); }
    return images.map((image) => image.naturalWidth);"""
    sizes = page.run(shown_sizes)
    assert len(sizes) == len(report["figures"])
    assert all(sizes)


@pytest.mark.parametrize("dark", [False, True])
def test_a_narrow_page_does_not_scroll_sideways(open_page, path, dark):
    page = open_page(path, width=400, height=800, dark=dark)
    assert page.run("return document.documentElement.scrollWidth") <= 400
    assert page.run(DRAWN, "chart-joints") >= 17
    assert page.run("return document.documentElement.scrollWidth") <= 400
    background, ink = page.run(
        """const style = getComputedStyle(document.body);
        return [style.backgroundColor, style.color].map((text) => Number(text.match(/\\d+/)[0]));"""
    )
    assert (background < ink) == dark


def test_a_report_of_one_table_alone(open_page, write):
    """What a single command writes: no findings, no charts, no poses."""
    report = sample_report() | {
        "findings": [], "per_joint": None, "per_action": None, "moved": [], "figures": [],
        "poses": None,
    }  # fmt: skip
    report["tables"] = report["tables"][2:]
    page = open_page(write(report))
    assert len(page.run(ROWS, "#table-6 table.measured")) == 1
    assert page.run("return document.querySelectorAll('.ljv').length") == 0
