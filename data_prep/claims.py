"""Keeps processes that build the same data set from disturbing each other.

A file beside the data set is locked: by one build alone, or by all shards of a build together. The
system releases the locks of a killed process. On a file system without locks nothing is protected.
The package filelock does not serve here: it has no shared locks, and its files stay behind.
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
    """No other process builds `out`, or a shard of it, during the block.

    Raises:
      LiftjaxError: another one does, for longer than `patience_s`.
    """
    with _locked(_path(out), out, patience_s):
        yield


@contextlib.contextmanager
def one_of(out: Path, shard: tuple[int, int], patience_s: float) -> Iterator[None]:
    """Other processes build only other shards of `out` during the block.

    Raises:
      LiftjaxError: another one builds all of `out` or this shard, for longer than `patience_s`.
    """
    own = _path(out).with_suffix(f".lock-{shard[0]}-{shard[1]}")
    with _locked(_path(out), out, patience_s, shared=True), _locked(own, out, patience_s):
        yield


def _path(out: Path) -> Path:
    return out.with_name(f".{out.name}.lock")


@contextlib.contextmanager
def _locked(path: Path, out: Path, patience_s: float, shared: bool = False) -> Iterator[None]:
    """Holds a lock on the file `path`; a holder that is alone removes the file at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_s
    while True:
        with path.open("w") as file:
            free = _lock(file, shared)
            if free and _is_there(path, file):
                try:
                    yield
                finally:
                    if not shared:
                        with contextlib.suppress(OSError):  # some systems keep files that are open
                            path.unlink()
                return
        if not free and time.monotonic() >= deadline:
            raise LiftjaxError(f"Another process is building {out}; wait for it, or stop it first.")
        time.sleep(0.05)


def _lock(file, shared: bool) -> bool:
    """Whether the lock was free, or the system has no locks."""
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
    """Whether the file still has its name; the process that held the lock may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
