"""What callers may send before anybody knows who they are (sec-3): bodies within bounds."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import weakref
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coinos import asgi, bodies, limits, streaming
from coinos.bodies import BodyReader
from coinos.errors import Busy, RequestTimeout, TooLarge
from tests.database import Database
from tests.web_server import WebServer, head, read_all, serving


def story(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


class Caller:
    """Sends a body piece by piece, and then nothing more unless it was the last piece."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self.pieces = list(pieces)
        self.ends = ends

    async def receive(self) -> dict[str, Any]:
        if not self.pieces:
            await asyncio.Event().wait()
        piece = self.pieces.pop(0)
        more = bool(self.pieces) or not self.ends
        return {"type": "http.request", "body": piece, "more_body": more}


def post(path: str, **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": path, "headers": raw}


def test_a_body_is_read_whole() -> None:
    caller = Caller(b"ab", b"c")
    assert story(BodyReader().read(post("/api/login"), caller.receive)).read() == b"abc"


@pytest.mark.parametrize("length", [str(limits.BODY_BYTES.at_most + 1), "9" * 30])
def test_an_announced_length_is_refused_before_a_byte_is_read(length: str) -> None:
    """sec-3"""
    caller = Caller(b"never read")
    with pytest.raises(TooLarge):
        story(BodyReader().read(post("/api/login", content_length=length), caller.receive))
    assert caller.pieces


@pytest.mark.parametrize(
    ("path", "most"),
    [("/api/login", limits.BODY_BYTES.at_most), ("/settings/picture", limits.UPLOAD_BYTES.at_most)],
)
def test_a_body_is_counted_while_it_is_read(path: str, most: int) -> None:
    """sec-3"""
    half = b"A" * (most // 2)
    fits = Caller(half, half)
    assert len(story(BodyReader().read(post(path), fits.receive)).read()) == most
    endless = Caller(half, half, b"A", b"never read", ends=False)
    with pytest.raises(TooLarge):
        story(BodyReader().read(post(path), endless.receive))
    assert endless.pieces == [b"never read"]


def test_a_body_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """sec-3"""
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.05)
    with pytest.raises(RequestTimeout):
        story(BodyReader().read(post("/api/login"), Caller(b"a", ends=False).receive))


def test_half_read_bodies_together_have_a_bound_and_small_ones_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """sec-3"""
    small_bound = replace(limits.HELD_BYTES, at_most=100_000)
    monkeypatch.setattr(limits, "HELD_BYTES", small_bound)
    reader = BodyReader()

    async def run() -> None:
        piece = b"A" * 40_000
        stalled = [
            asyncio.create_task(reader.read(post("/api/login"), Caller(piece, ends=False).receive))
            for _ in range(2)
        ]
        while reader.held_bytes < 80_000:
            await asyncio.sleep(0)
        with pytest.raises(Busy):
            await reader.read(post("/api/login"), Caller(piece, ends=False).receive)
        small = await reader.read(post("/api/login"), Caller(b"A" * 2000, b"A" * 2000).receive)
        assert len(small.read()) == 4000
        for task in stalled:
            task.cancel()
        await asyncio.wait(stalled)
        assert reader.held_bytes == 0

    story(run())


class Connection:
    """What the web server hands over with a request: it is open for as long as this lives."""

    def __init__(self, *pieces: bytes) -> None:
        self.caller = Caller(*pieces, ends=False)

    async def __call__(self) -> dict[str, Any]:
        return await self.caller.receive()


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """A quiet server seldom collects any."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("announced", "pieces"),
    [("2", [b"a"]), ("9" * 9, []), ("9", [b"A" * (limits.BODY_BYTES.at_most + 1)])],
    ids=["stalls", "announces too much", "is too much"],
)
def test_whose_body_is_refused_is_let_go_of_at_once(
    announced: str,
    pieces: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    no_garbage_collection: None,
) -> None:
    """sec-2: not when garbage happens to be collected."""
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.05)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = post("/api/login", content_length=announced) | {
        "root_path": "",
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [(b"content-length", announced.encode()), (b"host", b"localhost")],
    }

    async def ask() -> weakref.ref[Connection]:
        connection = Connection(*pieces)
        await asgi.application(scope, connection, send)
        return weakref.ref(connection)

    assert story(ask())() is None
    assert sent[0]["status"] in (408, 413)


def test_whose_stream_fails_is_let_go_of_at_once(no_garbage_collection: None) -> None:
    """sec-2"""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise ValueError("the second")

    async def send(message: Any) -> None: ...

    async def ask() -> weakref.ref[Connection]:
        connection = Connection()
        with pytest.raises(ValueError, match="the second"):
            await streaming.send_pieces(pieces(), connection, send)
        return weakref.ref(connection)

    assert story(ask())() is None


# --- Over sockets --------------------------------------------------------------------------------


@pytest.fixture
def web(cloned_db: Database, redis: Any, tmp_path: Path) -> Iterator[WebServer]:
    with serving(cloned_db, tmp_path) as server:
        yield server


def sends(connection: socket.socket, content: bytes) -> bool:
    """Whether the other side still takes all of it."""
    try:
        connection.sendall(content)
    except OSError:
        return False
    return True


def deleted_files(web: WebServer) -> list[str]:
    """What the web processes have open that has no name any more, as temporary files have not."""
    folders = [Path(f"/proc/{worker.pid}/fd") for worker in web.workers()]
    opened = [os.readlink(link) for folder in folders for link in folder.iterdir()]
    return [path for path in opened if path.endswith("(deleted)")]


def test_a_running_server_refuses_what_is_too_much_and_keeps_nothing_of_it(web: WebServer) -> None:
    """sec-3"""
    with web.connect() as announced:
        announced.sendall(head("POST", "/api/login", Content_Length="300000000"))
        answer = read_all(announced)  # at once, and the connection is closed
    assert answer.startswith(b"HTTP/1.1 413")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["code"] == "too_large"
    assert b"\r\nconnection: close\r\n" in answer.lower()

    with web.connect() as page:
        page.sendall(head("POST", "/login", Content_Length="300000000"))
        answer = read_all(page)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"text/html" in answer

    with web.connect() as endless:
        endless.sendall(head("POST", "/api/login", Transfer_Encoding="chunked"))
        chunk = b"8000\r\n" + b"A" * 0x8000 + b"\r\n"
        sent = sum(sends(endless, chunk) for _ in range(300))
        assert read_all(endless)[:12] in (b"HTTP/1.1 413", b"")
    assert sent < 300  # some lie in the system's buffers

    with web.connect() as stream:
        stream.sendall(head("POST", "/events", Content_Length="300000000"))
        assert read_all(stream).startswith(b"HTTP/1.1 413")
    assert deleted_files(web) == []
