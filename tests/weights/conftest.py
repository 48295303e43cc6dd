"""A folder of weights for each test, and no way to other machines."""

import pytest

from tests.weights.publisher import publishing


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LIFTJAX_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "weights"


@pytest.fixture
def server():
    with publishing(b"\x80weights" * 40_000) as running:
        yield running
