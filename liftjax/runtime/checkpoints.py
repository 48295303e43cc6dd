"""Checkpoints of a run, and models read back from them.

A checkpoint holds three items:

- `model`: every variable of the trained network by its dotted path, averaged where a run averages;
- `training`: the optimizer state, the guidance history and whatever else a step changes;
- `meta`: JSON with the network and its keywords, the recipe, the step, and fingerprints of the data
  and of the networks that guide or teach.

The position in the data follows from the step. All arrays are saved from the host, so that a
checkpoint can be restored on any number of devices and processes.
"""

import dataclasses
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import nnx
from orbax.checkpoint import checkpoint_managers as policies

from liftjax import registry
from liftjax.errors import LiftjaxError, first_line
from liftjax.recipes import complete
from liftjax.runtime import inputs
from liftjax.runtime.scores import Scores
from liftjax.runtime.state import assign, flat_arrays

FORMAT = 1
FOLDER = "checkpoints"
LAST, BEST = "last", "best"  # which of a run's checkpoints

NAMED: dict[str, str] = {}
"""Run directories by the names that recipes have for them: those of published weights, which
`weights.using` fetches."""

_TRASH = "deleted"


class Checkpoints:
    """The checkpoints of one run directory, written asynchronously and atomically.

    The newest checkpoint is always kept. Every process of a run takes part in each save and
    restore; the first process writes.

    Args:
      workdir: the run directory.
      keep_every: keep the checkpoints whose step is a multiple of this too. 0 keeps none of them.
      scores: if given, the checkpoint with the best score is kept too.
    """

    def __init__(
        self, workdir: str | epath.Path, keep_every: int = 0, scores: Scores | None = None
    ):
        self.directory = epath.Path(workdir).resolve() / FOLDER
        kept = [policies.LatestN(1)]
        kept += [policies.EveryNSteps(keep_every)] if keep_every else []
        kept += [_Best(scores)] if scores else []
        self._policy = policies.AnyPreservationPolicy(kept)
        self._manager = _Manager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._policy,
                create=True,
                cleanup_tmp_directories=True,
                # A folder vanishes by a change of name: a kill leaves no half of a checkpoint.
                todelete_subdir=_TRASH,
            ),
            item_names=("model", "training", "meta"),
        )

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint; None in a new run."""
        return self._manager.latest_step()

    def save(self, step: int, model: Any, training: Any, meta: dict) -> None:
        """Starts to write the arrays of `step`; returns before they are on disk."""
        model, training = jax.tree.map(np.asarray, (model, training))
        # The previous save may still be moving a checkpoint into the trash.
        self._manager.wait_until_finished()
        self._empty_trash()
        self._manager.save(
            step,
            args=ocp.args.Composite(
                model=ocp.args.StandardSave(model),
                training=ocp.args.StandardSave(training),
                meta=ocp.args.JsonSave({"format": FORMAT, "step": step, **meta}),
            ),
            force=True,
        )

    def restore(
        self, step: int, model: Any, training: Any, meta: dict, accept_changes: bool = False
    ) -> tuple[Any, Any, dict]:
        """The model, the training state and the meta of a checkpoint; arrays are NumPy arrays.

        Args:
          step: which checkpoint.
          model: arrays with the structure and shapes to restore.
          training: arrays with the structure and shapes to restore.
          meta: of the run that continues, compared with the checkpoint's.
          accept_changes: continue even if the data or the networks that guide or teach have changed
            (see `inputs`).

        Raises:
          LiftjaxError: the checkpoint belongs to another network, to other settings or to other
            data, or it is damaged.
        """
        folder = self.directory / str(step)
        saved = self._read(step, meta=ocp.args.JsonRestore())["meta"]
        _check_format(folder, saved)
        found, wanted = checkpoint_spec(saved), checkpoint_spec(meta)
        if found != wanted:
            raise LiftjaxError(
                f"{folder} is a checkpoint of another model ({spec_difference(found, wanted)}); "
                "use a new --workdir, or the recipe that wrote it."
            )
        recipes = (complete(m["recipe"]).to_dict() for m in (saved, meta))
        # Where the content is known, a path may be another.
        found, wanted = (_settings(one, inputs.shared(saved, meta)) for one in recipes)
        if found != wanted:
            raise LiftjaxError(
                f"{self.directory.parent} was trained with other settings "
                f"({spec_difference(found, wanted)}); use a new --workdir."
            )
        changes = inputs.changes(saved, meta)
        if changes and not accept_changes:
            raise LiftjaxError(
                f"{self.directory.parent} was trained on something else "
                f"({'; '.join(changes.values())}); use a new --workdir, or --accept-changes to go "
                "on with what is there now."
            )
        if changes and "found_px" in training:
            raise LiftjaxError(
                f"{self.directory.parent} holds keypoints that its detector found in the frames "
                "around its samples, and goes on with the same data and lifters only; use a new "
                "--workdir, with --config.detector.checkpoint to start from this one."
            )
        wanted = {"model": model, "training": training}
        items = {key: ocp.args.StandardRestore(_host_like(tree)) for key, tree in wanted.items()}
        restored = self._read(step, **items)
        try:
            _check_shapes(restored, wanted)
        except ValueError as error:
            raise LiftjaxError(f"{folder} does not fit this liftjax: {error}.") from error
        return restored["model"], restored["training"], saved

    def _read(self, step: int, **items: ocp.args.CheckpointArgs) -> dict[str, Any]:
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
            return {key: restored[key] for key in items}
        except (ValueError, KeyError, OSError) as error:
            raise LiftjaxError(
                f"{self.directory / str(step)} is damaged or incomplete ({first_line(error)}); "
                "move it away to continue from an earlier checkpoint."
            ) from error

    def _empty_trash(self) -> None:
        """Deletes the checkpoints that an earlier save moved to the trash."""
        trash = self.directory / _TRASH
        if jax.process_index() == 0 and trash.exists():
            trash.rmtree(missing_ok=True)

    def prune(self) -> None:
        """Deletes checkpoints that need not be kept any more.

        A save does this too, but does not know the score of its own checkpoint yet.
        """
        self._manager.wait_until_finished()
        steps = self._manager.all_steps()
        infos = [types.SimpleNamespace(step=step) for step in steps]
        kept = self._policy.should_preserve(infos, context=policies.PreservationContext())
        for step in (step for step, keep in zip(steps, kept, strict=True) if not keep):
            self._manager.delete(step)

    def close(self) -> None:
        """Waits for the last save."""
        self._manager.wait_until_finished()
        self._empty_trash()
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """False: the training loop asks JAX itself, which must be asked once for each step."""
        return False


@dataclasses.dataclass
class _Best(policies.PreservationPolicy):
    """Keeps the checkpoint of the lowest score."""

    scores: Scores

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        best = self.scores.best(one.step for one in checkpoints)
        return [one.step == best for one in checkpoints]


def whole_steps(directory: epath.Path) -> list[int]:
    """The steps of the complete checkpoints in RUN/checkpoints, in order.

    An incomplete checkpoint has another name or, on object storage, lacks a marker file.
    """
    paths = directory.iterdir() if directory.exists() else ()
    return sorted(int(path.name) for path in paths if path.name.isdigit() and _is_whole(path))


def _is_whole(path: epath.Path) -> bool:
    finished = path.is_dir() and ocp.path.step.is_path_finalized(path)
    return finished and all((path / item).exists() for item in ("model", "meta"))


def _host_like(tree: Any) -> Any:
    """NumPy arrays of the same shapes and types that take no memory, for orbax to restore to."""
    return jax.tree.map(lambda a: np.broadcast_to(np.zeros((), a.dtype), a.shape), tree)


def _check_shapes(restored: Any, wanted: Any) -> None:
    """Raises a ValueError if a shape differs; orbax does not check NumPy arrays."""
    pairs = zip(jax.tree.leaves_with_path(wanted), jax.tree.leaves(restored), strict=True)
    for (path, want), got in pairs:
        if got.shape != want.shape:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{name} has shape {got.shape}, not {want.shape}")


def _check_format(folder: epath.Path, meta: dict) -> None:
    if meta["format"] > FORMAT:
        raise LiftjaxError(
            f"{folder} was written by a newer liftjax (format {meta['format']}, this one reads "
            f"{FORMAT}): update liftjax."
        )


# Settings that may change when a run is resumed. They do not change a step, except `steps`: a
# longer run continues with the schedule of its new length.
_FREE = (
    "log_every", "checkpoint_every", "keep_every", "keep_best", "evaluate_every", "select_on_test",
    "nonfinite", "replicate", "num_devices", "remat", "data.workers", "data.cache",
    "data.eval_split", "data.eval_subjects", "data.eval_batch_size", "data.eval_stride",
    "lifter.flip_test", "steps",
)  # fmt: skip


def _settings(recipe: dict, known: Collection[str] = ()) -> dict:
    """The settings that a resumed run must share, by dotted key; lists from JSON become tuples.

    Args:
      recipe: nested dictionaries.
      known: keys to leave out, because what they name is compared by its content.
    """
    flat = {}
    for key, value in recipe.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{k}": v for k, v in _settings(value).items()}
        else:
            flat[key] = tuple(value) if isinstance(value, list) else value
    return {key: value for key, value in flat.items() if key not in _FREE and key not in known}


def checkpoint_spec(meta: dict) -> dict:
    """The model spec in a checkpoint's meta; lists from JSON become tuples."""
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


def find_checkpoint(path: str | epath.Path, step: str | int = LAST) -> epath.Path:
    """The folder of one checkpoint.

    Args:
      path: a run directory, the folder of a checkpoint, or a name in NAMED.
      step: which checkpoint of a run directory: LAST, BEST (by validation score) or a step number.

    Raises:
      LiftjaxError: there is no such checkpoint.
    """
    path = epath.Path(NAMED.get(str(path), path)).expanduser().resolve()
    if _is_whole(path):
        return path
    if path.is_file():
        raise LiftjaxError(
            f"{path} is a file; make a run directory of it with python -m liftjax import-weights "
            f"{path.name} --out DIRECTORY, and give that."
        )
    whole = whole_steps(path / FOLDER)
    if not whole:
        raise LiftjaxError(
            f"No checkpoint in {path}; give a run directory that holds {FOLDER}/STEP, "
            "or one such STEP folder."
        )
    if step == LAST:
        return path / FOLDER / str(whole[-1])
    if step == BEST:
        best = Scores(path).best(whole)
        if best is None:
            raise LiftjaxError(
                f"No checkpoint in {path} has a validation score; train with "
                "--config.evaluate_every=N --config.keep_best=True, or take --step last."
            )
        return path / FOLDER / str(best)
    if not str(step).isdigit() or int(step) not in whole:
        raise LiftjaxError(
            f"{path} has no checkpoint of step {step}; it has {', '.join(map(str, whole))} "
            f"({LAST} or {BEST} will do too)."
        )
    return path / FOLDER / str(int(step))


def read_meta(path: str | epath.Path) -> dict:
    """The meta JSON of the checkpoint at `path` (see :func:`find_checkpoint`)."""
    folder = find_checkpoint(path)
    try:
        return ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(folder / "meta")
    except (FileNotFoundError, ValueError) as error:
        raise LiftjaxError(f"{folder} is not a liftjax checkpoint: {error}") from error


def licence_of(meta: Mapping[str, Any]) -> str:
    """The licence of published weights, from which a network comes, in words; empty without."""
    return meta.get("licence") or meta.get("origin", {}).get("licence", "")


def load_model(
    path: str | epath.Path, kind: str, build: Callable[[dict], nnx.Module] = build_model
) -> tuple[nnx.Module, dict]:
    """The `kind` ("detector" or "lifter") stored at `path`, and the checkpoint's meta.

    The optimizer state is not read.

    Args:
      path: a run directory or a checkpoint's folder.
      kind: "detector" or "lifter".
      build: makes the network from its spec; its weights are then replaced.

    Raises:
      LiftjaxError: there is no checkpoint, or it holds another kind of network.
    """
    folder, meta = find_checkpoint(path), read_meta(path)
    _check_format(folder, meta)
    if meta["model"]["kind"] != kind:
        raise LiftjaxError(
            f"{folder} holds a {meta['model']['kind']} ({meta['model']['name']}), not a {kind}."
        )
    module = build(checkpoint_spec(meta))
    arrays = flat_arrays(module)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            restored = checkpointer.restore(folder / "model", _host_like(arrays))
        _check_shapes(restored, arrays)
    except (ValueError, KeyError, OSError) as error:
        reason = first_line(error)
        raise LiftjaxError(f"{folder / 'model'} is damaged or incomplete: {reason}") from error
    assign(module, jax.tree.map(jnp.asarray, restored))
    return module, meta


def load_same_model(path: str | epath.Path, spec: dict) -> nnx.Module:
    """The network stored at `path`, to continue training from.

    Raises:
      LiftjaxError: it is not the network that `spec` describes.
    """
    model, meta = load_model(path, spec["kind"])
    found, wanted = checkpoint_spec(meta), checkpoint_spec({"model": spec})
    if found != wanted:
        raise LiftjaxError(
            f"{path} holds another {spec['kind']} ({spec_difference(found, wanted)}); "
            "describe that one in the recipe, or start from another checkpoint."
        )
    return model


def load_lifters(
    paths: Mapping[str, str], skeleton: str, build: Callable[[dict], nnx.Module] = build_model
) -> dict[str, nnx.Module]:
    """Trained lifters by name, from their run directories; all must be for `skeleton`."""
    lifters = {name: load_model(path, "lifter", build)[0] for name, path in paths.items()}
    for name, lifter in lifters.items():
        check_lifter(lifter, skeleton, f"The lifter {name} in {paths[name]}", "the data")
    return lifters


def check_lifter(lifter: nnx.Module, skeleton: str, what: str, data: str) -> None:
    """Raises a LiftjaxError unless a lifter takes keypoints and gives poses of this joint set.

    Args:
      lifter: the lifter.
      skeleton: the joint set of the data.
      what: the lifter, in words.
      data: the data, in words.
    """
    sets = {"": lifter.spec.skeleton, "2D ": lifter.spec.skeleton_2d}
    for kind, found in sets.items():
        if found != skeleton:
            raise LiftjaxError(
                f"{what} is for {found}, {data} has {skeleton} {kind}poses; take a lifter that was "
                "trained on that joint set."
            )
