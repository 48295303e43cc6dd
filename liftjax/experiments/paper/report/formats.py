"""The report as text: markdown to read, LaTeX to paste, CSV to compute with.

Pure functions of the report. `printed` says what a cell holds.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence

from etils import epath

from liftjax.errors import needs
from liftjax.experiments.paper.report import printed
from liftjax.tables import text_table
from liftjax.writing import write_text

with needs("The report", "pylatexenc", "liftjax[report]"):
    from pylatexenc import latexencode


def write_tables(report: Mapping, folder) -> None:
    """Leaves tables.md, tables.csv and tables.tex in `folder`."""
    for name, text in (("md", markdown), ("csv", tidy_csv), ("tex", latex)):
        write_text(epath.Path(folder) / f"tables.{name}", text(report))


# Markdown


def _markdown_text(text: str) -> str:
    """Text with every character that markdown reads as markup escaped."""
    return re.sub(r"([\\`*_<>|$#~\[\]])", r"\\\1", text)


_MARKDOWN = printed.Style(_markdown_text, lambda s: f"**{s}**", lambda s: s, lambda s: s, "-")


def markdown(report: Mapping) -> str:
    """All tables, and the findings, with the protocol."""
    seeds = ", ".join(map(str, report["seeds"]))
    data = f"Data: {', '.join(report['data'])}; scale {report['scale']}; seeds: {seeds}."
    facts = [*report["protocol"], report["intervals"], data]
    parts = [
        f"# {_markdown_text(report['title'])}",
        "\n".join(f"- {_markdown_text(fact)}" for fact in facts if fact),
        f"Made by `{report['command']}`.",
        *_markdown_findings(report["findings"]),
    ]
    for table in report["tables"]:
        parts += _markdown_table(table, report["same_data"])
    return "\n\n".join(parts)


def _markdown_table(table: Mapping, same_data: bool) -> list[str]:
    name = f"Table {table['key']}: " if table["key"].isdigit() else ""
    parts = [
        f"## {name}{_markdown_text(table['title'])}",
        _markdown_text(table["caption"]),
        _markdown_grid(table, printed.body_rows(table, same_data, _MARKDOWN)),
        *map(_markdown_text, printed.remarks(table)),
    ]
    block = printed.published_part(table)
    if not same_data and block["columns"]:
        parts.append(f"{printed.published_title(table)}:")
        parts.append(_markdown_grid(block, printed.published_rows(block, _MARKDOWN)))
    return parts


def _markdown_grid(table: Mapping, rows: Sequence[printed.PrintedRow]) -> str:
    head = [_markdown_text(title) for title in printed.headings(table, rows)]
    labels = len(head) - len(table["columns"])
    return text_table(head, [a + b for a, b in rows], left=range(labels))


def _markdown_findings(findings: Sequence[Mapping]) -> list[str]:
    if not findings:
        return []
    head = ["finding", "comparison", "verdict", "difference", "95 % interval", "p", "over"]
    body = []
    for finding in findings:
        claim = [f"**{_markdown_text(finding['claim'])}**", "", f"**{finding['verdict']}**"]
        body.append(claim + [""] * (len(head) - len(claim)))
        for part in finding["parts"]:
            p = part.get("p")
            body.append([
                "", _markdown_text(part["what"]), part["verdict"],
                f"{part['difference']:+.2f} {part['unit']}",
                f"{part['low']:+.2f} to {part['high']:+.2f}",
                "" if p is None else f"{p:.2g}" if p >= 1e-4 else "< 0.0001", part["over"],
            ])  # fmt: skip
    return ["## Findings", text_table(head, body, left=range(3))]


# CSV


_OF_COLUMN = ("title", "extra", "unit", "better")
_OF_CELL = ("value", "low", "high", "seeds", "p", "published", "difference", "best", "runs")


def tidy_csv(report: Mapping) -> str:
    """One line a cell: the table, the row's labels as row_1, row_2, ..., and what the cell holds.

    Numbers are as precise as in the report. Several seeds or runs are separated by spaces. The
    printed.difference (measured minus published) is given only where both are of the same data.
    """
    depth = max((len(table["row_heads"]) for table in report["tables"]), default=0)
    labels = [f"row_{i + 1}" for i in range(depth)]
    text = io.StringIO()
    fields = ["table", *labels, "group", "column", *_OF_COLUMN, *_OF_CELL]
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    for table in report["tables"]:
        for row, column, cell in printed.measured_cells(table):
            gap = printed.difference(cell) if report["same_data"] else None
            line = {key: column[key] for key in _OF_COLUMN}
            line |= {key: cell.get(key) for key in _OF_CELL}
            line |= {"table": table["key"], "group": row["group"], "column": column["key"]}
            line |= dict(zip(labels, row["labels"], strict=False))
            line |= {key: " ".join(map(str, cell[key])) for key in ("seeds", "runs")}
            line |= {"difference": None if gap is None else round(gap, 6)}
            line |= {"extra": int(column["extra"]), "best": int(cell["best"])}
            writer.writerow(line)
    return text.getvalue().rstrip("\n")


# LaTeX


# As wide as it is, or as the page.
_FITTED = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
# A bar is a dash in LaTeX's first font encoding, which the encoder's own rules leave it to.
_BAR = latexencode.UnicodeToLatexConversionRule(
    latexencode.RULE_DICT, {ord("|"): r"\textbar"}, replacement_latex_protection="braces-all"
)
_ENCODER = latexencode.UnicodeToLatexEncoder(
    conversion_rules=[_BAR, "defaults"],
    unknown_char_policy="replace",
    unknown_char_warning=False,
)


def latex_text(text: str) -> str:
    """Text as LaTeX, in ASCII; what follows the _ of a Greek letter, as in λ_2D, is its index."""
    encoded = _ENCODER.unicode_to_latex(text)
    return re.sub(r"(\\ensuremath\{\\\w+\})\\_(\w+)", r"\1\\textsubscript{\2}", encoded)


def _latex_interval(text: str) -> str:
    text = text.replace("± ", r"$\pm$").replace("-", "$-$")
    return rf"{{\scriptsize {text}}}"


_LATEX = printed.Style(
    latex_text,
    lambda s: rf"\textbf{{{s}}}",
    _latex_interval,
    lambda s: s.replace("-", "$-$").replace("+", "$+$"),
    "--",
)


def latex(report: Mapping) -> str:
    """All tables, one `table` environment each, to \\input into a paper."""
    title, command = (" ".join(report[key].split()) for key in ("title", "command"))
    head = f"% {title}\n% {command}\n" + r"% needs \usepackage{booktabs,graphicx,textcomp}"
    return "\n\n".join([head, *(_latex_table(table, report) for table in report["tables"])])


def _latex_table(table: Mapping, report: Mapping) -> str:
    rows, columns = printed.body_rows(table, report["same_data"], _LATEX), len(table["columns"])
    heads = printed.headings(table, rows)
    said = " ".join(
        [table["title"] + ".", table["caption"], *printed.remarks(table), report["intervals"]]
    )
    return "\n".join([
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(said)}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', table['key'])}}}",
        r"\small\smallskip",
        *([r"\setlength{\tabcolsep}{3pt}"] if columns > 8 else []),
        _FITTED,
        rf"\begin{{tabular}}{{{'l' * (len(heads) - columns)}{'r' * columns}}}",
        r"\toprule",
        _latex_row(map(latex_text, heads)),
        r"\midrule",
        *_latex_body(rows),
        *([] if report["same_data"] else _latex_published(table)),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ])  # fmt: skip


def _latex_row(cells: Sequence[str]) -> str:
    # A bracket at the start of a row would be read as an argument of the \\ before it.
    return " & ".join(f"{{}}{cell}" if cell.startswith("[") else cell for cell in cells) + r" \\"


def _latex_body(rows: Sequence[printed.PrintedRow]) -> list[str]:
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
    rows = printed.published_rows(table, _LATEX)
    if not rows:
        return []
    width = len(table["row_heads"]) + len(table["columns"])
    title = latex_text(printed.published_title(table))
    heading = rf"\multicolumn{{{width}}}{{l}}{{\emph{{{title}}}}} \\"
    return [r"\midrule", heading, *_latex_body(rows)]
