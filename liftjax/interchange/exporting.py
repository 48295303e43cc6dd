"""`export`: writes a network for other programs: its weights alone, or all of it as a program.

Weights become files that other programs read, or a run directory (`weight_files`). Programs
(`programs`) become StableHLO or ONNX. Every file is read back and compared before it gets its name.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from flax import nnx

from liftjax.detectors.spec import Decoding
from liftjax.errors import LiftjaxError, check_name, unknown_name
from liftjax.interchange import programs, sidecar, stablehlo, weight_files
from liftjax.interchange.blank import blank_model
from liftjax.interchange.importing import parse_overrides
from liftjax.interchange.programs import Program
from liftjax.interchange.sidecar import Origin
from liftjax.interchange.writing import beside, local_path, new_files
from liftjax.registry import find_preset
from liftjax.runtime.checkpoints import (
    build_model,
    checkpoint_spec,
    licence_of,
    load_model,
    read_meta,
)

_INSIDE, _BESIDE = WEIGHTS = ("inside", "beside")


@dataclasses.dataclass(frozen=True)
class ProgramOptions:
    """Options of the formats that hold a whole program; the formats of weights have none.

    Attributes:
      head: where the program begins and ends, see `programs`. None: the kind's default.
      lifters: run directories of lifters behind a detector.
      beta: sharpness of the soft-argmax. None: as in the checkpoint's recipe.
      weights: for StableHLO, 'inside' the program or 'beside' it.
      opset: for ONNX.
    """

    head: str | None = None
    lifters: Sequence[str] = ()
    beta: float | None = None
    weights: str | None = None
    opset: int | None = None


def export_network(
    out: str,
    *,
    format: str,
    model: str | None = None,
    checkpoint: str | None = None,
    skeleton: str | None = None,
    num_joints: int | None = None,
    overrides: Sequence[str] = (),
    options: ProgramOptions | None = None,
) -> None:
    """Writes a network to `out` and prints what was written.

    Args:
      out: a new file; for orbax a new directory, or one that an import or export wrote.
      format: one of FORMATS.
      model: a name in the registry; not needed with a checkpoint.
      checkpoint: a run directory, or one step of it. None: fresh weights.
      skeleton: the joint set of fresh weights.
      num_joints: the number of joints of fresh weights, in place of a joint set.
      overrides: sizes of fresh weights, each "KEY=VALUE".
      options: for StableHLO and ONNX.

    Raises:
      LiftjaxError: `out` exists; model, checkpoint or options contradict each other; the file does
        not give what the network gives, and has been deleted.
    """
    check_name("format", format, FORMATS)
    options = options or ProgramOptions()
    _check_options(format, options)
    build = blank_model if format in _WEIGHT_FORMATS else _clip_form
    if checkpoint is None:
        spec = _fresh_spec(model, skeleton, num_joints, parse_overrides(overrides))
        module, origin = build_model(spec), Origin(spec, "fresh weights", {})
    else:
        if skeleton or num_joints or overrides:
            raise LiftjaxError("A checkpoint has its joints and sizes; leave out those options.")
        module, origin = _stored(checkpoint, model, build)
    path, origins = local_path(out), [origin]
    if format in _WEIGHT_FORMATS:
        lines = _WEIGHT_FORMATS[format](path, module, origin)
    else:
        program, origins = _program(module, origin, options)
        lines = _PROGRAM_FORMATS[format](path, program, origins, options)
    licences = [(one.spec["name"], licence_of(one.meta)) for one in origins]
    lines += [f"licence of {name}'s weights: {terms}" for name, terms in licences if terms]
    print("\n  ".join([f"{origin.spec['name']}, {origin.place} -> {out}", *lines]))


def _check_options(format: str, options: ProgramOptions) -> None:
    """Raises if an option belongs to another format."""
    given = {k: v for k, v in vars(options).items() if v not in (None, (), [])}
    formats = {name: tuple(_PROGRAM_FORMATS) for name in given}
    formats |= {"weights": ("stablehlo",), "opset": ("onnx",)}
    for name in given:
        if format not in formats[name]:
            option = "--lifter" if name == "lifters" else f"--{name}"
            raise LiftjaxError(
                f"{option} belongs to --format {' and '.join(formats[name])}; leave it out of "
                f"--format {format}."
            )
    if options.weights not in (None, *WEIGHTS):
        raise unknown_name("place of weights", options.weights, WEIGHTS)


def _fresh_spec(
    model: str | None, skeleton: str | None, num_joints: int | None, keywords: dict
) -> dict:
    if model is None:
        raise LiftjaxError("Give --model NAME, or --checkpoint RUN_DIRECTORY.")
    kind, preset = find_preset(model)
    if kind == "lifter":
        if num_joints is not None:
            raise LiftjaxError("The joints of a lifter have names; give --skeleton.")
        joints = {"skeleton": skeleton or preset.skeleton}
        return {"kind": kind, "name": model, **joints, "num_frames": 1, **keywords}
    joints = {"skeleton": skeleton or preset.skeleton}
    joints = joints if num_joints is None else {"num_joints": num_joints}
    image_size = {"image_size": preset.default("image_size")}
    return {"kind": kind, "name": model, **joints, **image_size, **keywords}


def _clip_form(spec: dict) -> nnx.Module:
    """A blank network for clips. The strided form is for training only."""
    return blank_model({k: v for k, v in spec.items() if k != "strided"})


def _stored(
    checkpoint: str, model: str | None, build: Callable[[dict], nnx.Module]
) -> tuple[nnx.Module, Origin]:
    """The network of a checkpoint and where it is from."""
    spec = checkpoint_spec(read_meta(checkpoint))
    if model is not None and model != spec["name"]:
        raise LiftjaxError(
            f"{checkpoint} holds {spec['name']}, not {model}; leave out --model or correct it."
        )
    module, meta = load_model(checkpoint, spec["kind"], build=build)
    return module, Origin(spec, f"step {meta['step']} of {Path(checkpoint).name}", meta)


# Programs


def _program(
    module: nnx.Module, origin: Origin, options: ProgramOptions
) -> tuple[Program, list[Origin]]:
    if origin.spec["kind"] == "lifter":
        if options.lifters or options.beta is not None:
            raise LiftjaxError("--lifter and --beta belong to a detector; this is a lifter.")
        return programs.lifter_program(module, options.head), [origin]
    if options.beta is not None and options.head in ("maps", "rtmlib"):
        raise LiftjaxError(
            f"The head {options.head} gives maps, without soft-argmax; leave out --beta."
        )
    decoding = Decoding.of_recipe(origin.meta.get("recipe", {}), options.beta)
    head = options.head or ("poses" if options.lifters else None)
    lifters, origins = {}, [origin]
    for path in options.lifters:
        lifter, found = _stored(path, None, _clip_form)
        if found.spec["kind"] != "lifter":
            raise LiftjaxError(f"{path} holds {found.spec['name']}, a detector; --lifter lifts.")
        name = found.spec["name"]
        again = sum(name == other.spec["name"] for other in origins)
        lifters[f"{name}_{again + 1}" if again else name] = lifter
        origins.append(found)
    return programs.detector_program(module, head, decoding, lifters), origins


def _write_stablehlo(
    out: Path, program: Program, origins: list[Origin], options: ProgramOptions
) -> list[str]:
    targets = [out, beside(out, ".json")]
    apart = beside(out, ".safetensors") if options.weights == _BESIDE else None
    with new_files(*targets, *([apart] if apart else ())) as partials:
        weights = partials[2] if apart else None
        stablehlo.write(partials[0], program, weights)
        check = stablehlo.check(partials[0], program, weights)
        more = {"platforms": list(stablehlo.PLATFORMS), "weights": options.weights or _INSIDE}
        run = stablehlo.how_to_run(out.name, program, apart and apart.name)
        about = sidecar.text(out, "stablehlo", program, origins, check, run, **more)
        partials[1].write_text(about)
    run = stablehlo.how_to_run(str(out), program, apart and str(apart))
    return _report(program, targets[1:] + ([apart] if apart else []), check, run)


def _write_onnx(
    out: Path, program: Program, origins: list[Origin], options: ProgramOptions
) -> list[str]:
    from liftjax.interchange import onnx_file  # onnx is an extra

    opset = onnx_file.OPSET if options.opset is None else options.opset
    with new_files(out, beside(out, ".json")) as (partial, about):
        onnx_file.write(partial, program, origins[0].spec["name"], opset)
        check = onnx_file.check(partial, program)
        run = onnx_file.how_to_run(out.name, program)
        about.write_text(sidecar.text(out, "onnx", program, origins, check, run, opset=opset))
    run = onnx_file.how_to_run(str(out), program)
    return _report(program, [beside(out, ".json")], check, run)


def _report(program: Program, others: list[Path], check, run: Sequence[str]) -> list[str]:
    def listed(ports):
        return ", ".join(f"{p.name} {p.dtype} ({', '.join(map(str, p.shape))})" for p in ports)

    return [
        f"head {program.head}: {listed(program.inputs)} -> {listed(program.outputs)}",
        f"what it takes and gives, joints, licences: {', '.join(str(path) for path in others)}",
        str(check),
        "run it:",
        *(f"  {line}" for line in run),
    ]


_WEIGHT_FORMATS = {
    "orbax": weight_files.write_orbax,
    "safetensors": weight_files.write_safetensors,
    "torch": weight_files.write_torch,
}
_PROGRAM_FORMATS = {"stablehlo": _write_stablehlo, "onnx": _write_onnx}
FORMATS = (*_WEIGHT_FORMATS, *_PROGRAM_FORMATS)
