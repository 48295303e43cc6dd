"""docs/api.md is what docs/make_api.py makes of today's docstrings, and has every public name."""

import importlib.util
import re

import pytest

import liftjax
from tests.documents import ROOT, text

pytest.importorskip("griffe", reason="docs/api.md is written by griffe (pip install griffelib)")


@pytest.fixture(scope="module")
def make_api():
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_of_today(make_api):
    assert make_api.page() == text("docs/api.md"), "run: python docs/make_api.py"


def test_every_export_is_there_and_says_something():
    page = text("docs/api.md")
    entries = dict(
        re.findall(r"^#{3,4} `([\w.]+)`\n\n```py\n[^`]*```\n\n(.*)$", page, re.MULTILINE)
    )
    assert len(entries) > 80
    for name, said in entries.items():
        assert said, f"{name} has no docstring"
    for name in liftjax.__all__:
        assert name in entries or f"\n## liftjax.{name}\n" in page, name
