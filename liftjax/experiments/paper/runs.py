"""Runs as values: what is trained from what, named by a hash of its recipe.

A run's recipe refers to other runs and to data sets by name ("run:1a2b...", "data:synthetic-..."),
never by path, so that the same experiment has the same name in every work directory.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from liftjax import registry
from liftjax.counting import network_size
from liftjax.recipes import complete, load_recipe, set_value
from liftjax.runtime.checkpoints import build_model

_LENGTH = 10  # hexadecimal digits of a name


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set: the user's in `directory`, or one made of `settings` in the work directory.

    Attributes:
      name: 'human36m', 'panoptic', 'synthetic', 'multicam' or 'clips'.
      directory: the user's; "" for one that is made.
      version: of the data in the directory.
      settings: of the program that makes the data.
      lifter_split: the split that lifters learn from.
      samples: pictures to train on.
      stride: every `stride`-th frame is one of them.
    """

    name: str
    directory: str = ""
    version: str = ""
    settings: tuple[tuple[str, Any], ...] = ()
    lifter_split: str = "train"
    samples: int = 0
    stride: int = 1

    @property
    def reference(self) -> str:
        """How recipes refer to it."""
        what = [self.directory, *filter(None, [self.version]), *self.settings]
        return f"data:{self.name}-{digest(what)}"


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A network that is trained or given, or what is measured. Runs with the same id are equal.

    Attributes:
      id: the name of its directory.
      title: what it is, in words.
      kind: 'lifter', 'detector', 'truth' (ground-truth 2D in a detector's place) or 'measurement'
        (of its one parent, on other data or through other lifters).
      method: 'base', 'ft2d', 'single', 'multi' of a detector, else ''.
      detector: the row of the tables, else ''.
      seed: of weights and order.
      recipe: what it is trained by; None: nothing is trained.
      given: the user's run directory that stands for it.
      parents: what its recipe refers to.
      lifters: those that its keypoints are lifted by, by name; none: it is not evaluated.
      source: the data it is trained and tested on.
    """

    id: str
    title: str
    kind: str
    seed: int
    source: Source
    method: str = ""
    detector: str = ""
    recipe: Mapping[str, Any] | None = None
    given: str = ""
    parents: tuple["Run", ...] = ()
    lifters: "Lifters" = ()

    def __eq__(self, other) -> bool:
        return isinstance(other, Run) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def steps(self) -> int:
        """Training steps."""
        return self.recipe["steps"] if self.recipe else 0

    @property
    def needs(self) -> tuple["Run", ...]:
        """The runs that must be done before it can be trained and measured."""
        return (*self.parents, *(lifter for _, lifter in self.lifters))

    @property
    def outcome_name(self) -> str:
        """The name of the file of its predictions, which depend on the lifters."""
        return f"outcome-{digest([lifter.id for _, lifter in self.lifters])}.npz"

    @property
    def operations(self) -> float:
        """About how many multiply-adds its training takes: three forward passes a step.

        For a lifter that is larger or smaller than its preset they grow with its parameters.
        """
        if not self.recipe:
            return 0.0
        return 3e9 * _gmacs(self.kind, self.recipe) * self.recipe["batch_size"] * self.steps


Lifters = tuple[tuple[str, Run], ...]  # by name


def train_run(recipe: str, settings: Mapping[str, Any], source: Source, **about) -> Run:
    """A run of the recipe with `settings`, dotted keys; values that are runs become references."""
    parents = tuple(value for value in settings.values() if isinstance(value, Run))
    named = {k: f"run:{v.id}" if isinstance(v, Run) else v for k, v in settings.items()}
    name, content = _content(recipe, (("data.dir", source.reference), *named.items()))
    return Run(id=name, recipe=content, parents=parents, source=source, **about)


@functools.cache  # a plan and its report ask for the same runs hundreds of times
def _content(recipe: str, settings: tuple[tuple[str, Any], ...]) -> tuple[str, Mapping[str, Any]]:
    """The name and the content of a recipe with `settings`."""
    config = load_recipe(recipe)
    for key, value in settings:
        set_value(config, key, value)
    content = config.to_dict()
    return digest(content), content


def given_run(directory: str, source: Source, **about) -> Run:
    """The user's own run directory in place of one that would be trained."""
    return Run(id=digest(["given", directory]), given=directory, source=source, **about)


def truth_run(source: Source, lifters: Lifters, seed: int) -> Run:
    """Ground-truth 2D poses, to be lifted."""
    name = digest(["truth", source.reference, *(lifter.id for _, lifter in lifters)])
    return Run(name, "ground-truth 2D", "truth", seed, source, lifters=lifters)


def measurement(detector: Run, source: Source, lifters: Lifters, where: str) -> Run:
    """A trained detector on the test samples of `source`, through `lifters`."""
    name = digest(["measured", detector.id, source.reference, *(run.id for _, run in lifters)])
    changed = {"id": name, "title": f"{detector.title}, {where}", "kind": "measurement"}
    changed |= {"source": source, "parents": (detector,), "lifters": lifters}
    return dataclasses.replace(detector, **changed, recipe=None, given="")


def resolved(recipe: Mapping[str, Any], places: Mapping[str, str]) -> ConfigDict:
    """The recipe with its references replaced by paths."""

    def walk(value):
        if isinstance(value, Mapping):
            return {key: walk(v) for key, v in value.items()}
        if isinstance(value, str) and value.startswith(("run:", "data:")):
            return places[value]
        return value

    return complete(walk(recipe))


def in_order(runs: Iterable[Run]) -> list[Run]:
    """The runs and all that they need, each once, and after what it needs."""
    ordered: dict[Run, None] = {}

    def visit(run: Run) -> None:
        if run not in ordered:
            for needed in run.needs:
                visit(needed)
            ordered[run] = None

    for run in runs:
        visit(run)
    return list(ordered)


@functools.lru_cache
def _count(kind: str, spec: tuple[tuple[str, Any], ...]) -> int:
    """The number of a network's parameters, without building it."""
    module = nnx.eval_shape(lambda: build_model({"kind": kind, **dict(spec)}))
    return sum(v.size for v in jax.tree.leaves(nnx.state(module, nnx.Param)))


def _gmacs(kind: str, recipe: Mapping[str, Any]) -> float:
    """10^9 multiply-adds of one forward pass."""
    section = recipe["lifter" if kind == "lifter" else "detector"]
    preset = registry.get_preset(kind, section["name"])
    size = network_size(section["name"])
    if kind == "lifter":
        spec = {"name": section["name"], "skeleton": preset.skeleton, **section["overrides"]}
        parameters = _count(kind, tuple(spec.items()))
        return size.gmacs * section["num_frames"] * parameters / size.parameters
    height, width = section["image_size"] or preset.default("image_size")
    usual = preset.default("image_size")
    return size.gmacs * height * width / (usual[0] * usual[1])


def digest(content: Any) -> str:
    """A short name of JSON content."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]
