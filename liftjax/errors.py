"""The error that a user can cause and cure, and the one for training that was told to end."""

import contextlib
import difflib
import shlex
from collections.abc import Collection, Iterable, Iterator


class LiftjaxError(ValueError):
    """Bad input: one line that says what was wrong, where, and what would be right.

    The command line prints the message alone and exits with status 2.
    """


class Preempted(Exception):
    """Training has been told to end and has saved its state; the same command continues from there.

    Attributes:
      status: exit status of the command line: EX_TEMPFAIL, or 130 after Ctrl-C.
    """

    EX_TEMPFAIL = 75  # sysexits.h: a temporary failure; a scheduler may retry

    def __init__(self, message: str, status: int = EX_TEMPFAIL):
        super().__init__(message)
        self.status = status


def unknown_name(kind: str, name: str, known: Iterable[str]) -> LiftjaxError:
    """The error for a name that is not one of `known`; it suggests the nearest known name."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
    return LiftjaxError(f"Unknown {kind} {name!r}; {hint}")


def check_name(kind: str, name: str, known: Collection[str]) -> None:
    """Raises the error of `unknown_name` unless `name` is one of `known`."""
    if name not in known:
        raise unknown_name(kind, name, known)


def first_line(error: BaseException | str) -> str:
    """The first line of an error, for libraries whose messages have many lines."""
    text = str(error).strip()
    return text.splitlines()[0][:160] if text else type(error).__name__


@contextlib.contextmanager
def needs(purpose: str, package: str, install: str) -> Iterator[None]:
    """Within it, an import that fails raises a LiftjaxError that says what to install.

    Args:
      purpose: what the import is for, as the subject of a sentence: "Reading videos".
      package: the name of the package, for people: "PyAV".
      install: what pip takes: "liftjax[video]".
    """
    try:
        yield
    except ImportError as error:
        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({first_line(error)})"
        if install.startswith("liftjax[") and not _installed():
            install = install.replace("liftjax", ".", 1)
        command = f"pip install {shlex.quote(install)}"
        raise LiftjaxError(f"{purpose} needs {package}{reason}: {command}.") from error


def _installed() -> bool:
    """Whether pip knows liftjax; else it is run in its source tree."""
    from importlib import metadata

    try:
        metadata.distribution("liftjax")
    except metadata.PackageNotFoundError:
        return False
    return True
