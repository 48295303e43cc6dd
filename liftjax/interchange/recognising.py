"""Whose checkpoint is this: a network found in a weight file by what networks declare.

`recognise` brings the tree of a file to the state_dict of one network, in three steps: out of what
the training program saved around and beside it (`wrappings`), out of a file of several networks
(`WeightFiles.unpack`), and to liftjax's names (`WeightFiles.read`).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from liftjax.errors import LiftjaxError
from liftjax.interchange.blank import state_shapes
from liftjax.interchange.heads import row_arrays
from liftjax.interchange.wrappings import dictionaries, network_alone, notes_on, unwrap
from liftjax.nn.declaration import Found, Keywords, Preset, Shapes, Source, State, WeightFiles
from liftjax.registry import DETECTORS, LIFTERS, find_preset
from liftjax.skeletons import get_skeleton

Presets = Mapping[str, Preset]
Networks = Mapping[WeightFiles, Presets]


def recognise(
    tree: Any,
    name: str = "",
    entry: str | None = None,
    networks: Networks | None = None,
) -> Found | None:
    """The network in the tree of a weight file, or None if no network is like it.

    Args:
      tree: nested dictionaries of arrays.
      name: the file's. Some networks take any image size and have theirs in the file's name.
      entry: the dictionary, or the beginning of names, to take where there are several networks.
      networks: those to look for; default: all.

    Raises:
      LiftjaxError: it is unclear which part is the network, or arrays of it are missing. The text
        goes on from the name of the file.
    """
    networks = known_networks() if networks is None else networks
    marks = [mark for files in networks for mark in files.marks]
    inside = entry in dictionaries(tree)
    state, notes = unwrap(tree, marks, entry if inside else None)
    beginning = None if inside else entry
    if beginning is None:
        for files in networks:
            state, more = files.unpack(state)
            notes += more
    state, front, left = network_alone(state, marks, beginning)
    notes += notes_on(front, left)
    source = source_of(tree, name)
    for files, presets in networks.items():
        if any(state.keys() >= set(mark) for mark in files.marks):
            found = _read(files, presets, state, source)
            if entry is None and _is_headless(found) and front and left:
                raise LiftjaxError(_headless(front, left))
            return found._replace(notes=(*notes, *found.notes))
    return None


def source_of(tree: Any, name: str = "") -> Source:
    """What a weight file says beside its arrays."""
    meta = tree.get("meta") if isinstance(tree, Mapping) else None
    return Source(name, meta if isinstance(meta, Mapping) else {}, _text(tree, "model"))


def known_networks(model: str | None = None, given: Keywords | None = None) -> Networks:
    """The presets by how their files are recognised.

    Those without a declaration come first, since more names must agree. If `model` is one of them,
    it is the only one.

    Args:
      model: the preset that the user expects, if any.
      given: keywords of that preset which the user has set.
    """
    if model is not None and find_preset(model)[1].weight_files is None:
        presets = {model: find_preset(model)[1]}
        return {_own_files(presets, given or {}): presets}
    declared, classes = {}, {}
    for name, preset in (DETECTORS | LIFTERS).items():
        if preset.weight_files is None:
            classes.setdefault(preset.cls, {})[name] = preset
        else:
            declared.setdefault(preset.weight_files, {})[name] = preset
    return {_own_files(presets, {}): presets for presets in classes.values()} | declared


def _own_files(presets: Presets, given: Keywords) -> WeightFiles:
    """How the files of a class without a declaration are recognised: by its own state_dicts."""
    kinds = {name: find_preset(name)[0] for name in presets}
    specs = {name: {"kind": kinds[name], "name": name, **given} for name in presets}
    shapes = {name: state_shapes(spec, optional=False) for name, spec in specs.items()}
    largest = sorted(shapes, key=lambda name: -len(shapes[name]))  # others may be a part of it

    def nearest_preset(theirs: Shapes) -> str:
        same = [name for name in largest if shapes[name].items() <= theirs.items()]
        alike = [name for name in largest if shapes[name].keys() <= theirs.keys()]
        return [*same, *alike][0]

    def read(state: State, source: Source) -> Found:
        name = nearest_preset({key: value.shape for key, value in state.items()})
        skeleton, joints = presets[name].skeleton, None
        if kinds[name] == "detector":
            rows = row_arrays(specs[name])
            joints = state[rows[0]].shape[0] if rows else get_skeleton(skeleton).num_joints
            skeleton = skeleton if joints == get_skeleton(skeleton).num_joints else None
        return Found(presets[name].cls.__name__, state, joints, skeleton, f"the default of {name}")

    def sizes(theirs: Shapes) -> Keywords:
        return presets[nearest_preset(theirs)].keywords

    return WeightFiles(tuple(tuple(shapes[name]) for name in largest), read, sizes)


def _read(files: WeightFiles, presets: Presets, state: State, source: Source) -> Found:
    try:
        found = files.read(state, source)
        shapes = {key: tuple(value.shape) for key, value in found.state.items()}
        return found._replace(sizes=files.sizes(shapes), presets=presets)
    except (KeyError, IndexError) as error:
        network = next(iter(presets.values())).cls.__name__
        raise LiftjaxError(
            f"looks like {network} but has no {error}; it is another version of that network, or "
            "not whole."
        ) from error


def _is_headless(found: Found) -> bool:
    return found.num_joints is None and next(iter(found.presets)) in DETECTORS


def _headless(front: str, left: list[str]) -> str:
    """A network without a head may be all there is, but what stands beside it may be its head."""
    return (
        f"holds a network without a head, {front}*, and {len(left)} more arrays, which may be the "
        f"head, such as {left[0]}; to leave them add --entry={front.removesuffix('.')}."
    )


def _text(tree: Any, key: str) -> str:
    value = tree.get(key) if isinstance(tree, Mapping) else None
    return value if isinstance(value, str) else ""


def nearest_network(keys: Iterable[str]) -> str:
    """The class whose names, numbers apart, are most like `keys`."""
    classes = {preset.cls: name for name, preset in reversed((DETECTORS | LIFTERS).items())}
    theirs = _unnumbered(keys)

    def likeness(cls: type) -> float:
        name = classes[cls]
        ours = _unnumbered(state_shapes({"kind": find_preset(name)[0], "name": name}))
        return len(ours & theirs) / len(ours | theirs)

    return max(classes, key=likeness).__name__


def _unnumbered(keys: Iterable[str]) -> set[str]:
    return {re.sub(r"\d+", "#", key) for key in keys}
