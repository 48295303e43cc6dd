"""What `pip install` puts on a machine works there, away from the sources."""

import email
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import liftjax

ROOT = Path(__file__).parents[1]
PACKAGES = ("liftjax", "configs", "data_prep")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def sources() -> set[str]:
    """Every file of the packages."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.*"))
    return {str(path.relative_to(ROOT)) for path in found if path.suffix != ".pyc"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built offline from a copy of the sources: a build leaves files beside them."""
    version = int(importlib.metadata.version("setuptools").split(".")[0])
    if version < 77:
        pytest.skip(
            f"setuptools {version} knows no licence expressions; pip install setuptools>=77"
        )
    copy = tmp_path_factory.mktemp("sources")
    for package in (*PACKAGES, "tests"):
        no_caches = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, copy / package, ignore=no_caches)
    for file in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, copy)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder with liftjax alone; what it needs comes from this environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--target", folder, wheel)
    return folder


def pip(command: str, *arguments) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-index")
    subprocess.run([sys.executable, "-m", "pip", command, *quiet, *map(str, arguments)], check=True)


def run_installed(installed: Path, cwd: Path, *arguments) -> str:
    """What Python prints where the sources are nowhere on the path."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_the_wheel_holds_the_packages_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        said = email.message_from_bytes(archive.read(metadata))
    assert files == sources()
    for kind in (".js", ".css", ".jinja", ".json"):
        assert any(name.endswith(kind) for name in files), kind
    assert said["Version"] == liftjax.__version__
    assert said["License-Expression"] == "Apache-2.0"
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    needed = [one for one in said.get_all("Requires-Dist") if "extra ==" not in one]
    assert len(needed) == len([line for line in lines if not line.startswith("#")])
    assert set(said.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])


def test_an_installed_liftjax_runs_without_its_sources(installed, tmp_path):
    where = run_installed(installed, tmp_path, "-c", "import liftjax; print(liftjax.__file__)")
    assert Path(where.strip()).is_relative_to(installed)
    assert "multi-model guidance" in run_installed(installed, tmp_path, "-m", "liftjax", "--help")
    assert "synthetic" in run_installed(installed, tmp_path, "-m", "data_prep", "--help")
    assert "hrnet_w32" in run_installed(
        installed, tmp_path, installed / "bin" / "liftjax", "models"
    )
    every_recipe = "from liftjax.recipes import *; print(*map(load_recipe, recipe_names()))"
    assert "batch_size" in run_installed(installed, tmp_path, "-c", every_recipe)


def test_versions_and_licences_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] == liftjax.__version__
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert f"{liftjax.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_citation_has_what_its_format_asks_for():
    """Citation File Format 1.2.0: the required keys, and those that its readers use."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= set(citation)
    paper = citation["preferred-citation"]
    assert paper["type"] == "conference-paper"
    assert (paper["year"], paper["start"], paper["end"]) == (2024, 3344, 3361)
    for author in (*citation["authors"], *paper["authors"]):
        assert set(author) in ({"name"}, {"family-names", "given-names"})
