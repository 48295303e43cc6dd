"""Rows on disk."""

import os

import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.inference.store import RowStore

DTYPE = np.dtype([("frame", np.int32), ("place", np.float32, (3,))])


def test_what_goes_in_comes_out_and_can_be_changed(tmp_path):
    rows = np.zeros(5, DTYPE)
    rows["frame"] = np.arange(5)
    with RowStore(tmp_path / "rows", DTYPE) as store:
        for part in (rows[:2], rows[2:2], rows[2:]):
            store.append(part)
        assert len(store) == 5
    store.rows()["place"][3] = 7
    rows["place"][3] = 7
    np.testing.assert_array_equal(store.rows(), rows)


def test_no_rows_at_all(tmp_path):
    with RowStore(tmp_path / "rows", DTYPE) as store:
        pass
    assert store.rows().shape == (0,)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("count", [1, 10_000])  # fails when the file is closed; at once
def test_a_full_disk_is_one_clear_line(tmp_path, count):
    (tmp_path / "rows").symlink_to("/dev/full")
    with (
        pytest.raises(LiftjaxError, match=r"Could not write.*No space left.*--out"),
        RowStore(tmp_path / "rows", DTYPE) as store,
    ):
        store.append(np.zeros(count, DTYPE))
