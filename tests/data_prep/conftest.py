"""The toy source, and the data set that is built from it."""

import shutil

import pytest

from data_prep.building import build_dataset
from tests.data_prep.toy_source import plan, write_source


@pytest.fixture
def source(tmp_path):
    write_source(tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture(scope="session")
def built_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("once")
    write_source(root / "source")
    build_dataset(plan(root / "source"), root / "built")
    return root / "built"


@pytest.fixture
def built(built_once, tmp_path):
    return shutil.copytree(built_once, tmp_path / "built")
