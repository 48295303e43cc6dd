"""The direction of imports, wherever in a file they stand: no package imports a later one."""

import ast
import graphlib
from pathlib import Path

ROOT = Path(__file__).parents[1]

LAYERS = [
    {"errors", "names", "numbers", "tables", "xla_flags"},
    {"hosts", "writing"},
    {"ops"},
    {"skeletons"},
    {"geometry"},
    {"nn"},
    {"losses", "metrics", "data"},
    {"data_prep"},
    {"detectors", "lifters", "torch_weights"},
    {"registry"},
    {"counting", "configs"},
    {"recipes", "models"},
    {"runtime"},
    {"prediction", "visualize", "viewer"},
    {"evaluation"},
    {"training"},
    {"interchange"},
    {"weights"},
    {"inference"},
    {"experiments", "benchmark"},
    {"cli"},
    {"__init__", "__main__"},
]
RANK = {package: rank for rank, packages in enumerate(LAYERS) for package in packages}
FILES = [path for top in ("liftjax", "data_prep") for path in sorted((ROOT / top).rglob("*.py"))]
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def package(name: str) -> str:
    """What LAYERS calls the place of a dotted name: data_prep, or a package or file of liftjax."""
    first, *rest = name.split(".")
    return rest[0] if first == "liftjax" and rest else first


def ours(names: set[str]) -> set[str]:
    return {name for name in names if package(name) in RANK}


def test_imports_point_one_way():
    for name, path in MODULES.items():
        for other in ours(imported(path)):
            assert RANK[package(other)] <= RANK[package(name)], f"{name} imports {other}"


def test_no_circles():
    """Neither of modules nor of packages."""
    modules, packages = {}, {}
    for name, path in MODULES.items():
        names = imported(path)
        found = {n for full in names for n in (full, full.rpartition(".")[0]) if n in MODULES}
        modules[name] = found
        others = {package(other) for other in ours(names)} - {package(name)}
        packages.setdefault(package(name), set()).update(others)
    tuple(graphlib.TopologicalSorter(modules).static_order())  # raises a CycleError
    tuple(graphlib.TopologicalSorter(packages).static_order())


def test_losses_and_metrics_know_arrays_alone():
    allowed = ("jax", "numpy", "typing", "collections", "functools")
    allowed += tuple(f"liftjax.{name}" for name in ("errors", "skeletons", "losses", "ops"))
    for file in (*(ROOT / "liftjax" / "losses").glob("*.py"), ROOT / "liftjax" / "metrics.py"):
        for name in imported(file):
            assert name.startswith(allowed), f"{file.name} imports {name}"


def test_reading_weights_needs_no_torch():
    assert not any(n.startswith("torch") for n in imported(ROOT / "liftjax" / "torch_weights.py"))
