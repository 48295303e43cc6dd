"""The report as one HTML file with all that it needs: tables, charts, pictures, poses to turn."""

import base64
import functools
import itertools
import math
import mimetypes
import zlib
from collections.abc import Container
from importlib import resources

from etils import epath

from liftjax import viewer
from liftjax.errors import needs
from liftjax.experiments.paper.report import charts
from liftjax.experiments.paper.report.printed import published_part, published_title
from liftjax.experiments.paper.study import METHOD_TITLES
from liftjax.writing import whole_file

with needs("The report", "Jinja2", "liftjax[report]"):
    import jinja2
    from markupsafe import Markup

FILE_NAME = "report.html"
DENSE = 10  # columns: a table with more shows half the width of intervals instead of both ends
VERDICTS = ("true", "undecided", "false")


def write_page(report: dict, folder: epath.PathLike) -> epath.Path:
    """Writes `folder`/report.html; the report's figures are files in `folder`."""
    path = epath.Path(folder) / FILE_NAME
    with whole_file(path) as partial:
        partial.write_text(page(report, folder))
    return path


def page(report: dict, folder: epath.PathLike) -> str:
    """The HTML text; see :func:`write_page`."""
    runs = [
        run | {"method": METHOD_TITLES.get(run["method"], run["method"] or run["kind"])}
        for run in report["runs"]
    ]
    return _environment().get_template("page.html.jinja").render(
        report=report,
        tables=[_shown_table(table, report) for table in report["tables"]],
        findings=[_shown_finding(finding) for finding in report["findings"]],
        verdicts={v: sum(f["verdict"] == v for f in report["findings"]) for v in VERDICTS},
        figures=_pictures(report["figures"], epath.Path(folder)),
        charts=charts.charts(report | {"runs": runs}),
        runs=[run | {"curve": run["curve"] and charts.thin(run["curve"])} for run in runs],
        total_steps=sum(run["steps"] or 0 for run in runs),
        total_seconds=sum(run["seconds"] or 0 for run in runs),
        versions={
            name: ", ".join(map(str, version)) if isinstance(version, list) else version
            for name, version in report["versions"].items()
        },
        poses=_viewer_document(report["poses"]),
        viewer=viewer,
        library=_library(),
    )  # fmt: skip


def number(value: float, digits: int, sign: bool = False) -> str:
    """A number with a true minus sign; `sign`: with a plus too."""
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "\N{MINUS SIGN}")


def probability(p: float | None) -> str:
    """A p-value as it is written: "p = 0.012" or "p < 0.001"."""
    if p is None:
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def duration(seconds: float | None) -> str:
    """12 s, 3 min 05 s, 2 h 04 min."""
    if seconds is None:
        return "\N{EN DASH}"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _shown_table(table: dict, report: dict) -> dict:
    """A table with what its cells show, as text; `apart`: the table of published numbers."""
    dense, apart = len(table["columns"]) > DENSE, None
    printed = published_part(table)
    if printed["columns"] and not report["same_data"]:
        columns = [column | {"title": column["title"]} for column in printed["columns"]]
        for column, name in itertools.product(columns, report["data"]):
            column["title"] = column["title"].removeprefix(f"{name} ")  # which it is not of
        rows = _shown_rows(printed, report, dense)
        apart = printed | {"title": published_title(table), "columns": columns, "rows": rows}
    return table | {"rows": _shown_rows(table, report, dense), "dense": dense, "apart": apart}


def _shown_rows(table: dict, report: dict, dense: bool) -> list[dict]:
    """Rows whose labels know if they repeat those above, which hides them in the table's order."""
    trained = {run["id"] for run in report["runs"]}
    rows, before = [], []
    for row in table["rows"]:
        labels = [str(label) for label in row["labels"]]
        same = [before[: i + 1] == labels[: i + 1] for i in range(len(labels))]
        rows.append({
            "labels": list(zip(labels, same, strict=True)),
            "starts": bool(before) and len(labels) > 1 and not same[0],
            "cells": [
                cell and _shown_cell(cell, column["digits"], trained, report["same_data"], dense)
                for cell, column in zip(row["cells"], table["columns"], strict=True)
            ],
        })  # fmt: skip
        before = labels
    return rows


def _shown_cell(
    cell: dict, digits: int, trained: Container[str], same_data: bool, dense: bool
) -> dict | None:
    """A cell as text; None for one without a number. Of its runs, those that were `trained`."""
    if cell["value"] is None:
        return None
    show = functools.partial(number, digits=digits)
    interval = half = difference = ""
    if cell["low"] is not None and cell["high"] is not None:
        interval = f"{show(cell['low'])} \N{EN DASH} {show(cell['high'])}"
        half = f"± {show((cell['high'] - cell['low']) / 2)}"
    published = "" if cell["published"] is None else show(cell["published"])
    if published and same_data:
        # Of the numbers as they are printed, so that a reader's own subtraction agrees.
        gap = round(cell["value"], digits) - round(cell["published"], digits)
        difference = show(gap, sign=True)
    seeds = [show(value) for value in cell["seeds"] if value is not None]
    about = [
        f"95 %: {interval}" if interval else "",
        f"seeds: {', '.join(seeds)}" if len(seeds) > 1 else "",
        probability(cell["p"]),
    ]
    return {
        "value": show(cell["value"]),
        "sort": cell["value"],
        "interval": half if dense else interval,
        "published": published,
        "difference": difference,
        "best": cell["best"],
        "about": "; ".join(filter(None, about)),
        "runs": [run for run in cell["runs"] if run in trained],
    }


def _shown_finding(finding: dict) -> dict:
    """A finding whose intervals have places, in percent, on an axis through zero for each unit.

    The axes are logarithmic away from zero, for a difference of 0.3 may stand beside one of 300.
    """

    def scaled(value):
        return math.copysign(math.log1p(abs(value)), value)

    reach: dict[str, float] = {}
    for part in finding["parts"]:
        ends = max(abs(scaled(part[end])) for end in ("low", "high"))
        reach[part["unit"]] = max(reach.get(part["unit"], 0.1), 1.08 * ends)
    parts = []
    for part in finding["parts"]:
        digits = 2 if max(abs(part["low"]), abs(part["high"])) < 10 else 1
        ends = ("low", "high", "difference")
        low, high, difference = (number(part[end], digits, sign=True) for end in ends)
        left, right, middle = (
            round(50 + 50 * scaled(part[end]) / reach[part["unit"]], 2) for end in ends
        )
        parts.append({
            **part, "difference": difference, "interval": f"{low} to {high}",
            "p": probability(part["p"]),
            "unit": "points" if part["unit"] == "%" else part["unit"],
            "left": left, "right": right, "middle": middle,
        })  # fmt: skip
    return finding | {"parts": parts}


def _pictures(figures: list[dict], folder: epath.Path) -> list[dict]:
    """The figures with their pictures as data; those without a file are left out."""
    shown = []
    for figure in figures:
        path = folder / figure["file"]
        if path.exists():
            kind = mimetypes.guess_type(figure["file"])[0] or "image/png"
            text = base64.b64encode(path.read_bytes()).decode()
            shown.append({**figure, "data": f"data:{kind};base64,{text}"})
    return shown


def _viewer_document(poses: dict | None) -> dict | None:
    """The poses as liftjax/viewer takes them."""
    if not poses or not poses["samples"]:
        return None
    frames = [
        {key: sample.get(key) for key in ("title", "image", "kpts", "poses")}
        | {"captions": {name: f"{number(mm, 1)} mm" for name, mm in sample["mpjpe"].items()}}
        | {"up": sample.get("up")}
        for sample in poses["samples"]
    ]
    return {"skeleton": {"joints": poses["joints"], "edges": poses["edges"]}, "frames": frames}


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _library() -> str:
    """The charts' library by zlib in base64: half its size, and a browser unpacks it itself."""
    return base64.b64encode(zlib.compress(charts.library().encode(), 9)).decode()


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters["duration"] = duration
    environment.globals["file"] = lambda name: Markup(_resource(name))
    return environment
