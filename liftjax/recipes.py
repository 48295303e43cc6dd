"""Recipes by name or path, with dotted overrides that refuse unknown keys and wrong types."""

import ast
import difflib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from liftjax.errors import LiftjaxError, unknown_name

# Sections that take any name: networks, and the keywords of a network.
OPEN_SECTIONS = ("lifters", "lifter.overrides", "detector.overrides")


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The recipe's `get_config()` with `overrides` ("loss.beta=50") applied.

    Args:
      name_or_path: a Python file, or the name of one of the package `configs`.

    Raises:
      LiftjaxError: no such recipe or key (the message names the nearest), or a value of
        another type.
    """
    config = _module(name_or_path).get_config().lock()
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise LiftjaxError(f"Override {override!r} has no value; write {key}=VALUE.")
        set_value(config, key, _parse(text))
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
    old = section.get(leaf)
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(old, tuple):
        value = tuple(value) if isinstance(value, list | tuple) else (value,)
    if isinstance(old, ConfigDict) or (old is not None and type(value) is not type(old)):
        raise LiftjaxError(
            f"config.{key} is {_kind(old)}, for example {old!r}; {value!r} is {_kind(value)}."
        )
    with section.unlocked():
        section[leaf] = value


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    import configs

    folder = Path(configs.__file__).parent
    return sorted(p.stem for p in folder.glob("*.py") if p.stem not in ("__init__", "common"))


def _module(name_or_path: str):
    path = Path(name_or_path)
    if path.suffix == ".py":
        if not path.is_file():
            raise LiftjaxError(
                f"No recipe file {path}; known by name: {', '.join(recipe_names())}."
            )
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    if name_or_path not in recipe_names():
        raise unknown_name("recipe", name_or_path, recipe_names())
    return importlib.import_module(f"configs.{name_or_path}")


def _parse(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _kind(value) -> str:
    return "a section" if isinstance(value, ConfigDict) else f"a {type(value).__name__}"


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
