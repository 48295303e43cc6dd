"""Which of many cases of one property the default run has."""

from collections.abc import Iterable

import pytest


def slow(*values):
    """A case for `pytest.mark.parametrize` that the default run leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)


def one_in(every: int, cases: Iterable) -> list:
    """Every n-th case as it is; the others under the marker `slow`.

    Args:
      every: n.
      cases: values, or tuples of them, for `pytest.mark.parametrize`.
    """
    tuples = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [slow(*t) if i % every else pytest.param(*t) for i, t in enumerate(tuples)]
