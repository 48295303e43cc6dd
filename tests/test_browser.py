"""The harness itself: it sees what goes wrong in a page."""

import pytest

from tests import browser as module


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


def test_no_answer_is_an_error(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_MS", 500)
    page = opened(browser, tmp_path, "")
    with pytest.raises(AssertionError, match="no answer in time"):
        page.run("await new Promise(() => {})")
    page.close()
