"""What a benchmark leaves: a table on the screen and, where asked for, the numbers in a file."""

import json

from etils import epath


def report(results: dict, text: str, out: str | None) -> dict:
    """Prints `text`, writes `results` to `out` (JSON) if given, and returns them."""
    print(text)
    if out:
        path = epath.Path(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=2) + "\n")
    return results
