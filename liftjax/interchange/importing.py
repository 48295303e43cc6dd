"""`import-weights`: a PyTorch checkpoint as a run directory that recipes start from."""

import ast
import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from liftjax import torch_weights
from liftjax.detectors.spec import Decoding
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.interchange.blank import blank_model
from liftjax.interchange.files import WeightFile, read_weight_file
from liftjax.interchange.heads import fit_head
from liftjax.interchange.lifter_statistics import (
    read_statistics,
    statistics_of_arrays,
    statistics_of_configuration,
)
from liftjax.interchange.network_spec import best_preset, differing_names, network_spec
from liftjax.interchange.other_networks import known_but_absent
from liftjax.interchange.recognising import known_networks, nearest_network, recognise, source_of
from liftjax.interchange.run_directory import check_free, write_run_directory
from liftjax.interchange.wrappings import dictionaries, unwrap
from liftjax.nn.declaration import Found, Keywords
from liftjax.nn.stated_joints import configuration
from liftjax.nn.variables import Derived
from liftjax.registry import DETECTORS, LIFTERS, find_preset
from liftjax.runtime.state import dotted
from liftjax.skeletons import get_skeleton

_NOT_SIZES = ("kind", "name", "skeleton", "skeleton_2d", "num_joints", "image_size")  # in a spec


def import_weights(
    checkpoint: str,
    out: str,
    *,
    model: str | None = None,
    skeleton: str | None = None,
    source_skeleton: str | None = None,
    num_joints: int | None = None,
    stats: str | None = None,
    stats_unit: str = "m",
    entry: str | None = None,
    overrides: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Reads `checkpoint`, writes the run directory `out` and prints what was done.

    Args:
      checkpoint: .pth, .pt, .bin, .tar, .safetensors or .onnx, or a .zip with one .onnx inside;
        never executed.
      out: new, or one that an earlier import wrote.
      model: a name in the registry; default: the one that the shapes tell.
      skeleton: joint set that a detector shall find, whose last layer is converted by name; or
        that of a lifter's poses.
      source_skeleton: joint set of the file, or of a lifter's 2D input; overrides what the file
        says.
      num_joints: instead of `skeleton`, the size of a set without a name.
      stats: SimpleBaseline's statistics (see `lifter_statistics`).
      stats_unit: unit of their 3D numbers.
      entry: the dictionary in the file, or what the names of its arrays begin with, that holds the
        network, where there are several.
      overrides: "KEY=VALUE" keywords of the network that leave no trace in the shapes.
      about: where the file comes from, for the run directory: its address and licence, say.

    Raises:
      LiftjaxError: not a checkpoint, or not one of a known network; sizes, joints or statistics
        that do not fit.
    """
    check_free(out)
    given = parse_overrides(overrides)
    if model is not None:
        find_preset(model)
    for name in filter(None, (skeleton, source_skeleton)):
        get_skeleton(name)
    file = read_weight_file(checkpoint)
    header = {} if entry else _tuples(_header(file.metadata, "spec"))
    if "name" in header:
        found = _described_by_header(checkpoint, file, header)
        model = model or header["name"]
    else:
        found = _recognise(checkpoint, file, entry, model, given)
    if source_skeleton is not None:
        found = _with_joints(found, source_skeleton)
    if "name" in header and not (skeleton or found.skeleton):
        num_joints = num_joints or found.num_joints  # the network was exported without their names
    spec = network_spec(checkpoint, found, model, given, skeleton, num_joints)
    if spec["kind"] == "detector":
        module, state, notes = fit_head(found, spec)
    else:
        module, state = blank_model(spec), found.state
        notes = [f"joints: {spec['skeleton']} ({found.why})"]
        if found.num_joints_2d:
            of_input = spec.get("skeleton_2d", spec["skeleton"])
            notes = [f"joints in 2D: {of_input} ({found.why_2d})", *notes]
    lines = [f"{checkpoint}: {found.family} -> {_in_words(spec)}", f"took {len(state)} arrays"]
    lines += [*file.notes, *found.notes]
    if file.foreign:
        packages = ", ".join(sorted(file.foreign))
        lines.append(f"left objects of {packages}, unread (nothing in the file was run)")
    lines += [*notes, *_load(checkpoint, module, state, found)]
    lines += _set_statistics(module, file, stats, stats_unit)
    origin = {"file": Path(checkpoint).name, "family": found.family, "report": lines}
    origin |= {"licence": file.metadata["licence"]} if "licence" in file.metadata else {}
    origin |= about or {}
    recipe = _recipe(file.metadata)
    directory = write_run_directory(out, module, spec, origin, recipe)
    lines += [f"warning: {warning}" for warning in found.warnings]
    print("\n  ".join(lines))
    key = "detector.checkpoint" if spec["kind"] == "detector" else f"lifters.{spec['name']}"
    print(f"Wrote {out}; use it with --config.{key}={out}")
    return directory


def _with_joints(found: Found, skeleton: str) -> Found:
    """`found` of the joint set that the user names, which for a lifter is that of the 2D input.

    Where nothing else tells it, a lifter's poses are of that set too.
    """
    why, joints = "--source-skeleton", get_skeleton(skeleton)
    if found.num_joints_2d is None:
        return found._replace(skeleton=skeleton, why=why)
    found = found._replace(skeleton_2d=skeleton, why_2d=why)
    if found.skeleton is None and joints.root and joints.num_joints == found.num_joints:
        found = found._replace(skeleton=skeleton, why=why)
    return found


def parse_overrides(overrides: Sequence[str]) -> Keywords:
    """Keywords from texts such as "filter_widths=3,3,3"."""
    keywords = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise LiftjaxError(f"--model.{override} has no value; write --model.{key}=VALUE.")
        if key in ("skeleton", "num_joints"):
            raise LiftjaxError(f"Give --{key.replace('_', '-')} instead of --model.{key}.")
        try:
            keywords[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            keywords[key] = text
    return keywords


def _described_by_header(checkpoint: str, file: WeightFile, header: dict) -> Found:
    """The network in a safetensors file that `export` wrote; its header describes it whole."""
    name, skeleton = header["name"], header.get("skeleton")
    if name not in DETECTORS | LIFTERS:
        error = unknown_name("model", name, DETECTORS | LIFTERS)
        raise LiftjaxError(
            f"{checkpoint} was exported from a network that is not known here. {error} "
            "LIFTJAX_IMPORT=MODULE adds a network of your own."
        )
    preset, measured = find_preset(name)[1], {}
    if preset.weight_files:
        with contextlib.suppress(KeyError):  # an array is missing, which is reported later
            measured = preset.weight_files.sizes({k: v.shape for k, v in file.tree.items()})
    return Found(
        family="liftjax",
        state=dict(file.tree),
        num_joints=get_skeleton(skeleton).num_joints if skeleton else header.get("num_joints"),
        skeleton=skeleton,
        why="the file's header",
        **_input_joints(header.get("skeleton_2d")),
        image_size=header.get("image_size"),
        sizes=measured | {key: value for key, value in header.items() if key not in _NOT_SIZES},
        presets={k: v for k, v in (DETECTORS | LIFTERS).items() if v.cls is preset.cls},
    )


def _input_joints(skeleton: str | None) -> dict[str, Any]:
    """The fields of `Found` for a lifter whose 2D input has another joint set than its poses."""
    if skeleton is None:
        return {}
    count = get_skeleton(skeleton).num_joints
    return {"num_joints_2d": count, "skeleton_2d": skeleton, "why_2d": "the file's header"}


def _recognise(
    checkpoint: str, file: WeightFile, entry: str | None, model: str | None, given: Keywords
) -> Found:
    networks = known_networks(model, given)
    state, _ = unwrap(file.tree, (), entry if entry in dictionaries(file.tree) else None)
    if model is None and (absent := known_but_absent(state)):
        raise LiftjaxError(f"{checkpoint} is {absent}")
    try:
        found = recognise(file.tree, Path(checkpoint).name, entry, networks)
    except LiftjaxError as error:
        raise LiftjaxError(f"{checkpoint} {error}") from None
    if found is not None:
        return found
    if not state:
        raise LiftjaxError(
            f"{checkpoint} holds no arrays by name; give a file that holds a state_dict."
        )
    if model is not None:
        names = differing_names(state, model, given)
        raise LiftjaxError(f"{checkpoint} is not {model}: {names}; check --model.KEY=VALUE.")
    shown = ", ".join(list(state)[:4])
    raise LiftjaxError(
        f"{checkpoint} is none of liftjax's networks: {len(state)} arrays such as {shown}; the "
        f"nearest is {nearest_network(state)}."
    )


def _recipe(metadata: dict[str, str]) -> dict[str, Any]:
    """How keypoints are read off, if the file's header says."""
    recipe = _header(metadata, "recipe")
    return Decoding.of_recipe(recipe).as_recipe() if recipe else {}


def _header(metadata: dict[str, str], key: str) -> dict[str, Any]:
    """What `export` has written there; {} in other files."""
    if "liftjax" not in metadata:
        return {}
    try:
        found = json.loads(metadata.get(key, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _tuples(spec: dict) -> dict:
    """JSON's lists as the tuples they were."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in spec.items()}


def _load(checkpoint: str, module: nnx.Module, state: dict, found: Found) -> list[str]:
    """Loads `state`, and reports on the constants that follow from the joint set."""
    broken = [key for key, value in state.items() if not _finite(value)]
    if broken:
        raise LiftjaxError(
            f"{checkpoint} has numbers that are not finite in {len(broken)} arrays, such as "
            f"{broken[0]}; its training went wrong."
        )
    before = _derived(module)
    try:
        torch_weights.load(module, state)
    except LiftjaxError as error:
        best = best_preset(found)
        raise LiftjaxError(f"{checkpoint}: {error} The nearest model is {best}.") from None
    lines = []
    if made := [key for key in before if key not in state]:
        lines.append(f"made {len(made)} arrays that the file leaves out, such as {made[0]}")
    after = _derived(module)
    if changed := [k for k, v in before.items() if not np.allclose(v, after[k], atol=1e-5)]:
        lines.append(
            f"warning: the file's {changed[0]} is not that of {module.spec.skeleton}; is it of "
            "another joint set?"
        )
    return lines


def _derived(module: nnx.Module) -> dict[str, np.ndarray]:
    """The constants that follow from the configuration, such as a skeleton graph."""
    constants = nnx.to_flat_state(nnx.state(module, Derived))
    return {dotted(path): np.array(variable[...]) for path, variable in constants}


def _finite(value: Any) -> bool:
    return bool(np.isfinite(torch_weights.as_numpy(value)).all())


def _set_statistics(
    module: nnx.Module, file: WeightFile, stats: str | None, unit: str
) -> list[str]:
    """Sets SimpleBaseline's statistics from `stats` or from what the file says."""
    if not hasattr(module, "set_statistics"):
        if stats:
            raise LiftjaxError("Only SimpleBaseline takes --stats; leave it out.")
        return []
    stored, joints = _header(file.metadata, "statistics"), module.spec.num_joints
    configured = statistics_of_configuration(configuration(source_of(file.tree)))
    if stats:
        where, found = stats, read_statistics(stats, joints, unit, module.spec.skeleton)
    elif stored:
        where = "the file's header"
        found = statistics_of_arrays(stored, joints, "m", where)
    elif configured:
        where = "the configuration in the file"
        found = statistics_of_arrays(configured, joints, "m", where)
    else:
        raise LiftjaxError(
            "SimpleBaseline standardises with its training data's mean and deviation, which no "
            "checkpoint has; add --stats FILE (.npz, .json, .pkl) or --stats DATA_SET_DIRECTORY."
        )
    module.set_statistics(*found)
    return [f"statistics from {where}"]


def _in_words(spec: dict) -> str:
    keywords = {k: v for k, v in spec.items() if k not in ("kind", "name")}
    return f"{spec['name']} ({', '.join(f'{k}={v}' for k, v in keywords.items())})"
