"""What a kill (-9) would leave of a directory, at every moment of a program that nobody kills.

Python tells audit hooks of each change of a directory before it is made, in whatever thread. A copy
of the directory then is what a kill then leaves; the state after a change is the one before the
next. A file that is being written can besides be left empty, or half as long. What libraries write
from C++ is copied as far as it is at the next change.
"""

import contextlib
import dataclasses
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

# The places of paths among the arguments of an event, each with that of its directory's descriptor.
_CHANGES = {
    "os.rename": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.mkdir": ((0, 2),),
}
_FOR_WRITING, _EMPTYING = os.O_WRONLY | os.O_RDWR, os.O_TRUNC | os.O_EXCL
_watched: list["Moments"] = []  # a hook cannot be taken away again: it is told what to look at


@dataclasses.dataclass
class Moments:
    """The changes of a directory, and what it was before them.

    Attributes:
      directory: what is watched. store: where copies go; outside of it.
      ignored: names that make no two states differ.
      discarded: part of the names of folders that a restart removes as they are; no file in them
        is cut short.
      copies: one of each state in turn. changes: what was about to happen, as "event name".
    """

    directory: Path
    store: Path
    ignored: tuple[str, ...] = ()
    discarded: str | None = None
    copies: list[Path] = dataclasses.field(default_factory=list)
    changes: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        self._lock, self._seen = threading.Lock(), set()

    def before(self, event: str, paths: list[Path]) -> None:
        with self._lock:
            self.changes.append(f"{event} {paths[0].name}")
            self._copy()
            if self.discarded and self.discarded in str(paths[0].parent):
                return
            if event == "open":
                self._copy_with(paths[0], 0)
            elif event == "os.rename" and paths[0].is_file():
                self._copy_with(paths[0], paths[0].stat().st_size // 2)

    def _copy(self) -> None:
        """Copies the directory, unless it is as it was before."""
        if self._state() not in self._seen:
            self._copied()

    def _copied(self) -> Path:
        """A copy between two changes: another thread may be about to make one that it has told."""
        target = self.store / f"{len(self.copies):03d}"
        while True:
            state = self._state()
            with contextlib.suppress(shutil.Error, FileNotFoundError):
                shutil.copytree(self.directory, target)
                if self._state() == state:
                    break
            shutil.rmtree(target, ignore_errors=True)
        self._seen.add(state)
        self.copies.append(target)
        return target

    def _copy_with(self, path: Path, size: int) -> None:
        """A copy in which a file has been written as far as `size` bytes."""
        begun = self._copied() / path.relative_to(self.directory)
        begun.touch()
        os.truncate(begun, size)

    def _state(self) -> frozenset:
        return frozenset(self._entries())

    def _entries(self) -> Iterator:
        for folder, folders, files in os.walk(self.directory):
            folders[:] = [name for name in folders if name not in self.ignored]
            yield folder
            for name in files:
                with contextlib.suppress(FileNotFoundError):
                    stat = os.stat(os.path.join(folder, name))
                    yield folder, name, stat.st_size, stat.st_mtime_ns


@contextlib.contextmanager
def moments(directory: Path, store: Path, **options) -> Iterator[Moments]:
    """Copies a directory before each change that Python makes in it during the block."""
    directory.mkdir(parents=True, exist_ok=True)
    found = Moments(directory, store, **options)
    if _told not in _hooks:
        sys.addaudithook(_told)
        _hooks.append(_told)
    _watched.append(found)
    try:
        yield found
    finally:
        _watched.remove(found)


_hooks: list = []


def _told(event: str, arguments: tuple) -> None:
    if not _watched or (event != "open" and event not in _CHANGES):
        return
    paths = list(_paths(event, arguments))
    for found in _watched:
        inside = [path for path in paths if path.is_relative_to(found.directory)]
        if inside:
            found.before(event, inside)


def _paths(event: str, arguments: tuple) -> Iterator[Path]:
    """The files and folders that are about to change."""
    if event == "open":
        path, _, flags = arguments
        if flags & _FOR_WRITING and flags & _EMPTYING and not isinstance(path, int):
            yield Path(os.fsdecode(path)).absolute()
        return
    for place, descriptor in _CHANGES[event]:
        path = Path(os.fsdecode(arguments[place]))
        if arguments[descriptor] != -1:
            path = Path(os.readlink(f"/proc/self/fd/{arguments[descriptor]}")) / path
        yield path.absolute()
