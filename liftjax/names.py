"""Names of files as text, in files and on terminals that cannot hold every one of them."""

import io
import re
import sys

from liftjax.errors import LiftjaxError


def readable(name: str) -> str:
    """`name` with the bytes that are no UTF-8, which systems allow in names, written as %E9."""
    return re.sub("[\ud800-\udfff]", _escaped, name)


def check_utf8(name: str) -> None:
    """Raises for a name that libraries with UTF-8 alone cannot take."""
    if readable(name) != name:
        raise LiftjaxError(f"{readable(name)}: the name is no UTF-8; choose another.")


def _escaped(found: re.Match) -> str:
    """Python keeps a byte 0xE9 as U+DCE9; other surrogates are halves of characters on Windows."""
    code = ord(found[0])
    return f"%{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"%u{code:04X}"


def escape_on_terminals() -> None:
    """Has what standard output and error cannot show escaped from now on, instead of raised."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
