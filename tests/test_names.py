"""Names that are not UTF-8, and terminals that are not either."""

import io
import os
import sys

import pytest

from liftjax.names import escape_on_terminals, readable


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain name_1.png", "plain name_1.png"),
        ("caf\u00e9 \u65e5.png", "caf\u00e9 \u65e5.png"),
        (os.fsdecode(b"caf\xe9.png"), "caf%E9.png"),
        ("half \ud83d.png", "half %uD83D.png"),
    ],
)
def test_names_that_are_no_utf8_are_escaped(name, expected):
    assert readable(name) == expected
    readable(name).encode("utf-8")


def test_terminals_show_what_they_can(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii", write_through=True))
    with pytest.raises(UnicodeEncodeError):
        print("caf\u00e9")
    escape_on_terminals()
    print("caf\u00e9", "caf\udce9")
    assert written.getvalue() == b"caf\\xe9 caf\\udce9\n"


def test_other_streams_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    escape_on_terminals()
