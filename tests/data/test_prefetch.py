import threading

import jax
import numpy as np
import pytest

from liftjax.data.prefetch import Prefetch


class Source:
    """Counts what is taken, and whether it was closed."""

    def __init__(self, stop=10**6, fail_at=None):
        self.taken, self.closed, self.stop, self.fail_at = 0, threading.Event(), stop, fail_at

    def batches(self):
        try:
            for step in range(self.stop):
                if step == self.fail_at:
                    raise KeyError("broken")
                self.taken += 1
                yield {"index": np.full(3, step)}
        finally:
            self.closed.set()


def test_batches_come_in_order_and_on_the_device():
    source = Source(stop=20)
    with Prefetch(source.batches()) as batches:
        taken = list(batches)
    assert all(isinstance(batch["index"], jax.Array) for batch in taken)
    assert [int(batch["index"][0]) for batch in taken] == list(range(20))
    assert source.closed.is_set()


def test_it_reads_only_a_little_ahead_and_closes_what_it_reads():
    source = Source()
    with Prefetch(source.batches(), ahead=2) as batches:
        for _ in range(5):
            next(batches)
        assert source.taken <= 5 + 2 + 1
    assert source.closed.is_set()
    assert source.taken <= 5 + 2 + 3


def test_the_next_batch_is_there_before_it_is_asked_for():
    moved = threading.Semaphore(0)

    def put(batch):
        moved.release()
        return batch

    with Prefetch(Source().batches(), ahead=2, put=put) as batches:
        for _ in range(3):
            assert moved.acquire(timeout=30)
        assert not batches.waiting()


def test_an_error_is_raised_where_the_batch_would_have_come():
    source = Source(fail_at=3)
    with Prefetch(source.batches()) as batches:
        for _ in range(3):
            next(batches)
        for _ in range(2):
            with pytest.raises(KeyError, match="broken"):
                next(batches)
    assert source.closed.is_set()


def test_closing_at_once_and_twice_does_no_harm():
    source = Source()
    batches = Prefetch(source.batches())
    batches.close()
    batches.close()
    assert Source(stop=0).taken == 0
    with Prefetch(iter([])) as empty:
        assert list(empty) == []
