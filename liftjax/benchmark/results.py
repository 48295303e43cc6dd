"""What a benchmark leaves: a table on the screen and, on request, the numbers in a file."""

import json

from liftjax.writing import output_file


def report(results: dict, text: str, out: str | None) -> dict:
    """Prints `text`, writes `results` to `out` (JSON) if given, and returns them."""
    print(text)
    write_results(results, out)
    return results


def write_results(results: dict, out: str | None) -> None:
    """Writes `results` to `out` (JSON) if given; a reader finds the old file or the new one."""
    if out:
        with output_file(out) as partial:
            partial.write_text(json.dumps(results, indent=2) + "\n")
