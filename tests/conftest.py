"""Settings that every test runs under, and the golden arrays."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

GOLDENS = Path(__file__).parent / "goldens"


@pytest.fixture(scope="session")
def golden():
    """Loads tests/goldens/NAME.npz as (manifest, arrays)."""

    def load(name):
        with np.load(GOLDENS / f"{name}.npz") as archive:
            arrays = {key: archive[key] for key in archive.files}
        return json.loads(str(arrays.pop("manifest"))), arrays

    return load
