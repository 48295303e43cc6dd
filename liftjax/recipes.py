"""Recipes by name or path, with dotted overrides that refuse unknown keys and wrong types."""

import ast
import difflib
import importlib
import importlib.util
import json
from collections.abc import Sequence
from types import ModuleType

from etils import epath
from ml_collections import ConfigDict

from liftjax import configs
from liftjax.errors import LiftjaxError, check_name, first_line

# Sections that take any name: networks, and the keywords or parts of a network.
OPEN_SECTIONS = ("lifters", "lifter.overrides", "detector.overrides", "optim.rates")
# Types of the keys, or of all keys of a section, that have no default to tell it.
_KINDS = {
    "detector.image_size": tuple, "loss.lifter_precision": str, "loss.weights": float,
    "lifters": str,
}  # fmt: skip
_LARGEST = 2**63  # whole numbers are smaller


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The recipe's `get_config()` with `overrides` ("loss.beta=50") applied.

    Args:
      name_or_path: the name of a recipe of liftjax, a Python file with `get_config`, or the
        config.json of a run.
      overrides: texts "KEY=VALUE"; the key is dotted.

    Raises:
      LiftjaxError: there is no such recipe or key (the message names the nearest), or a value has
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
    """`value` with the type that the dotted `key` takes; its present value is `old`."""
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
    """Raises unless `value` is None, a text, a number, or made of these."""
    if isinstance(value, dict | tuple | list):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            _check_plain(key, part)
    elif not isinstance(value, str | int | float | None):
        raise LiftjaxError(
            f"config.{key}: {_shown(value)} is not a text, a number or a list of them."
        )
    elif isinstance(value, int) and abs(value) >= _LARGEST:
        raise LiftjaxError(
            f"config.{key} has a number of {value.bit_length()} bits; the limit is 63."
        )


def complete(stored: dict) -> ConfigDict:
    """A stored recipe with the keys that recipes have gained since, at their defaults."""
    config = _shipped("common").base()
    with config.unlocked(), config.ignore_type():
        config.update(stored)
    return config


def recipe_names() -> list[str]:
    """Names of the recipes that ship with liftjax."""
    return sorted(path.stem for path in configs.FOLDER.glob("*.py") if path.stem != "common")


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
    check_name("recipe", name_or_path, recipe_names())
    return _shipped(name_or_path).get_config()


def _shipped(name: str) -> ModuleType:
    """A module among liftjax's recipes."""
    return importlib.import_module(f"{configs.__name__}.{name}")


def _from_file(path: epath.Path) -> ConfigDict:
    """The recipe of a Python file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise LiftjaxError(f"{path} has no get_config(); a recipe defines one.")
        return module.get_config()
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "configs":
            raise
        raise LiftjaxError(
            f"{path}: {first_line(error)}; liftjax's recipes are `liftjax.configs`."
        ) from None


def _check_stored(stored, default: ConfigDict | None = None, prefix: str = "") -> None:
    """Raises if a section or value has another type than recipes have there."""
    default = complete({}) if default is None else default
    if not isinstance(stored, dict):
        name = f"config.{prefix[:-1]}" if prefix else "it"
        raise LiftjaxError(f"{name} is a section; {_shown(stored)} is not.")
    for leaf, value in stored.items():
        old, key = default.get(leaf), f"{prefix}{leaf}"
        if isinstance(old, ConfigDict):
            _check_stored(value, old, f"{key}.")
        else:
            _fitted(key, value, old)


def _tuples(value):
    """`value` with tuples in place of JSON's lists."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _get(config: ConfigDict, key: str):
    """The value of a dotted key, or None."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, ConfigDict) else None
    return config


def _parse(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _named_kind(kind: type) -> str:
    if kind is ConfigDict:
        return "a section"
    return f"{'an' if kind is int else 'a'} {kind.__name__}"


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
