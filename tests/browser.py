"""Pages opened in a real headless Chromium, over its DevTools protocol on a pipe.

    with Browser() as browser:
        page = browser.open(path_of_html, width=1400)
        page.run("return document.title")
        page.drag((100, 100), (180, 100))
        page.check()  # no error, no warning of the console, no address outside the machine

Pages have no network, and asking for it is an error. Nothing is needed but Chromium itself.
"""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TIMEOUT_S = 120  # of one answer; a busy machine may take long to start the browser

_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--mute-audio",
    "--password-store=basic",
    "--proxy-server=direct://",
    "--use-mock-keychain",
)
# The browser reads commands from descriptor 3 and answers on 4; the shell puts them there.
_START = 'exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>&2'
_KEYS = {" ": "Space", "+": "Equal", "-": "Minus"}


def find_chromium() -> str | None:
    """The browser's path, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser process of its own, with a profile of its own, ended with the `with` block."""

    def __init__(self, timeout_s: float = TIMEOUT_S):
        self.timeout_s = timeout_s
        self._pages = {}  # by session
        self._ids = itertools.count(1)
        self._buffer = b""

    def __enter__(self) -> "Browser":
        with contextlib.ExitStack() as stack:
            home = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            self._log = stack.enter_context(open(Path(home, "log"), "w+"))
            flags = [*_FLAGS, f"--user-data-dir={home}/profile"]
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                flags.append("--no-sandbox")  # which refuses to run as root
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _START, find_chromium(), *flags],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env={**os.environ, "HOME": home, "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
                bufsize=0,
                start_new_session=True,
            )
            stack.callback(self._end)
            self.call("Browser.getVersion")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure):
        self._stack.close()

    def _end(self):
        """Ends the browser and every process it started."""
        with contextlib.suppress(OSError, ValueError):
            self._send("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def open(self, path, width: int = 1000, height: int = 900, **settings) -> "Page":
        """The file's page, loaded. For `settings` see `Page`."""
        return Page(self, Path(path).resolve().as_uri(), width, height, **settings)

    def call(self, method: str, session: str | None = None, **params):
        """The result of a command; raises with the browser's message if it refuses."""
        number = self._send(method, session, **params)
        while True:
            message = self._receive(method)
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]

    def wait(self, what: str, done) -> None:
        """Takes in what the browser says until `done()`."""
        while not done():
            self._receive(what)

    def _send(self, method, session=None, **params) -> int:
        message = {"id": next(self._ids), "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        return message["id"]

    def _receive(self, waiting_for: str) -> dict:
        """The next message; events are also handed to their page."""
        deadline = time.monotonic() + self.timeout_s
        pipe = self._process.stdout
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([pipe], [], [], left)[0]
            data = os.read(pipe.fileno(), 1 << 20) if ready else b""
            if not data:
                self._log.seek(0)
                why = "no answer in time" if not ready else "the browser has ended"
                raise RuntimeError(f"{waiting_for}: {why}\n{self._log.read()[-2000:]}")
            self._buffer += data
        text, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(text)
        page = self._pages.get(message.get("sessionId"))
        if page and "method" in message:
            page.heard(message["method"], message["params"])
        return message


class Page:
    """One page. Errors, warnings and requests are kept from the very start.

    Args:
      width, height: of the window, CSS pixels. scale: screen pixels in one of them.
      dark, calm: whether the user prefers a dark page, and reduced motion. touch: a touch screen.
    """

    def __init__(
        self, browser, url, width, height, *, scale=1, dark=False, calm=False, touch=False
    ):
        self.browser = browser
        self.problems: list[str] = []
        self.loaded = False
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self._target, self._session = target, attached["sessionId"]
        browser._pages[self._session] = self
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")
        self.resize(width, height, scale)
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if calm else "no-preference",
        }
        listed = [{"name": name, "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=listed)
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        if touch:
            self.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
        self.loaded = False
        self.call("Page.navigate", url=url)
        browser.wait(f"loading {url}", lambda: self.loaded)

    def call(self, method: str, **params):
        """A command of the DevTools protocol to this page."""
        return self.browser.call(method, self._session, **params)

    def heard(self, event: str, params: dict) -> None:
        """Takes in an event of the page."""
        if event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", details["text"])
            self.problems.append(f"uncaught: {thrown}")
        elif event == "Runtime.consoleAPICalled" and params["type"] in (
            "error", "warning", "assert",
        ):  # fmt: skip
            words = [str(a.get("value", a.get("description"))) for a in params["args"]]
            self.problems.append(f"console.{params['type']}: {' '.join(words)}")
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            entry = params["entry"]
            self.problems.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
        elif event == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                self.problems.append(f"asks the network for {url}")
        elif event == "Inspector.targetCrashed":
            self.problems.append("the page crashed")

    def check(self) -> None:
        """Raises AssertionError with everything that went wrong so far."""
        self.settle()
        assert not self.problems, "\n".join(self.problems)

    def run(self, body: str, *arguments):
        """What the body of an async JavaScript function returns; arguments are its `args`."""
        result = self.call(
            "Runtime.evaluate",
            expression=f"(async (...args) => {{{body}\n}})(...{json.dumps(arguments)})",
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description", details["text"]))
        return result["result"].get("value")

    def settle(self) -> None:
        """Waits for two pictures of the screen, by when what was asked for has been drawn."""
        self.run(
            "for (let i = 0; i < 2; i++) await new Promise((done) => requestAnimationFrame(done));"
        )

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height in the window of the first such element, scrolled to.

        Waits until the page, which may be scrolling or growing, has come to rest.
        """
        return tuple(
            self.run(
                """const found = document.querySelector(args[0]);
                if (!found) throw new Error(`nothing is ${args[0]}`);
                const frame = () => new Promise((done) => requestAnimationFrame(done));
                let before = null;
                for (let i = 0; i < 200; i++) {
                  found.scrollIntoView({block: "center", inline: "nearest", behavior: "instant"});
                  await frame();
                  await frame();
                  const {left, top, width, height} = found.getBoundingClientRect();
                  if (before === String([left, top])) return [left, top, width, height];
                  before = String([left, top]);
                }
                throw new Error(`${args[0]} does not come to rest`);""",
                selector,
            )
        )

    def middle(self, selector: str) -> tuple[float, float]:
        left, top, width, height = self.box(selector)
        return left + width / 2, top + height / 2

    def mouse(self, kind: str, x: float, y: float, **more) -> None:
        """kind: Moved, Pressed, Released or Wheel."""
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **more)

    def hover(self, x: float, y: float) -> None:
        self.mouse("Moved", x, y)
        self.settle()

    def click(self, target) -> None:
        """A real click on the middle of the element that a selector names, or at (x, y)."""
        x, y = self.middle(target) if isinstance(target, str) else target
        self.mouse("Moved", x, y)
        self.mouse("Pressed", x, y, button="left", buttons=1, clickCount=1)
        self.mouse("Released", x, y, button="left", clickCount=1)
        self.settle()

    def drag(self, start, end, steps: int = 5) -> None:
        """With the left mouse button, from (x, y) to (x, y)."""
        self.mouse("Moved", *start)
        self.mouse("Pressed", *start, button="left", buttons=1, clickCount=1)
        for point in _between(start, end, steps):
            self.mouse("Moved", *point, button="left", buttons=1)
        self.mouse("Released", *end, button="left", clickCount=1)
        self.settle()

    def wheel(self, x: float, y: float, down: float, **more) -> None:
        self.mouse("Wheel", x, y, deltaX=0, deltaY=down, **more)
        self.settle()

    def touch(self, starts, ends, steps: int = 5) -> None:
        """Fingers put down at `starts`, moved to `ends` and lifted."""
        self._fingers("touchStart", starts)
        ways = [_between(a, b, steps) for a, b in zip(starts, ends, strict=True)]
        for points in zip(*ways, strict=True):
            self._fingers("touchMove", points)
        self._fingers("touchEnd", [])
        self.settle()

    def _fingers(self, kind, points) -> None:
        listed = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=listed)

    def press(self, key: str) -> None:
        """A key as events name it: ArrowLeft, Home, Tab, Enter, " ", a letter."""
        codes = {"Enter": "\r", **({key: key} if len(key) == 1 else {})}
        event = {"key": key, "code": _KEYS.get(key, key)}
        if key in codes:
            event["text"] = codes[key]
        self.call("Input.dispatchKeyEvent", type="keyDown", **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=event["code"])
        self.settle()

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def canvas(self, selector: str) -> np.ndarray:
        """The pixels (H, W, 4) of a canvas, red, green, blue and opacity, as uint8."""
        url = self.run("return document.querySelector(args[0]).toDataURL()", selector)
        data = np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8)
        return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)

    def close(self) -> None:
        self.browser.call("Target.closeTarget", targetId=self._target)
        del self.browser._pages[self._session]


def _between(start, end, steps):
    shares = [i / steps for i in range(1, steps + 1)]
    return [tuple(a + (b - a) * s for a, b in zip(start, end, strict=True)) for s in shares]
