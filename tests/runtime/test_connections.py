"""Connections that are held open stop nobody else (sec-2); a server that is told to stop does."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from coinos import asgi, bodies, limits, streaming, web_server
from tests.cast import fund, make_user, token_of
from tests.database import Database
from tests.web_server import WebServer, head, read_all, serving

MANY = 1100  # more than the 1,024 that a web server accepts when nobody tells it how many
OTHER_THREADS = 40  # of the web server, of pools of connections, of the interpreter


@pytest.fixture
def web(cloned_db: Database, redis: Any, tmp_path: Path) -> Iterator[WebServer]:
    with serving(cloned_db, tmp_path) as server:
        yield server


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """What is held open until the test ends."""
    with ExitStack() as stack:
        yield stack


def stream(web: WebServer, token: str) -> socket.socket:
    """A stream that has begun."""
    connection = web.connect()
    connection.sendall(head("GET", "/api/events", Authorization=f"Bearer {token}"))
    received = b""
    while b"event: hello" not in received:
        received += connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 200"), received
    return connection


def test_what_holds_connections_open_stops_nobody_and_ends(web: WebServer, held: ExitStack) -> None:
    """sec-2: connections that send nothing, half a head or half a body, and those of before."""
    kinds = [
        b"",
        head("GET", "/login").removesuffix(b"\r\n\r\n") + b"\r\nX-Wait: fo",
        head("POST", "/api/login", Content_Length="1000") + b"{",
        head("GET", "/api/health"),
    ]
    connections = []
    for number in range(MANY):
        connection = held.enter_context(
            web.connect(answer_s=web_server.HEADERS_TIMEOUT_S + bodies.BODY_TIMEOUT_S + 30)
        )
        connection.sendall(kinds[number % len(kinds)])
        connections.append(connection)
    assert web.ask("GET", "/api/health").startswith(b"HTTP/1.1 200")
    # All of them end, by themselves.
    answers = [read_all(connection)[:12] for connection in connections]
    for number, answer in enumerate(answers):
        expected = [(b"",), (b"", b"HTTP/1.1 408"), (b"HTTP/1.1 408",), (b"HTTP/1.1 200",)]
        assert answer in expected[number % len(kinds)], number
    assert web.answers()


def test_a_stream_costs_no_thread_and_ends_when_the_server_is_told_to_stop(
    cloned_db: Database, web: WebServer, held: ExitStack
) -> None:
    """sec-2, input-I11: one open page kept the web process of a container from stopping."""
    each = limits.STREAMS_OF_USER.at_most
    tokens = [token_of(make_user(f"viewer{number}")) for number in range(300 // each)]
    streams = [held.enter_context(stream(web, token)) for token in tokens for _ in range(each)]
    (worker,) = web.workers()
    pools = asgi.THREADS + streaming.READERS
    assert len(streams) > pools + OTHER_THREADS
    assert worker.num_threads() <= pools + OTHER_THREADS

    refused = web.ask("GET", "/api/events", Authorization=f"Bearer {tokens[0]}")
    assert refused.startswith(b"HTTP/1.1 429")
    assert b"\r\nretry-after: 30\r\n" in refused.lower()
    assert web.answers()

    web.process.send_signal(signal.SIGTERM)
    assert web.process.wait(2 * web_server.STOP_S) == 0
    assert [read_all(one)[-5:] for one in streams] == [b"0\r\n\r\n"] * len(streams)


def test_a_database_that_ends_every_session_is_asked_again(
    cloned_db: Database, redis: Any, tmp_path: Path
) -> None:
    """input-C23: no request meets a connection that is gone, and what comes then is credited."""
    alice = make_user("alice")
    authorization = f"Bearer {token_of(alice)}"
    with serving(cloned_db, tmp_path, DATABASE_POOL_SIZE="20") as web:

        def ask(_: int = 0) -> bytes:
            return web.ask("GET", "/api/me", Authorization=authorization)

        with ThreadPoolExecutor(8) as callers:  # they leave connections in the pool
            for answer in callers.map(ask, range(32)):
                assert answer.startswith(b"HTTP/1.1 200")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert cursor.fetchone()[0] > 0
        assert ask().startswith(b"HTTP/1.1 200")
        fund(alice, 100)
        assert b'"balance":100' in ask().replace(b" ", b"")


def test_two_processes_serve_as_one(cloned_db: Database, redis: Any, tmp_path: Path) -> None:
    """sec-2: each has connections of its own, and all stop together."""
    token = token_of(make_user("alice"))
    with serving(cloned_db, tmp_path, WEB_PROCESSES="2") as web, ExitStack() as held:
        assert len(web.workers()) == 2
        streams = [held.enter_context(stream(web, token)) for _ in range(8)]
        assert web.answers()
        web.process.send_signal(signal.SIGTERM)
        assert all(read_all(one).endswith(b"0\r\n\r\n") for one in streams)
        assert web.process.wait(30) == 0


def test_the_server_takes_as_many_files_as_its_connections_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """sec-2: and says fewer connections where the system allows fewer files."""
    command = web_server.command()
    for option in ("--backpressure", "--backlog"):
        assert command[command.index(option) + 1] == str(web_server.max_connections())

    def allow(soft: int, hard: int) -> list[tuple[int, int]]:
        raised: list[tuple[int, int]] = []
        monkeypatch.setattr(web_server.resource, "getrlimit", lambda _: (soft, hard))
        monkeypatch.setattr(
            web_server.resource, "setrlimit", lambda _, limits: raised.append(limits)
        )
        web_server.allow_open_files()
        return raised

    wanted = limits.CONNECTIONS.at_most + web_server.OTHER_FILES
    assert allow(1024, 1_000_000) == [(wanted, 1_000_000)]
    assert allow(1024, 2000) == [(2000, 2000)]
    assert allow(100_000, 100_000) == []
    assert web_server.max_connections() == limits.CONNECTIONS.at_most
    allow(2000, 2000)
    assert web_server.max_connections() == 2000 - web_server.OTHER_FILES
