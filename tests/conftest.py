"""Settings that every test runs under, and the golden arrays."""

import gc
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Compiled programs are shared by the workers and child processes of one run, which inherit the
# variable, and are gone afterwards; a folder that is set beforehand is used and kept.
CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
OWN_CACHE = None if CACHE_VARIABLE in os.environ else tempfile.mkdtemp(prefix="liftjax-tests-")
if OWN_CACHE:
    os.environ[CACHE_VARIABLE] = OWN_CACHE
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# XLA compiles twice as fast without most of its optimisations, and small programs twice as fast
# again without its MLIR emitters, each of which loads all dialects anew. With 0, the tests run the
# programs that users run.
if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] = flags.strip()

# Two workers have the cores: threads of libraries would wait for each other, and spin meanwhile.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import jax  # noqa: E402  (reads the variables)
import numpy as np  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

# Tracing makes many objects and little garbage; looking for it at every 700th took 4 % of a run.
gc.set_threshold(20_000, 20, 20)

GOLDENS = Path(__file__).parent / "goldens"

# A worker takes whole files. These take longest and begin first, the longest before all, so that
# none is left to one worker in the end.
LONGEST = (
    "tests/multi_device/",
    "tests/detectors/test_hrnet_upstream.py",
    "tests/experiments/test_end_to_end.py",
    "tests/training/test_kills.py",
    "tests/test_pages.py",
    "tests/benchmark/test_torch_training.py",
    "tests/multi_host/",
    "tests/data_prep/test_building_kills.py",
    "tests/experiments/",
)


def pytest_unconfigure():
    if OWN_CACHE:
        shutil.rmtree(OWN_CACHE, ignore_errors=True)


def pytest_collection_modifyitems(items):
    def place(item) -> int:
        return next((i for i, s in enumerate(LONGEST) if item.nodeid.startswith(s)), len(LONGEST))

    items.sort(key=place)


@pytest.fixture(scope="module", autouse=True)
def _little_garbage_to_look_through():
    """What a module has left, such as compiled programs, is not searched for garbage later on."""
    yield
    gc.freeze()


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
    from tests.browser import NAMES, find_chromium, running_browser

    if not find_chromium():
        pytest.skip(f"no browser in PATH: none of {', '.join(NAMES)}")
    with running_browser() as running:
        yield running


@pytest.fixture
def open_page(browser):
    """Opens files as pages of the browser; in the end nothing may have gone wrong in them."""
    pages = []

    def open_one(path, **settings):
        pages.append(browser.open(path, **settings))
        return pages[-1]

    yield open_one
    for page in pages:
        page.check()
        page.close()
