import csv
import io
import re

import pytest

from liftjax.experiments.paper.report import formats
from liftjax.experiments.paper.report.printed import is_even
from tests.experiments.paper.report.sample_report import sample_report


@pytest.fixture(params=[False, True], ids=["other data", "same data"])
def report(request):
    return sample_report(same_data=request.param)


def markdown_tables(text):
    """Tables as lists of rows of stripped cells, without the rule."""
    tables, lines = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append([c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif lines:
            tables.append([lines[0], *lines[2:]])
            lines = []
    return tables


def number(text):
    """The first number of a cell, without bold."""
    return float(re.match(r"[-+]?[\d.]+", text.replace("*", "")).group())


def test_markdown_holds_every_value_its_interval_and_the_best_in_bold(report):
    tables = markdown_tables(formats.markdown(report))[1:]  # the first are the findings
    if not report["same_data"]:
        tables = tables[::2]
    for table, printed in zip(report["tables"], tables, strict=True):
        rows = [row for row in printed[1:] if not {"published", "difference"} & set(row)]
        for row, cells in zip(table["rows"], rows, strict=True):
            cells = cells[-len(table["columns"]) :]
            for cell, column, text in zip(row["cells"], table["columns"], cells, strict=True):
                if cell is None:
                    assert text == "-"
                    continue
                assert number(text) == round(cell["value"], column["digits"])
                assert ("**" in text) == cell["best"]
                half = float(text.split("±")[1])
                assert half == pytest.approx(cell["high"] - cell["value"], abs=0.06)


def test_published_numbers_stand_apart_unless_they_are_of_the_same_data():
    apart, beside = formats.markdown(sample_report(False)), formats.markdown(sample_report(True))
    assert apart.count("Published, Human3.6M:") == 3
    assert "difference |" not in apart.split("## Table 1")[1]
    table = markdown_tables(beside)[2]
    for measured, there, difference in zip(table[1::3], table[2::3], table[3::3], strict=True):
        assert [row[2] for row in (measured, there, difference)] == [
            "measured",
            "published",
            "difference",
        ]
        for a, b, c in zip(measured[3:], there[3:], difference[3:], strict=True):
            assert (b == "-") == (c == "-")
            if b != "-":
                assert number(c) == pytest.approx(number(a) - number(b), abs=0.011)


def test_columns_that_the_paper_lacks_are_marked_and_have_no_published_numbers(report):
    text = formats.markdown(report)
    assert "P-MPJPE †" in text
    assert "† Not in the paper." in text
    if not report["same_data"]:
        assert "P-MPJPE †" not in markdown_tables(text)[2][0]


def one_table(cells, digits=1):
    columns = [
        {"key": f"c{i}", "title": f"C{i}", "unit": "mm", "better": "lower", "digits": digits,
         "extra": False}
        for i in range(len(cells))
    ]  # fmt: skip
    row = {"labels": ["a"], "group": "g", "cells": cells}
    return {"key": "9", "title": "T", "caption": "C.", "notes": [], "row_heads": ["x"],
            "columns": columns, "rows": [row]}  # fmt: skip


def cell(value, low, high, **changes):
    return {"value": value, "low": low, "high": high, "seeds": [value], "published": None,
            "best": False, "p": None, "runs": []} | changes  # fmt: skip


def test_an_uneven_interval_shows_its_ends_in_the_whole_table():
    table = one_table([cell(50.0, 49.0, 51.0), cell(50.0, 49.5, 58.0)])
    report = sample_report() | {"tables": [table]}
    assert not is_even(table)
    text = formats.markdown(report)
    assert "50.0 [49.0, 51.0]" in text
    assert "50.0 [49.5, 58.0]" in text
    assert "±" not in text
    assert "{\\scriptsize [49.5, 58.0]}" in formats.latex(report)


def test_the_interval_said_covers_the_interval_meant():
    table = one_table([cell(50.0, 48.9, 51.0)])
    assert "50.0 ± 1.1" in formats.markdown(sample_report() | {"tables": [table]})


def test_cells_without_number_or_interval(report):
    missing = cell(None, None, None, published=51.0)
    report |= {"tables": [one_table([missing, None, cell(3.0, None, None)])]}
    row = markdown_tables(formats.markdown(report))[1][1]
    assert row[-3:] == ["-", "-", "3.0"]
    assert "--" in formats.latex(report)
    assert len(list(csv.DictReader(io.StringIO(formats.tidy_csv(report))))) == 2


def test_markup_in_names_is_text():
    table = one_table([cell(1.0, None, None)]) | {"title": "a|b *c* <d> l_2D"}
    text = formats.markdown(sample_report() | {"tables": [table]})
    assert r"a\|b \*c\* \<d\> l\_2D" in text


def test_every_cell_is_one_line_of_the_csv(report):
    lines = list(csv.DictReader(io.StringIO(formats.tidy_csv(report))))
    cells = [
        (table, row, column, cell)
        for table in report["tables"]
        for row in table["rows"]
        for column, cell in zip(table["columns"], row["cells"], strict=True)
        if cell is not None
    ]
    for line, (table, row, column, cell) in zip(lines, cells, strict=True):
        assert line["table"] == table["key"]
        assert [line["row_1"], line["row_2"]][: len(row["labels"])] == row["labels"]
        assert (line["column"], line["unit"]) == (column["key"], column["unit"])
        for key in ("value", "low", "high", "published", "p"):
            assert line[key] == ("" if cell[key] is None else str(cell[key]))
        assert [float(v) for v in line["seeds"].split()] == cell["seeds"]
        assert line["runs"].split() == cell["runs"]
        assert line["best"] == str(int(cell["best"]))
        assert line["extra"] == str(int(column["extra"]))
        compared = report["same_data"] and cell["published"] is not None
        expected = cell["value"] - cell["published"] if compared else None
        assert line["difference"] == ("" if expected is None else str(round(expected, 6)))


# LaTeX, by the rules that a compiler would hold it to


def latex_tabulars(text):
    return re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)


def test_each_table_is_one_environment_with_booktabs_rules(report):
    text = formats.latex(report)
    count = len(report["tables"])
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == count
    for rule in (r"\toprule", r"\bottomrule", r"\caption", r"\label"):
        assert text.count(rule) == count
    assert r"\hline" not in text
    for line in text.splitlines():  # no brace is left open, \{ and \} being text
        if not line.startswith(("%", r"\resizebox", r"\end{tabular}")):
            bare = re.sub(r"\\[{}]", "", line)
            assert bare.count("{") == bare.count("}"), line
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")


def test_each_row_has_as_many_cells_as_the_table_columns(report):
    for columns, body in latex_tabulars(formats.latex(report)):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 1
        for row in rows:
            spans = re.findall(r"\\multicolumn\{(\d+)\}", row)
            width = int(spans[0]) if spans else len(re.split(r"(?<!\\)&", row))
            assert width == len(columns), row


def test_nothing_in_a_cell_is_special_by_accident(report):
    text = formats.latex(report)
    assert "β" not in text
    assert not re.search(r"[^\x00-\x7f]", text)
    for line in text.splitlines():
        if not line.startswith(("%", r"\resizebox", r"\label")):
            assert not re.search(r"(?<!\\)[%#]", line), line
            assert not re.search(r"(?<!\\)_(?!\{)", line), line


def test_latex_has_the_best_in_bold_and_a_label_once_in_a_run_of_rows(report):
    text = formats.latex(report)
    cells = [c for t in report["tables"] for r in t["rows"] for c in r["cells"] if c]
    assert text.count(r"\textbf{") == sum(cell["best"] for cell in cells)
    measured = latex_tabulars(text)[0][1].split("Published, Human")[0]
    assert measured.count("RTMPose (Ours)") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"50 % & $_{#}~^\ ", r"50 \% \& \$\_\{\#\}{\textasciitilde}{\textasciicircum}"
                             r"{\textbackslash} "),
        ("β = 1", r"\ensuremath{\beta} = 1"),
        ("λ_2D", r"\ensuremath{\lambda}\textsubscript{2D}"),
        ("Σ and \N{GREEK CAPITAL LETTER ALPHA}", r"\ensuremath{\Sigma} and A"),
        ("a < b ± 1 → ↓", r"a \ensuremath{<} b \ensuremath{\pm} 1 {\textrightarrow} "
                          r"{\textdownarrow}"),
        ("Zoë", r"Zo\"e"),
        ("a|b \N{CJK UNIFIED IDEOGRAPH-65E5}", r"a{\textbar}b {\bfseries ?}"),
    ],
)  # fmt: skip
def test_latex_text(text, expected):
    assert formats.latex_text(text) == expected


def test_three_files_are_written(tmp_path, report):
    formats.write_tables(report, tmp_path)
    assert (tmp_path / "tables.md").read_text() == formats.markdown(report) + "\n"
    assert (tmp_path / "tables.csv").read_text() == formats.tidy_csv(report) + "\n"
    assert (tmp_path / "tables.tex").read_text() == formats.latex(report) + "\n"
