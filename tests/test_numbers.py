"""Numbers of JSON files: only numbers, and null as NaN."""

import numpy as np
import pytest

from liftjax.numbers import as_numbers, usable


def test_numbers_of_any_depth_and_null():
    np.testing.assert_array_equal(as_numbers([[1, 2.5], [None, -3]]), [[1, 2.5], [np.nan, -3]])
    assert as_numbers([]).shape == (0,)


@pytest.mark.parametrize(
    "values",
    [[1, "2"], [1.5, True], ["1"], "12", {}, {"x": 1}, [[1, 2], [3]], [1, [2]], [10**400], [{}]],
)
def test_anything_else_is_refused(values):
    with pytest.raises(ValueError, match=r"instead of numbers|hundreds of digits"):
        as_numbers(values)


def test_what_overflows_later_is_not_usable():
    assert usable(np.array([0.0, -1e9, np.nan, np.inf, 1e308])).tolist() == [1, 1, 0, 0, 0]
