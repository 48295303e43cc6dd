"""Recipes by name or path, with dotted overrides that refuse unknown keys and wrong types."""

import ast
import contextlib
import difflib
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from etils import epath
from ml_collections import ConfigDict

from liftjax.errors import LiftjaxError, first_line, unknown_name

_FOLDER = Path(__file__).resolve().parents[1] / "configs"  # beside liftjax, installed or not

# Sections that take any name: networks, and the keywords or parts of a network.
OPEN_SECTIONS = ("lifters", "lifter.overrides", "detector.overrides", "optim.rates")
# What keys, or all of a section, take where there is no default to tell.
_KINDS = {
    "detector.image_size": tuple, "loss.lifter_precision": str, "loss.weights": float,
    "lifters": str,
}  # fmt: skip
_LARGEST = 2**63  # whole numbers are below it
_LOADING = threading.RLock()  # threads share sys.modules


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The recipe's `get_config()` with `overrides` ("loss.beta=50") applied.

    Args:
      name_or_path: the name of one of the package `configs`, a Python file with `get_config`, or
        the config.json of a run.

    Raises:
      LiftjaxError: no such recipe or key (the message names the nearest), or a value of
        another type.
    """
    config = _read(name_or_path).lock()
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise LiftjaxError(f"Override {override!r} has no value; write {key}=VALUE.")
        as_text = key.startswith("lifters.") or isinstance(_get(config, key), str)
        set_value(config, key, text if as_text else _parse(text))
    return config


def set_value(config: ConfigDict, key: str, value) -> None:
    """Sets the existing dotted `key`; a number may widen to float, a list becomes a tuple."""
    section = config
    *path, leaf = key.split(".")
    for part in path:
        section = section.get(part) if isinstance(section, ConfigDict) else None
        if not isinstance(section, ConfigDict):
            raise _unknown_key(config, key)
    if leaf not in section and ".".join(path) not in OPEN_SECTIONS:
        raise _unknown_key(config, key)
    value = _fitted(key, value, section.get(leaf))
    with section.unlocked():
        section[leaf] = value


def _fitted(key: str, value, old):
    """`value` as the dotted `key` takes it, whose value so far is `old`."""
    _check_plain(key, value)
    kind = type(old) if old is not None else _KINDS.get(key) or _KINDS.get(key.rpartition(".")[0])
    if kind is float and type(value) is int:
        value = float(value)
    if isinstance(value, list):
        value = tuple(value)
    if kind is tuple and value is not old and not isinstance(value, tuple | dict):
        value = (value,)
    if isinstance(old, ConfigDict) or (kind and type(value) is not kind and value is not old):
        example = "" if old is None or kind is ConfigDict else f", for example {old!r}"
        raise LiftjaxError(
            f"config.{key} is {_named_kind(kind)}{example}; {_shown(value)} is "
            f"{_named_kind(type(value))}."
        )
    return value


def _check_plain(key: str, value) -> None:
    """Raises for what no recipe holds: other things than texts, numbers and lists of them."""
    if isinstance(value, dict | tuple | list):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            _check_plain(key, part)
    elif not isinstance(value, str | int | float | None):
        raise LiftjaxError(f"config.{key}: {_shown(value)} is no text, number or list of them.")
    elif isinstance(value, int) and abs(value) >= _LARGEST:
        raise LiftjaxError(f"config.{key} has a number of {value.bit_length()} bits; 63 are most.")


def complete(stored: dict) -> ConfigDict:
    """A stored recipe with the keys that recipes have gained since, at their defaults."""
    with _shipped():
        config = importlib.import_module("configs.common").base()
    with config.unlocked(), config.ignore_type():
        config.update(stored)
    return config


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(p.stem for p in _FOLDER.glob("*.py") if p.stem not in ("__init__", "common"))


@contextlib.contextmanager
def _shipped(first: Path | None = None) -> Iterator[None]:
    """Within it `configs` is the package beside liftjax, not one of the current directory.

    Args:
      first: a folder in which its modules are looked for before.
    """

    def loaded() -> dict:
        return {name: m for name, m in sys.modules.items() if name.split(".")[0] == "configs"}

    places = [str(folder) for folder in (first, _FOLDER) if folder]
    spec = importlib.util.spec_from_file_location(
        "configs", _FOLDER / "__init__.py", submodule_search_locations=places
    )
    with _LOADING:
        before = loaded()
        for name in before:
            del sys.modules[name]
        sys.modules["configs"] = importlib.util.module_from_spec(spec)
        try:
            yield
        finally:
            for name in loaded():
                del sys.modules[name]
            sys.modules.update(before)


def _read(name_or_path: str) -> ConfigDict:
    path = epath.Path(name_or_path)
    if path.suffix in (".py", ".json") and not path.is_file():
        raise LiftjaxError(f"No recipe file {path}; known by name: {', '.join(recipe_names())}.")
    if path.suffix == ".json":
        try:
            stored = _tuples(json.loads(path.read_text()))
            _check_stored(stored)
        except (ValueError, RecursionError) as error:
            raise LiftjaxError(f"{path} is not the config.json of a run: {error}") from error
        return complete(stored)
    if path.suffix == ".py":
        return _from_file(path)
    if name_or_path not in recipe_names():
        raise unknown_name("recipe", name_or_path, recipe_names())
    with _shipped():
        return importlib.import_module(f"configs.{name_or_path}").get_config()


def _from_file(path: epath.Path) -> ConfigDict:
    """The recipe of a file; one in a folder `configs` finds its neighbours by that name first."""
    folder = Path(path).resolve().parent
    try:
        with _shipped(folder if folder.name == "configs" else None):
            module = _module(path)
            if not hasattr(module, "get_config"):
                raise LiftjaxError(f"{path} has no get_config(); a recipe defines one.")
            return module.get_config()
    except ImportError as error:
        if not (error.name or "").startswith("configs."):
            raise
        raise LiftjaxError(
            f"{path}: {first_line(error)}; `configs` are liftjax's recipes, in {_FOLDER}: a "
            "package of yours needs another name."
        ) from None


def _check_stored(stored, default: ConfigDict | None = None, prefix: str = "") -> None:
    """Raises for a section or value of another kind than recipes have there."""
    default = complete({}) if default is None else default
    if not isinstance(stored, dict):
        name = f"config.{prefix[:-1]}" if prefix else "it"
        raise LiftjaxError(f"{name} is a section; {_shown(stored)} is no section.")
    for leaf, value in stored.items():
        old, key = default.get(leaf), f"{prefix}{leaf}"
        if isinstance(old, ConfigDict):
            _check_stored(value, old, f"{key}.")
        else:
            _fitted(key, value, old)


def _tuples(value):
    """JSON's lists as the tuples they were."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _get(config: ConfigDict, key: str):
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, ConfigDict) else None
    return config


def _module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _parse(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _named_kind(kind: type) -> str:
    return "a section" if kind is ConfigDict else f"a {kind.__name__}"


def _shown(value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unknown_key(config: ConfigDict, key: str) -> LiftjaxError:
    known = list(_dotted_keys(config))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
    return LiftjaxError(f"Unknown config key {key!r}; {hint}")


def _dotted_keys(config: ConfigDict, prefix: str = ""):
    for key, value in config.items():
        if isinstance(value, ConfigDict) and len(value):
            yield from _dotted_keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key
