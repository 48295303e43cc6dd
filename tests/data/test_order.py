from fractions import Fraction

import numpy as np
import pytest

from liftjax.data.order import as_shares, mixed_positions
from liftjax.errors import LiftjaxError

MEMBERS = [np.arange(10), np.arange(10, 17), np.arange(17, 20)]


def positions(shares, batch_size, steps, seed=0):
    return np.concatenate(
        [mixed_positions(MEMBERS, shares, batch_size, seed, step) for step in range(steps)]
    )


@pytest.mark.parametrize("weights", [(1, 1, 1), (0.5, 0.3, 0.2), (0.05, 0.05, 0.9)])
def test_shares_hold_over_any_stretch(weights):
    shares = as_shares(weights, "abc")
    sets = np.searchsorted([10, 17], positions(shares, 8, 100), side="right")
    for number, share in enumerate(shares):
        counts = np.cumsum(sets == number)
        assert np.abs(counts - float(share) * np.arange(1, 801)).max() <= 2


def test_shares_of_many_digits_hold_late_in_a_long_run():
    """Their products with the count of samples exceed 64 bits."""
    shares = as_shares((2**0.5, 3**0.5, 5**0.5), "abc")
    assert max(share.denominator for share in shares) > 10**9
    steps = range(10**7, 10**7 + 50)
    drawn = np.concatenate([mixed_positions(MEMBERS, shares, 64, 0, step) for step in steps])
    found = np.bincount(np.searchsorted([10, 17], drawn, side="right")) / len(drawn)
    np.testing.assert_allclose(found, [float(share) for share in shares], atol=2 / len(drawn))


def test_every_set_is_gone_through_before_it_repeats():
    drawn = positions(as_shares((1, 1, 2), "abc"), 8, 20)
    for members in MEMBERS:
        own = drawn[np.isin(drawn, members)]
        epochs = own[: len(own) // len(members) * len(members)].reshape(-1, len(members))
        assert len(epochs) > 3
        np.testing.assert_array_equal(np.sort(epochs), np.tile(members, (len(epochs), 1)))


def test_a_batch_depends_on_seed_and_step_alone():
    shares = as_shares((1, 2, 3), "abc")
    whole = positions(shares, 6, 5)
    np.testing.assert_array_equal(mixed_positions(MEMBERS, shares, 6, 0, 3), whole[18:24])
    np.testing.assert_array_equal(positions(shares, 3, 10), whole)
    assert (positions(shares, 6, 5, seed=1) != whole).any()


def test_shares_become_exact_fractions_of_one():
    assert as_shares((0.1, 0.3), "ab") == (Fraction(1, 4), Fraction(3, 4))
    with pytest.raises(LiftjaxError, match=r"1 shares for 2 data sets \(a, b\)"):
        as_shares((1,), "ab")
    with pytest.raises(LiftjaxError, match="give numbers above 0"):
        as_shares((1, 0), "ab")
    for share in ("a", (1,), float("inf"), float("nan"), None):
        with pytest.raises(LiftjaxError, match=r"give numbers\.$"):
            as_shares((1, share), "ab")
