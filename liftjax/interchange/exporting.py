"""`export`: a network for other programs: its weights, or the whole of it as a program.

Weights go out as files of other programs or as a run directory of ours (`weight_files`), programs
(`programs`) as StableHLO and ONNX. Everything written is read back by what it is for and compared
before it gets its name.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from flax import nnx

from liftjax.detectors.decoding import Decoding
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.interchange import programs, sidecar, stablehlo, weight_files
from liftjax.interchange.blank import blank_model
from liftjax.interchange.importing import parse_overrides
from liftjax.interchange.programs import Program
from liftjax.interchange.sidecar import Origin
from liftjax.interchange.writing import beside, local_path, new_files
from liftjax.registry import find_preset
from liftjax.runtime.checkpoints import build_model, checkpoint_spec, load_model, read_meta

_INSIDE, _BESIDE = WEIGHTS = ("inside", "beside")


@dataclasses.dataclass(frozen=True)
class Options:
    """What makes a program of a network; the formats of weights have none of it.

    Attributes:
      head: where the program begins and ends, see `programs`; None: the kind's first.
      lifters: run directories of lifters behind a detector.
      beta: of the soft-argmax; None: the checkpoint's recipe's.
      weights: of StableHLO, 'inside' the program or 'beside' it. opset: of ONNX.
    """

    head: str | None = None
    lifters: Sequence[str] = ()
    beta: float | None = None
    weights: str | None = None
    opset: int | None = None


def run(
    out: str,
    *,
    format: str,
    model: str | None = None,
    checkpoint: str | None = None,
    skeleton: str | None = None,
    num_joints: int | None = None,
    overrides: Sequence[str] = (),
    options: Options | None = None,
) -> None:
    """Writes a network to `out` and prints what was written.

    Args:
      out: a new file; for orbax a new directory, or one that an import or export wrote.
      format: one of FORMATS.
      model: a name in the registry; may be left out with a checkpoint.
      checkpoint: a run directory, or one step of it; without, fresh weights.
      skeleton, num_joints, overrides: of fresh weights ("KEY=VALUE"); a checkpoint has its own.
      options: of StableHLO and ONNX.

    Raises:
      LiftjaxError: something stands at `out`; model, checkpoint or options contradict each other;
        what was written does not do what the network does, and is gone again.
    """
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    options = options or Options()
    _check_options(format, options)
    build = blank_model if format in _WEIGHT_FORMATS else _clip_form
    if checkpoint is None:
        spec = _fresh_spec(model, skeleton, num_joints, parse_overrides(overrides))
        module, origin = build_model(spec), Origin(spec, "fresh weights", {})
    else:
        if skeleton or num_joints or overrides:
            raise LiftjaxError("A checkpoint has its joints and sizes; leave out those options.")
        module, origin = _stored(checkpoint, model, build)
    path = local_path(out)
    if format in _WEIGHT_FORMATS:
        lines = _WEIGHT_FORMATS[format](path, module, origin)
    else:
        program, origins = _program(module, origin, options)
        lines = _PROGRAM_FORMATS[format](path, program, origins, options)
    print("\n  ".join([f"{origin.spec['name']}, {origin.place} -> {out}", *lines]))


def _check_options(format: str, options: Options) -> None:
    """Raises for an option that another format takes."""
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
    """A blank network for clips; strided ones are for training."""
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


def _program(module: nnx.Module, origin: Origin, options: Options) -> tuple[Program, list[Origin]]:
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
    out: Path, program: Program, origins: list[Origin], options: Options
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


def _write_onnx(out: Path, program: Program, origins: list[Origin], options: Options) -> list[str]:
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
