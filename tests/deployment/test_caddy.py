"""The proxy of docker-compose.yml, run by Debian's caddy before a small server: what it keeps away.

sec-2, sec-3 and sec-16: bodies without end, stalled bodies and half a header reached the server
through it, and so did /admin/ from everywhere."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CADDYFILE = Path(__file__).resolve().parent.parent.parent / "docker" / "Caddyfile"
UPSTREAM = "dynamic a web 8000"
BODY_MAX = 300_000

pytestmark = pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")


# --- A server behind the proxy, and the proxy ----------------------------------------------------


class Upstream(ThreadingHTTPServer):
    """Says what reached it. `/events` is a stream that goes on when the test says so."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body_bytes: list[int] = []
        self.go_on = threading.Semaphore(0)

    def handle_error(self, *_: object) -> None:
        """The proxy went away in the middle: it is what the tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        if self.path == "/events":
            self._stream()
        else:
            self._answer({"path": self.path, **dict(self.headers.items())})

    def do_POST(self) -> None:
        self.server.body_bytes.append(0)
        at = len(self.server.body_bytes) - 1
        for part in self._parts():
            self.server.body_bytes[at] += len(part)
        self._answer({"read": self.server.body_bytes[at]})

    def _parts(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline() or b"0", 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            return
        left = int(self.headers["Content-Length"])
        while left:
            part = self.rfile.read1(left)
            if not part:
                raise ConnectionAbortedError
            left -= len(part)
            yield part

    def _answer(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        while self.server.go_on.acquire(timeout=30):
            self.wfile.write(b"data: news\n\n")

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


@dataclass
class Proxy:
    port: int
    upstream: Upstream
    sockets: list[socket.socket] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def send(self, raw: bytes) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self.sockets.append(opened)
        opened.sendall(raw)
        return opened


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(folder: Path, *, time_limit: str = "30s", **environment: str) -> Iterator[Proxy]:
    """The Caddyfile as it is, but for its upstream, its address and the time that readers get."""
    upstream = Upstream()
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    text = CADDYFILE.read_text()
    for ours, theirs in {
        UPSTREAM: f"to 127.0.0.1:{upstream.server_port}",
        "admin off": "admin off\n\tdefault_bind 127.0.0.1",
        "read_header 10s": f"read_header {time_limit}",
        "read_body 30s": f"read_body {time_limit}",
    }.items():
        assert ours in text
        text = text.replace(ours, theirs)
    (folder / "Caddyfile").write_text(text)
    environment |= {"PATH": os.environ["PATH"], "HOME": str(folder)}
    caddy, port = started(folder, environment)
    proxy = Proxy(port, upstream)
    try:
        yield proxy
    finally:
        for opened in proxy.sockets:
            opened.close()
        caddy.kill()
        caddy.wait()
        upstream.shutdown()
        upstream.server_close()


def started(folder: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    """Caddy and its port; another port when somebody was faster to take the free one."""
    for _ in range(10):
        port = free_port()
        with open(folder / "log", "wb") as log:
            caddy = subprocess.Popen(
                ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"],
                cwd=folder,
                env=environment | {"PUBLIC_URL": f"http://127.0.0.1:{port}"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 60
        while caddy.poll() is None and time.monotonic() < deadline:
            if b"serving initial configuration" in (folder / "log").read_bytes():
                return caddy, port
            time.sleep(0.05)
        caddy.kill()
        caddy.wait()
        if b"address already in use" not in (folder / "log").read_bytes():
            break
    raise AssertionError((folder / "log").read_text())


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Nobody who comes through it is an operator."""
    with running(tmp_path_factory.mktemp("caddy"), ADMIN_NETWORKS="192.0.2.0/24") as found:
        yield found


@pytest.fixture(scope="module")
def hasty_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """It waits two seconds for a header or a body."""
    with running(tmp_path_factory.mktemp("hasty"), time_limit="2s") as found:
        yield found


def read_to_end(opened: socket.socket) -> bytes:
    """All that comes until the other side closes; raises TimeoutError when it does not."""
    found = b""
    try:
        while part := opened.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


# --- What it keeps away --------------------------------------------------------------------------


def test_a_body_within_the_limit_passes(proxy: Proxy) -> None:
    status, body = proxy.ask("POST", "/settings/picture", b"x" * (BODY_MAX - 1))
    assert (status, json.loads(body)) == (200, {"read": BODY_MAX - 1})


@pytest.mark.parametrize("size", [BODY_MAX, 999_999, 1_000_000, 300_000_000, 10**18])
def test_a_body_that_says_it_is_too_large_is_refused_before_a_byte_is_read(
    proxy: Proxy, size: int
) -> None:
    """sec-3"""
    reached = len(proxy.upstream.body_bytes)
    head = f"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\n"
    answer = read_to_end(proxy.send(f"{head}Content-Length: {size}\r\n\r\n".encode()))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert len(proxy.upstream.body_bytes) == reached


def test_a_body_that_does_not_say_how_large_it_is_ends_at_the_limit(proxy: Proxy) -> None:
    """sec-3"""
    body = (b"x" * 50_000 for _ in range(100))
    try:
        status, _ = proxy.ask("POST", "/login", body, **{"Transfer-Encoding": "chunked"})
    except (BrokenPipeError, ConnectionResetError):
        status = 0
    assert status in (413, 502, 0)
    assert proxy.upstream.body_bytes[-1] <= BODY_MAX


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"GET /login HTTP/1.1\r\nHost: 127",
        b"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\nx",
    ],
)
def test_who_says_nothing_or_stops_in_the_middle_is_let_go(hasty_proxy: Proxy, raw: bytes) -> None:
    """sec-2: they held their connection for ever."""
    host = f"127.0.0.1:{hasty_proxy.port}".encode()
    read_to_end(hasty_proxy.send(raw.replace(b"127.0.0.1", host)))


def test_a_header_without_end_is_refused(proxy: Proxy) -> None:
    assert proxy.ask("GET", "/", **{"X-Long": "x" * 100_000})[0] == 431


@pytest.mark.parametrize(
    "path",
    """/admin /admin/ /admin/login/ /ADMIN/ /%61dmin/ //admin/ /x/../admin/ /admin%2flogin/
    /./admin/ /admin/../admin/""".split(),
)
def test_the_admin_is_not_there_for_strangers(proxy: Proxy, path: str) -> None:
    """sec-16"""
    status, body = proxy.ask("GET", path)
    assert (status, body) == (404, b"")


def test_a_name_that_begins_like_the_admin_is_somebody(proxy: Proxy) -> None:
    assert proxy.ask("GET", "/administrator")[0] == 200


def test_the_admin_is_there_for_the_networks_that_are_named(tmp_path: Path) -> None:
    with running(tmp_path, ADMIN_NETWORKS="10.8.0.0/24 127.0.0.0/8") as proxy:
        status, body = proxy.ask("GET", "/admin/login/", **{"X-Forwarded-For": "192.0.2.1"})
    assert (status, json.loads(body)["path"]) == (200, "/admin/login/")


# --- What it passes on ---------------------------------------------------------------------------


def test_a_caller_cannot_say_who_calls(proxy: Proxy) -> None:
    claims = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    _, body = proxy.ask("GET", "/me", **claims, **{"X-Forwarded-Host": "elsewhere.example"})
    seen = json.loads(body)
    assert seen["X-Forwarded-For"] == "127.0.0.1"
    assert seen["X-Forwarded-Proto"] == "http"
    assert seen["X-Forwarded-Host"] == seen["Host"] == f"127.0.0.1:{proxy.port}"


def test_a_stream_is_passed_on_as_it_comes_and_outlives_the_limits(hasty_proxy: Proxy) -> None:
    head = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{hasty_proxy.port}\r\n\r\n"
    stream = hasty_proxy.send(head.encode())
    began = time.monotonic()
    found = b""
    while time.monotonic() < began + 4:
        hasty_proxy.upstream.go_on.release()
        before = found.count(b"data: news\n\n")
        while found.count(b"data: news\n\n") == before:
            part = stream.recv(65536)
            assert part, found
            found += part
        time.sleep(0.2)


def test_the_file_is_what_caddy_itself_calls_valid(tmp_path: Path) -> None:
    for url, admin in [
        ("https://wallet.example.com", "https://admin.example.com"),
        ("https://wallet.example.com", ""),
        ("http://localhost", ""),
    ]:
        done = subprocess.run(
            ["caddy", "validate", "--config", str(CADDYFILE), "--adapter", "caddyfile"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "PUBLIC_URL": url,
                "ADMIN_URL": admin,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "not formatted" not in done.stderr
