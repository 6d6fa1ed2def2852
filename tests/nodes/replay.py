"""Two tiny servers that answer what a test tells them to, over real sockets.

`ScriptedLightning` speaks lightningd's JSON-RPC on a unix socket and `ScriptedBitcoin` speaks
bitcoind's over HTTP. Answers are mostly recordings of real nodes (`traces/`); every request is
kept in `calls`, so that a test sees what went over the wire.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TRACES = Path(__file__).parent / "traces"


def recorded(file: str, scenario: str) -> dict[str, Any]:
    """The recorded call of that name."""
    for line in (TRACES / f"{file}.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["scenario"] == scenario:
            return entry
    raise LookupError(scenario)


@dataclass(frozen=True)
class Result:
    value: Any


@dataclass(frozen=True)
class Error:
    """An error reply; `error` is the object, or the text of a dying lightningd."""

    error: Any


@dataclass(frozen=True)
class Raw:
    """Bytes instead of a reply, then the connection closes. None: it closes without a word."""

    body: bytes | None
    status: int = 200
    content_type: str = "application/json"


@dataclass(frozen=True)
class Late:
    """Any answer, after a while."""

    seconds: float
    answer: Result | Error | Raw


Answer = Result | Error | Raw | Late


def answer_of(entry: dict[str, Any]) -> Answer:
    """What the recorded node answered."""
    if entry.get("error") is not None:
        return Error(entry["error"])
    return Result(entry["result"])


@dataclass
class Script:
    """Per method one answer for ever, or a list of answers used up in turn."""

    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def will(self, **answers: Answer | list[Answer]) -> None:
        """Set the answers of methods; `bkpr-…` style names are not needed here."""
        self.answers |= answers

    def params(self, method: str) -> Any:
        """The parameters of the one call of that method."""
        [params] = [params for name, params in self.calls if name == method]
        return params

    def next(self, method: str, params: Any) -> Answer:
        self.calls.append((method, params))
        answer = self.answers.get(method)
        if isinstance(answer, list):
            answer = answer.pop(0)
        if answer is None:
            raise LookupError(f"the script has no answer to {method}")
        if isinstance(answer, Late):
            time.sleep(answer.seconds)
            return answer.answer
        return answer


class ScriptedLightning(Script):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = read_object(connection.recv)
            answer = self.next(request["method"], request["params"])
            if isinstance(answer, Raw):
                if answer.body is not None:
                    connection.sendall(answer.body)
                return
            reply = {"jsonrpc": "2.0", "id": request["id"]}
            reply |= (
                {"result": answer.value} if isinstance(answer, Result) else {"error": answer.error}
            )
            connection.sendall(json.dumps(reply).encode() + b"\n\n")


def read_object(receive: Callable[[int], bytes]) -> Any:
    """Read until one whole JSON object has arrived."""
    buffer = b""
    while chunk := receive(65536):
        buffer += chunk
        with suppress(json.JSONDecodeError):
            return json.loads(buffer)
    raise ConnectionError


class ScriptedBitcoin(Script):
    """Answers as Bitcoin Core does: errors with HTTP 500, and `id` and `error` in every reply."""

    def __init__(self) -> None:
        super().__init__()
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                script.paths.append(self.path)
                answer = script.next(body["method"], body["params"])
                if isinstance(answer, Raw):
                    if answer.body is None:
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return
                    self._send(answer.status, answer.body, answer.content_type)
                    return
                failed = isinstance(answer, Error)
                reply = {
                    "result": None if failed else answer.value,
                    "error": answer.error if failed else None,
                    "id": body["id"],
                }
                self._send(
                    500 if failed else 200,
                    json.dumps(reply).encode(),
                    "application/json",
                )

            def _send(self, status: int, body: bytes, content_type: str) -> None:
                with suppress(OSError):
                    self.send_response(status)
                    if content_type:
                        self.send_header("Content-Type", content_type)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://alice:secret@127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


# the float is no number of sats either, when a bitcoin amount is read from it
SPOILS = {
    "missing": None,
    "string": "7",
    "float": 0.123456789,
    "nan": float("nan"),
    "negative": -7,
}


def spoiled(value: Any, path: tuple[Any, ...], how: str) -> Any:
    """A copy of a reply with the field at `path` left out or of a wrong type."""
    key, *rest = path
    copy = list(value) if isinstance(value, list) else dict(value)
    if rest:
        copy[key] = spoiled(copy[key], tuple(rest), how)
    elif how == "missing":
        del copy[key]
    else:
        copy[key] = SPOILS[how]
    return copy


def fields_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Every field in a reply, at any depth, as (path, value)."""
    found = []
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(value, dict):
            found.append(((*path, key), child))
        if isinstance(child, dict | list):
            found += fields_of(child, (*path, key))
    return found
