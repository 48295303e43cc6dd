"""Checkpoints of a run, and models read back from them.

A checkpoint holds three items: `model` (every variable of the trained network, by dotted path),
`training` (optimizer state and the guidance history) and `meta` (JSON: which network, its
keywords, the recipe, the step). The position in the data follows from the step.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from flax import nnx

from liftjax import registry
from liftjax.errors import LiftjaxError
from liftjax.recipes import complete
from liftjax.training.state import Arrays, assign, flat_arrays

FORMAT = 1
FOLDER = "checkpoints"


class Checkpoints:
    """The checkpoints of one run directory, written asynchronously and atomically."""

    def __init__(self, workdir: str | epath.Path, keep: int = 1):
        self.directory = epath.Path(workdir).resolve() / FOLDER
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
            item_names=("model", "training", "meta"),
        )

    def latest(self) -> int | None:
        """The newest whole checkpoint's step; None in a new run."""
        return self._manager.latest_step()

    def save(self, step: int, model: Arrays, training: Any, meta: dict) -> None:
        """Starts writing step `step`; returns before the bytes are on disk."""
        # The next step donates these buffers, and on a CPU the writer would read them in place.
        model, training = jax.tree.map(jnp.copy, (model, training))
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model),
                training=ocp.args.StandardSave(training),
                meta=ocp.args.JsonSave({"format": FORMAT, "step": step, **meta}),
            ),
        )

    def restore(self, step: int, model: Arrays, training: Any, meta: dict) -> tuple[Arrays, Any]:
        """The model and training state of `step`, in the structure of the given ones.

        Raises:
          LiftjaxError: the checkpoint is of another network, or of other settings.
        """
        saved = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
        found = checkpoint_spec(saved["meta"])
        if found != meta["model"]:
            raise LiftjaxError(
                f"{self.directory / str(step)} is a checkpoint of another model "
                f"({spec_difference(found, meta['model'])}); use a new --workdir, or the recipe "
                "that wrote it."
            )
        recipes = (complete(m["recipe"]).to_dict() for m in (saved["meta"], meta))
        found, wanted = map(_settings, recipes)
        if found != wanted:
            raise LiftjaxError(
                f"{self.directory.parent} was trained with other settings "
                f"({spec_difference(found, wanted)}); use a new --workdir."
            )
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardRestore(_abstract(model)),
                training=ocp.args.StandardRestore(_abstract(training)),
            ),
        )
        return restored["model"], restored["training"]

    def close(self) -> None:
        """Waits for the last save."""
        self._manager.wait_until_finished()
        self._manager.close()


def _abstract(tree):
    return jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)


# What may change between a run and its resumption. None of it changes a step, but for `steps`:
# a longer run goes on under the schedule of its new length.
_FREE = ("log_every", "checkpoint_every", "data.workers", "data.cache", "data.eval_split",
         "data.eval_subjects", "data.eval_batch_size", "lifter.flip_test", "steps")  # fmt: skip


def _settings(recipe: dict) -> dict:
    """Dotted keys of a recipe that a resumed run must share; JSON has made lists of tuples."""
    flat = {}
    for key, value in recipe.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{k}": v for k, v in _settings(value).items()}
        else:
            flat[key] = tuple(value) if isinstance(value, list) else value
    return {key: value for key, value in flat.items() if key not in _FREE}


def checkpoint_spec(meta: dict) -> dict:
    """The model spec in a checkpoint's meta; JSON has made lists of its tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in meta["model"].items()}


def spec_difference(found: dict, wanted: dict) -> str:
    """What differs between two model specs or settings, in words."""
    keys = [k for k in found | wanted if found.get(k) != wanted.get(k)]
    return "; ".join(f"{k} is {found.get(k)!r} there, {wanted.get(k)!r} here" for k in keys)


def build_model(spec: dict, seed: int = 0) -> nnx.Module:
    """The network that a checkpoint's meta describes: {"kind", "name", keywords ...}."""
    keywords = {k: v for k, v in spec.items() if k not in ("kind", "name")}
    create = {"detector": registry.create_detector, "lifter": registry.create_lifter}
    return create[spec["kind"]](spec["name"], rngs=nnx.Rngs(seed), **keywords)


def find_checkpoint(path: str | epath.Path) -> epath.Path:
    """The folder of one step: `path` itself, or the newest step of the run directory `path`."""
    path = epath.Path(path).expanduser().resolve()
    if (path / "model").exists():
        return path
    steps = path / FOLDER
    names = [p.name for p in steps.iterdir()] if steps.exists() else []
    whole = [int(name) for name in names if name.isdigit()]
    if not whole:
        raise LiftjaxError(
            f"No checkpoint in {path}; give a run directory that holds {FOLDER}/STEP, "
            "or one such STEP folder."
        )
    return steps / str(max(whole))


def read_meta(path: str | epath.Path) -> dict:
    """The meta JSON of the checkpoint at `path` (see :func:`find_checkpoint`)."""
    folder = find_checkpoint(path)
    try:
        return ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(folder / "meta")
    except (FileNotFoundError, ValueError) as error:
        raise LiftjaxError(f"{folder} is not a liftjax checkpoint: {error}") from error


def load_model(
    path: str | epath.Path, kind: str, build: Callable[[dict], nnx.Module] = build_model
) -> tuple[nnx.Module, dict]:
    """The `kind` ("detector" or "lifter") stored at `path`, and the checkpoint's meta.

    The optimizer state is not read. `build` makes the network, whatever its weights, from its spec.

    Raises:
      LiftjaxError: no checkpoint there, or one of another kind of network.
    """
    folder, meta = find_checkpoint(path), read_meta(path)
    if meta["format"] > FORMAT:
        raise LiftjaxError(
            f"{folder} was written by a newer liftjax (format {meta['format']}, this one reads "
            f"{FORMAT}): update liftjax."
        )
    if meta["model"]["kind"] != kind:
        raise LiftjaxError(
            f"{folder} holds a {meta['model']['kind']} ({meta['model']['name']}), not a {kind}."
        )
    module = build(checkpoint_spec(meta))
    arrays = flat_arrays(module)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            restored = checkpointer.restore(folder / "model", _abstract(arrays))
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise LiftjaxError(f"{folder / 'model'} is damaged or incomplete: {reason}") from error
    assign(module, restored)
    return module, meta


def load_same_model(path: str | epath.Path, spec: dict) -> nnx.Module:
    """The network stored at `path`, to go on from.

    Raises:
      LiftjaxError: it is not the network that `spec` describes; says what differs.
    """
    model, meta = load_model(path, spec["kind"])
    found = checkpoint_spec(meta)
    if found != spec:
        raise LiftjaxError(
            f"{path} holds another {spec['kind']} ({spec_difference(found, spec)}); "
            "describe that one in the recipe, or start from another checkpoint."
        )
    return model


def load_lifters(paths: Mapping[str, str], skeleton: str) -> dict[str, nnx.Module]:
    """Trained lifters by name from their run directories; all must be for `skeleton`."""
    lifters = {name: load_model(path, "lifter")[0] for name, path in paths.items()}
    for name, lifter in lifters.items():
        if lifter.spec.skeleton != skeleton:
            raise LiftjaxError(
                f"The lifter {name} in {paths[name]} is for {lifter.spec.skeleton}, the data has "
                f"{skeleton} poses; train one on this data."
            )
    return lifters
