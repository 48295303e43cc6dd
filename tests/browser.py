"""Pages opened in a real headless Chromium, by Playwright.

    with running_browser() as browser:
        page = browser.open(path_of_html, width=1400)
        page.run("return document.title")
        page.drag((100, 100), (180, 100))
        page.check()  # no error, no warning of the console, no request that leaves the machine

The browser is the system's own; Playwright downloads none. Pages have no network, and asking for
it is an error.
"""

import base64
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from playwright import sync_api

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TIMEOUT_MS = 120_000  # of one answer; a busy machine may take long to start the browser


def find_chromium() -> str | None:
    """The browser's path, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def running_browser() -> Iterator["Browser"]:
    """A browser process with an empty profile, which ends with the `with` block."""
    options = {"executable_path": find_chromium(), "timeout": TIMEOUT_MS}
    with sync_api.sync_playwright() as driver, driver.chromium.launch(**options) as browser:
        yield Browser(browser)


class Browser:
    """Opens pages."""

    def __init__(self, browser: sync_api.Browser):
        self._browser = browser

    def open(self, path, width=1000, height=900, *, dark=False, calm=False, touch=False) -> "Page":
        """The file's page, loaded.

        Args:
          width, height: of the window, CSS pixels.
          dark: whether the user prefers a dark page.
          calm: whether the user prefers reduced motion.
          touch: whether there is a touch screen.
        """
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce" if calm else "no-preference",
            has_touch=touch,
            offline=True,
        )
        context.set_default_timeout(TIMEOUT_MS)
        return Page(context.new_page(), Path(path).resolve().as_uri())


class Page:
    """One page. Errors, warnings and requests are kept from the very start."""

    def __init__(self, page: sync_api.Page, url: str):
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self.problems: list[str] = []
        page.on("pageerror", lambda e: self.problems.append(f"uncaught: {e.name}: {e.message}"))
        page.on("console", self._hear)
        page.on("request", self._watch)
        page.on("crash", lambda _: self.problems.append("the page crashed"))
        page.goto(url)

    def _hear(self, message: sync_api.ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            where = message.location["url"]
            self.problems.append(f"console.{message.type}: {message.text} {where}")

    def _watch(self, request: sync_api.Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:", "about:")):
            self.problems.append(f"asks the network for {request.url}")

    def check(self) -> None:
        """Raises AssertionError with everything that went wrong so far."""
        self.settle()
        assert not self.problems, "\n".join(self.problems)

    def run(self, body: str, *arguments):
        """What the body of an async JavaScript function returns; arguments are its `args`."""
        function = f"""(args) => Promise.race([
          (async () => {{{body}\n}})(),
          new Promise((_, fail) => setTimeout(() => fail(Error("no answer in time")), {TIMEOUT_MS}))
        ])"""
        try:
            return self._page.evaluate(function, list(arguments))
        except sync_api.Error as error:
            raise AssertionError(str(error)) from None

    def call(self, method: str, **params):
        """A command of the DevTools protocol to this page."""
        return self._session.send(method, params)

    def settle(self) -> None:
        """Waits for two pictures of the screen, by when what was asked for has been drawn."""
        self.run(
            "for (let i = 0; i < 2; i++) await new Promise((done) => requestAnimationFrame(done));"
        )

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height in the window of the first such element, scrolled to."""
        found = self._page.locator(selector).first
        found.scroll_into_view_if_needed()  # waits until the element has come to rest
        box = found.bounding_box()
        return box["x"], box["y"], box["width"], box["height"]

    def middle(self, selector: str) -> tuple[float, float]:
        """The middle of the first such element in the window, scrolled to."""
        left, top, width, height = self.box(selector)
        return left + width / 2, top + height / 2

    def hover(self, x: float, y: float) -> None:
        """Moves the mouse to (x, y)."""
        self._page.mouse.move(x, y)
        self.settle()

    def click(self, target) -> None:
        """A real click on the middle of the element that a selector names, or at (x, y)."""
        self._page.mouse.click(*(self.middle(target) if isinstance(target, str) else target))
        self.settle()

    def drag(self, start, end, steps: int = 5) -> None:
        """With the left mouse button, from (x, y) to (x, y)."""
        self._page.mouse.move(*start)
        self._page.mouse.down()
        self._page.mouse.move(*end, steps=steps)
        self._page.mouse.up()
        self.settle()

    def wheel(self, x: float, y: float, down: float, *, key: str | None = None) -> None:
        """Turns the wheel at (x, y) while `key`, such as "Control", is held."""
        self._page.mouse.move(x, y)
        if key:
            self._page.keyboard.down(key)
        self._page.mouse.wheel(0, down)
        if key:
            self._page.keyboard.up(key)
        self.settle()

    def touch(self, starts, ends, steps: int = 5) -> None:
        """Fingers put down at `starts`, moved to `ends` and lifted."""
        places = np.linspace(starts, ends, steps + 1)
        for i, points in enumerate(places):
            fingers = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points.tolist())]
            kind = "touchMove" if i else "touchStart"
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=fingers)
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.settle()

    def press(self, key: str) -> None:
        """A key as events name it: ArrowLeft, Home, Tab, Enter, " ", a letter."""
        self._page.keyboard.press(key)
        self.settle()

    def canvas(self, selector: str) -> np.ndarray:
        """The pixels (H, W, 4) of a canvas, red, green, blue and opacity, as uint8."""
        url = self.run("return document.querySelector(args[0]).toDataURL()", selector)
        data = np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8)
        return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)

    def close(self) -> None:
        """Closes the page with its profile."""
        self._page.context.close()
