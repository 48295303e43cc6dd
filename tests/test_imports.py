"""The direction of imports: a package imports none of a later row of LAYERS."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = [
    {"arrays", "errors", "names", "numbers", "tables"},
    {"hosts", "writing"},
    {"skeletons"},
    {"geometry", "ops"},
    {"nn"},
    {"losses", "metrics", "data"},
    {"detectors", "lifters", "torch_weights"},
    {"registry", "counting"},
    {"configs"},
    {"recipes"},
    {"runtime"},
    {"prediction", "visualize", "viewer", "models"},
    {"evaluation"},
    {"training"},
    {"interchange", "inference"},
    {"experiments", "benchmark"},
    {"cli", "xla_flags"},
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
FILES = sorted((ROOT / "liftjax").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    return path.relative_to(ROOT / "liftjax").with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_left(path):
    if room(path) in ("__init__", "__main__"):
        return
    here = RANK[room(path)]
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "liftjax" and len(parts) > 1 and parts[1] in RANK:
            assert RANK[parts[1]] <= here, f"{path.name} imports {name}"


def test_no_module_imports_itself_by_a_detour():
    """Within a row of the layers too, counting imports at the top of a file."""
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in FILES}
    graph = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text())
        found = set()
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                parts = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                found |= {part for part in parts if part in modules}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names if alias.name in modules}
        graph[name] = found
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises a CycleError


def test_arrays_only_in_losses_and_metrics():
    ours = ("arrays", "errors", "skeletons", "losses", "ops")
    allowed = (
        "jax",
        "numpy",
        "typing",
        "collections",
        "functools",
        *(f"liftjax.{name}" for name in ours),
    )
    for file in (*(ROOT / "liftjax" / "losses").glob("*.py"), ROOT / "liftjax" / "metrics.py"):
        for name in imported(file):
            assert name.startswith(allowed), f"{file.name} imports {name}"


def test_data_knows_no_models_and_weights_need_no_torch():
    for path in (ROOT / "liftjax" / "data").glob("*.py"):
        assert not any(
            "detectors" in n or "lifters" in n or "registry" in n for n in imported(path)
        )
    assert not any(n.startswith("torch") for n in imported(ROOT / "liftjax" / "torch_weights.py"))


def test_data_prep_uses_only_the_record_and_the_geometry():
    allowed = {"errors", "names", "numbers", "skeletons", "geometry", "data", "xla_flags"}
    for path in (ROOT / "data_prep").rglob("*.py"):
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "liftjax":
                assert parts[1] in allowed, f"{path.name} imports {name}"
