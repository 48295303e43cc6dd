"""The results of `benchmark step` as text."""

from collections.abc import Sequence
from typing import Any

from liftjax.tables import text_table

# Columns: heading, keys of a row of results (the first that it has is shown), format, factor.
_STEP_TIMES = (
    ("of FT-2D", ("of_ft2d",), "{:.3f}", 1),
    ("times liftjax", ("ratio",), "{:.2f}", 1),
    ("images/s", ("images_per_s",), "{:.0f}", 1),
    ("TFLOP/s", ("flops_per_s",), "{:.2f}", 1e-12),
    ("of peak", ("share_of_peak",), "{:.0f} %", 100),
)
_STEP_FACTS = (
    ("MiB", ("program_bytes", "device_bytes"), "{:.0f}", 2**-20),
    ("trace s", ("trace_s",), "{:.1f}", 1),
    ("compile s", ("cold_s", "prepare_s"), "{:.1f}", 1),
    ("cached s", ("warm_s",), "{:.1f}", 1),
)
_MAP_TIMES = (
    ("GB/s", ("bytes_per_s",), "{:.1f}", 1e-9),
    ("of copy", ("share_of_copy",), "{:.0f} %", 100),
    ("faster than eager", ("speedup",), "{:.2f}", 1),
)


def format_results(results: dict[str, Any]) -> str:
    """All tables, and what was not begun."""
    about = results["machine"]
    cpu = "" if about["platform"] == "cpu" else f", {about['cpu']},"
    versions = {**results["versions"], **results["torch"]}
    named = ", ".join(f"{k} {versions[k]}" for k in ("jax", "torch") if k in versions)
    lines = [f"{about['device']}{cpu} {about['cores']} cores; {named}"]
    peaks = ", ".join(f"{v / 1e12:.3g} TFLOP/s {k}" for k, v in results["peaks"]["matmul"].items())
    copy = results["peaks"]["copy_bytes_per_s"]
    measured = [f"matrix product {peaks}"] if peaks else []
    measured += [f"copy {copy / 1e9:.3g} GB/s"] if copy else []
    lines += ["measured peaks: " + "; ".join(measured)] if measured else []
    parts = ["\n".join(lines)]
    parts += [format_steps(cell) for cell in results["cells"]]
    parts += [format_maps(cell) for cell in results["maps"]]
    if results["not_begun"]:
        parts.append("not begun (--time-limit): " + "; ".join(results["not_begun"]))
    return "\n\n".join(parts)


def format_steps(cell: dict[str, Any]) -> str:
    """The table of one detector, batch size and precision."""
    height, width = cell["image_size"]
    title = f"{cell['detector']}, {height}x{width}, batch {cell['batch_size']}, {cell['precision']}"
    if "device_peak_bytes" in cell:
        title += f"; jax has held {cell['device_peak_bytes'] / 2**20:.0f} MiB of the device so far"
    return _table(title, cell["rows"], _STEP_TIMES, _STEP_FACTS)


def format_maps(cell: dict[str, Any]) -> str:
    """The table of one shape of map."""
    shape = "x".join(map(str, cell["shape"]))
    title = f"float32 maps of {shape} ({cell['bytes'] / 2**20:.0f} MiB)"
    return _table(title, cell["rows"], _MAP_TIMES)


def _table(
    title: str, rows: list[dict], times: Sequence[tuple], facts: Sequence[tuple] = ()
) -> str:
    """A table of rows, and below it what failed; `times` are only shown where nothing failed."""
    body, notes = [], []
    for row in rows:
        stage, way = row["stage"], row["way"]
        if "failed" in row:
            notes.append(f"{stage}, {way}: {row['failed']}")
            cells = ["failed", "", "", *("" for _ in times)]
        else:
            ms = {key: f"{1000 * s:.4g}" for key, s in row["seconds"].items() if s is not None}
            spread = f"{ms['least']}-{ms['most']}"
            cells = [ms["median"], spread, ms.get("processor", ""), *(_cell(row, c) for c in times)]
        body.append([stage, way, *cells, *(_cell(row, column) for column in facts)])
    columns = [column[0] for column in [*times, *facts]]
    head = ["stage", "by", "ms", "range", "processor ms", *columns]
    return "\n\n".join([title, text_table(head, body, left=(0, 1)), *notes])


def _cell(row: dict, column: tuple) -> str:
    _, keys, form, factor = column
    found = [row[key] for key in keys if key in row]
    return form.format(found[0] * factor) if found else ""
