"""The results of `benchmark` as text."""

from typing import Any

from liftjax.tables import text_table

_STEP_HEAD = [
    "stage", "by", "ms", "range", "of FT-2D", "times liftjax", "images/s", "TFLOP/s", "of peak",
    "MiB", "trace s", "compile s", "cached s",
]  # fmt: skip
_MAP_HEAD = ["stage", "by", "ms", "range", "GB/s", "of copy", "faster than eager"]


def format_results(results: dict[str, Any]) -> str:
    """All tables, and what was not begun."""
    about = results["machine"]
    cores = f"{about['cores']} cores"
    device = cores if about["platform"] == "cpu" else f"{about['device']}, {about['cpu']}, {cores}"
    versions = {**results["versions"], **results["torch"]}
    named = ", ".join(f"{k} {versions[k]}" for k in ("jax", "torch") if k in versions)
    peaks = ", ".join(f"{v / 1e12:.3g} TFLOP/s {k}" for k, v in results["peaks"]["matmul"].items())
    copy = results["peaks"]["copy_bytes_per_s"]
    measured = [f"matrix product {peaks}"] if peaks else []
    measured += [f"copy {copy / 1e9:.3g} GB/s"] if copy else []
    lines = [f"{about['device'] if about['platform'] == 'cpu' else ''} {device}; {named}".strip()]
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
    body, notes = [], []
    for row in cell["rows"]:
        memory = row.get("program_bytes", row.get("device_bytes"))
        compiling = row.get("cold_s", row.get("prepare_s"))
        body.append([
            *_begin(row, notes),
            _number(row, "of_ft2d", "{:.3f}"),
            _number(row, "ratio", "{:.2f}"),
            _number(row, "images_per_s", "{:.0f}"),
            _number(row, "flops_per_s", "{:.2f}", 1e-12),
            _number(row, "share_of_peak", "{:.0f} %", 100),
            "" if memory is None else f"{memory / 2**20:.0f}",
            _number(row, "trace_s", "{:.1f}"),
            "" if compiling is None else f"{compiling:.1f}",
            _number(row, "warm_s", "{:.1f}"),
        ])  # fmt: skip
    return "\n\n".join([title, text_table(_STEP_HEAD, body, left=(0, 1)), *notes])


def format_maps(cell: dict[str, Any]) -> str:
    """The table of one shape of map."""
    shape = "x".join(map(str, cell["shape"]))
    body, notes = [], []
    for row in cell["rows"]:
        body.append([
            *_begin(row, notes),
            _number(row, "bytes_per_s", "{:.1f}", 1e-9),
            _number(row, "share_of_copy", "{:.0f} %", 100),
            _number(row, "speedup", "{:.2f}"),
        ])  # fmt: skip
    title = f"float32 maps of {shape} ({cell['bytes'] / 2**20:.0f} MiB)"
    return "\n\n".join([title, text_table(_MAP_HEAD, body, left=(0, 1)), *notes])


def _begin(row: dict, notes: list[str]) -> list[str]:
    """Stage, way, milliseconds and their range; what failed goes into the notes."""
    begin = [row["stage"], row["way"]]
    if "failed" in row:
        notes.append(f"{row['stage']}, {row['way']}: {row['failed']}")
        return [*begin, "failed", ""]
    seconds = row["seconds"]
    span = f"{1000 * seconds['least']:.4g}-{1000 * seconds['most']:.4g}"
    return [*begin, f"{1000 * seconds['median']:.4g}", span]


def _number(row: dict, key: str, form: str, factor: float = 1) -> str:
    return form.format(row[key] * factor) if key in row and "failed" not in row else ""
