"""A shop's webhook receiver: a real HTTP server that answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Heard:
    """One call that arrived."""

    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw)
        return body


@dataclass
class Receiver:
    """`answers` are used up one by one; then 200. `delay_s` is waited before each answer."""

    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    delay_s: float = 0
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Callers are killed while they call: that is no news."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    shop = Receiver()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with lock:
                shop.connections += 1

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                headers = {name.lower(): value for name, value in self.headers.items()}
                shop.heard.append(Heard(headers, raw))
                shop.at_once += 1
                shop.most_at_once = max(shop.most_at_once, shop.at_once)
                status, more = shop.answers.pop(0) if shop.answers else (200, {})
            time.sleep(shop.delay_s)
            with lock:
                shop.at_once -= 1
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *args: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    shop.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
