"""The report as text: markdown to read, LaTeX to paste, CSV to compute with.

Pure functions of the report dict. What stands in a cell is said in `printed`.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence

from etils import epath

from liftjax.experiments.paper.report.latex_text import latex_text
from liftjax.experiments.paper.report.printed import (
    Style,
    body_rows,
    column_titles,
    difference,
    published_block,
    published_rows,
    published_title,
    remarks,
)
from liftjax.tables import text_table
from liftjax.writing import write_text


def write(report: Mapping, folder) -> None:
    """Leaves tables.md, tables.csv and tables.tex in `folder`."""
    folder = epath.Path(folder)
    for name, text in (("md", markdown), ("csv", tidy_csv), ("tex", latex)):
        write_text(folder / f"tables.{name}", text(report))


# Markdown


def _markdown_text(text: str) -> str:
    """Text with every character that markdown reads as markup escaped."""
    return re.sub(r"([\\`*_<>|$#~\[\]])", r"\\\1", text)


MARKDOWN = Style(_markdown_text, lambda s: f"**{s}**", lambda s: s, lambda s: s, "-")


def markdown(report: Mapping) -> str:
    """All tables, and the findings, with what they hold for."""
    parts = [f"# {_markdown_text(report['title'])}"]
    facts = [*report["protocol"], report["intervals"], _seeds_text(report)]
    parts.append("\n".join(f"- {_markdown_text(fact)}" for fact in facts if fact))
    parts.append(f"Made by `{report['command']}`.")
    parts += _markdown_findings(report["findings"])
    for table in report["tables"]:
        parts += _markdown_table(table, report["same_data"])
    return "\n\n".join(parts)


def _seeds_text(report: Mapping) -> str:
    seeds = ", ".join(map(str, report["seeds"]))
    return f"Data: {', '.join(report['data'])}; scale {report['scale']}; seeds: {seeds}."


def _markdown_table(table: Mapping, same_data: bool) -> list[str]:
    name = f"Table {table['key']}: " if table["key"].isdigit() else ""
    parts = [f"## {name}{_markdown_text(table['title'])}"]
    parts.append(_markdown_text(table["caption"]))
    rows = body_rows(table, same_data, MARKDOWN)
    parts.append(_markdown_grid(table, rows))
    parts += [_markdown_text(remark) for remark in remarks(table)]
    block = None if same_data else published_block(table)
    if block:
        parts.append(f"{_capital(published_title(table))}:")
        parts.append(_markdown_grid(block, published_rows(block, MARKDOWN)))
    return parts


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _markdown_grid(table: Mapping, rows: Sequence[tuple[list[str], list[str]]]) -> str:
    labels = len(rows[0][0]) if rows else len(table["row_heads"])
    heads = [*table["row_heads"], *[""] * (labels - len(table["row_heads"]))]
    head = [_markdown_text(title) for title in [*heads, *column_titles(table)]]
    return text_table(head, [a + b for a, b in rows], left=range(labels))


def _probability(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def _markdown_findings(findings: Sequence[Mapping]) -> list[str]:
    if not findings:
        return []
    head = ["finding", "comparison", "verdict", "difference", "95 % interval", "p", "over"]
    body = []
    for finding in findings:
        claim = [f"**{_markdown_text(finding['claim'])}**", "", f"**{finding['verdict']}**"]
        body.append(claim + [""] * (len(head) - len(claim)))
        for part in finding["parts"]:
            p = "" if part.get("p") is None else _probability(part["p"])
            body.append([
                "", _markdown_text(part["what"]), part["verdict"],
                f"{part['difference']:+.2f} {part['unit']}",
                f"{part['low']:+.2f} to {part['high']:+.2f}", p, part["over"],
            ])  # fmt: skip
    return ["## Findings", text_table(head, body, left=range(3))]


# CSV


CSV_FIELDS = (
    "group", "column", "title", "extra", "unit", "better", "value", "low", "high", "seeds", "p",
    "published", "difference", "best", "runs",
)  # fmt: skip


def tidy_csv(report: Mapping) -> str:
    """One line a cell: the table, the row's labels as row_1, row_2, ..., and what the cell holds.

    Numbers are as precise as in the report. Several seeds or runs are separated by spaces; a
    difference (measured less published) is given only where both are of the same data.
    """
    depth = max((len(table["row_heads"]) for table in report["tables"]), default=0)
    labels = [f"row_{i + 1}" for i in range(depth)]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["table", *labels, *CSV_FIELDS], lineterminator="\n")
    writer.writeheader()
    for table in report["tables"]:
        for row in table["rows"]:
            named = dict(zip(labels, row["labels"], strict=False))
            for column, cell in zip(table["columns"], row["cells"], strict=True):
                if cell is not None:
                    where = {"table": table["key"], **named, "group": row["group"]}
                    writer.writerow(where | _csv_cell(column, cell, report["same_data"]))
    return text.getvalue().rstrip("\n")


def _csv_cell(column: Mapping, cell: Mapping, same_data: bool) -> dict:
    return {
        "column": column["key"],
        "title": column["title"],
        "extra": int(column["extra"]),
        "unit": column["unit"],
        "better": column["better"],
        "value": cell["value"],
        "low": cell["low"],
        "high": cell["high"],
        "seeds": " ".join(map(str, cell["seeds"])),
        "p": cell["p"],
        "published": cell["published"],
        "difference": _rounded(difference(cell)) if same_data else None,
        "best": int(cell["best"]),
        "runs": " ".join(cell["runs"]),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


# LaTeX


# As wide as it is, or as the page.
_FITTED = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"


def _latex_interval(text: str) -> str:
    text = text.replace("± ", r"$\pm$").replace("-", "$-$")
    return rf"{{\scriptsize {text}}}"


LATEX = Style(
    latex_text,
    lambda s: rf"\textbf{{{s}}}",
    _latex_interval,
    lambda s: s.replace("-", "$-$").replace("+", "$+$"),
    "--",
)


def latex(report: Mapping) -> str:
    """All tables, one `table` environment each, to \\input into a paper."""
    head = [
        f"% {_one_line(report['title'])}",
        f"% {_one_line(report['command'])}",
        r"% needs \usepackage{booktabs,graphicx}",
    ]
    tables = [_latex_table(table, report) for table in report["tables"]]
    return "\n\n".join(["\n".join(head), *tables])


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _latex_table(table: Mapping, report: Mapping) -> str:
    rows = body_rows(table, report["same_data"], LATEX)
    labels = len(rows[0][0]) if rows else len(table["row_heads"])
    heads = [*table["row_heads"], *[""] * (labels - len(table["row_heads"]))]
    titles = [latex_text(title) for title in [*heads, *column_titles(table)]]
    lines = [
        rf"\begin{{tabular}}{{{'l' * labels}{'r' * len(table['columns'])}}}",
        r"\toprule",
        _latex_row(titles),
        r"\midrule",
        *_latex_body(table, rows),
    ]
    if not report["same_data"] and published_block(table):
        lines += [r"\midrule", *_latex_published(table)]
    lines += [r"\bottomrule", r"\end{tabular}"]
    said = " ".join([table["title"] + ".", table["caption"], *remarks(table), report["intervals"]])
    return "\n".join([
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(said)}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', table['key'])}}}",
        r"\small\smallskip",
        *([r"\setlength{\tabcolsep}{3pt}"] if len(table["columns"]) > 8 else []),
        _FITTED,
        *lines[:-1],
        lines[-1] + "}",
        r"\end{table}",
    ])  # fmt: skip


def _latex_row(cells: Sequence[str]) -> str:
    # A bracket at the start of a row would be read as an argument of the \\ before it.
    return " & ".join(f"{{}}{cell}" if cell.startswith("[") else cell for cell in cells) + r" \\"


def _latex_body(table: Mapping, rows: Sequence[tuple[list[str], list[str]]]) -> list[str]:
    """The rows, with a rule wherever the first label changes and has several rows."""
    firsts = [labels[0] for labels, _ in rows]
    several = len({f for f in firsts if f}) < sum(bool(f) for f in firsts)
    lines, last = [], None
    for labels, cells in rows:
        first = labels[0]
        if first and first != last and last is not None and several:
            lines.append(r"\midrule")
        shown = labels if first != last else ["", *labels[1:]]
        last = first or last
        lines.append(_latex_row([*shown, *cells]))
    return lines


def _latex_published(table: Mapping) -> list[str]:
    """The published numbers in the table's own columns, under a heading."""
    width = len(table["row_heads"]) + len(table["columns"])
    heading = rf"\multicolumn{{{width}}}{{l}}{{\emph{{{latex_text(published_title(table))}}}}} \\"
    rows = published_rows(table, LATEX)
    return [heading, *_latex_body(table, rows)]
