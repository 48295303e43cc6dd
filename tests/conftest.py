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


@pytest.fixture(scope="session")
def golden():
    """Loads tests/goldens/NAME.npz as (manifest, arrays)."""

    def load(name):
        with np.load(GOLDENS / f"{name}.npz") as archive:
            arrays = {key: archive[key] for key in archive.files}
        return json.loads(str(arrays.pop("manifest"))), arrays

    return load
