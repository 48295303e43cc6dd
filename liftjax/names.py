"""Names of files as text, for files and terminals that cannot show every character."""

import io
import re
import sys

from liftjax.errors import LiftjaxError


def readable(name: str) -> str:
    """`name` with every byte that is not UTF-8, which systems allow in names, written as %E9."""
    return re.sub("[\ud800-\udfff]", _escaped, name)


def check_utf8(name: str) -> None:
    """Raises for a name that is not UTF-8, for libraries that need UTF-8."""
    if readable(name) != name:
        raise LiftjaxError(f"{readable(name)}: the name is not UTF-8; choose another.")


def _escaped(found: re.Match) -> str:
    """Python reads a byte 0xE9 as U+DCE9; on Windows, other surrogates are halves of characters."""
    code = ord(found[0])
    return f"%{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"%u{code:04X}"


def escape_on_terminals() -> None:
    """From now on, characters that standard output and error cannot show are escaped.

    Otherwise they would raise an error.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
