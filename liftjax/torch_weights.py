"""PyTorch state_dicts in and out, strictly, for every network of the package.

A module's attribute path is the upstream state_dict path, so no network needs a table of names.
The type of a layer tells how PyTorch names and lays out its arrays. PyTorch itself is not needed;
tensors are read through NumPy.
"""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from liftjax.errors import LiftjaxError
from liftjax.nn.layers import BatchNorm, Conv
from liftjax.nn.variables import Constant, Derived

_AFFINE = {"kernel": "weight", "bias": "bias"}
_NORM = {"scale": "weight", "bias": "bias"}
# Our attribute -> PyTorch's, in PyTorch's order; the first type that fits decides.
_NAMES = (
    (nnx.Linear, _AFFINE),
    (Conv, _AFFINE),
    (BatchNorm, _NORM | {"mean": "running_mean", "var": "running_var"}),
    (nnx.LayerNorm, _NORM),
)
_STORED = (nnx.Param, nnx.BatchStat, Constant)


class _Entry(NamedTuple):
    """One state_dict entry. `axes` are PyTorch's axes as positions among ours.

    `variable` is None for batch norm's step counter, which PyTorch keeps and nothing reads.
    """

    key: str
    variable: nnx.Variable | None
    axes: tuple[int, ...] = ()

    @property
    def optional(self) -> bool:
        """Whether a state_dict may leave it out."""
        return self.variable is None or isinstance(self.variable, Derived)

    @property
    def shape(self) -> tuple[int, ...]:
        return () if self.variable is None else tuple(self.variable.shape[a] for a in self.axes)

    def to_torch(self) -> np.ndarray:
        if self.variable is None:
            return np.zeros((), np.int64)
        # In NumPy, because JAX would compile a transposition for every shape. A copy, so that it
        # is contiguous, writable and apart from the module's memory.
        return np.array(np.asarray(self.variable[...]).transpose(self.axes), order="C")

    def set(self, value: np.ndarray) -> None:
        if self.variable is not None:
            # Copied in NumPy, because JAX would compile a copy for every shape.
            ours = np.array(value.transpose(np.argsort(self.axes)), self.variable.dtype)
            self.variable[...] = jnp.asarray(ours)


def _entries(module: nnx.Module, prefix: str = "") -> Iterator[_Entry]:
    """The entries of `module` in PyTorch's order: its own arrays, then its submodules."""
    names = next((names for kind, names in _NAMES if isinstance(module, kind)), {})
    if isinstance(module, nnx.List):
        members = {str(i): child for i, child in enumerate(module)}
    else:
        members = {k: getattr(module, k) for k in sorted(vars(module), key=_rank(names))}
    for name, member in members.items():
        if isinstance(member, _STORED):
            yield _Entry(prefix + names.get(name, name), member, _axes(name, member.ndim))
    if isinstance(module, BatchNorm):
        yield _Entry(prefix + "num_batches_tracked", None)
    for name, member in members.items():
        if isinstance(member, nnx.Module):
            yield from _entries(member, f"{prefix}{name}.")


def _rank(names: Mapping[str, str]):
    """Sort key: the attributes in `names` in that order, then the rest as they were defined."""
    order = {name: i for i, name in enumerate(names)}
    return lambda name: order.get(name, len(order))


def _axes(name: str, ndim: int) -> tuple[int, ...]:
    """Kernels (*spatial, in, out) are PyTorch weights (out, in, *spatial); all else is alike."""
    if name == "kernel":
        return (ndim - 1, ndim - 2, *range(ndim - 2))
    return tuple(range(ndim))


def as_numpy(value: Any) -> np.ndarray:
    """`value` as a NumPy array; a PyTorch tensor may lie on a device or be bfloat16."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    return np.asarray(value)


def load(
    module: nnx.Module, state_dict: Mapping[str, Any], allow: str | Iterable[str] = ()
) -> None:
    """Sets the arrays of `module` to those of an upstream `state_dict`, all or none.

    Args:
      module: any network of the package.
      state_dict: name -> array or tensor. Constants that follow from the configuration (the
        skeleton graph of IGANet) may be absent; data statistics are never in it and stay.
      allow: names, or patterns such as ``"final_layer.*"``, that may be missing, unexpected or
        of another shape; they keep their present value.

    Raises:
      LiftjaxError: names or shapes differ; the message lists them and nothing is changed.
    """
    patterns = [allow] if isinstance(allow, str) else list(allow)
    ours = {entry.key: entry for entry in _entries(module)}
    given = {key: as_numpy(value) for key, value in state_dict.items()}

    def refused(keys):
        return [k for k in keys if not any(fnmatch.fnmatchcase(k, p) for p in patterns)]

    missing = refused(k for k, entry in ours.items() if k not in given and not entry.optional)
    unexpected = refused(key for key in given if key not in ours)
    misfit = [
        key for key, entry in ours.items() if key in given and given[key].shape != entry.shape
    ]
    reshaped = [f"{k} {given[k].shape} for {ours[k].shape}" for k in refused(misfit)]
    if missing or unexpected or reshaped:
        raise LiftjaxError(_mismatch(type(module).__name__, missing, unexpected, reshaped))
    for key, entry in ours.items():
        if key in given and key not in misfit:
            entry.set(given[key])


def _mismatch(model: str, missing: list, unexpected: list, reshaped: list) -> str:
    def summary(what, keys):
        more = ", ..." if len(keys) > 4 else ""
        return f"{len(keys)} {what} ({', '.join(keys[:4])}{more})"

    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
    found = "; ".join(summary(what, keys) for what, keys in kinds if keys)
    if prefix := _common_prefix(missing, unexpected):
        cure = f"strip the prefix {prefix!r}, which a wrapper of the network added."
    else:
        cure = "check the model's name, sizes and joint set, or name exceptions in allow=[...]."
    return f"The state_dict does not fit {model}: {found}; {cure}"


def _common_prefix(missing: list[str], unexpected: list[str]) -> str | None:
    """What stands before every missing name among the unexpected ones, such as "module."."""
    if not missing:
        return None
    prefix = next((k.removesuffix(missing[0]) for k in unexpected if k.endswith(missing[0])), "")
    found = prefix and {prefix + key for key in missing} <= set(unexpected)
    return prefix if found else None


def shapes(module: nnx.Module, optional: bool = True) -> dict[str, tuple[int, ...]]:
    """Names and shapes of upstream's state_dict.

    Args:
      module: may be abstract (nnx.eval_shape).
      optional: also those that a state_dict may leave out.
    """
    entries = _entries(module)
    return {entry.key: entry.shape for entry in entries if optional or not entry.optional}


def dump(module: nnx.Module) -> dict[str, np.ndarray]:
    """The weights of `module` as upstream's state_dict: its names, shapes, layout and types.

    The order is upstream's too where the module was built by its constructor; nnx.merge sorts
    attributes by name (to keep the order, nnx.update a fresh module instead). Batch norm's
    step counters are 0.
    """
    return {entry.key: entry.to_torch() for entry in _entries(module)}
