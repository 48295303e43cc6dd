"""Every network by name: one dictionary of detectors, one of lifters.

Each network's own file declares its presets (see `nn.declaration`); here they are collected.
Keyword overrides make other sizes.

Your own networks stand in the same dictionaries: a module of yours adds its presets, and with
LIFTJAX_IMPORT=that_module every command imports it (several modules are separated by commas).
"""

import importlib
import inspect
import os

from flax import nnx

from liftjax.detectors import hrnet, rtmpose
from liftjax.errors import LiftjaxError, check_name, unknown_name
from liftjax.lifters import iganet, mixste, simple_baseline, videopose3d
from liftjax.nn.declaration import Preset
from liftjax.skeletons import get_skeleton

DETECTORS: dict[str, Preset] = {**hrnet.PRESETS, **rtmpose.PRESETS}
LIFTERS: dict[str, Preset] = {
    **simple_baseline.PRESETS,
    **videopose3d.PRESETS,
    **iganet.PRESETS,
    **mixste.PRESETS,
}


def list_detectors() -> list[str]:
    """The names that :func:`create_detector` takes; those of LIFTJAX_IMPORT come last."""
    return list(DETECTORS)


def list_lifters() -> list[str]:
    """The names that :func:`create_lifter` takes; those of LIFTJAX_IMPORT come last."""
    return list(LIFTERS)


def create_detector(
    name: str,
    *,
    skeleton: str | None = None,
    num_joints: int | None = None,
    image_size: tuple[int, int] | None = None,
    rngs: nnx.Rngs,
    **overrides,
) -> nnx.Module:
    """A 2D pose detector with fresh weights.

    Args:
      name: one of :func:`list_detectors`.
      skeleton: joint set that it finds; default: that of the published weights.
      num_joints: instead of `skeleton`, the number of joints of a set without a name.
      image_size: (height, width) of the person crop; default: the preset's.
      rngs: random numbers of the initial weights.
      **overrides: sizes that differ from the preset's.

    Raises:
      LiftjaxError: unknown name, skeleton or keyword; the message names the nearest.
    """
    preset = get_preset("detector", name)
    if skeleton is None and num_joints is None:
        skeleton = preset.skeleton
    if num_joints is None:
        num_joints = get_skeleton(skeleton).num_joints
    if num_joints < 1:
        raise LiftjaxError(f"{name} with {num_joints} joints; it finds 1 or more.")
    if image_size is not None:
        overrides["image_size"] = image_size
    return _create(name, preset, overrides, num_joints=num_joints, skeleton=skeleton, rngs=rngs)


def create_lifter(
    name: str,
    *,
    skeleton: str | None = None,
    num_frames: int = 1,
    rngs: nnx.Rngs,
    **overrides,
) -> nnx.Module:
    """A 2D-to-3D lifter with fresh weights, at the paper's size unless overridden.

    Args:
      name: one of :func:`list_lifters`.
      skeleton: joint set of input and output; default: that of the published weights.
      num_frames: how many frames the lifter sees at once.
      rngs: random numbers of the initial weights.
      **overrides: sizes that differ from the preset's.

    Raises:
      LiftjaxError: unknown name, skeleton or keyword; the message names the nearest.
    """
    preset = get_preset("lifter", name)
    skeleton = preset.skeleton if skeleton is None else skeleton
    return _create(name, preset, overrides, skeleton=skeleton, num_frames=num_frames, rngs=rngs)


def get_preset(kind: str, name: str) -> Preset:
    """The preset of the `kind` ("detector" or "lifter") called `name`."""
    presets = {"detector": DETECTORS, "lifter": LIFTERS}[kind]
    if name not in presets:
        error = unknown_name(kind, name, presets)
        raise LiftjaxError(f"{error} LIFTJAX_IMPORT=MODULE adds a {kind} of your own.")
    return presets[name]


def find_preset(name: str) -> tuple[str, Preset]:
    """The kind ("detector" or "lifter") and the preset called `name`."""
    for kind, presets in (("detector", DETECTORS), ("lifter", LIFTERS)):
        if name in presets:
            return kind, presets[name]
    error = unknown_name("model", name, DETECTORS | LIFTERS)
    raise LiftjaxError(f"{error} LIFTJAX_IMPORT=MODULE adds a network of your own.")


def create_network(name: str, **keywords) -> nnx.Module:
    """The detector or lifter called `name`: :func:`create_detector` or :func:`create_lifter`."""
    create = {"detector": create_detector, "lifter": create_lifter}
    return create[find_preset(name)[0]](name, **keywords)


def _create(name: str, preset: Preset, overrides: dict, **common) -> nnx.Module:
    known = inspect.signature(preset.cls.__init__).parameters
    for keyword in overrides:
        check_name(f"keyword of {name}", keyword, known)
    try:
        return preset.cls(**common, **(preset.keywords | overrides))
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        if not overrides or isinstance(error, LiftjaxError):
            raise
        given = ", ".join(f"{keyword}={value!r}" for keyword, value in overrides.items())
        raise LiftjaxError(f"{name} cannot be built with {given}: {error}") from error


def _import_others(names: str) -> None:
    """Imports the modules in `names`, separated by commas, which add presets of their own."""
    for name in filter(None, (name.strip() for name in names.split(","))):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise LiftjaxError(
                f"LIFTJAX_IMPORT names {name}, and there is no such module; run python -m liftjax "
                "in its folder, or add that folder to PYTHONPATH."
            ) from None


_import_others(os.environ.get("LIFTJAX_IMPORT", ""))
