"""The report's charts as Vega-Lite specifications, by altair.

The page draws them with one copy of Vega (`library`), in the page's colours for text and lines. The
learning curves read the data set "runs", which the page holds once for charts and dialogs.
"""

from collections.abc import Sequence
from typing import Any

from liftjax.errors import needs

with needs("The report", "Altair and vl-convert", "liftjax[report]"):
    import altair as alt
    import vl_convert

# Most colour-blind eyes can tell them apart; legible on white and on near black.
PALETTE = ("#3b7dd8", "#e0762f", "#2f9e77", "#b0569c", "#a8862a", "#5b6bc0", "#7f8791")
BASELINE, BEST, OTHER = "#9aa5b1", PALETTE[0], "#9aa5b1"
CURVES = {"loss": "loss", "loss_2d": "2D loss", "grad_ratio": "gradients, 3D to 2D"}
CURVE_POINTS = 60
FEW_ROWS = 3  # of a table that is drawn by column
LABELLED = 3  # joints of a detector that the scatter plot names

# Rows of data are named "3|label", which keeps equal labels apart; the page shows the label.
AFTER_BAR = "slice(datum.label, indexof(datum.label, '|') + 1)"

# The marks of a table's cells.
_CELL = ["column:N", "value:Q", "low:Q", "high:Q", "unit:N"]
_INTERVAL = alt.Chart().mark_rule(strokeWidth=2)
_MEASURED = alt.Chart().mark_point(filled=True, size=70, opacity=1)
_PUBLISHED = (
    alt.Chart()
    .transform_filter("isValid(datum.published)")
    .mark_point(shape="diamond", size=80, strokeWidth=1.6, color=PALETTE[1])
)


def library() -> str:
    """Vega, Vega-Lite and vega-embed in the version that altair writes for, as one script."""
    version = alt.SCHEMA_VERSION.removeprefix("v").rsplit(".", 1)[0]
    return vl_convert.javascript_bundle(vl_version=version)


def charts(report: dict) -> dict[str, dict]:
    """Specifications by the id of their place in the page; none for what the report lacks."""
    found: dict[str, Any] = {}
    for table in report["tables"]:
        values = table_values(table)
        if values:
            found[f"chart-table-{table['key']}"] = table_chart(table, values, report["same_data"])
    if any(run.get("curve") for run in report["runs"]):
        found["chart-curves"] = learning_curves(report["runs"])
        found["chart-run"] = run_curves()
    if report["per_joint"] and report["per_joint"]["series"]:
        found["chart-joints"] = joint_chart(report["per_joint"])
    if report["per_action"] and report["per_action"]["series"]:
        found["chart-actions"] = action_chart(report["per_action"])
    if report["moved"]:
        found["chart-moved"] = moved_chart(report["moved"])
    return {key: chart.to_dict() for key, chart in found.items()}


def thin(curve: dict, points: int = CURVE_POINTS) -> dict:
    """At most `points` of a curve, the first and the last among them, to four digits."""
    last = len(curve["step"]) - 1
    kept = sorted({round(i * last / (points - 1)) for i in range(points)}) if last >= 0 else []
    return {
        name: [values[i] if name == "step" else _digits(values[i]) for i in kept]
        for name, values in curve.items()
    }


def table_values(table: dict) -> list[dict]:
    """A table's measured cells in its order, one row of data each."""
    return [
        {
            "row": f"{number}|{' · '.join(str(label) for label in row['labels'] if label != '')}",
            "column": column["title"],
            "unit": column["unit"],
            "value": _digits(cell["value"]),
            "low": _digits(cell["value"] if cell["low"] is None else cell["low"]),
            "high": _digits(cell["value"] if cell["high"] is None else cell["high"]),
            "published": _digits(cell["published"]),
            "best": bool(cell["best"]),
        }
        for number, row in enumerate(table["rows"])
        for column, cell in zip(table["columns"], row["cells"], strict=True)
        if cell is not None and cell["value"] is not None
    ]


def table_chart(table: dict, values: Sequence[dict], same_data: bool) -> alt.LayerChart:
    """Cells with their intervals: a table of few rows by column, any other by row.

    By row the reader chooses the column. Published numbers are diamonds, which are left out unless
    they were measured on the same data.
    """
    titles = list(dict.fromkeys(v["column"] for v in values))
    rows = list(dict.fromkeys(v["row"] for v in values))
    units = {v["unit"] for v in values}
    by_column = len(units) == 1 and len(rows) <= FEW_ROWS and len(rows) < len(titles)
    color = alt.condition("datum.best", alt.value(BEST), alt.value(OTHER))
    if by_column:
        numbers = [v["value"] for v in values]
        far_apart = min(numbers) > 0 and max(numbers) > 3 * min(numbers)
        logarithmic = alt.Scale(type="log", nice=False, padding=12)
        scale = logarithmic if far_apart else alt.Scale(zero=False)
        along, end = alt.Y, alt.Y2("high:Q")
        places = [alt.X("column:N", sort=None, title=None, axis=alt.Axis(labelAngle=0))]
        if len(rows) > 1:
            legend = alt.Legend(labelExpr=AFTER_BAR, title=None)
            color = alt.Color("row:N", scale=_categories(rows), legend=legend)
            places.append(alt.XOffset("row:N", sort=None))
    else:
        scale, along, end = alt.Scale(zero=False, padding=12), alt.X, alt.X2("high:Q")
        axis = alt.Axis(labelExpr=AFTER_BAR, labelLimit=260, grid=True, gridDash=[1, 3])
        places = [alt.Y("row:N", sort=None, title=None, axis=axis)]
    low, value, published = (
        along(f"{field}:Q", scale=scale, title=next(iter(units)) if len(units) == 1 else None)
        for field in ("low", "value", "published")
    )
    layers = [
        _INTERVAL.encode(*places, low, end, color=color),
        _MEASURED.encode(*places, value, color=color, tooltip=_CELL),
    ]
    if same_data and any(v["published"] is not None for v in values):
        tooltip = ["column:N", "published:Q"]
        layers.append(_PUBLISHED.encode(*places, published, tooltip=tooltip))
    chart = alt.layer(*layers, data=alt.Data(values=list(values)))
    if not by_column:
        # At first the last column that the paper has, as its average is.
        own = [c["title"] for c in table["columns"] if not c["extra"] and c["title"] in titles]
        chart = _chosen(chart, "column", "Column", titles, default=own[-1] if own else titles[0])
    return chart.properties(
        width="container",
        height=230 if by_column else 20 * len(rows) + 10,
        description=f"{table['title']}, with 95 % intervals",
    )


def learning_curves(runs: Sequence[dict]) -> alt.Chart:
    """All runs' curves: a quantity, a detector or all; methods go on and off in the legend."""
    shown = [run for run in runs if run.get("curve")]
    detectors = list(dict.fromkeys(run["detector"] for run in shown if run["detector"]))
    order = list(dict.fromkeys(run["method"] for run in shown))
    methods = alt.selection_point(name="of_method", fields=["method"], bind="legend", toggle="true")
    near = alt.selection_point(name="near", on="pointerover", fields=["id"], empty=False)
    chart = _curve_lines().encode(
        color=alt.Color("method:N", title=None, scale=_categories(order)),
        opacity=alt.condition(methods, alt.value(0.85), alt.value(0.06)),
        strokeWidth=alt.condition(near, alt.value(2.6), alt.value(1.2)),
        tooltip=["title:N", "step:Q", "value:Q"],
    )
    chart = chart.add_params(methods, near)
    if not detectors:
        return chart
    select = alt.binding_select(
        options=[None, *detectors], labels=["all", *detectors], name="Detector"
    )
    chosen = alt.selection_point(
        name="of_detector", fields=["detector"], bind=select, value=detectors[0]
    )
    return chart.add_params(chosen).transform_filter(chosen)


def run_curves() -> alt.Chart:
    """The curves of the runs that the page puts into "runs"."""
    return _curve_lines().encode(
        color=alt.Color("title:N", title=None, scale=alt.Scale(range=PALETTE), legend=None),
        tooltip=["title:N", "step:Q", "value:Q"],
    )


def joint_chart(per_joint: dict) -> alt.Chart:
    """Grouped bars: each joint's error in 3D or 2D by method, of one detector at a time."""
    measures = {"mm": "3D (mm)", "px": "2D (px)"}
    values = [
        {"detector": s["detector"], "method": s["method"], "place": joint.replace("_", " "),
         "measure": title, "error": _digits(s[key][i])}
        for s in per_joint["series"]
        for key, title in measures.items() if s.get(key)
        for i, joint in enumerate(per_joint["joints"])
    ]  # fmt: skip
    present = list(dict.fromkeys(v["measure"] for v in values))
    return _chosen(_grouped_bars(values), "measure", "Error in", present, radio=True)


def action_chart(per_action: dict) -> alt.Chart:
    """Grouped bars: each action's MPJPE by method, of one detector at a time."""
    values = [
        {"detector": s["detector"], "method": s["method"], "place": action, "error": _digits(mm)}
        for s in per_action["series"]
        for action, mm in zip(per_action["actions"], s["mm"], strict=True)
    ]
    return _grouped_bars(values, "MPJPE (mm)")


def moved_chart(moved: Sequence[dict]) -> alt.LayerChart:
    """How far guidance moved each joint in 2D, against what that gained in 3D."""
    detectors = list(dict.fromkeys(m["detector"] for m in moved))
    gains = {name: [abs(m["gain_mm"] or 0) for m in moved if m["detector"] == name]
             for name in detectors}  # fmt: skip
    values = [
        {
            "detector": m["detector"],
            "joint": m["joint"].replace("_", " "),
            "named": abs(m["gain_mm"] or 0) in sorted(gains[m["detector"]])[-LABELLED:],
            **{key: _digits(m[key]) for key in ("displacement_px", "gain_mm", "low", "high")},
        }
        for m in moved
    ]
    legend = alt.selection_point(
        name="of_detector", fields=["detector"], bind="legend", toggle="true"
    )
    across = alt.X("displacement_px:Q", title="moved in 2D (px)")
    color = alt.Color("detector:N", title=None, scale=_categories(detectors))
    faded = {"opacity": alt.condition(legend, alt.value(1), alt.value(0.06))}
    gain = "gain in 3D (mm)"
    base = alt.Chart(alt.Data(values=values))
    zero = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(strokeDash=[4, 4], color=OTHER)
    return alt.layer(
        zero.encode(alt.Y("zero:Q", title=gain)),
        base.mark_rule(strokeWidth=1).encode(
            across, alt.Y("low:Q", title=gain), alt.Y2("high:Q"), color,
            opacity=alt.condition(legend, alt.value(0.35), alt.value(0.04)),
        ),
        base.mark_point(filled=True, size=60).encode(
            across, alt.Y("gain_mm:Q", title=gain), color,
            alt.Shape("detector:N", title=None, scale=alt.Scale(domain=detectors)),
            tooltip=["detector:N", "joint:N", "displacement_px:Q", "gain_mm:Q", "low:Q", "high:Q"],
            **faded,
        ).add_params(legend),
        base.transform_filter("datum.named")
        .mark_text(align="left", dx=8, fontSize=11)
        .encode(across, alt.Y("gain_mm:Q"), color, text="joint:N", **faded),
    ).properties(width="container", height=340)  # fmt: skip


def _curve_lines() -> alt.Chart:
    """Lines of the named data set "runs": {id, title, method, detector, curve}; one quantity."""
    chart = (
        alt.Chart(alt.NamedData("runs"))
        .transform_filter("isValid(datum.curve)")
        .transform_calculate(
            **{name: f"datum.curve[{name!r}] || []" for name in ("step", *CURVES)},
        )
        .transform_flatten(["step", *CURVES])
        .transform_fold(list(CURVES), as_=["quantity", "value"])
        .transform_filter("isValid(datum.value) && datum.value > 0")
        .mark_line(clip=True)
        .encode(
            alt.X("step:Q", title="step"),
            alt.Y("value:Q", title=None, scale=alt.Scale(type="log", nice=False)),
            detail="id:N",
        )
    )
    select = alt.binding_select(options=list(CURVES), labels=list(CURVES.values()), name="Curve")
    chosen = alt.selection_point(name="of_curve", fields=["quantity"], bind=select, value="loss")
    return (
        chart.add_params(chosen).transform_filter(chosen).properties(width="container", height=300)
    )


def _grouped_bars(values: Sequence[dict], title: str | None = None) -> alt.Chart:
    """Horizontal bars of `error` by `place`, beside each other by `method`; one detector."""
    detectors = list(dict.fromkeys(v["detector"] for v in values))
    methods = list(dict.fromkeys(v["method"] for v in values))
    places = len({v["place"] for v in values})
    scale = alt.Scale(domain=methods, range=[BASELINE, *PALETTE][: len(methods)])
    chart = (
        alt.Chart(alt.Data(values=list(values)))
        .mark_bar(cornerRadiusEnd=1)
        .encode(
            alt.Y("place:N", sort=None, title=None, scale=alt.Scale(paddingInner=0.28)),
            alt.X("error:Q", title=title),
            alt.YOffset("method:N", sort=methods, scale=alt.Scale(paddingInner=0)),
            alt.Color("method:N", title=None, scale=scale, sort=methods),
            tooltip=["place:N", "detector:N", "method:N", "error:Q"],
        )
        .properties(width="container", height=(9 * len(methods) + 4) * places)
    )
    return _chosen(chart, "detector", "Detector", detectors, radio=True)


def _chosen(chart, field: str, title: str, options: list[str], default=None, radio=False):
    """`chart` of the rows with one value of `field`, which the reader chooses above it."""
    if len(options) < 2:
        return chart
    binding = alt.binding_radio if radio else alt.binding_select
    chosen = alt.param(
        name=f"of_{field}", value=default or options[0], bind=binding(options=options, name=title)
    )
    return chart.add_params(chosen).transform_filter(f"datum.{field} === of_{field}")


def _categories(names: list[str]) -> alt.Scale:
    return alt.Scale(domain=names, range=[PALETTE[i % len(PALETTE)] for i in range(len(names))])


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
