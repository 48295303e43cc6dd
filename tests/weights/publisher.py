"""A publisher of weights on this machine, well-behaved or with one fault."""

import contextlib
import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from liftjax.weights.published import PUBLISHED, PublishedWeights

PAGE = b"<!DOCTYPE html><html><body>Please log in to the network.</body></html>"


class Publisher(ThreadingHTTPServer):
    """Serves the file `content` under every path.

    Attributes:
      content: the file.
      fault: what is wrong with the server, one of the names in `_Answers`; empty for nothing.
      asked: (method, path, range) of all requests.
      sent: bytes of files sent so far.
      open: an event that is waited for before the content is sent.
    """

    daemon_threads = True

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.content, self.fault = content, ""
        self.asked, self.sent = [], 0
        self.open = threading.Event()
        self.open.set()
        self.over = threading.Event()

    def entry(self, weights: PublishedWeights) -> PublishedWeights:
        """`weights`, published here under the path of the list, with the hash of `content`."""
        sha256 = hashlib.sha256(self.content).hexdigest()[: len(weights.sha256)]
        path = urlsplit(weights.address).path
        return dataclasses.replace(weights, address=self.address + path, sha256=sha256)

    @property
    def address(self) -> str:
        """Of the server, without a path."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def gets(self) -> list[str]:
        """The ranges that GET requests asked for; empty for a whole file."""
        return [span for method, _, span in self.asked if method == "GET"]


class _Answers(BaseHTTPRequestHandler):
    server: Publisher

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        server, span = self.server, self.headers.get("Range", "")
        server.asked.append((self.command, self.path, span))
        fault, content = server.fault, PAGE if server.fault == "page" else server.content
        if fault == "hangs":
            server.over.wait()
            return
        if fault == "404":
            self.send_error(404)
            return
        start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
        start = 0 if fault in ("ignores ranges", "knows no ranges") else start
        self.send_response(206 if start else 200)
        if fault != "knows no ranges":
            self.send_header("Accept-Ranges", "bytes")
        if fault != "knows no length":
            less = 3 if fault == "tells another length" and not body else 0
            self.send_header("Content-Length", str(len(content) - start - less))
        self.end_headers()
        if not body:
            return
        server.open.wait()
        half = fault in ("breaks off", "stops half-way")
        part = content[start : len(content) // 2 if half else None]
        server.sent += len(part)
        with contextlib.suppress(OSError):  # the reader is gone
            self.wfile.write(part)
            self.wfile.flush()
        if fault == "stops half-way":
            server.over.wait()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def publishing(content: bytes) -> Iterator[Publisher]:
    """A publisher that runs during the block."""
    with Publisher(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def publish(monkeypatch, server: Publisher, name: str) -> PublishedWeights:
    """Lets `name` be fetched from `server` during a test."""
    entry = server.entry(PUBLISHED[name])
    monkeypatch.setitem(PUBLISHED, name, entry)
    return entry
