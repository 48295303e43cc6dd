"""Compiles `onednn.cc` for this machine, once, into the user's cache folder, and loads it."""

import atexit
import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import jax
from filelock import FileLock

from liftjax.errors import LiftjaxError, first_line

VARIABLE = "LIFTJAX_ONEDNN"  # "off": XLA's operations everywhere

_SOURCE = Path(__file__).with_name("onednn.cc")
_LIBRARY, _HEADERS = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"
# Not -ffast-math, which makes the whole process round small numbers to zero. These two let
# comparisons and roots be vectorised, and change no number.
_FLAGS = (
    "-std=c++17", "-O2", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp",
    "-fPIC", "-shared", "-w",
)  # fmt: skip
_LONGEST_S = 300  # that one process waits for another's compiler


class Unavailable(Exception):
    """Why oneDNN cannot be called here, in a few words."""


@functools.cache
def load() -> ctypes.CDLL | str:
    """The compiled functions, or why there are none."""
    try:
        return _load()
    except Unavailable as reason:
        return str(reason)
    except (LiftjaxError, OSError) as error:
        warnings.warn(
            f"Convolutions without oneDNN, hence slower: {first_line(error)}", stacklevel=2
        )
        return f"it could not be compiled: {first_line(error)}"


def describe() -> str:
    """Such as "onednn-cpu-gomp 2023.2.0", or "no: " and why it is not used. Compiles if need be."""
    found = load()
    return f"no: {found}" if isinstance(found, str) else f"onednn-cpu-gomp {_version()}"


def _load() -> ctypes.CDLL:
    if os.environ.get(VARIABLE) == "off":
        raise Unavailable(f"{VARIABLE}=off")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Unavailable("only on Linux with an x86-64 processor")
    onednn, headers = _installed(_LIBRARY, "libdnnl.so.3"), _installed(_HEADERS, "dnnl.hpp")
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")
    if compiler is None:
        raise Unavailable("no C++ compiler: install g++")
    # Loaded first, it is what the other one finds under its name.
    with _sleeping_threads():
        ctypes.CDLL(str(onednn), mode=ctypes.RTLD_GLOBAL)
    includes = [headers.parent, jax.ffi.include_dir()]
    command = [compiler, *_FLAGS, *(f"-I{path}" for path in includes), str(_SOURCE), str(onednn)]
    library = ctypes.CDLL(str(_compiled(command)))
    library.liftjax_supported.restype = ctypes.c_bool
    if not library.liftjax_supported():
        raise Unavailable("the processor has no AVX2")
    return library


@contextlib.contextmanager
def _sleeping_threads() -> Iterator[None]:
    """OpenMP, if it is loaded meanwhile, lets threads sleep while they wait for others.

    By default they spin. On a busy machine that takes the core away from the thread they wait for.
    """
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ)
    if not chosen:
        os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:
        if not chosen:
            del os.environ["OMP_WAIT_POLICY"]


def _version() -> str:
    return metadata.version(_LIBRARY)


def _installed(package: str, name: str) -> Path:
    """The path of a file of an installed package."""
    try:
        files = metadata.files(package) or ()
    except metadata.PackageNotFoundError:
        raise Unavailable(f"{package} is not installed: pip install 'liftjax[cpu]'") from None
    for file in files:
        if file.name == name:
            return Path(file.locate()).resolve()
    raise Unavailable(f"{package} lacks {name}")


def _compiled(command: Sequence[str]) -> Path:
    """The shared library that `command` makes, from the cache folder if it is there.

    Several processes and machines may share the folder: the name tells compiler, packages and
    processor apart, and a file appears whole.
    """
    name = f"onednn-{_digest(command)}.so"
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(home, "liftjax", "onednn").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        if path.exists():
            return path
        with FileLock(folder / f".{name}.lock", timeout=_LONGEST_S):
            if not path.exists():
                _compile(command, path)
            return path
    except (OSError, RuntimeError):  # no home, or not ours to write to, or a compiler that hangs
        path = Path(tempfile.mkdtemp(prefix="liftjax-onednn-"), name)
        atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
        _compile(command, path)
        return path


def _compile(command: Sequence[str], path: Path) -> None:
    print("Compiling oneDNN's calls for this processor, once (about 15 s) ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = Path(folder, path.name)
        done = subprocess.run([*command, "-o", partial], capture_output=True, text=True)
        if done.returncode:
            raise LiftjaxError(f"{command[0]} failed: {first_line(done.stderr)}")
        partial.replace(path)


def _digest(command: Sequence[str]) -> str:
    """Of all that decides what the compiler makes, and whether it runs here."""
    compiler = subprocess.run([command[0], "--version"], capture_output=True, text=True).stdout
    versions = compiler, metadata.version("jaxlib"), _version()
    parts = (*command, *versions, _processor(), _SOURCE.read_text())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """The instructions that the processor knows."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line for line in lines if line.startswith("flags"))
