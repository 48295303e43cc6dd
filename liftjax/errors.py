"""The one error that a user can cause and cure."""

import difflib
from collections.abc import Iterable


class LiftjaxError(ValueError):
    """Bad input: one line that says what was wrong, where, and what would be right.

    The command line prints the message alone and exits with status 2.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> LiftjaxError:
    """The error for a name that is not one of `known`, with the nearest that is."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
    return LiftjaxError(f"Unknown {kind} {name!r}; {hint}")
