"""`export`: a network's weights as files of other programs, or as a run directory of ours.

PyTorch files hold the state_dict of the original program, by its names and in its layout, so that
`load_state_dict(strict=True)` takes it. A safetensors file holds the same and, in its header, what
rebuilds the network here.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from flax import nnx

import liftjax
from liftjax import torch_weights
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.interchange import run_directory, sizes, statistics
from liftjax.interchange.blank import blank_model, state_dict_order
from liftjax.interchange.importing import parse_overrides
from liftjax.registry import DETECTORS, LIFTERS
from liftjax.training.checkpoints import build_model, checkpoint_spec, load_model, read_meta


def run(
    out: str,
    *,
    format: str,
    model: str | None = None,
    checkpoint: str | None = None,
    skeleton: str | None = None,
    num_joints: int | None = None,
    overrides: Sequence[str] = (),
) -> None:
    """Writes a network to `out` and prints what was written.

    Args:
      out: a new file; for orbax a new directory, or one that an import or export wrote.
      format: one of FORMATS.
      model: a name in the registry; may be left out with a checkpoint.
      checkpoint: a run directory, or one step of it; without, fresh weights.
      skeleton, num_joints, overrides: of fresh weights ("KEY=VALUE"); a checkpoint has its own.

    Raises:
      LiftjaxError: something stands at `out`, or model and checkpoint contradict each other.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    if checkpoint is None:
        spec = _fresh_spec(model, skeleton, num_joints, parse_overrides(overrides))
        module, origin = build_model(spec), "fresh weights"
    else:
        if skeleton or num_joints or overrides:
            raise LiftjaxError("A checkpoint has its joints and sizes; leave out those options.")
        module, spec, origin = _stored(checkpoint, model)
    lines = FORMATS[format](Path(out).expanduser(), module, spec, origin)
    print("\n  ".join([f"{spec['name']}, {origin} -> {out}", *lines]))


def _fresh_spec(
    model: str | None, skeleton: str | None, num_joints: int | None, keywords: dict
) -> dict:
    if model is None:
        raise LiftjaxError("Give --model NAME, or --checkpoint RUN_DIRECTORY.")
    kind = sizes.kind_of(model)
    if kind is None:
        raise unknown_name("model", model, DETECTORS | LIFTERS)
    if kind == "lifter":
        if num_joints is not None:
            raise LiftjaxError("The joints of a lifter have names; give --skeleton.")
        joints = {"skeleton": skeleton or LIFTERS[model].skeleton}
        return {"kind": kind, "name": model, **joints, "num_frames": 1, **keywords}
    joints = {"skeleton": skeleton or DETECTORS[model].skeleton}
    joints = joints if num_joints is None else {"num_joints": num_joints}
    image_size = {"image_size": DETECTORS[model].keywords["image_size"]}
    return {"kind": kind, "name": model, **joints, **image_size, **keywords}


def _stored(checkpoint: str, model: str | None) -> tuple[nnx.Module, dict, str]:
    """The network of a checkpoint, its spec, and where it is from."""
    spec = checkpoint_spec(read_meta(checkpoint))
    if model is not None and model != spec["name"]:
        raise LiftjaxError(
            f"{checkpoint} holds {spec['name']}, not {model}; leave out --model or correct it."
        )
    module, meta = load_model(checkpoint, spec["kind"], build=blank_model)
    return module, spec, f"step {meta['step']} of {checkpoint}"


def _state(module: nnx.Module, spec: dict) -> dict[str, np.ndarray]:
    """Upstream's state_dict in upstream's order, which a blank module has not.

    The arrays lie in C order: safetensors takes the memory as it lies and would store a transposed
    view scrambled.
    """
    state = torch_weights.dump(module)
    return {key: np.asarray(state[key], order="C") for key in state_dict_order(spec)}


def _write_torch(out: Path, module: nnx.Module, spec: dict, origin: str) -> list[str]:
    try:
        import torch
    except ImportError:
        raise LiftjaxError(
            "--format torch needs PyTorch (pip install torch); --format safetensors does not."
        ) from None
    state = {key: torch.from_numpy(value) for key, value in _state(module, spec).items()}
    found = statistics.of_module(module)
    beside = out.with_suffix(".stats.json")
    if found and beside.exists():
        raise _exists(beside)
    _write_file(out, lambda partial: torch.save(state, partial))
    lines = [f"{len(state)} tensors by upstream's names"]
    if found:
        _write_file(beside, lambda partial: partial.write_text(json.dumps(found)))
        lines.append(f"statistics in {beside}: import them with --stats {beside}")
    return lines


def _write_safetensors(out: Path, module: nnx.Module, spec: dict, origin: str) -> list[str]:
    from safetensors.numpy import save

    state = _state(module, spec)
    header = {
        "format": "pt",
        "liftjax": liftjax.__version__,
        "model": spec["name"],
        "skeleton": str(spec.get("skeleton", "")),
        "spec": json.dumps(spec),
    }
    found = statistics.of_module(module)
    if found:
        header["statistics"] = json.dumps(found)
    # Its save_file would make the file readable to its owner alone.
    _write_file(out, lambda partial: partial.write_bytes(save(state, metadata=header)))
    inside = ", statistics" if found else ""
    return [f"{len(state)} tensors by upstream's names; model, joints{inside} in the header"]


def _write_orbax(out: Path, module: nnx.Module, spec: dict, origin: str) -> list[str]:
    run_directory.write(str(out), module, spec, {"exported": origin})
    return ["a run directory: name it in recipes as detector.checkpoint or lifters.NAME"]


FORMATS: dict[str, Callable[[Path, nnx.Module, dict, str], list[str]]] = {
    "orbax": _write_orbax,
    "safetensors": _write_safetensors,
    "torch": _write_torch,
}


def _write_file(out: Path, write: Callable[[Path], None]) -> None:
    """Writes the new file `out` whole or not at all."""
    if out.exists():
        raise _exists(out)
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        os.replace(partial, out)
    except OSError as error:
        raise LiftjaxError(
            f"Could not write {out}: {error.strerror or error}; choose another --out."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _exists(path: Path) -> LiftjaxError:
    return LiftjaxError(f"{path} exists and is not overwritten; choose another --out.")
