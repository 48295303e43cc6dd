"""A network's weights as files: upstream's state_dict for PyTorch, safetensors, a run directory.

PyTorch files hold the state_dict of the original program, by its names and in its layout, so that
`load_state_dict(strict=True)` takes it. A safetensors file holds the same and, in its header, what
rebuilds the network here. Every file is read back and compared.
"""

import json
import shlex
from pathlib import Path

import numpy as np
from flax import nnx

import liftjax
from liftjax import torch_weights
from liftjax.detectors.spec import Decoding
from liftjax.errors import needs
from liftjax.interchange.blank import blank_model, state_shapes
from liftjax.interchange.lifter_statistics import statistics_of_module
from liftjax.interchange.run_directory import write_run_directory
from liftjax.interchange.sidecar import Origin
from liftjax.interchange.verify import compare_arrays
from liftjax.interchange.writing import new_files
from liftjax.runtime.checkpoints import licence_of, load_model
from liftjax.runtime.state import flat_arrays


def _state(module: nnx.Module, spec: dict) -> dict[str, np.ndarray]:
    """Upstream's state_dict in upstream's order, which a blank module has lost.

    The arrays are in C order: safetensors stores memory as it is, so a transposed view would come
    out scrambled.
    """
    state = torch_weights.dump(module)
    return {key: np.asarray(state[key], order="C") for key in state_shapes(spec)}


def write_torch(out: Path, module: nnx.Module, origin: Origin) -> list[str]:
    """Writes a state_dict, and statistics to a file beside it; returns lines to print."""
    with needs("--format torch (unlike safetensors)", "PyTorch", "torch"):
        import torch
    state = _state(module, origin.spec)
    found = statistics_of_module(module)
    targets = [out, out.with_suffix(".stats.json")] if found else [out]
    with new_files(*targets) as partials:
        torch.save({key: torch.from_numpy(value) for key, value in state.items()}, partials[0])
        loaded = torch.load(partials[0], weights_only=True)
        reader = f"torch {torch.__version__}"
        compare_arrays(state, {key: value.numpy() for key, value in loaded.items()}, reader)
        if found:
            partials[1].write_text(json.dumps(found))
    lines = [f"{len(state)} tensors by upstream's names; read back by {reader}: equal"]
    options = ["--stats", str(targets[1])] if found else []
    lines.append(f"the same network again: {_import_line(out, origin.spec, options)}")
    decoding = _decoding(origin)
    if decoding != Decoding():
        lines.append(f"the file cannot say how it was trained: {_in_words(decoding)}")
    return lines


def _import_line(out: Path, spec: dict, options: list[str]) -> str:
    """The command that makes a run directory of a state_dict."""
    fixed = {"kind", "name", "skeleton", "skeleton_2d", "num_joints"}
    if "skeleton_2d" in spec:
        joints = ["--source-skeleton", spec["skeleton_2d"], "--skeleton", spec["skeleton"]]
    elif "skeleton" in spec:
        joints = ["--source-skeleton", spec["skeleton"]]
    else:
        joints = ["--num-joints", str(spec["num_joints"])]
    sizes = [f"--model.{k}={v}".replace(" ", "") for k, v in spec.items() if k not in fixed]
    command = ["python", "-m", "liftjax", "import-weights", str(out), "--model", spec["name"]]
    return shlex.join([*command, *joints, *sizes, *options, "--out", "runs/again"])


def _decoding(origin: Origin) -> Decoding:
    return Decoding.of_recipe(origin.meta.get("recipe", {}))


def _in_words(decoding: Decoding) -> str:
    shift = ", with a shift by a quarter pixel" if decoding.quarter_pixel else ""
    return f"soft-argmax by {decoding.normalizer} with --beta {decoding.beta:g}{shift}"


def write_safetensors(out: Path, module: nnx.Module, origin: Origin) -> list[str]:
    """Writes the same state_dict, with what rebuilds the network in the header."""
    from safetensors.numpy import load, save

    spec, state = origin.spec, _state(module, origin.spec)
    header = {
        "format": "pt",
        "liftjax": liftjax.__version__,
        "model": spec["name"],
        "skeleton": str(spec.get("skeleton", "")),
        "spec": json.dumps(spec),
    }
    if spec["kind"] == "detector":
        header["recipe"] = json.dumps(_decoding(origin).as_recipe())
    if licence := licence_of(origin.meta):
        header["licence"] = licence
    found = statistics_of_module(module)
    if found:
        header["statistics"] = json.dumps(found)
    with new_files(out) as (partial,):
        # Not save_file: it would make a file that only its owner can read.
        partial.write_bytes(save(state, metadata=header))
        compare_arrays(state, load(partial.read_bytes()), "safetensors")
    inside = ", statistics" if found else ""
    what = f"{len(state)} tensors by upstream's names; model, joints{inside} in the header"
    return [f"{what}; read back: equal"]


def write_orbax(out: Path, module: nnx.Module, origin: Origin) -> list[str]:
    """Writes a run directory."""

    def check(partial: Path) -> None:
        loaded, _ = load_model(partial, origin.spec["kind"], build=blank_model)
        arrays = ({k: np.asarray(v) for k, v in flat_arrays(m).items()} for m in (module, loaded))
        compare_arrays(*arrays, "orbax")

    about = {**origin.meta.get("origin", {}), "exported": origin.place}
    about |= {"licence": licence} if (licence := licence_of(origin.meta)) else {}
    recipe = origin.meta.get("recipe", {})
    write_run_directory(str(out), module, origin.spec, about, recipe, check)
    return [
        "a run directory: name it in recipes as detector.checkpoint or lifters.NAME",
        "read back: equal",
    ]
