"""The report as one HTML file that holds all it needs: tables, charts, pictures, poses to turn."""

import base64
import functools
import math
import mimetypes
import zlib
from collections.abc import Container
from importlib import resources

from etils import epath

from liftjax import viewer
from liftjax.errors import needs
from liftjax.experiments.paper.report import charts

with needs("The report", "Jinja2", "liftjax[report]"):
    import jinja2
    from markupsafe import Markup

FILE_NAME = "report.html"
DENSE = 10  # columns: a table with more shows half the width of intervals instead of both ends
VERDICTS = ("true", "undecided", "false")
# Names of the program as a reader sees them; any other is shown as it is.
NAMES = {
    "hrnet": "HRNet", "rtmpose": "RTMPose", "dwpose": "DWPose", "base": "first training",
    "ft2d": "FT-2D", "single": "single-model", "multi": "multi-model",
}  # fmt: skip


def write(report: dict, folder: epath.PathLike) -> epath.Path:
    """Writes `folder`/report.html; the report's figures are files in `folder`."""
    folder = epath.Path(folder)
    path = folder / FILE_NAME
    text = page(report, folder)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{FILE_NAME}.unfinished"
    unfinished.write_text(text)
    unfinished.replace(path)
    return path


def page(report: dict, folder: epath.PathLike) -> str:
    """The HTML text."""
    report = _with_names(report)
    runs = [run | {"curve": run["curve"] and charts.thin(run["curve"])} for run in report["runs"]]
    return _environment().get_template("page.html.jinja").render(
        report=report,
        tables=[_shown_table(table, report) for table in report["tables"]],
        findings=[_shown_finding(finding) for finding in report["findings"]],
        verdicts={v: sum(f["verdict"] == v for f in report["findings"]) for v in VERDICTS},
        figures=_pictures(report["figures"], epath.Path(folder)),
        charts=charts.charts(report),
        runs=runs,
        total_steps=sum(run["steps"] or 0 for run in runs),
        total_seconds=sum(run["seconds"] or 0 for run in runs),
        versions={name: _listed(version) for name, version in report["versions"].items()},
        poses=_viewer_input(report["poses"]),
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
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _shown_table(table: dict, report: dict) -> dict:
    """A table with what its cells show, as text; `apart`: the table of published numbers."""
    same_data, columns = report["same_data"], table["columns"]
    trained = {run["id"] for run in report["runs"]}
    dense = len(columns) > DENSE
    rows, before = [], []
    for row in table["rows"]:
        labels = [str(label) for label in row["labels"]]
        # A label that repeats the one above is hidden while the rows are in the table's order.
        same = [before[: i + 1] == labels[: i + 1] for i in range(len(labels))]
        cells = [
            _shown_cell(cell, column, trained, same_data, dense)
            for cell, column in zip(row["cells"], columns, strict=True)
        ]
        rows.append({
            "labels": list(zip(labels, same, strict=True)),
            "starts": bool(before) and len(labels) > 1 and not same[0],
            "cells": cells,
        })  # fmt: skip
        before = labels
    shown = {**table, "rows": rows, "dense": dense, "apart": None}
    if not same_data and any(c and c["published"] for row in rows for c in row["cells"]):
        kept = [i for i, column in enumerate(columns) if not column["extra"]]
        shown["apart"] = {
            "row_heads": table["row_heads"],
            "columns": [columns[i] | {"title": _without_data(columns[i]["title"], report["data"])}
                        for i in kept],
            "rows": [row | {"cells": [row["cells"][i] for i in kept]} for row in rows],
        }  # fmt: skip
    return shown


def _without_data(title: str, data: list[str]) -> str:
    """A column's title without the name of the data that it was measured on."""
    for name in data:
        title = title.removeprefix(f"{name} ")
    return title


def _shown_cell(
    cell: dict | None, column: dict, trained: Container[str], same_data: bool, dense: bool
) -> dict | None:
    """A cell as text; None for a gap. Of its runs, those that were `trained`."""
    if cell is None or cell["value"] is None:
        return None
    digits = column["digits"]
    show = functools.partial(number, digits=digits)
    interval = half = ""
    if cell["low"] is not None and cell["high"] is not None:
        interval = f"{show(cell['low'])} \N{EN DASH} {show(cell['high'])}"
        half = f"± {show((cell['high'] - cell['low']) / 2)}"
    published = "" if cell["published"] is None else show(cell["published"])
    difference = ""
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

    def place(value, unit):
        return round(50 + 50 * scaled(value) / reach[unit], 2)

    parts = []
    for part in finding["parts"]:
        digits = 2 if max(abs(part["low"]), abs(part["high"])) < 10 else 1
        parts.append({
            **part,
            "difference": number(part["difference"], digits, sign=True),
            "interval": f"{number(part['low'], digits, sign=True)} to "
                        f"{number(part['high'], digits, sign=True)}",
            "p": probability(part["p"]),
            "unit": "points" if part["unit"] == "%" else part["unit"],
            "left": place(part["low"], part["unit"]),
            "right": place(part["high"], part["unit"]),
            "middle": place(part["difference"], part["unit"]),
        })  # fmt: skip
    return {**finding, "parts": parts}


def _listed(value) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


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


def _viewer_input(poses: dict | None) -> dict | None:
    """The poses as liftjax/viewer takes them."""
    if not poses or not poses["samples"]:
        return None
    frames = [
        {
            "title": sample["title"],
            "image": sample.get("image"),
            "kpts": sample["kpts"],
            "poses": sample["poses"],
            "captions": {name: f"{number(mm, 1)} mm" for name, mm in sample["mpjpe"].items()},
            "up": sample.get("up"),
        }
        for sample in poses["samples"]
    ]
    return {"skeleton": {"joints": poses["joints"], "edges": poses["edges"]}, "frames": frames}


def _with_names(report: dict) -> dict:
    """The report with the names of methods and detectors as a reader sees them."""

    def named(row):
        known = {key: NAMES.get(row[key], row[key]) for key in ("detector", "method") if key in row}
        if known.get("method") == "":
            known["method"] = row.get("kind", "")  # of a lifter
        return row | known

    changed = {key: [named(row) for row in report[key]] for key in ("runs", "moved")}
    for key in ("per_joint", "per_action"):
        if report[key]:
            changed[key] = report[key] | {"series": [named(row) for row in report[key]["series"]]}
    return report | changed


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
