"""Weights come whole and as published, or not at all; every fault is one line with its cure."""

import errno
import hashlib
import subprocess
import sys
import threading

import pooch
import pytest

from liftjax.errors import LiftjaxError
from liftjax.weights import fetching
from liftjax.weights.fetching import fetch
from liftjax.weights.published import PUBLISHED
from tests.weights.publisher import PAGE, publish

HASHED, UNHASHED = "hrnet_w32/coco", "videopose3d/h36m_cpn"  # whose hash is known, or not


def spoil(server, fault: str, monkeypatch) -> None:
    """Gives the server a fault; for one that keeps silent there is little patience."""
    server.fault = fault
    if fault in ("hangs", "stops half-way"):
        monkeypatch.setattr(fetching, "TIMEOUTS_S", (15, 1))


def left(folder) -> set[str]:
    """The files in the folder without locks."""
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize("name", [HASHED, UNHASHED])
def test_a_file_comes_once_and_is_recorded(name, server, folder, monkeypatch, capsys):
    entry, address = publish(monkeypatch, server, name), PUBLISHED[name].address
    path, sha256 = fetch(entry)
    assert path == folder / entry.file
    assert path.read_bytes() == server.content
    assert sha256 == hashlib.sha256(server.content).hexdigest()
    assert left(folder) == {entry.file, f"{entry.file}.sha256"}
    assert path.with_name(f"{entry.file}.sha256").read_text() == f"{sha256}  {entry.file}\n"
    said = capsys.readouterr().out
    assert address in said
    assert f"SHA-256 {sha256}" in said
    assert f"{name}: {entry.paper}; licence: {entry.licence}" in said
    assert ("for non-commercial use only" in said) == (name == UNHASHED)
    asked = list(server.asked)
    assert {path for _, path, _ in asked} == {"/" + address.split("/", 3)[3]}
    assert fetch(entry, offline=True) == (path, sha256)
    assert server.asked == asked
    assert not capsys.readouterr().out


@pytest.mark.parametrize("fault", ["breaks off", "stops half-way"])
def test_a_download_goes_on_where_it_was_cut_off(fault, server, folder, monkeypatch):
    entry = publish(monkeypatch, server, UNHASHED)
    spoil(server, fault, monkeypatch)
    with pytest.raises(LiftjaxError):
        fetch(entry)
    assert not (folder / entry.file).exists()
    assert left(folder) == {f"{entry.file}.{len(server.content)}.part"}
    server.fault = ""
    path, _ = fetch(entry)
    assert path.read_bytes() == server.content
    assert server.gets[0] == ""
    assert server.gets[1].startswith("bytes=")
    # What arrived less than a piece before the end may be sent again.
    assert server.sent - len(server.content) < fetching._PIECE
    assert left(folder) == {entry.file, f"{entry.file}.sha256"}


@pytest.mark.parametrize("fault", ["knows no ranges", "ignores ranges"])
def test_all_is_fetched_again_where_the_server_sends_no_parts(fault, server, folder, monkeypatch):
    """Whether it says so or not."""
    entry = publish(monkeypatch, server, UNHASHED)
    folder.mkdir()
    (folder / f"{entry.file}.{len(server.content)}.part").write_bytes(b"\x80we")
    server.fault = fault
    assert fetch(entry).path.read_bytes() == server.content
    assert server.gets == ["bytes=3-" if fault == "ignores ranges" else ""]


@pytest.mark.parametrize("fault", ["", "knows no length"])
def test_a_part_of_another_version_is_not_continued(fault, server, folder, monkeypatch):
    entry = publish(monkeypatch, server, UNHASHED)
    folder.mkdir()
    (folder / f"{entry.file}.{len(server.content) + 1}.part").write_bytes(b"older")
    (folder / f"{entry.file}.None.part").write_bytes(b"older")
    server.fault = fault
    assert fetch(entry).path.read_bytes() == server.content
    assert left(folder) == {entry.file, f"{entry.file}.sha256"}


def test_a_whole_part_needs_a_check_alone(server, folder, monkeypatch):
    """Its process may have been killed before the check."""
    entry = publish(monkeypatch, server, HASHED)
    folder.mkdir()
    (folder / f"{entry.file}.{len(server.content)}.part").write_bytes(server.content)
    assert fetch(entry).path.read_bytes() == server.content
    assert server.gets == []


FAULTS = {
    "hangs": "has sent nothing for 1 s",
    "stops half-way": "has sent nothing for 1 s",
    "breaks off": "only 131,072 of 320,000 bytes came",
    "404": "answers 404 Not Found",
    "page": "sent a web page, which was deleted",
    "empty": "sent an empty file, which was deleted",
    "another file": r"sent another file \(its SHA-256 begins with \w{8}, not \w{8}\), which",
    "tells another length": "sent a file of 320,000 bytes instead of 319,997, which was deleted",
    "is away": r"127.0.0.1:\d+ cannot be reached \(Connection refused\)",
    "full disk": "The disk of .*weights is full; free some of it and run the same command again",
    "no folder": r"The folder .* cannot be written \(File exists\); name another one by LIFTJAX_",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_that_says_what_to_do(fault, server, folder, monkeypatch):
    entry = publish(monkeypatch, server, HASHED)
    path = folder / entry.file
    spoil(server, fault, monkeypatch)
    if fault == "another file":
        server.content = b"\x80" + server.content[1:][::-1]
    elif fault == "empty":
        server.content = b""
    elif fault == "is away":
        server.shutdown()
        server.server_close()
    elif fault == "full disk":
        full = OSError(errno.ENOSPC, "No space left on device")

        def write(*_):
            raise full

        monkeypatch.setattr(pooch.HTTPDownloader, "__call__", write)
    elif fault == "no folder":
        folder.touch()
    with pytest.raises(LiftjaxError, match=FAULTS[fault]) as stop:
        fetch(entry)
    said = str(stop.value)
    assert "\n" not in said
    if fault in ("full disk", "no folder"):
        assert "LIFTJAX_WEIGHTS=DIRECTORY" in said
    else:
        assert said.startswith(f"{HASHED}: ")
        way = f"run the same command again, or download {entry.address} in another way and"
        way = "look for the file at its publisher, and" if fault == "404" else way
        assert said.endswith(f"; {way} save it as {path}.")
        assert entry.address in said
    assert not path.exists()
    if "deleted" in said:
        assert not left(folder)


def test_offline_takes_what_is_there(server, folder, monkeypatch):
    entry = publish(monkeypatch, server, HASHED)
    with pytest.raises(LiftjaxError, match="not been fetched yet, and --offline forbids") as stop:
        fetch(entry, offline=True)
    assert "; run the command without --offline, or download http" in str(stop.value)
    assert f"save it as {folder / entry.file}" in str(stop.value)
    assert not server.asked
    fetch(entry)
    assert fetch(entry, offline=True).path == folder / entry.file


def test_files_of_google_drive_are_for_people(folder):
    entry = PUBLISHED["mixste/h36m_cpn"]
    with pytest.raises(LiftjaxError, match="programs cannot fetch it") as stop:
        fetch(entry)
    assert f"download {entry.file} from {entry.page} and save it as" in str(stop.value)
    folder.mkdir()
    (folder / entry.file).write_bytes(b"\x80here")
    assert fetch(entry).path.read_bytes() == b"\x80here"


def test_a_file_put_there_by_hand_is_checked_and_taken(server, folder, monkeypatch, capsys):
    entry = publish(monkeypatch, server, HASHED)
    path = folder / entry.file
    folder.mkdir()
    for wrong, what in ((PAGE, "a web page"), (b"\x80other", "another file")):
        path.write_bytes(wrong)
        with pytest.raises(LiftjaxError, match=f"{path} is {what}.*; delete it; run the same"):
            fetch(entry)
        assert path.read_bytes() == wrong  # it is not ours to delete
    path.write_bytes(server.content)
    fetch(entry)
    assert "licence: Apache-2.0" in capsys.readouterr().out
    assert not server.asked


def test_a_file_that_has_changed_is_not_read(server, monkeypatch):
    entry = publish(monkeypatch, server, UNHASHED)
    path = fetch(entry).path
    path.write_bytes(b"\x80changed")
    with pytest.raises(
        LiftjaxError,
        match=r"is not what it was .*; delete only .*\.sha256 if you",
    ):
        fetch(entry)
    path.unlink()
    server.content += b"a later version"
    assert fetch(entry).path.read_bytes() == server.content


def test_threads_fetch_a_file_once(server, monkeypatch, capsys):
    entry = publish(monkeypatch, server, UNHASHED)
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(entry))) for _ in range(4)]
    server.open.clear()
    for thread in threads:
        thread.start()
    threading.Timer(0.2, server.open.set).start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(server.gets) == 1
    captured = capsys.readouterr()
    assert captured.err.count("Another process is fetching videopose3d/h36m_cpn; waiting") == 3
    assert captured.out.count("licence:") == 1


PROCESS = """
import sys
from liftjax.weights.published import PublishedWeights
from liftjax.weights.fetching import fetch
print(fetch(PublishedWeights("a/b", "lifter", "b.bin", "MIT", "A, B", sys.argv[1])).sha256)
"""


def test_processes_fetch_a_file_once(server):
    server.open.clear()
    command = [sys.executable, "-c", PROCESS, f"{server.address}/b.bin"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    threading.Timer(1.5, server.open.set).start()
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert len({out.splitlines()[-1] for out, _ in said}) == 1
    assert len(server.gets) == 1


def test_the_usual_folder_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("LIFTJAX_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetching.folder() == pooch.os_cache("liftjax") / "weights"
