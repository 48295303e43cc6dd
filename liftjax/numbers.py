"""Numbers of JSON and TOML files."""

import numpy as np

_LARGEST = 1e12  # beyond any length or coordinate, in any unit


def as_numbers(values) -> np.ndarray:
    """A float64 array of nested lists of numbers.

    Null becomes NaN, because some programs write NaN so.

    Raises:
      ValueError: the lists have different lengths, or hold something other than numbers. Text and
        true count as other things, although NumPy would read them as numbers.
    """
    array = np.asarray(values, object)
    others = set(map(type, array.ravel().tolist())) - {int, float, type(None)}
    if others:
        raise ValueError(f"{', '.join(sorted(t.__name__ for t in others))} instead of numbers")
    try:
        return array.astype(float)
    except OverflowError:
        raise ValueError("a number of hundreds of digits") from None


def usable(values: np.ndarray) -> np.ndarray:
    """Whether each number is finite, and small enough that its square is finite too."""
    return np.abs(values) < _LARGEST
