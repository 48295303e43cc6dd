"""`import-weights`: a PyTorch checkpoint as a run directory that recipes start from."""

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from liftjax import torch_weights
from liftjax.detectors.decoding import Decoding
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.interchange import families, files, heads, run_directory, sizes, statistics
from liftjax.interchange.blank import blank_model
from liftjax.interchange.families import Found
from liftjax.interchange.sizes import Keywords
from liftjax.lifters.iganet import IGANet, skeleton_graph
from liftjax.registry import DETECTORS, LIFTERS
from liftjax.skeletons import get_skeleton


def run(
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
) -> Path:
    """Reads `checkpoint`, writes the run directory `out` and prints what was done.

    Args:
      checkpoint: .pth, .pt, .bin, .tar or .safetensors; never executed.
      out: new, or one that an earlier import wrote.
      model: a name in the registry; default: the one that the shapes tell.
      skeleton: joint set that a detector shall find; its last layer is converted by name.
      source_skeleton: joint set of the file, where it does not tell or tells wrong.
      num_joints: instead of `skeleton`, the size of a set without a name.
      stats: SimpleBaseline's statistics (see `statistics.read`). stats_unit: of their 3D numbers.
      entry: the dictionary in the file, or what the names of its arrays begin with, that holds the
        network, where there are several.
      overrides: "KEY=VALUE" keywords of the network that leave no trace in the shapes.

    Raises:
      LiftjaxError: a file that is no checkpoint, or none of ours; sizes, joints or statistics
        that do not fit.
    """
    run_directory.check_free(out)
    file = files.read(checkpoint)
    found, measured, own_name = _recognise(checkpoint, file, entry)
    if source_skeleton is not None:
        found = found._replace(skeleton=source_skeleton, why="--source-skeleton")
    if own_name and not (skeleton or found.skeleton):
        num_joints = num_joints or found.num_joints  # they had no name when we wrote them
    given = parse_overrides(overrides)
    name = _name(checkpoint, found, measured, model or own_name, given)
    spec = _spec(checkpoint, name, found, measured, given, skeleton, num_joints)
    lines = [f"{checkpoint}: {found.family} -> {_described(spec)}", *found.notes]
    if file.foreign:
        packages = ", ".join(sorted(file.foreign))
        lines.append(f"left objects of {packages}, unread (nothing in the file was run)")
    if spec["kind"] == "detector":
        module = blank_model(spec, drawn=(heads.HEADS[found.network].prefix,))
        state, notes = heads.with_head(found, module, spec)
    else:
        module, state = blank_model(spec), found.state
        notes = [f"joints: {spec['skeleton']} ({found.why})"]
    lines += notes
    _load(checkpoint, module, state, found, measured)
    lines.insert(1, f"took {len(state)} arrays")
    lines += _set_statistics(module, file.metadata, stats, stats_unit)
    origin = {"file": Path(checkpoint).name, "family": found.family, "report": lines}
    recipe = _recipe(file.metadata)
    directory = run_directory.write(out, module, spec, origin, recipe)
    lines += [f"warning: {warning}" for warning in (*found.warnings, *_other_graph(module))]
    print("\n  ".join(lines))
    key = "detector.checkpoint" if spec["kind"] == "detector" else f"lifters.{name}"
    print(f"Wrote {out}; use it with --config.{key}={out}")
    return directory


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


def _recognise(
    checkpoint: str, file: files.WeightFile, entry: str | None
) -> tuple[Found, Keywords, str | None]:
    """The network in the file, its sizes, and its name if we wrote the file."""
    try:
        found = families.recognise(file.tree, Path(checkpoint).name, entry)
    except LiftjaxError as error:
        raise LiftjaxError(f"{checkpoint} {error}") from None
    if found is None:
        raise LiftjaxError(_none_of_ours(checkpoint, file.tree, entry))
    shapes = {key: tuple(value.shape) for key, value in found.state.items()}
    try:
        measured = sizes.measure(found.network, shapes)
    except (KeyError, IndexError) as error:
        raise LiftjaxError(
            f"{checkpoint} looks like {found.network.__name__} ({found.family}) but has no "
            f"{error}; it is another version of that network, or not whole."
        ) from error
    spec = _tuples(_header(file.metadata, "spec"))
    if "name" not in spec:
        return found, measured, None
    common = ("kind", "name", "skeleton", "num_joints", "image_size")
    measured |= {key: value for key, value in spec.items() if key not in common}
    found = found._replace(
        family="liftjax",
        skeleton=spec.get("skeleton"),
        why="the file's header",
        image_size=spec.get("image_size"),
    )
    return found, measured, spec["name"]


def _recipe(metadata: dict[str, str]) -> dict[str, Any]:
    """How keypoints are read off, if the file's header says."""
    recipe = _header(metadata, "recipe")
    return Decoding.of_recipe(recipe).as_recipe() if recipe else {}


def _header(metadata: dict[str, str], key: str) -> dict[str, Any]:
    """What an export of ours has written there; {} in a file of others."""
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


def _none_of_ours(checkpoint: str, tree: Any, entry: str | None) -> str:
    state, _ = families.unwrap(tree, entry if entry in families.dictionaries(tree) else None)
    if not state:
        return f"{checkpoint} holds no arrays by name; give a file that holds a state_dict."
    shown = ", ".join(list(state)[:4])
    return (
        f"{checkpoint} is none of liftjax's networks: {len(state)} arrays such as {shown}; the "
        f"nearest is {sizes.nearest(state)}."
    )


def _name(
    checkpoint: str, found: Found, measured: Keywords, model: str | None, given: Keywords
) -> str:
    """The preset: the user's if the file can be it, or else the best."""
    best = sizes.best_preset(found.network, measured, found.skeleton, found.image_size)
    if model is None:
        return best
    presets = DETECTORS | LIFTERS
    if model not in presets:
        raise unknown_name("model", model, presets)
    if presets[model].cls is not found.network:
        raise LiftjaxError(_another_network(checkpoint, found, model, best))
    fixed = {key: value for key, value in measured.items() if key not in given}
    wrong = sizes.differing(model, fixed)
    if wrong and not sizes.differing(best, fixed):
        shown = ", ".join(f"{key}={value}" for key, value in wrong.items())
        raise LiftjaxError(f"{checkpoint} is not {model} ({shown}); use --model {best}.")
    return model


def _another_network(checkpoint: str, found: Found, model: str, best: str) -> str:
    theirs = set(found.state)
    ours = set(sizes.names(model))
    missing, unexpected = sorted(ours - theirs), sorted(theirs - ours)
    return (
        f"{checkpoint} is not {model} but {found.network.__name__}: {len(missing)} names missing "
        f"({', '.join(missing[:3])}, ...), {len(unexpected)} unexpected "
        f"({', '.join(unexpected[:3])}, ...); use --model {best}."
    )


def _spec(
    checkpoint: str,
    name: str,
    found: Found,
    measured: Keywords,
    given: Keywords,
    skeleton: str | None,
    num_joints: int | None,
) -> dict:
    """What `checkpoints.build_model` rebuilds the network from."""
    kind = sizes.kind_of(name)
    keywords = sizes.differing(name, measured) | given
    if kind == "detector":
        joints = _joints(checkpoint, name, found, skeleton, num_joints)
        preset = DETECTORS[name].keywords["image_size"]
        size = keywords.pop("image_size", found.image_size or preset)
        return {"kind": kind, "name": name, **joints, "image_size": size, **keywords}
    if num_joints is not None:
        raise LiftjaxError("The joints of a lifter have names; give --skeleton, not --num-joints.")
    joints = skeleton or found.skeleton
    if joints is None or get_skeleton(joints).num_joints != found.num_joints:
        raise LiftjaxError(
            f"{checkpoint} lifts {found.num_joints} joints, "
            f"{f'not those of {joints}' if joints else 'no set that liftjax knows'}; a lifter "
            "cannot be converted to other joints."
        )
    frames = keywords.pop("num_frames", measured.get("num_frames", 1))
    return {"kind": kind, "name": name, "skeleton": joints, "num_frames": frames, **keywords}


def _joints(
    checkpoint: str, name: str, found: Found, skeleton: str | None, num_joints: int | None
) -> dict:
    """The joints that the detector shall find: {"skeleton": name} or {"num_joints": K}."""
    if skeleton is not None and num_joints is not None:
        raise LiftjaxError("Give --skeleton or --num-joints, not both: a joint set has its count.")
    count = found.num_joints
    if count and found.skeleton and get_skeleton(found.skeleton).num_joints != count:
        raise LiftjaxError(
            f"{checkpoint} finds {count} joints, {found.skeleton} ({found.why}) has "
            f"{get_skeleton(found.skeleton).num_joints}; name its own with --source-skeleton."
        )
    if num_joints is not None:
        return {"num_joints": num_joints}
    if count is None:
        return {"skeleton": skeleton or DETECTORS[name].skeleton}
    if found.skeleton is None:
        raise LiftjaxError(
            f"The {count} joints of {checkpoint} have no name here ({found.why}); name them with "
            f"--source-skeleton, or keep them unnamed with --num-joints {count}."
        )
    return {"skeleton": skeleton or found.skeleton}


def _load(
    checkpoint: str, module: nnx.Module, state: dict, found: Found, measured: Keywords
) -> None:
    broken = [key for key, value in state.items() if not _finite(value)]
    if broken:
        raise LiftjaxError(
            f"{checkpoint} has numbers that are not finite in {len(broken)} arrays, such as "
            f"{broken[0]}; its training went wrong."
        )
    try:
        torch_weights.load(module, state)
    except LiftjaxError as error:
        best = sizes.best_preset(found.network, measured, found.skeleton, found.image_size)
        raise LiftjaxError(f"{checkpoint}: {error} The nearest model is {best}.") from None


def _other_graph(module: nnx.Module) -> list[str]:
    """A warning if IGANet brought a graph that is not that of its joint set."""
    if not isinstance(module, IGANet):
        return []
    if np.allclose(module.A[...], skeleton_graph(module.spec.skeleton), atol=1e-5):
        return []
    return [f"the file's skeleton graph is not that of {module.spec.skeleton}; is it another set?"]


def _finite(value: Any) -> bool:
    return bool(np.isfinite(torch_weights.as_numpy(value)).all())


def _set_statistics(
    module: nnx.Module, metadata: dict[str, str], stats: str | None, unit: str
) -> list[str]:
    """Sets SimpleBaseline's statistics from the file's header or from `stats`."""
    if not hasattr(module, "set_statistics"):
        if stats:
            raise LiftjaxError("Only SimpleBaseline takes --stats; leave it out.")
        return []
    stored, joints = _header(metadata, "statistics"), module.spec.num_joints
    if stats:
        found, where = statistics.read(stats, joints, unit, module.spec.skeleton), stats
    elif stored:
        where = "the file's header"
        found = statistics.from_arrays(stored, joints, "m", where)
    else:
        raise LiftjaxError(
            "SimpleBaseline standardises with its training data's mean and deviation, which no "
            "checkpoint has; add --stats FILE (.npz, .json, .pkl) or --stats DATA_SET_DIRECTORY."
        )
    module.set_statistics(*found)
    return [f"statistics from {where}"]


def _described(spec: dict) -> str:
    keywords = {k: v for k, v in spec.items() if k not in ("kind", "name")}
    return f"{spec['name']} ({', '.join(f'{k}={v}' for k, v in keywords.items())})"
