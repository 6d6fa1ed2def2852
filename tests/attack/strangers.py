"""Callers from addresses of their own: programs, browsers, and crowds of raw connections."""

from __future__ import annotations

import http.client
import json
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

PATIENCE_S = 15


@dataclass(frozen=True)
class Answer:
    """`status` 0: no answer came within the caller's patience, or the connection broke."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def is_polite(self) -> bool:
        """False for a refusal at a bound that does not say when to come back."""
        return self.status not in (429, 503) or "retry-after" in self.headers

    def __str__(self) -> str:
        return str(self.status) if self.status else "no answer"


@dataclass
class Stranger:
    """Somebody at one address: a program with or without a token, or a browser with cookies. Each
    request has a connection of its own."""

    port: int
    address: str
    token: str = ""
    patience_s: float = PATIENCE_S
    host: str = ""
    """The name that the site is called by, where that is not its address."""
    cookies: dict[str, str] = field(default_factory=dict)

    # --- As a program ------------------------------------------------------------------------

    def get(self, path: str, **headers: str) -> Answer:
        return self.api("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.api("POST", path, body, **headers)

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        content = None
        if method not in ("GET", "HEAD"):
            sent["Content-Type"] = "application/json"
            content = json.dumps({} if body is None else body).encode()
        return self._ask(method, f"/api{path}", content, sent)

    # --- As a browser ------------------------------------------------------------------------

    def see(self, path: str, **headers: str) -> Answer:
        """GET a page."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._browse("GET", path, None, sent)

    def submit(self, path: str, form: dict[str, Any] | None = None) -> Answer:
        """POST a form, with the secret against forgery that this browser has in its cookie; a first
        page brings it."""
        if not self._forgery_secret():
            self.see("/login")
        fields = (form or {}) | {"csrfmiddlewaretoken": self._forgery_secret()}
        return self._browse(
            "POST",
            path,
            urlencode(fields, doseq=True).encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )

    def _forgery_secret(self) -> str:
        return next((value for name, value in self.cookies.items() if "csrf" in name), "")

    def sign_in(self, name: str, password: str) -> Answer:
        """On the page; 302 when it worked."""
        return self.submit("/login", {"username": name, "password": password})

    def _browse(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> Answer:
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        return self._ask(method, path, content, headers)

    # --- Both --------------------------------------------------------------------------------

    def _ask(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> Answer:
        if self.host:
            headers = headers | {"Host": self.host}
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=self.patience_s, source_address=(self.address, 0)
        )
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException):
            return Answer(0)
        finally:
            connection.close()
        for line in response.headers.get_all("Set-Cookie") or []:
            for name, cookie in SimpleCookie(line).items():
                self.cookies[name] = cookie.value
                if not cookie.value or cookie["max-age"] == "0":
                    del self.cookies[name]
        text = raw.decode(errors="replace")
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.headers.items()},
            text,
            body if isinstance(body, dict) else {"list": body} if body else {},
        )


def all_at_once(calls: Sequence[Callable[[], Answer]], *, threads: int = 64) -> list[Answer]:
    """Make these calls at the same time; the answers in their order."""
    with ThreadPoolExecutor(min(threads, len(calls) or 1)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


# --- Crowds of connections -----------------------------------------------------------------------


class Crowd:
    """Many raw connections that one attacker holds open; closed at the end of the block."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sockets: list[socket.socket] = []
        self.not_accepted = 0

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *exc: object) -> None:
        for connection in self.sockets:
            connection.close()

    def open(self, address: str, say: bytes = b"") -> socket.socket | None:
        """One more connection from `address`, which says this and no more. None when nobody
        accepts it, or when it was broken at once."""
        connection = socket.socket()
        connection.settimeout(0.5)
        try:
            connection.bind((address, 0))
            connection.connect(("127.0.0.1", self.port))
            if say:
                connection.sendall(say)
        except OSError:
            connection.close()
            self.not_accepted += 1
            return None
        connection.setblocking(False)
        self.sockets.append(connection)
        return connection

    def hold(self, seconds: float) -> None:
        """Keep everything open for so long, and send nothing."""
        time.sleep(seconds)

    def answers(self) -> Counter[str]:
        """What became of the connections so far: the status that each was answered, `open` for
        those that wait without an answer, `closed` for those ended without one."""
        seen: Counter[str] = Counter()
        if self.not_accepted:
            seen["not accepted"] = self.not_accepted
        for connection in self.sockets:
            seen[heard(connection)] += 1
        return seen


def heard(connection: socket.socket) -> str:
    """The status that came on this connection, `open` or `closed`; what came stays unread."""
    try:
        said = connection.recv(200, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return "open"
    except OSError:
        return "closed"
    if not said:
        return "closed"
    words = said.split(b" ", 2)
    return words[1].decode(errors="replace") if len(words) > 2 else "?"


def wait_for_answer(connection: socket.socket, *, seconds: float) -> None:
    """Until the other side has said something, or so long."""
    _ready(connection, select.POLLIN, seconds)


def _ready(connection: socket.socket, events: int, seconds: float) -> int:
    """Which of these events came, within so long. `select` would not do beyond 1,024 files."""
    poll = select.poll()
    poll.register(connection, events)
    return sum(happened for _, happened in poll.poll(seconds * 1000))


def push(connection: socket.socket, chunk: bytes, *, limit: int, seconds: float) -> int:
    """Send `chunk` again and again until the other side answers, closes or takes no more; returns
    how many bytes it took."""
    sent, deadline = 0, time.monotonic() + seconds
    while sent < limit and time.monotonic() < deadline:
        ready = _ready(connection, select.POLLIN | select.POLLOUT, 0.2)
        if ready & select.POLLIN:
            break
        if ready:
            try:
                sent += connection.send(chunk)
            except BlockingIOError:
                continue
            except OSError:
                break
    return sent
