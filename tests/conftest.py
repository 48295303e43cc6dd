"""Settings that every test runs under, and the golden arrays."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# Commands keep compiled programs in the user's cache folder; tests, and what they start, do not.
os.environ["LIFTJAX_XLA_CACHE"] = "off"

GOLDENS = Path(__file__).parent / "goldens"

# A worker takes whole files. These take longest and begin first, so that none is left to one worker
# in the end.
LONGEST = (
    "tests/test_pages.py",
    "tests/experiments/",
    "tests/training/test_kills.py",
    "tests/detectors/test_hrnet_upstream.py",
    "tests/multi_device/",
    "tests/multi_host/",
    "tests/data_prep/test_building.py",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def golden():
    """Loads tests/goldens/NAME.npz as (manifest, arrays)."""

    def load(name):
        with np.load(GOLDENS / f"{name}.npz") as archive:
            arrays = {key: archive[key] for key in archive.files}
        return json.loads(str(arrays.pop("manifest"))), arrays

    return load


@pytest.fixture(scope="module")
def browser():
    """A headless browser, one for the module's tests; skips them where there is none."""
    from tests.browser import NAMES, Browser, find_chromium

    if not find_chromium():
        pytest.skip(f"no browser in PATH: none of {', '.join(NAMES)}")
    with Browser() as running:
        yield running
