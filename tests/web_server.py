"""The real web server on a database of its own, and callers that speak to it over sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from tests.database import ROOT, Database

START_S = 60
ANSWER_S = 20.0


class WebServer:
    """`python -m coinos.web_server`, listening on a free port of 127.0.0.1."""

    COMMAND = ("-m", "coinos.web_server")

    def __init__(self, database: Database, log: Path, **more: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.log = log
        # Addresses of the machine itself stand for those of strangers: 127.0.0.0/8 is ours.
        self.environment = os.environ | {
            "DATABASE_URL": database.url,
            "PORT": str(self.port),
            "LOG_LEVEL": "WARNING",
        }
        self.environment |= more
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.COMMAND],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S
        while not self.answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/api/health", answer_s=2).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def connect(self, *, source: str = "127.0.0.1", answer_s: float = ANSWER_S) -> socket.socket:
        """A new connection, from the address `source`."""
        connection = socket.create_connection(
            ("127.0.0.1", self.port), timeout=answer_s, source_address=(source, 0)
        )
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        source: str = "127.0.0.1",
        answer_s: float = ANSWER_S,
        **headers: str,
    ) -> bytes:
        """The whole answer to one request, read until the server closes the connection."""
        with self.connect(source=source, answer_s=answer_s) as connection:
            if body:
                headers |= {"Content-Length": str(len(body))}
            connection.sendall(head(method, path, Connection="close", **headers) + body)
            return read_all(connection)


def head(method: str, path: str, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes. `TimeoutError` when it does not."""
    received = bytearray()
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return bytes(received)


@contextmanager
def serving(database: Database, folder: Path, **more: str) -> Iterator[WebServer]:
    server = WebServer(database, folder / "web.log", **more)
    with ExitStack() as stack:
        server.start()
        stack.callback(server.stop)
        yield server


__all__ = ["WebServer", "head", "read_all", "serving"]
