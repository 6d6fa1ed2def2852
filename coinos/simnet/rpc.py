"""lightningd's JSON-RPC over a unix socket: requests are JSON objects one after the other, each
reply ends in an empty line. A method is a coroutine whose signature declares its parameters.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from coinos.simnet.faults import Faults
from coinos.simnet.pace import Pace

INVALID_PARAMS = -32602
METHOD_NOT_FOUND = -32601
LARGEST_REQUEST = 4 << 20
# Calls that only wait: nobody needs them once their client has gone. All others go on.
WAITING = frozenset({"waitanyinvoice", "waitinvoice", "wait"})

Method = Callable[..., Awaitable[Any]]


class RpcError(Exception):
    """An error reply with Core Lightning's own code and words."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def as_dict(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        return error if self.data is None else error | {"data": self.data}


def bad_token(name: str, wanted: str, value: Any) -> RpcError:
    return RpcError(INVALID_PARAMS, f"{name}: {wanted}: invalid token '{json.dumps(value)}'")


def bind(method: Method, params: Any) -> inspect.BoundArguments:
    """Match JSON parameters, by name or by position, to a method. Raises RpcError -32602.

    Null means not given, as for lightningd.
    """
    signature = inspect.signature(method)
    if isinstance(params, list):
        if len(params) > len(signature.parameters):
            raise RpcError(
                INVALID_PARAMS,
                f"too many parameters: got {len(params)}, expected {len(signature.parameters)}",
            )
        params = dict(zip(signature.parameters, params, strict=False))
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "Expected array or object for params")
    given = {name: value for name, value in params.items() if value is not None}
    for name in given:
        if name not in signature.parameters:
            raise RpcError(INVALID_PARAMS, f"unknown parameter: {name}")
    for name, parameter in signature.parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise RpcError(INVALID_PARAMS, f"missing required parameter: {name}")
    return signature.bind(**given)


class RpcServer:
    """Serves `methods` on a unix socket; what goes wrong on the way is up to `faults`, how long
    it takes to `pace`."""

    def __init__(self, path: Path, methods: dict[str, Method], faults: Faults, pace: Pace) -> None:
        self.path = path
        self.methods = methods
        self.faults = faults
        self.pace = pace
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._calls: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, str(self.path), limit=LARGEST_REQUEST, backlog=1024
        )
        self.path.chmod(0o600)

    async def stop(self) -> None:
        """Drop every connection and abandon every call, as the death of a node does."""
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)
        for call in self._calls:
            call.cancel()
        for writer in self._connections:
            writer.transport.abort()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        waiting: set[asyncio.Task[None]] = set()
        buffer = b""
        try:
            while chunk := await reader.read(65536):
                buffer += chunk
                if len(buffer) > LARGEST_REQUEST:
                    break
                requests, buffer = split_objects(buffer)
                for request in requests:
                    call = asyncio.create_task(self._answer(request, writer))
                    self._calls.add(call)
                    call.add_done_callback(self._calls.discard)
                    if request.get("method") in WAITING:
                        waiting.add(call)
                        call.add_done_callback(waiting.discard)
        except (ConnectionError, ValueError):
            pass  # gone, or not speaking JSON-RPC: lightningd hangs up too
        finally:
            for call in waiting:
                call.cancel()
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        method = str(request.get("method"))

        def execute() -> Awaitable[dict[str, Any]]:
            return self.pace.keep(method, lambda: self._execute(method, request))

        answer = await self.faults.answer(method, execute)
        if writer.is_closing():
            return
        if answer.body is not None:
            end = b"\n\n" if answer.complete else b""
            writer.write((answer.body + end) * answer.copies)
        if answer.body is None or not answer.complete:
            writer.close()

    async def _execute(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
        try:
            function = self.methods.get(method)
            if function is None:
                raise RpcError(METHOD_NOT_FOUND, f"Unknown command '{method}'")
            arguments = bind(function, request.get("params", {}))
            reply["result"] = await function(*arguments.args, **arguments.kwargs)
        except RpcError as error:
            reply["error"] = error.as_dict()
        except (AttributeError, TypeError) as error:  # a parameter of a type nobody expected
            reply["error"] = RpcError(INVALID_PARAMS, f"{method}: {error}").as_dict()
        return reply


def split_objects(buffer: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """The complete JSON objects at the start of `buffer`, and what is left of it.

    Raises ValueError when it starts with something that is not the beginning of an object.
    """
    found: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    try:
        text = buffer.decode()
    except UnicodeDecodeError as error:
        if error.end < len(buffer):
            raise
        return found, buffer  # a character cut in half at the end of a chunk
    position = 0
    while text := text[position:].lstrip():
        if text[0] != "{":
            raise ValueError("expected a JSON object")
        try:
            value, position = decoder.raw_decode(text)
        except json.JSONDecodeError:
            break
        found.append(value)
    return found, text.encode()
