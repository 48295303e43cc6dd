"""Tables to print."""

from collections.abc import Container, Sequence


def text_table(
    head: Sequence[str], body: Sequence[Sequence[str]], left: Container[int] = (0,)
) -> str:
    """A markdown table with aligned columns; those in `left` to the left, the others (numbers) to
    the right."""
    widths = [max(3, *(len(row[i]) for row in [head, *body])) for i in range(len(head))]

    def line(row):
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * w if i in left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, body)])
