"""Fetches the files of published weights: whole and checked, or not at all.

A download goes to FILE.LENGTH.part, where the next call continues it if it was cut off. FILE itself
appears only after a check, so that whoever finds it can read it. FILE.sha256 keeps its SHA-256, in
the format of sha256sum. One process fetches and the others wait for it.
"""

import contextlib
import errno
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from liftjax.errors import LiftjaxError, first_line
from liftjax.weights.published import PublishedWeights
from liftjax.writing import write_text

VARIABLE = "LIFTJAX_WEIGHTS"
TIMEOUTS_S = (15, 60)  # until a server answers, and between two pieces of an answer
_PIECE = 2**16  # bytes
_AGAIN = "run the same command again"
# The length of a compressed answer would not be that of the file.
_AS_IT_IS = {"Accept-Encoding": "identity"}


class Fetched(NamedTuple):
    """A whole file and its SHA-256."""

    path: Path
    sha256: str


def folder() -> Path:
    """The folder of the files and their run directories; LIFTJAX_WEIGHTS names another one."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser().absolute()
    import pooch

    return pooch.os_cache("liftjax") / "weights"


def fetch(weights: PublishedWeights, *, offline: bool = False) -> Fetched:
    """The file of `weights`, which is fetched unless it is in the folder, and checked in any case.

    Args:
      weights: what to fetch.
      offline: take what is in the folder and ask nobody.

    Raises:
      LiftjaxError: the file cannot be had, or is another one; the message says what to do.
    """
    path = folder() / weights.file
    if path.exists():  # needs no lock, which a folder that cannot be written does not give
        return _checked(weights, path)
    if offline:
        once = "run the command without --offline" if weights.address else ""
        raise _error(weights, "it has not been fetched yet, and --offline forbids it", once)
    if not weights.address:
        raise _error(weights, "programs cannot fetch it")
    with locked(path, f"is fetching {weights.name}"):
        if not path.exists():
            _download(weights, path)
        return _checked(weights, path)


@contextlib.contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Holds the lock of `path`, a file beside it, and makes its folder.

    Args:
      path: what only one process may make.
      doing: what the holder does, in words for those who wait.
    """
    import filelock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(f"{path}.lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            print(f"Another process {doing}; waiting for it.", file=sys.stderr, flush=True)
            lock.acquire()
    except (OSError, NotImplementedError) as error:  # the latter: no locks on this disk
        raise unwritable(path.parent, error) from None
    try:
        yield
    finally:
        lock.release()


def _download(weights: PublishedWeights, path: Path) -> None:
    """Fetches the file, checks it and renames it to `path`."""
    import requests

    try:
        length, resumes = _ask(weights.address)
        part = path.with_name(f"{path.name}.{length}.part")
        for old in path.parent.glob(f"{path.name}.*.part"):
            if old != part or not resumes:  # of another version of the file, or of no use
                old.unlink()
        _get(weights, part, length)
        fault = _whole_or_fault(weights, part, length)
        if not fault:
            record_of(path).unlink(missing_ok=True)  # of an earlier file
            part.replace(path)
    except requests.RequestException as error:  # an OSError too
        raise _in_words(weights, error) from None
    except OSError as error:
        raise unwritable(path.parent, error) from None
    if fault:
        raise _error(weights, fault, _AGAIN)


def _ask(address: str) -> tuple[int | None, bool]:
    """The length of the file, if the server tells it, and whether it sends parts of a file."""
    import requests

    answer = requests.head(address, headers=_AS_IT_IS, timeout=TIMEOUTS_S, allow_redirects=True)
    length = answer.headers.get("Content-Length", "")
    if not answer.ok or not length.isdigit():  # what is wrong, the answer to GET will tell
        return None, False
    return int(length), answer.headers.get("Accept-Ranges") == "bytes"


def _get(weights: PublishedWeights, part: Path, length: int | None) -> None:
    """Adds to `part` what it lacks."""
    from pooch import HTTPDownloader
    from requests.exceptions import ChunkedEncodingError
    from tqdm import tqdm

    with part.open("ab") as file, contextlib.ExitStack() as stack:
        start = file.tell()
        if start == length:
            return

        def answered(answer, **_) -> None:
            stack.callback(answer.close)  # pooch leaves it open after an error
            if answer.status_code == 200:  # the whole file, even if a part was asked for
                file.truncate(0)

        more = f" from byte {start:,} on" if start else ""
        print(f"{weights.name}: fetching {weights.address}{more}", flush=True)
        headers = _AS_IT_IS | ({"Range": f"bytes={start}-"} if start else {})
        settings = {"headers": headers, "timeout": TIMEOUTS_S, "hooks": {"response": answered}}
        shown = {"unit": "B", "unit_scale": True, "delay": 1, "leave": False}
        # A bar that knows no total is false, and pooch would not show it.
        bar = stack.enter_context(tqdm(desc=weights.file, total=length or 1, **shown))
        try:
            HTTPDownloader(bar, _PIECE, **settings)(weights.address, file, None)
        except ChunkedEncodingError:  # cut off, which the length tells too
            if length is None:
                raise


def _whole_or_fault(weights: PublishedWeights, part: Path, length: int | None) -> str:
    """Empty if `part` is the file, else what is wrong; it stays only if it can be continued."""
    found = part.stat().st_size
    if length is not None and found < length:
        return f"only {found:,} of {length:,} bytes came"
    fault = _examine(weights, part)[1]
    if length not in (None, found):
        fault = f"a file of {found:,} bytes instead of {length:,}"
    if not fault:
        return ""
    part.unlink()
    return f"{_host(weights)} sent {fault}, which was deleted"


def _examine(weights: PublishedWeights, path: Path) -> tuple[str, str]:
    """The SHA-256 of a file, and what the file is instead of the weights; empty if it is them."""
    with path.open("rb") as file:
        start = file.read(512).lstrip()[:16].lower()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not start:
        return digest, "an empty file"
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return digest, "a web page"
    if not digest.startswith(weights.sha256):
        expected = weights.sha256[:8]
        return digest, f"another file (its SHA-256 begins with {digest[:8]}, not {expected})"
    return digest, ""


def _checked(weights: PublishedWeights, path: Path) -> Fetched:
    """The file at `path`, which a person may have put there; the first time it is reported on."""
    digest, fault = _examine(weights, path)
    record = record_of(path)
    recorded = record.read_text("utf-8")[:64] if record.exists() else ""
    if recorded and recorded != digest:
        fault = f"not what it was (its SHA-256 began with {recorded[:8]}, now with {digest[:8]})"
    if fault:
        them = f"it and {record.name}" if recorded else "it"
        if recorded and not weights.sha256:
            them = f"only {record.name} if you replaced the file yourself, or else {them}"
        again = _AGAIN if weights.address else ""
        raise _error(weights, f"{path} is {fault}; delete {them}", again)
    if not recorded:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, SHA-256 {digest}")
        print(f"{weights.name}: {weights.paper}; licence: {weights.terms}", flush=True)
        with contextlib.suppress(OSError):  # a folder that cannot be written
            write_text(record, f"{digest}  {path.name}")
    return Fetched(path, digest)


def record_of(path: Path) -> Path:
    """The file beside the one at `path` that keeps its SHA-256."""
    return path.with_name(f"{path.name}.sha256")


def _in_words(weights: PublishedWeights, error) -> LiftjaxError:
    """The error that says what a failure of the network means."""
    import requests
    from urllib3.exceptions import ReadTimeoutError

    host, cause = _host(weights), _cause(error)
    if isinstance(error, requests.HTTPError):
        what = f"{host} answers {error.response.status_code} {error.response.reason}"
        if error.response.status_code in (404, 410):
            return _moved(weights, what)
    elif isinstance(error, requests.ConnectTimeout):
        what = f"{host} does not answer within {TIMEOUTS_S[0]:g} s"
    elif isinstance(error, requests.Timeout) or isinstance(cause, ReadTimeoutError):
        what = f"{host} has sent nothing for {TIMEOUTS_S[1]:g} s"
    elif isinstance(error, requests.exceptions.ChunkedEncodingError):
        what = "the download was cut off"
    else:
        reason = re.sub(r"\[Errno -?\d+\] ", "", first_line(cause).rpartition(": ")[2])
        what = f"{host} cannot be reached ({reason})"
    return _error(weights, what, _AGAIN)


def _cause(error: Exception) -> Exception:
    """The innermost of exceptions that hold each other."""
    inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    return _cause(inner) if isinstance(inner, Exception) else error


def _error(weights: PublishedWeights, what: str, cure: str = "") -> LiftjaxError:
    """The error that says what is wrong, `cure`, and how to get the file in another way."""
    if weights.address:
        by_hand = f"download {weights.address} in another way"
    else:
        by_hand = f"download {weights.file} from {weights.page}"
    cures = f"{cure}, or {by_hand}" if cure else by_hand
    here = folder() / weights.file
    return LiftjaxError(f"{weights.name}: {what}; {cures} and save it as {here}.")


def _moved(weights: PublishedWeights, what: str) -> LiftjaxError:
    """The error for an address that is no more."""
    return LiftjaxError(
        f"{weights.name}: {what} for {weights.address}; look for the file at its publisher, and "
        f"save it as {folder() / weights.file}."
    )


def unwritable(where: Path, error: Exception) -> LiftjaxError:
    """The error for a folder of weights in which something could not be written."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return LiftjaxError(
            f"The disk of {where} is full; free some of it and run the same command again, or name "
            f"a folder on another disk by {VARIABLE}=DIRECTORY."
        )
    reason = getattr(error, "strerror", None) or first_line(error)
    return LiftjaxError(
        f"The folder {where} cannot be written ({reason}); name another one by "
        f"{VARIABLE}=DIRECTORY."
    )


def _host(weights: PublishedWeights) -> str:
    return urlsplit(weights.address).netloc
