"""Comparison of a written file, run by the program it is for, with JAX."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from liftjax.errors import LiftjaxError
from liftjax.interchange.programs import Program

BATCHES = (1, 5)
TOLERANCE = 1e-4  # of the range of an output's numbers


class Check(NamedTuple):
    """The largest difference between a file and JAX, as a share of the output's range."""

    reader: str
    difference: float

    def __str__(self) -> str:
        sizes = " and ".join(map(str, BATCHES))
        return (
            f"read back by {self.reader} and compared with JAX at batch {sizes}: largest "
            f"difference {self.difference:.1e} of an output's range"
        )


def compare(
    program: Program,
    run: Callable[[list[np.ndarray]], Sequence[np.ndarray]],
    reader: str,
    precision: str | None = None,
) -> Check:
    """Compares the file with the program in JAX on random inputs.

    Args:
      run: runs the file on a list of inputs.
      reader: the name of the program that runs it.
      precision: of JAX's matrix products, see `jax.default_matmul_precision`. None: as set.

    Raises:
      LiftjaxError: an output differs in shape, type or by more than TOLERANCE of its range.
    """
    inputs = program.examples(np.random.default_rng(0), max(BATCHES))
    with jax.default_matmul_precision(precision):
        wanted = jax.jit(program.function)(program.weights, *inputs)
    worst = 0.0
    for batch in BATCHES:
        found = run([values[:batch] for values in inputs])
        for port, a, b in zip(program.outputs, wanted, found, strict=True):
            name = f"{port.name} at batch {batch}"
            worst = max(worst, _difference(name, np.asarray(a)[:batch], b, reader))
    return Check(reader, worst)


def _difference(name: str, wanted: np.ndarray, found: np.ndarray, reader: str) -> float:
    if (wanted.shape, wanted.dtype) != (found.shape, found.dtype):
        raise _mismatch(
            f"{reader} gives {name} as {found.dtype}{list(found.shape)}, "
            f"JAX as {wanted.dtype}{list(wanted.shape)}"
        )
    difference = float(np.abs(wanted - found).max() / (np.ptp(wanted) or 1))
    if not difference <= TOLERANCE:  # also true of NaN
        raise _mismatch(
            f"{name} from {reader} differs from JAX by {difference:.2g} of its range, more than "
            f"{TOLERANCE:g}"
        )
    return difference


def compare_arrays(
    wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], reader: str
) -> Check:
    """Compares weights, which must be equal to the bit.

    Raises:
      LiftjaxError: a name, shape, type or value differs.
    """
    if set(wanted) != set(found):
        odd = sorted(set(wanted) ^ set(found))
        raise _mismatch(f"{reader} finds other names: {', '.join(odd[:3])}")
    for name, array in wanted.items():
        other = np.asarray(found[name])
        if (array.shape, array.dtype) != (other.shape, other.dtype):
            raise _mismatch(
                f"{reader} finds {name} as {other.dtype}{list(other.shape)}, not "
                f"{array.dtype}{list(array.shape)}"
            )
        if not np.array_equal(array, other, equal_nan=array.dtype.kind == "f"):
            largest = np.abs(np.asarray(array, np.float64) - other).max()
            raise _mismatch(f"{reader} finds {name} changed by up to {largest:.2g}")
    return Check(reader, 0.0)


def _mismatch(what: str) -> LiftjaxError:
    return LiftjaxError(f"{what}; what was written has been deleted.")
