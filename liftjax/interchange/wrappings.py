"""The arrays of one network, out of what training programs save around it and beside it.

A checkpoint is a dictionary that holds the network's state_dict under a name of the training
program's (state_dict, ema), and the names of the arrays begin with the modules around the network
(module., model.). The names that networks declare tell which arrays are a network. Where a file
holds two networks with different weights, such as a network and the average over its training, the
user says which to take.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from liftjax.errors import LiftjaxError
from liftjax.nn.declaration import State
from liftjax.torch_weights import as_numpy

Marks = Sequence[tuple[str, ...]]  # names that only state_dicts of one network have together

# Where training programs keep the network, most telling first; "module" is DeepSpeed's.
_CONTAINERS = ("state_dict", "model_state_dict", "model_pos", "best_state_dict", "model", "net",
               "network", "weights", "module")  # fmt: skip
_COPIES = re.compile(r"(^|_)(ema|swa|avg|average|averaged|shadow|best)(_|$)")
_RAW = "ema_state_dict"  # MMEngine's, of the weights that are not averaged
_OPTIMIZERS = re.compile("optim")  # their moments may have the network's names
_DEEPEST = 8  # dictionaries in dictionaries

_WRAPPERS = ("module.", "model.", "net.")
_INNER_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)


def unwrap(tree: Any, marks: Marks, entry: str | None = None) -> tuple[State, list[str]]:
    """The arrays by name, out of the dictionaries and module wrappers around them; and notes.

    Args:
      tree: nested dictionaries of arrays.
      marks: of the networks to look for.
      entry: the dictionary to take, where several hold a network.

    Raises:
      LiftjaxError: several hold networks with different weights. The text goes on from the name of
        the file.
    """
    notes = []
    for _ in range(_DEEPEST):
        inner = _container(tree, marks) if entry is None else entry
        if inner is None:
            break
        notes += _about(tree, inner)
        tree, entry = tree[inner], None
    state, more = _stripped(_arrays(tree))
    return state, notes + more


def dictionaries(tree: Any) -> list[str]:
    """The names of the dictionaries in `tree`."""
    items = tree.items() if isinstance(tree, Mapping) else ()
    return [key for key, value in items if isinstance(key, str) and isinstance(value, Mapping)]


def network_alone(
    state: State, marks: Marks, entry: str | None = None
) -> tuple[State, str, list[str]]:
    """The network in `state` by its own names; what stood in front of them; the names left beside.

    Where nothing stands in front, all arrays are taken: those that the network does not know may be
    a part of another version of it.

    Args:
      state: all arrays of the file.
      marks: of the networks to look for.
      entry: what stands in front of the names of the network to take, where there are several.

    Raises:
      LiftjaxError: there are several with different weights, or none of that name. The text goes on
        from the name of the file.
    """
    parts = _parts(state, marks)
    if entry is None and (not parts or list(parts) == [""]):
        return state, "", []
    if entry is None:
        entry = next(iter(parts))
        others = [name for name in parts if not _same(parts[entry], parts[name])]
        if others:
            raise LiftjaxError(_several([entry, *others]))
    elif entry not in parts:
        cure = _options(list(parts)) if any(parts) else "leave out --entry"
        raise LiftjaxError(f"has no network by the name of {entry!r}; {cure}.")
    front = f"{entry}." if entry else ""
    taken = {front + key for key in parts[entry]}
    return parts[entry], front, [key for key in state if key not in taken]


def notes_on(front: str, left: list[str]) -> list[str]:
    """What `network_alone` did, a line each."""
    notes = [f"stripped the prefix {front}"] if front else []
    if left:
        shown = ", ".join(left[:4]) + ", ..." * (len(left) > 4)
        notes.append(f"left {len(left)} array{'s' * (len(left) > 1)} beside the network ({shown})")
    return notes


def _several(names: list[str]) -> str:
    return f"holds {len(names)} networks with different weights; {_options(names)}."


def _options(names: list[str]) -> str:
    return f"take one with {' or '.join(f'--entry={name}' for name in names)}"


def _container(tree: Any, marks: Marks) -> str | None:
    """The name of the dictionary in `tree` that holds the network; None if `tree` is it."""
    inside = dictionaries(tree)
    usual = [key for key in _CONTAINERS if key in inside]
    usual += [key for key in inside if key not in usual and _COPIES.search(key)]
    networks = [key for key in usual if _holds_network(tree[key], marks)]
    if not networks and not _parts(_arrays(tree), marks):
        others = [key for key in inside if not _OPTIMIZERS.search(key)]
        networks = [key for key in others if _holds_network(tree[key], marks)]
    if not networks:
        return next((key for key in usual if key in _CONTAINERS), None)
    first = unwrap(tree[networks[0]], marks)[0] if len(networks) > 1 else {}
    rivals = [
        key
        for key in networks[1:]
        if not (key == _RAW and _is_mmengine(tree))
        and not _same(first, unwrap(tree[key], marks)[0])
    ]
    if rivals:
        raise LiftjaxError(_several([networks[0], *rivals]))
    return networks[0]


def _about(tree: Mapping, inner: str) -> list[str]:
    """What is taken from `tree`, and what is left."""
    beside = [str(key) for key in tree if key != inner]
    if not beside:
        return []
    notes = [f"took {inner}, left {', '.join(beside[:8])}{', ...' * (len(beside) > 8)}"]
    if inner == "state_dict" and _RAW in beside and _is_mmengine(tree):
        notes.append("state_dict holds the moving averages: MMEngine swaps them when it saves")
    return notes


def _is_mmengine(tree: Mapping) -> bool:
    meta = tree.get("meta")
    return "message_hub" in tree or (isinstance(meta, Mapping) and "mmengine_version" in meta)


def _arrays(tree: Any) -> State:
    items = tree.items() if isinstance(tree, Mapping) else ()
    return {k: v for k, v in items if isinstance(k, str) and hasattr(v, "shape")}


def _stripped(state: State) -> tuple[State, list[str]]:
    """`state` without the wrappers around all of it or around parts; and notes."""
    notes = []
    inner = {_INNER_WRAPPERS.sub("", key): value for key, value in state.items()}
    if len(inner) == len(state) and list(inner) != list(state):
        found = sorted({name for key in state for name in _INNER_WRAPPERS.findall(key)})
        notes.append(f"stripped {', '.join(found)} from the names")
        state = inner
    for wrapper in _WRAPPERS * 2:
        if state and all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
            notes.append(f"stripped the prefix {wrapper}")
    return state, notes


def _parts(state: State, marks: Marks) -> dict[str, State]:
    """The networks in `state`, each by its own names, by what stands in front of these."""
    fronts: list[str] = []
    taken: set[str] = set()  # one network may be a part of another
    for mark in marks:
        for key in (key for key in state if key.endswith(mark[0]) and key not in taken):
            front = key.removesuffix(mark[0])
            whole = {front + name for name in mark}
            if front[-1:] in ("", ".") and front not in fronts and whole <= state.keys():
                fronts.append(front)
                taken |= whole
    return {
        front.removesuffix("."): {
            key.removeprefix(front): value
            for key, value in state.items()
            if front == max((f for f in fronts if key.startswith(f)), key=len, default=None)
        }
        for front in fronts
    }


def _holds_network(tree: Any, marks: Marks, depth: int = _DEEPEST) -> bool:
    if not isinstance(tree, Mapping) or not depth:
        return False
    return bool(_parts(_stripped(_arrays(tree))[0], marks)) or any(
        _holds_network(value, marks, depth - 1) for value in tree.values()
    )


def _same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(as_numpy(a[key]), as_numpy(b[key])) for key in a
    )
