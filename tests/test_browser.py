"""The harness itself: it sees what goes wrong in a page, and leaves nothing behind."""

import os
import shutil
import subprocess
import time

import pytest

from tests.browser import Browser, find_chromium


def opened(browser, tmp_path, body, **settings):
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><title>t</title><link rel=icon href=data:,>{body}")
    return browser.open(path, **settings)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<script>throw new Error('at the very start')</script>", "uncaught.*at the very start"),
        ("<script>Promise.reject(new Error('late'))</script>", "uncaught.*late"),
        ("<script>console.error('said', 3)</script>", "console.error: said 3"),
        ("<script>syntax error</script>", "SyntaxError"),
        ("<img src='https://example.org/a.png'>", "asks the network for https://example.org/a.png"),
        ("<script>fetch('http://localhost:1/').catch(() => 0)</script>", "asks the network"),
        ("<link rel=stylesheet href='missing.css'>", "missing.css"),
    ],
)
def test_what_goes_wrong_in_a_page_is_seen(browser, tmp_path, body, complaint):
    page = opened(browser, tmp_path, body)
    with pytest.raises(AssertionError, match=complaint):
        page.check()
    page.close()


def test_a_sound_page_has_no_problems(browser, tmp_path):
    page = opened(browser, tmp_path, "<button onclick='n += 1'>b</button><script>n = 0</script>")
    page.click("button")
    assert page.run("return {n, sum: args[0] + args[1]}", 2, 3) == {"n": 1, "sum": 5}
    with pytest.raises(AssertionError, match="thrown inside"):
        page.run("await null; throw new Error('thrown inside')")
    page.check()
    page.close()


def test_the_users_wishes_reach_the_page(browser, tmp_path):
    page = opened(browser, tmp_path, "", width=400, dark=True, calm=True)
    asked = "return args.map((query) => matchMedia(query).matches)"
    queries = ["(prefers-color-scheme: dark)", "(prefers-reduced-motion)", "(max-width: 400px)"]
    assert page.run(asked, *queries) == [True] * 3
    page.close()


def alive(group) -> list[str]:
    """States of the processes of a group that have not ended."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [stat for pgid, stat in rows if int(pgid) == group and "Z" not in stat]


@pytest.mark.skipif(not (find_chromium() and shutil.which("ps")), reason="needs a browser and ps")
def test_no_answer_is_an_error_and_no_process_stays(tmp_path):
    with Browser(timeout_s=60) as browser:
        page = opened(browser, tmp_path, "")
        browser.timeout_s = 0.5
        with pytest.raises(RuntimeError, match="no answer in time"):
            page.run("await new Promise(() => {})")
        group = browser._process.pid
    deadline = time.monotonic() + 60
    while alive(group):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(group, 0)
