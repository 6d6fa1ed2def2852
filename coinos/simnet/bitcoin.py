"""The bitcoind of simnet: Bitcoin Core's JSON-RPC over HTTP on the loopback interface.

One process, one event loop: a call runs from start to end without another between. The user is
`simnet`, the password `simnet`, the wallet `coinos`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from coinos.simnet import (
    bitcoin_chain_rpc,
    bitcoin_history_rpc,
    bitcoin_spend_rpc,
    bitcoin_wallet_rpc,
)
from coinos.simnet.bitcoin_control import BitcoinControl
from coinos.simnet.bitcoin_node import BitcoinNode
from coinos.simnet.bitcoin_rpc import AMOUNT_MARK, METHOD_NOT_FOUND, MISC_ERROR, RpcError, call
from coinos.simnet.faults import Faults, Reply
from coinos.simnet.transactions import SAT_PER_BTC

logger = logging.getLogger(__name__)

USER = PASSWORD = "simnet"
IDLE_S = 30  # -rpcservertimeout
LARGEST_BODY = 32 << 20
INVALID_REQUEST = -32600
PARSE_ERROR = -32700
STATUS_OF_CODE = {INVALID_REQUEST: 400, METHOD_NOT_FOUND: 404}
_MARKED_AMOUNT = re.compile(json.dumps(AMOUNT_MARK)[:-1].replace("\\", "\\\\") + r'(-?\d+\.\d{8})"')
# Importing them registers their methods.
RPC_MODULES = (bitcoin_chain_rpc, bitcoin_history_rpc, bitcoin_spend_rpc, bitcoin_wallet_rpc)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


class BitcoinServer:
    """Serves one simulated node whose state lives in `directory`.

    `port` 0 takes the port of the last run if it is free, else any; the port in use is in the
    file `bitcoin-port`. `treasury_sat` is what the wallet owns on its very first start.
    """

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        faults: Faults | None = None,
        treasury_sat: int = SAT_PER_BTC,
    ) -> None:
        self.port = port
        self._directory = Path(directory)
        self._treasury_sat = treasury_sat
        self._faults = faults or Faults()
        self._node: BitcoinNode | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def node(self) -> BitcoinNode:
        """The node's state, read from the journal at the first use after a start."""
        if self._node is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._node = BitcoinNode(self._directory / "bitcoin.jsonl", self._treasury_sat)
        return self._node

    @property
    def height(self) -> int:
        return self.node.chain.height

    @property
    def control_methods(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """What the outside world can do, by name; each takes its parameters as a dict. They
        stay good across `stop` and `start`."""
        return BitcoinControl(lambda: self.node).methods()

    @property
    def url(self) -> str:
        return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen. Raises OSError when a port that was asked for is taken."""
        self.node.broadcast_own()
        port_file = self._directory / "bitcoin-port"
        last_port = int(port_file.read_text()) if port_file.exists() else 0
        try:
            self._server = await self._listen(self.port or last_port)
        except OSError:
            if self.port:
                raise
            self._server = await self._listen(0)
        self.port = self._server.sockets[0].getsockname()[1]
        port_file.write_text(f"{self.port}\n")

    async def stop(self) -> None:
        """Drop every connection and forget what is in memory only, as a restart does."""
        if self._server:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._node is not None:
            self._node.close()
            self._node = None

    async def _listen(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", port)

    # --- HTTP ------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while request := await self._next_request(reader):
                if not await self._answer(request, writer) or not request.keeps_alive:
                    break
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the caller went away, or does not speak HTTP
        except asyncio.CancelledError:
            pass  # stop()
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _next_request(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            async with asyncio.timeout(IDLE_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, asyncio.IncompleteReadError):
            return None
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, _version = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if not 0 <= length <= LARGEST_BODY:
            raise ValueError("body too large")
        return Request(method, target, headers, await reader.readexactly(length))

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Send the answer. Returns whether the connection may be used again."""
        if request.method != "POST":
            text = b"JSONRPC server handles only POST requests"
            await _send(writer, 405, text, "text/plain")
            return True
        if not _is_authorized(request):
            await _send(writer, 401, b"", "text/html", 'WWW-Authenticate: Basic realm="jsonrpc"')
            return True
        known, wallet_name = _wallet_name(request.path)
        if not known:
            await _send(writer, 404, b"", "text/html")
            return True
        try:
            payload = json.loads(request.body, parse_float=Decimal)
        except ValueError:
            reply = _reply({}, error=RpcError(PARSE_ERROR, "Parse error"))
            await _send(writer, 500, encode(reply))
            return True
        if isinstance(payload, list):
            replies = [self._run(wallet_name, single) for single in payload]
            body = b"[" + b",".join(encode(r) for r in replies if r is not None) + b"]\n"
            await _send(writer, 200, body)
            return True
        return await self._answer_single(wallet_name, payload, writer)

    async def _answer_single(
        self, wallet_name: str | None, payload: Any, writer: asyncio.StreamWriter
    ) -> bool:
        """One call, through the faults in force."""
        status = 200

        async def execute() -> Reply:
            nonlocal status
            reply = self._run(wallet_name, payload)
            status = _status(reply)
            return reply or {}

        method = payload.get("method") if isinstance(payload, dict) else None
        answer = await self._faults.answer(str(method), execute, encode)
        if answer.body is None:
            return False
        if status == 204:
            await _send(writer, status, b"")
            return True
        missing = 0 if answer.complete else len(answer.body) or 1
        for _ in range(answer.copies):
            await _send(writer, answer.status or status, answer.body, missing=missing)
        return answer.complete

    # --- JSON-RPC --------------------------------------------------------------------------

    def _run(self, wallet_name: str | None, payload: Any) -> Reply | None:
        """Execute one request object. None for a notification of JSON-RPC 2.0."""
        if not isinstance(payload, dict):
            return _reply({}, error=RpcError(INVALID_REQUEST, "Invalid Request object"))
        method, params = payload.get("method"), payload.get("params")
        try:
            if not isinstance(method, str):
                raise RpcError(
                    INVALID_REQUEST,
                    "Missing method" if method is None else "Method must be a string",
                )
            if not isinstance(params, dict | list | None):
                raise RpcError(INVALID_REQUEST, "Params must be an array or object")
            result = call(self.node, wallet_name, method, params or [])
        except RpcError as error:
            reply = _reply(payload, error=error)
        except Exception as error:
            # As in Core, whatever a method did not expect of its arguments is a -1.
            logger.exception("%s failed", method)
            reply = _reply(payload, error=RpcError(MISC_ERROR, str(error)))
        else:
            reply = _reply(payload, result=result)
        is_notification = payload.get("jsonrpc") == "2.0" and "id" not in payload
        return None if is_notification else reply


def _reply(payload: dict[str, Any], result: Any = None, error: RpcError | None = None) -> Reply:
    """JSON-RPC 2.0 has either `result` or `error`; before that there were always both."""
    fault = {"code": error.code, "message": error.message} if error else None
    if payload.get("jsonrpc") == "2.0":
        outcome = {"error": fault} if fault else {"result": result}
        return {"jsonrpc": "2.0", **outcome, "id": payload.get("id")}
    return {"result": result, "error": fault, "id": payload.get("id")}


def _status(reply: Reply | None) -> int:
    """Errors of JSON-RPC 2.0 come with 200, as errors inside a batch do."""
    if reply is None:
        return 204
    if reply.get("error") is None or "jsonrpc" in reply:
        return 200
    return STATUS_OF_CODE.get(reply["error"]["code"], 500)


def encode(reply: Reply) -> bytes:
    """JSON in which amounts are numbers with eight decimals."""
    text = json.dumps(reply, separators=(",", ":"), default=float)
    return _MARKED_AMOUNT.sub(r"\1", text).encode() + b"\n"


def _is_authorized(request: Request) -> bool:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return scheme.lower() == "basic" and token.strip() == expected


def _wallet_name(path: str) -> tuple[bool, str | None]:
    """Whether the path exists, and the wallet it names."""
    if path == "/":
        return True, None
    prefix, found, name = path.partition("/wallet/")
    return prefix == "" and bool(found), unquote(name)


async def _send(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    content_type: str = "application/json",
    *extra_headers: str,
    missing: int = 0,
) -> None:
    """`missing` bytes are announced but never come."""
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *extra_headers,
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body) + missing}",
    ]
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    await writer.drain()
