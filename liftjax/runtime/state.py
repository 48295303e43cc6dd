"""Modules as pure functions of flat dictionaries of arrays.

A training step takes ``{"layer1.0.conv1.kernel": array, ...}`` rather than a module, because each
step flattens its arguments, which is far quicker for a plain dictionary than for a module of
thousands of variables. Checkpoints store the same dictionaries.
"""

import dataclasses
from typing import Any

import jax
from flax import nnx

Arrays = dict[str, jax.Array]


def flat_arrays(module: nnx.Module, kind=...) -> Arrays:
    """The variables of `module` by dotted path; those of the type `kind` if it is given."""
    state = nnx.to_flat_state(nnx.state(module, kind))
    return {dotted(path): variable[...] for path, variable in state}


def assign(module: nnx.Module, arrays: Arrays) -> None:
    """Sets the variables of `module` in place, by dotted path."""
    for path, variable in nnx.to_flat_state(nnx.state(module)):
        variable[...] = arrays[dotted(path)]


def dotted(path: tuple) -> str:
    """The name of a variable: its path through the module's attributes."""
    return ".".join(map(str, path))


@dataclasses.dataclass(frozen=True)
class PureModule:
    """The static part of a module: its graph, and the path and type of each variable.

    Those of two equal networks are equal, so that one compiled program serves both.
    """

    graphdef: Any
    variables: dict[str, tuple[tuple, type]] = dataclasses.field(hash=False)

    @classmethod
    def split(cls, module: nnx.Module) -> tuple["PureModule", Arrays, Arrays]:
        """The static part, the trained parameters, and all other variables of `module`."""
        graphdef, state = nnx.split(module)
        kinds = {dotted(path): (path, type(v)) for path, v in nnx.to_flat_state(state)}
        pure = cls(graphdef, kinds)
        arrays = flat_arrays(module)
        params = {k: v for k, v in arrays.items() if issubclass(kinds[k][1], nnx.Param)}
        return pure, params, {k: v for k, v in arrays.items() if k not in params}

    def names(self, kind: type) -> list[str]:
        """The variables of the type `kind`."""
        return [name for name, (_, found) in self.variables.items() if issubclass(found, kind)]

    def merge(self, params: Arrays, others: Arrays) -> nnx.Module:
        """A module around these arrays."""
        arrays = params | others
        flat = [(path, kind(arrays[name])) for name, (path, kind) in self.variables.items()]
        return nnx.merge(self.graphdef, nnx.from_flat_state(flat))

    def others(self, module: nnx.Module) -> Arrays:
        """The untrained variables of a merged module, as a call has left them."""
        arrays = flat_arrays(module)
        return {
            name: arrays[name]
            for name, (_, kind) in self.variables.items()
            if not issubclass(kind, nnx.Param)
        }
