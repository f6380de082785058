"""A bad network between a client and a server: answers come late, get lost, or never come.

It works on bytes and knows nothing of S3, so that signatures stay valid. A request begins with
the first bytes that a client sends after it has been sent any.
"""

from __future__ import annotations

import random
import select
import socket
import socketserver
import struct
import threading
from dataclasses import dataclass

_METHODS = tuple(f"{method} ".encode() for method in ("GET", "PUT", "HEAD", "POST", "DELETE"))
_SLOW_DOWN = ("503 Slow Down", "SlowDown", "Please reduce your request rate.")
_NOT_IMPLEMENTED = ("501 Not Implemented", "NotImplemented", "A header is not implemented.")


@dataclass(frozen=True)
class Weather:
    """What happens to requests.

    Parameters
    ----------
    delay_s
        Each is held up by some time between these.
    lost
        The share whose connection is closed: before the server hears of them, before its answer
        is passed on, or in the middle of it.
    dead
        All connections are reset.
    slow_down
        The share that is answered with 503 SlowDown.
    unconditional
        Requests that hold only under a condition are answered with 501: a simple server.
    """

    delay_s: tuple[float, float] = (0.0, 0.0)
    lost: float = 0.0
    dead: bool = False
    slow_down: float = 0.0
    unconditional: bool = False


FAIR = Weather()
DEAD = Weather(dead=True)


@dataclass(frozen=True)
class Fate:
    """What happens to one request; `cut` says when its connection is closed, if it is."""

    weather: Weather = FAIR
    delay_s: float = 0.0
    cut: str = ""
    slow_down: bool = False


class Proxy:
    """Listens on a port of its own and passes on what it hears to another; see `Weather`."""

    def __init__(self, port: int, seed: int = 0) -> None:
        self.upstream = ("127.0.0.1", port)
        self.num_requests = 0
        self.num_lost = 0
        self.heard: list[str] = []
        self.ended = threading.Event()
        self._seed = seed
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._weather = FAIR
        self._later: tuple[int, Weather] | None = None
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                _Connection(proxy, self.request).serve()

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def set(self, weather: Weather) -> None:
        """Change the weather, and begin to count and to draw from the start again."""
        with self._lock:
            self._random.seed(self._seed)
            self._weather, self._later = weather, None
            self.num_requests = self.num_lost = 0
            self.heard = []

    def set_after(self, num_requests: int, weather: Weather) -> None:
        """Change the weather once so many more requests have come."""
        with self._lock:
            self._later = (self.num_requests + num_requests, weather)

    def draw(self, request: bytes) -> Fate:
        """Decide on one more request, and keep its first line."""
        with self._lock:
            self.num_requests += 1
            if request.startswith(_METHODS):  # not what follows a 100 Continue
                self.heard.append(request.partition(b" HTTP/")[0].decode())
            if self._later is not None and self.num_requests > self._later[0]:
                self._weather, self._later = self._later[1], None
            weather = self._weather
            cut = ""
            if self._random.random() < weather.lost:
                cut = self._random.choice(("unheard", "unanswered", "halfway"))
                self.num_lost += 1
            slow_down = self._random.random() < weather.slow_down
            return Fate(weather, self._random.uniform(*weather.delay_s), cut, slow_down)

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is what this is about."""


class _Connection:
    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._fate = Fate()
        self._asking = False

    def serve(self) -> None:
        try:
            with socket.create_connection(self._proxy.upstream) as server:
                while not self._proxy.ended.is_set():
                    ready, _, _ = select.select([self._client, server], [], [], 0.5)
                    for source in ready:
                        onward = self._ask if source is self._client else self._answer
                        if not onward(server):
                            return
        except OSError:
            return

    def _ask(self, server: socket.socket) -> bool:
        """Pass on what the client says; tell whether the connection goes on."""
        content = self._client.recv(65536)
        if not content:
            return False
        if not self._asking:
            self._fate = self._proxy.draw(content)
            self._proxy.ended.wait(self._fate.delay_s)
        self._asking = True
        if self._fate.weather.dead:
            _reset(self._client)
            return False
        refusal = self._refusal(content)
        if refusal is not None:
            _refuse(self._client, *refusal, is_head=content.startswith(b"HEAD "))
            return False
        if self._fate.cut == "unheard":
            return False
        server.sendall(content)
        return True

    def _refusal(self, content: bytes) -> tuple[str, str, str] | None:
        if self._fate.slow_down:
            return _SLOW_DOWN
        if self._fate.weather.unconditional and b"if-none-match:" in content.lower():
            return _NOT_IMPLEMENTED
        return None

    def _answer(self, server: socket.socket) -> bool:
        """Pass on what the server says; tell whether the connection goes on."""
        content = server.recv(65536)
        self._asking = False
        if not content or self._fate.cut == "unanswered":
            return False
        if self._fate.cut == "halfway":
            self._client.sendall(content[: len(content) // 2])
            return False
        self._client.sendall(content)
        return True


def _refuse(
    connection: socket.socket, status: str, code: str, message: str, *, is_head: bool
) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    connection.sendall((head if is_head else head + body).encode())
    connection.shutdown(socket.SHUT_WR)
    # Closing before all was read would reset the connection, and the answer with it.
    connection.settimeout(1.0)
    while connection.recv(65536):
        pass


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
