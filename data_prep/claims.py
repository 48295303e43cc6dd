"""Keeps processes that build the same data set out of each other's way.

A file beside the data set is locked: by one build alone, or by all the shards of one together. The
system ends the claims of a killed process. Where a file system has no locks nothing is kept apart.
The package filelock does not serve here: its locks are never shared, and its files stay behind.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not every system has file locks
    fcntl = None

from liftjax.errors import LiftjaxError


@contextlib.contextmanager
def alone(out: Path, patience_s: float = 0) -> Iterator[None]:
    """A block in which no other process builds `out`, nor a shard of it.

    Raises:
      LiftjaxError: another does, and for longer than `patience_s`.
    """
    path = _path(out)
    with _locked(path, out, patience_s, shared=False):
        try:
            yield
        finally:
            _remove(path)


@contextlib.contextmanager
def one_of(out: Path, shard: tuple[int, int], patience_s: float) -> Iterator[None]:
    """A block in which other processes build other shards of `out` at most.

    Raises:
      LiftjaxError: as of :func:`alone`.
    """
    own = _path(out).with_suffix(f".lock-{shard[0]}-{shard[1]}")
    with (
        _locked(_path(out), out, patience_s, shared=True),
        _locked(own, out, patience_s, shared=False),
    ):
        try:
            yield
        finally:
            _remove(own)


def _path(out: Path) -> Path:
    return out.with_name(f".{out.name}.lock")


def _remove(path: Path) -> None:
    """While it is locked; some systems remove no file that is open, and there it stays."""
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def _locked(path: Path, out: Path, patience_s: float, shared: bool) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_s
    while True:
        with path.open("w") as file:
            free = _lock(file, shared)
            if free and _is_there(path, file):
                yield
                return
        if not free and time.monotonic() >= deadline:
            raise LiftjaxError(f"Another process is building {out}; wait for it, or stop it first.")
        time.sleep(0.05)


def _lock(file, shared: bool) -> bool:
    """Whether the lock was free, or there are no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is_there(path: Path, file) -> bool:
    """Whether the file still has its name: the process that held it before may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
