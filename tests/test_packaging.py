"""What `pip install` puts on a machine works there, away from the sources."""

import collections
import email
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import liftjax
from tests.documents import EXTRAS

ROOT = Path(__file__).parents[1]
PACKAGES = ("liftjax", "configs", "data_prep")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def sources() -> set[str]:
    """Every file of the packages, as it is called where it is installed."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.*"))
    names = {path.relative_to(ROOT).as_posix() for path in found if path.suffix != ".pyc"}
    return {f"liftjax/{name}" if name.startswith("configs/") else name for name in names}


def metadata_of(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return email.message_from_bytes(archive.read(name))


def required(wheel: Path) -> dict[str, set[Requirement]]:
    """What the wheel requires, by extra; "" is what it requires in any case."""
    found = collections.defaultdict(set)
    for line in metadata_of(wheel).get_all("Requires-Dist"):
        requirement = Requirement(line)
        extra = re.search(r'extra == "(\w+)"', str(requirement.marker))
        requirement.marker = None
        found[extra[1] if extra else ""].add(requirement)
    return found


def requirements(path: str) -> set[str]:
    """The lines of a requirements file without comments and other files."""
    return {line for line in (ROOT / path).read_text().splitlines() if line and line[0] not in "#-"}


def copy_sources(folder: Path) -> Path:
    """Copies what a build needs: it leaves files beside the sources."""
    for package in (*PACKAGES, "tests"):
        no_caches = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=no_caches)
    for file in ("pyproject.toml", "setup.py", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, folder)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    version = int(importlib.metadata.version("setuptools").split(".")[0])
    if version < 77:
        pytest.skip(
            f"setuptools {version} knows no licence expressions; pip install setuptools>=77"
        )
    return copy_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> Path:
    """Built offline."""
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, tree)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder with liftjax alone; what it needs comes from this environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--target", folder, wheel)
    return folder


@pytest.fixture(scope="module")
def editable(tree, tmp_path_factory) -> Path:
    """The Python of an environment with `pip install -e`, and what it needs from this one."""
    environment = tmp_path_factory.mktemp("editable")
    venv.create(environment)
    (python,) = environment.glob("*/python")
    packages = {"base": environment, "platbase": environment}
    site_packages = Path(sysconfig.get_path("purelib", "venv", packages))
    (site_packages / "this.pth").write_text(sysconfig.get_path("purelib"))
    pip("--python", python, "install", "--no-deps", "--no-build-isolation", "-e", tree)
    return python


def pip(*arguments) -> None:
    environment = os.environ | {"PIP_NO_INDEX": "1", "PIP_QUIET": "1"}
    subprocess.run([sys.executable, "-m", "pip", *map(str, arguments)], check=True, env=environment)


def run_installed(
    installed: Path, cwd: Path, *arguments, python: Path | str = sys.executable
) -> str:
    """What Python prints where the sources are nowhere on the path."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [str(python), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_the_wheel_holds_the_packages_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
    said = metadata_of(wheel)
    assert files == sources()
    for kind in (".cc", ".js", ".css", ".jinja", ".json", ".toml"):
        assert any(name.endswith(kind) for name in files), kind
    assert said["Version"] == liftjax.__version__
    assert said["License-Expression"] == "Apache-2.0"


def test_requirements_are_the_core_and_all_extras(wheel):
    needed = required(wheel)
    everything = {Requirement(line.partition(";")[0]) for line in requirements("requirements.txt")}
    assert needed[""] | needed["all"] == everything
    parts = ("cpu", "data", "people", "report", "video")
    assert set.union(*(needed[part] for part in parts)) == needed["all"]
    assert needed["data"] > needed["video"]  # most recordings are videos
    assert not needed[""] & needed["all"]
    assert set(needed) == {"", *EXTRAS}


def test_an_installed_liftjax_runs_without_its_sources(installed, tmp_path):
    where = run_installed(installed, tmp_path, "-c", "import liftjax; print(liftjax.__file__)")
    assert Path(where.strip()).is_relative_to(installed)
    assert "frozen 3D lifters" in run_installed(installed, tmp_path, "-m", "liftjax", "--help")
    assert "synthetic" in run_installed(installed, tmp_path, "-m", "data_prep", "--help")
    assert "hrnet_w32" in run_installed(
        installed, tmp_path, installed / "bin" / "liftjax", "models"
    )
    every_recipe = "from liftjax.recipes import *; print(*map(load_recipe, recipe_names()))"
    assert "batch_size" in run_installed(installed, tmp_path, "-c", every_recipe)


USER = """
import configs.mine
from liftjax.recipes import load_recipe, recipe_names
names = recipe_names()
print(len(names), *(load_recipe(name).task for name in names))
print(load_recipe("recipe.py").steps, configs.mine.steps, load_recipe("ft2d").steps)
"""
RECIPE = """
from configs.mine import steps
from liftjax.configs.ft2d import get_config as base

def get_config():
    config = base()
    config.steps = steps
    return config
"""


@pytest.mark.parametrize("kind", ["package", "folder"])
@pytest.mark.parametrize("layout", ["sources", "wheel", "editable"])
def test_a_folder_configs_of_the_users_and_liftjaxs_leave_each_other_alone(
    layout, kind, tmp_path, request
):
    (tmp_path / "configs").mkdir()
    if kind == "package":
        (tmp_path / "configs" / "__init__.py").touch()
    (tmp_path / "configs" / "mine.py").write_text("steps = 7")
    (tmp_path / "configs" / "ft2d.py").write_text("raise ValueError('theirs')")
    (tmp_path / "recipe.py").write_text(RECIPE)
    if layout == "editable":
        python = request.getfixturevalue("editable")
        said = run_installed("", tmp_path, "-c", USER, python=python)
    else:
        place = ROOT if layout == "sources" else request.getfixturevalue("installed")
        said = run_installed(place, tmp_path, "-c", USER)
    recipes = {path.stem for path in (ROOT / "configs").glob("*.py")} - {"common"}
    first, second = said.splitlines()
    assert first.split()[0] == str(len(recipes))
    assert {"detector", "lifter", "distill"} == set(first.split()[1:])
    assert second == "7 7 1000"


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
