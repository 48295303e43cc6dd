"""What a benchmark leaves: a table on the screen and, where asked for, the numbers in a file."""

import json

from etils import epath

from liftjax.writing import write_text


def report(results: dict, text: str, out: str | None) -> dict:
    """Prints `text`, writes `results` to `out` (JSON) if given, and returns them."""
    print(text)
    write(results, out)
    return results


def write(results: dict, out: str | None) -> None:
    """Writes `results` to `out` (JSON) if given; a reader finds the old file or the new one."""
    if out:
        path = epath.Path(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(results, indent=2))
