"""Numbers as JSON and TOML files have them."""

import numpy as np

_ABSURD = 1e12  # beyond any length or coordinate, in any unit


def as_numbers(values) -> np.ndarray:
    """float64 array of nested lists of numbers; null, which some programs write for NaN, is NaN.

    Raises:
      ValueError: lists of different lengths, or something else than a number in them: also text and
        true, which NumPy would read as numbers.
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
    """Whether each number can be reckoned with: not NaN, infinite or absurdly large."""
    return np.abs(values) < _ABSURD
