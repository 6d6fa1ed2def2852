"""Run the load generator and count queries: numbers only, no opinion about them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

LOAD = Path(__file__).with_name("load.py")


@dataclass
class Sample:
    """What came of one or more load runs of the same requests."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    broken: int = 0
    web_cpu_s: float = 0.0
    database_cpu_s: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.statuses.values())

    @property
    def ok(self) -> int:
        return self.statuses["200"]

    @property
    def per_second(self) -> float:
        return self.count / self.seconds if self.seconds else 0.0

    @property
    def errors(self) -> int:
        """Answers 5xx and connections that ended without an answer."""
        return self.broken + sum(n for status, n in self.statuses.items() if status >= "500")

    def percentile(self, part: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0

    def add(self, other: Sample) -> None:
        self.seconds += other.seconds
        self.statuses += other.statuses
        self.latencies_ms += other.latencies_ms
        self.broken += other.broken
        self.web_cpu_s += other.web_cpu_s
        self.database_cpu_s += other.database_cpu_s


def http(
    method: str,
    path: str,
    *,
    token: str = "",
    cookie: str = "",
    body: Mapping[str, Any] | None = None,
) -> str:
    """A whole HTTP request as text."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {settings.DOMAIN}"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if cookie:
        lines.append(f"Cookie: {cookie}")
    content = "" if body is None else json.dumps(body)
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", content])


class Load:
    """A load run in a process of its own; `start` several to run them at the same time."""

    def __init__(
        self, requests: Sequence[str], *, connections: int, seconds: float, once: bool = False
    ) -> None:
        self._job = {
            "host": "127.0.0.1",
            "port": settings.PORT,
            "connections": connections,
            "seconds": seconds,
            "requests": list(requests),
            "once": once,
        }

    def start(self) -> Load:
        self._process = subprocess.Popen(
            [sys.executable, "-S", str(LOAD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._job).encode())
        self._process.stdin.close()
        return self

    def wait(self) -> Sample:
        assert self._process.stdout is not None
        result = json.loads(self._process.stdout.read())
        self._process.wait()
        return Sample(
            result["seconds"],
            Counter(result["statuses"]),
            result["latencies_ms"],
            result["broken"],
        )

    def run(self) -> Sample:
        return self.start().wait()


def queries(request: str) -> int:
    """How many statements this request sends to the database, begin and commit included."""
    head, _, body = request.partition("\r\n\r\n")
    first, *headers = head.split("\r\n")
    method, path, _ = first.split(" ")
    client = Client(headers=dict(header.split(": ", 1) for header in headers))
    connection.ensure_connection()  # connecting itself asks a few
    arguments: dict[str, Any] = {"data": body, "content_type": "application/json"} if body else {}
    with CaptureQueriesContext(connection) as captured:
        answer = client.generic(method, path, **arguments)
    assert answer.status_code == 200, (path, answer.status_code, answer.content[:300])
    return len(captured)
