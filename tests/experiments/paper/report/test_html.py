"""The page as text: one safe file. What it shows is tested in test_html_browser.py."""

import base64
import json
import re
import zlib
from html.parser import HTMLParser

import pytest

from liftjax.experiments.paper.report import charts, html
from tests.experiments.paper.report.sample_report import HOSTILE, sample_report, write_figures


class _Elements(HTMLParser):
    """Start tags with their attributes, and the text of scripts by id."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.scripts, self._script = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self._script = attributes.get("id", "") if tag == "script" else None

    def handle_endtag(self, tag):
        self._script = None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("report")
    write_figures(sample_report(), made)
    return made


@pytest.fixture(scope="module")
def path(folder):
    return html.write_page(sample_report(), folder)


@pytest.fixture(scope="module")
def elements(path):
    return _Elements(path.read_text())


@pytest.fixture(scope="module")
def sample_charts():
    return charts.charts(sample_report())


@pytest.fixture
def same_charts(monkeypatch, sample_charts):
    """The sample's charts in every page: they take most of its time."""
    monkeypatch.setattr(html.charts, "charts", lambda report: sample_charts)


def data(elements: _Elements, name: str):
    return json.loads(elements.scripts[f"data-{name}"])


@pytest.mark.slow
def test_the_page_is_one_small_file(path, folder):
    assert path.name == "report.html"
    assert path.stat().length < 700_000
    assert [file.name for file in folder.iterdir() if "partial" in file.name] == []


def test_the_same_report_gives_the_same_page(path, folder):
    assert html.page(sample_report(), folder) == path.read_text()


def test_a_page_asks_for_nothing_outside_itself(elements):
    for tag, attributes in elements.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            address = attributes.get(name, "")
            assert address.startswith(("#", "data:")) or not address, (tag, address)
        assert tag != "link" or attributes["rel"] == "icon"


def test_links_lead_somewhere(elements):
    ids = [attributes["id"] for _, attributes in elements.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for _, a in elements.tags if a.get("href", "").startswith("#")}
    assert links <= set(ids)


def test_runs_are_held_whole(elements):
    for run, held in zip(sample_report()["runs"], data(elements, "runs"), strict=True):
        assert held["config"] == run["config"]
        assert held["curve"]["step"] == run["curve"]["step"]  # short enough to be kept


@pytest.mark.usefixtures("same_charts")
def test_a_number_of_runs_that_were_not_trained_here_is_no_link(path, folder):
    report = sample_report()
    links = path.read_text().count("<td data-sort=")
    report["tables"][1]["rows"][0]["cells"][0]["runs"] = ["ground-truth"]
    elements = _Elements(html.page(report, folder))
    assert "ground-truth" not in str(elements.tags)
    assert sum(tag == "td" and "data-sort" in a for tag, a in elements.tags) == links


def test_texts_are_escaped(elements, folder):
    report = sample_report()
    report["title"] = report["command"] = report["findings"][0]["claim"] = HOSTILE
    table = report["tables"][0]
    table["title"] = table["rows"][0]["labels"][0] = table["columns"][0]["title"] = HOSTILE
    report["runs"][0]["title"] = report["poses"]["samples"][0]["title"] = HOSTILE
    text = html.page(report, folder)
    assert HOSTILE not in text
    hostile = _Elements(text)
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in elements.tags]
    assert data(hostile, "runs")[0]["title"] == HOSTILE
    assert data(hostile, "poses")["frames"][0]["title"] == HOSTILE
    assert HOSTILE in json.dumps(data(hostile, "charts")).replace(r"\"", '"').replace(r"\\", "\\")


def test_numbers_that_are_none_become_gaps(folder):
    report = sample_report()
    report["tables"][1]["rows"][0]["cells"][0]["value"] = None
    report["per_action"]["series"][0]["mm"][0] = None
    report["runs"][0]["curve"]["loss"][0] = None
    text = html.page(report, folder)
    assert text.count('<td class="none">') == 2
    assert data(_Elements(text), "runs")[0]["curve"]["loss"][0] is None


@pytest.mark.usefixtures("same_charts")
def test_figures_without_a_file_are_left_out(tmp_path, elements):
    images = [a["src"] for tag, a in elements.tags if tag == "img"]
    assert len(images) == len(sample_report()["figures"])
    assert all(source.startswith("data:image/jpeg;base64,") for source in images)
    alone = _Elements(html.page(sample_report(), tmp_path))
    assert [tag for tag, _ in alone.tags if tag == "img"] == []


def test_the_charts_library_is_there_compressed(elements):
    packed = base64.b64decode(elements.scripts["library"])
    assert b"vegaEmbed" in zlib.decompress(packed)


@pytest.mark.usefixtures("same_charts")
def test_differences_are_those_of_the_printed_numbers(folder):
    report = sample_report(same_data=True)
    report["tables"][1]["rows"][0]["cells"][1] |= {"value": 56.1249, "published": 56.13}
    text = html.page(report, folder)
    assert "56.13 <i>\N{MINUS SIGN}0.01</i>" in text


@pytest.mark.usefixtures("same_charts")
def test_names_of_the_program_are_shown_as_a_reader_knows_them(folder):
    report = sample_report()
    report["runs"][2]["method"] = "ft2d"
    runs = data(_Elements(html.page(report, folder)), "runs")
    assert runs[2]["method"] == "FT-2D"
    assert runs[0]["method"] == "lifter"
    assert runs[-1]["method"] == sample_report()["runs"][-1]["method"]


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (3.14159, 2, False, "3.14"), (-3.14159, 1, False, "\N{MINUS SIGN}3.1"),
        (0.26, 1, True, "+0.3"), (-0.04, 1, True, "0.0"), (0.04, 1, True, "0.0"),
    ],
)  # fmt: skip
def test_numbers(value, digits, sign, text):
    assert html.number(value, digits, sign) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(None, ""), (0.0004, "p < 0.001"), (0.012, "p = 0.012"), (0.4444, "p = 0.44")],
)
def test_p_values(p, text):
    assert html.probability(p) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.4, "12 s"), (185, "3 min 05 s"), (7440, "2 h 04 min")]
)
def test_durations(seconds, text):
    assert html.duration(seconds) == text


def test_intervals_of_findings_lie_on_one_axis_through_zero():
    for finding in sample_report()["findings"]:
        shown = html._shown_finding(finding)["parts"]
        for part, place in zip(finding["parts"], shown, strict=True):
            assert 0 <= place["left"] <= place["middle"] <= place["right"] <= 100
            assert (place["left"] > 50) == (part["low"] > 0)
            assert (place["right"] < 50) == (part["high"] < 0)


def test_every_place_of_a_chart_has_a_specification_and_a_height(elements):
    places = {a["id"]: a["style"] for _, a in elements.tags if a.get("class") == "chart"}
    assert places.keys() | {"chart-run"} == data(elements, "charts").keys()
    assert all(re.fullmatch(r"min-height: \d+px", style) for style in places.values())
