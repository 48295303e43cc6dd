"""What an installed liftjax needs beside its Python files is in the package."""

import fnmatch
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_files_that_are_not_python_are_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packaged = settings["package-data"]
    for path in (ROOT / "liftjax").rglob("*.*"):
        if path.suffix in (".py", ".pyc"):
            continue
        package = ".".join(path.parent.relative_to(ROOT).parts)
        patterns = packaged.get(package, [])
        assert any(fnmatch.fnmatch(path.name, p) for p in patterns), f"{path} is in no package-data"
