"""The load generator: HTTP/1.1 over kept-alive connections, as cheap as Python makes it.

A process of its own (`python coinos/bench/load.py`), standard library only. It reads one JSON job
from stdin and writes one JSON result to stdout:

    job     host, port, connections, seconds, requests (whole HTTP requests, as text), once
    result  seconds, statuses {"200": n}, latencies_ms, broken (connections that ended early)

Each connection has one request on the way at any time. Requests are taken in turn from the list;
with `once` each is sent at most once, and the run may end before its time.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Line:
    """One connection and the answer that it waits for."""

    sock: socket.socket
    sent_at: float = 0.0
    buffer: bytes = b""
    length: int = -1  # of the whole answer; -1 while its head is incomplete


@dataclass
class Result:
    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    broken: int = 0


def run(job: dict[str, Any]) -> Result:
    """Send requests until the time is over, then wait for the answers that are on their way."""
    result = Result()
    texts = [text.encode() for text in job["requests"]]
    pending = iter(texts) if job.get("once") else endless(texts)
    ready = selectors.DefaultSelector()
    address = (job["host"], job["port"])
    start = time.perf_counter()
    stop_at = start + job["seconds"]
    open_lines = 0
    for _ in range(job["connections"]):
        line = Line(connect(address))
        ready.register(line.sock, selectors.EVENT_READ, line)
        open_lines += send_next(line, pending)
    while open_lines:
        for key, _ in ready.select(timeout=60):
            line = key.data
            status = receive(line)
            if status is None:
                continue
            now = time.perf_counter()
            if status:
                result.statuses[status] += 1
                result.latencies_ms.append((now - line.sent_at) * 1000)
            else:
                result.broken += 1
                ready.unregister(line.sock)
                line.sock.close()
                line.sock = connect(address)
                ready.register(line.sock, selectors.EVENT_READ, line)
            if now >= stop_at or not send_next(line, pending):
                open_lines -= 1
    result.seconds = time.perf_counter() - start
    return result


def endless(texts: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from texts


def connect(address: tuple[str, int]) -> socket.socket:
    sock = socket.create_connection(address, timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def send_next(line: Line, pending: Iterator[bytes]) -> bool:
    """Send the next request; False when there is none."""
    request = next(pending, None)
    if request is None:
        return False
    line.buffer, line.length = b"", -1
    line.sent_at = time.perf_counter()
    line.sock.sendall(request)
    return True


def receive(line: Line) -> str | None:
    """The status of a complete answer, None while it is incomplete, "" when the line broke."""
    try:
        chunk = line.sock.recv(1 << 18)
    except OSError:
        return ""
    if not chunk:
        return ""
    line.buffer += chunk
    if line.length < 0:
        end = line.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        line.length = end + 4 + content_length(line.buffer[:end])
    if len(line.buffer) < line.length:
        return None
    return line.buffer[9:12].decode()


def content_length(head: bytes) -> int:
    for header in head.split(b"\r\n")[1:]:
        if header[:15].lower() == b"content-length:":
            return int(header[15:])
    raise ValueError(f"an answer without Content-Length: {head!r}")


if __name__ == "__main__":
    done = run(json.load(sys.stdin))
    json.dump(
        {
            "seconds": done.seconds,
            "statuses": done.statuses,
            "latencies_ms": done.latencies_ms,
            "broken": done.broken,
        },
        sys.stdout,
    )
