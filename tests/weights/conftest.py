"""A folder of weights for each test, and no way to other machines."""

import pytest

from liftjax.runtime.checkpoints import NAMED
from tests.weights.publisher import publishing


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LIFTJAX_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("NO_PROXY", "*")
    yield tmp_path / "weights"
    NAMED.clear()


@pytest.fixture
def server():
    with publishing(b"\x80weights" * 40_000) as running:
        yield running
