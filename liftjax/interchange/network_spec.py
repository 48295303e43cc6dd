"""What rebuilds a network that was found in a file: its preset, sizes and joints.

Sizes that leave no trace in the arrays (heads of an attention, dropout, causality) are the preset's
unless the user says otherwise.
"""

import math
from typing import Any

from liftjax.errors import LiftjaxError
from liftjax.interchange.blank import state_shapes
from liftjax.nn.declaration import Found, Keywords, Preset
from liftjax.registry import find_preset
from liftjax.skeletons import get_skeleton


def network_spec(
    checkpoint: str,
    found: Found,
    model: str | None,
    given: Keywords,
    skeleton: str | None,
    num_joints: int | None,
) -> dict:
    """What `checkpoints.build_model` rebuilds the network from.

    Args:
      checkpoint: the file's name in error messages.
      found: the network in it.
      model: the preset that it must be; None: the one that fits best.
      given: keywords that override what the file says.
      skeleton: joint set that a detector shall find, or that of a lifter's poses.
      num_joints: instead of `skeleton`, how many joints without a name.

    Raises:
      LiftjaxError: sizes or joints contradict each other.
    """
    name = _name(checkpoint, found, model, given)
    kind, preset = find_preset(name)
    keywords = _differing(preset, found.sizes) | given
    if kind == "detector":
        joints = _joints(checkpoint, preset, found, skeleton, num_joints)
        size = keywords.pop("image_size", found.image_size or preset.default("image_size"))
        return {"kind": kind, "name": name, **joints, "image_size": size, **keywords}
    if num_joints is not None:
        raise LiftjaxError("The joints of a lifter have names; give --skeleton, not --num-joints.")
    frames = keywords.pop("num_frames", found.sizes.get("num_frames", 1))
    joints = _lifter_joints(checkpoint, found, skeleton)
    return {"kind": kind, "name": name, **joints, "num_frames": frames, **keywords}


def _lifter_joints(checkpoint: str, found: Found, skeleton: str | None) -> dict:
    """The joint set of the poses and, where it is another one, that of the 2D input."""
    poses = skeleton or found.skeleton
    count, count_2d = found.num_joints, found.num_joints_2d
    if poses is None:
        option = "--source-skeleton" if count_2d in (None, count) else "--skeleton"
        raise LiftjaxError(
            f"{checkpoint} lifts {count} joints ({found.why}); name their set with {option}."
        )
    if get_skeleton(poses).root is None:
        raise LiftjaxError(
            f"Poses in 3D have a root joint, which {poses} lacks; name another set with --skeleton."
        )
    if count not in (None, get_skeleton(poses).num_joints):
        raise LiftjaxError(
            f"{checkpoint} lifts {count} joints, not those of {poses}; a lifter cannot be "
            "converted to other joints."
        )
    if count_2d is None:
        if found.skeleton and found.skeleton != poses:
            raise LiftjaxError(
                f"{checkpoint} has one joint set for its input and its poses; give {poses} or "
                f"{found.skeleton} ({found.why}), not both."
            )
        return {"skeleton": poses}
    keypoints = found.skeleton_2d
    if keypoints is None:
        raise LiftjaxError(
            f"{checkpoint} takes {count_2d} joints in 2D ({found.why_2d}); name their set with "
            "--source-skeleton."
        )
    if get_skeleton(keypoints).num_joints != count_2d:
        raise LiftjaxError(f"{checkpoint} takes {count_2d} joints in 2D, not those of {keypoints}.")
    return {"skeleton": poses} | ({} if keypoints == poses else {"skeleton_2d": keypoints})


def _joints(
    checkpoint: str, preset: Preset, found: Found, skeleton: str | None, num_joints: int | None
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
        return {"skeleton": skeleton or preset.skeleton}
    if found.skeleton is None:
        raise LiftjaxError(
            f"{checkpoint} finds {count} joints, whose set is unknown ({found.why}); name it with "
            f"--source-skeleton, or leave the joints unnamed with --num-joints {count}."
        )
    return {"skeleton": skeleton or found.skeleton}


def _name(checkpoint: str, found: Found, model: str | None, given: Keywords) -> str:
    """The preset: the user's if the file can be it, or else the best."""
    best = best_preset(found)
    if model is None:
        return best
    preset = find_preset(model)[1]
    if model not in found.presets:
        raise LiftjaxError(
            f"{checkpoint} is not {model} but {found.network.__name__}: "
            f"{differing_names(found.state, model)}; use --model {best}."
        )
    fixed = {key: value for key, value in found.sizes.items() if key not in given}
    wrong = _differing(preset, fixed)
    if wrong and not _differing(found.presets[best], fixed):
        shown = ", ".join(f"{key}={value}" for key, value in wrong.items())
        raise LiftjaxError(f"{checkpoint} is not {model} ({shown}); use --model {best}.")
    return model


def differing_names(state: dict, model: str, given: Keywords | None = None) -> str:
    """How the names in `state` differ from those of the preset `model`."""
    ours = set(state_shapes({"kind": find_preset(model)[0], "name": model, **(given or {})}))
    missing, unexpected = sorted(ours - set(state)), sorted(set(state) - ours)
    return (
        f"{len(missing)} names missing ({', '.join(missing[:3])}, ...), {len(unexpected)} "
        f"unexpected ({', '.join(unexpected[:3])}, ...)"
    )


def _differing(preset: Preset, sizes: Keywords) -> Keywords:
    """Those of `sizes` that are not the preset's."""
    return {k: size for k, size in sizes.items() if not _equal(size, preset.default(k))}


def _equal(a: Any, b: Any) -> bool:
    """Depths are rounded to whole blocks, so 0.167 and 1/6 are the same."""
    if isinstance(a, float) and isinstance(b, int | float):
        return math.isclose(a, b, abs_tol=0.01)
    return a == b


def best_preset(found: Found) -> str:
    """The preset with the fewest differing sizes; then of the same joints; then of that image."""

    def rank(name: str):
        preset = found.presets[name]
        return (
            len(_differing(preset, found.sizes)),
            preset.skeleton != found.skeleton,
            preset.default("image_size") != found.image_size,
        )

    return min(found.presets, key=rank)
