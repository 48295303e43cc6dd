"""onednn.cc is compiled once, whoever shares the cache folder, and whatever ends a compiler."""

import os
import signal
import subprocess
import sys
import time

import pytest

from liftjax.errors import LiftjaxError
from liftjax.ops import onednn_build

# Writes what `-o` names after a while, and a line for each start.
COMPILER = """#!/bin/sh
echo start >> "$(dirname "$0")/starts"
[ "$1" = --version ] && echo {version} && exit
sleep {seconds}
while [ "$1" != -o ]; do shift; done
echo {result} > "$2"
{end}
"""

PROGRAM = """
import sys
from liftjax.ops import onednn_build
print(onednn_build._compiled([sys.argv[1]]).read_text().strip())
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "liftjax" / "onednn"


@pytest.fixture
def compiler(tmp_path):
    def write(seconds=0, end="", result="library", version=1):
        path = tmp_path / "compiler"
        path.write_text(COMPILER.format(seconds=seconds, end=end, result=result, version=version))
        path.chmod(0o755)
        return path

    return write


def start(compiler) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, compiler], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip


def test_several_processes_compile_once(cache, compiler):
    path = compiler(seconds=2)
    processes = [start(path) for _ in range(3)]
    said = [process.communicate(timeout=120) for process in processes]
    assert [out for out, _ in said] == ["library\n"] * 3, said
    lines = (path.parent / "starts").read_text().splitlines()
    assert len(lines) == 3 + 1  # three versions, one compilation
    assert onednn_build._compiled([str(path)]).read_text() == "library\n"


def test_a_killed_compilation_leaves_nothing_that_is_used(cache, compiler):
    process = start(compiler(seconds=60))
    deadline = time.monotonic() + 60
    while not list(cache.glob(".*/")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list(cache.glob("*.so"))
    assert onednn_build._compiled([str(compiler())]).read_text() == "library\n"


def test_a_failed_compilation_is_said(cache, compiler):
    path = compiler(end="echo no header >&2; exit 1")
    with pytest.raises(LiftjaxError, match=r"compiler failed: no header"):
        onednn_build._compiled([str(path)])
    assert not list(cache.glob("*.so"))


def test_a_folder_that_cannot_be_written_is_not_needed(cache, compiler):
    cache.parent.parent.write_text("a file where the folder should be")
    assert onednn_build._compiled([str(compiler())]).read_text() == "library\n"


def test_other_processors_compilers_and_packages_have_files_of_their_own(
    cache, compiler, monkeypatch
):
    def name():
        return onednn_build._compiled([str(path)]).name

    path = compiler()
    names = {name()}
    monkeypatch.setattr(onednn_build, "_processor", lambda: "flags : sse2")
    names.add(name())
    monkeypatch.setattr(onednn_build, "_version", lambda: "1.0")
    names.add(name())
    path = compiler(version=2)
    names.add(name())
    assert len(names) == 4
    assert {file.name for file in cache.glob("*.so")} == names


@pytest.mark.parametrize(
    ("system", "why"),
    [(("Darwin", "arm64"), "only on Linux"), (("Linux", "aarch64"), "x86-64")],
)
def test_other_systems_are_told(system, why, monkeypatch):
    monkeypatch.delenv(onednn_build.VARIABLE, raising=False)
    monkeypatch.setattr(onednn_build.platform, "system", lambda: system[0])
    monkeypatch.setattr(onednn_build.platform, "machine", lambda: system[1])
    with pytest.raises(onednn_build.Unavailable, match=why):
        onednn_build._load()


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.delenv(onednn_build.VARIABLE, raising=False)
    monkeypatch.setattr(onednn_build, "_LIBRARY", "no-such-package")
    with pytest.raises(onednn_build.Unavailable, match=r"no-such-package is not installed: pip"):
        onednn_build._load()


def test_without_a_compiler(monkeypatch):
    monkeypatch.delenv(onednn_build.VARIABLE, raising=False)
    monkeypatch.setattr(onednn_build.shutil, "which", lambda name: None)
    with pytest.raises(onednn_build.Unavailable, match=r"no C\+\+ compiler: install g\+\+"):
        onednn_build._load()
