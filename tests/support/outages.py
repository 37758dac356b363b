"""A proxy in front of an MLflow server, which breaks down as it is asked to."""

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FAULTS = ("gone", "refused", "delay", "500", "hang", "reset")
DELAY_SECONDS = 1.0

Trigger = Callable[[str, str], bool]  # of method and path


class Proxy:
    """Forwards requests to a server, until `fault` is set.

    gone: nothing listens; refused: connections are closed at once; delay: each answer takes
    `DELAY_SECONDS`; 500: an error of the server's; hang: no answer, ever; reset: the request
    reaches the server and the connection is reset before the answer.
    """

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.fault: str | None = None
        self.requests = 0
        self._planned: tuple[str, Trigger] | None = None
        self._released = threading.Event()
        self._connections: set[socket.socket] = set()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._server: ThreadingHTTPServer | None = None
        self._listen()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def break_down(self, fault: str) -> None:
        self.fault = fault
        if fault in ("gone", "refused"):
            self._cut()
        if fault == "gone":
            self._close()

    def break_after(self, fault: str, trigger: Trigger) -> None:
        """Break down once a request that the trigger knows has been answered."""
        self._planned = (fault, trigger)

    def recover(self) -> None:
        self._planned, self.fault = None, None
        self._released.set()
        self._released = threading.Event()
        if self._server is None:
            self._listen()

    def close(self) -> None:
        self.recover()
        self._cut()
        self._close()

    def _listen(self) -> None:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        ThreadingHTTPServer.daemon_threads = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def _close(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            # Not by the thread of a request: it would wait for itself.
            threading.Thread(target=server.shutdown, daemon=True).start()
            server.socket.close()

    def _cut(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def forward(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, Any, bytes]:
        connection = http.client.HTTPConnection(self.target, timeout=60)
        kept = {k: v for k, v in headers.items() if k.lower() not in ("host", "connection")}
        connection.request(method, path, body, kept)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content

    def answered(self, method: str, path: str) -> None:
        self.requests += 1
        if self._planned is not None and self._planned[1](method, path):
            fault, self._planned = self._planned[0], None
            self.break_down(fault)

    def wait(self) -> None:
        self._released.wait(600)


class _Handler(BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.owner._connections.add(self.connection)

    def finish(self) -> None:
        self.owner._connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().handle()

    def log_message(self, *arguments: object) -> None:
        pass

    def _any(self) -> None:
        fault = self.owner.fault
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault == "hang":
            self.owner.wait()
        if fault in ("hang", "gone", "refused"):
            self.close_connection = True
            return
        if fault == "delay":
            time.sleep(DELAY_SECONDS)
        if fault == "500":
            self._answer(500, [], b"the database is away")
            return
        found = self.owner.forward(self.command, self.path, body, self.headers)
        if fault == "reset":
            self.close_connection = True
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            return
        self._answer(*found)
        self.owner.answered(self.command, self.path)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

    def _answer(self, status: int, headers: Any, content: bytes) -> None:
        self.send_response(status)
        for key, value in headers:
            if key.lower() not in ("content-length", "transfer-encoding", "connection", "server"):
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
