"""pyln-client's framing of JSON-RPC on a unix socket, with a deadline and without its logging.

pyln-client itself waits for ever, and writes payloads into logs and exceptions.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from pyln.client.lightning import UnixDomainSocketRpc, UnixSocket

from coinos.nodes.replies import RpcError


class DeadlineRpc(UnixDomainSocketRpc):
    """One call on one new socket."""

    def ask(self, method: str, params: Mapping[str, object], timeout_s: float) -> object:
        """The result. Raises `RpcError` for lightningd's own errors, and whatever sockets and
        parsers raise for everything else: a connection that closed, an answer to nobody."""
        call_id = self.get_json_id(method, None)
        request = {"jsonrpc": "2.0", "method": method, "params": dict(params), "id": call_id}
        sock = _DeadlineSocket(self.socket_path, timeout_s)
        try:
            self._writeobj(sock, request)
            answer, _ = self._readobj(sock)
        finally:
            sock.close()
        # A closed connection reads as {"error": "<text>"} without an id.
        if not isinstance(answer, dict) or answer.get("id") != call_id:
            raise ConnectionError
        if "error" in answer:
            error = answer["error"]
            code, message = error["code"], error.get("message", "")
            if isinstance(code, bool) or not isinstance(code, int):
                raise ConnectionError
            raise RpcError(code, str(message))
        return answer["result"]


class _DeadlineSocket(UnixSocket):
    """A unix socket with one deadline over connecting, sending and all reading."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self._deadline = time.monotonic() + timeout_s
        super().__init__(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._arm()
        if len(os.fsencode(self.path)) < 108:
            self.sock.connect(self.path)
            return
        # A socket address holds 107 bytes; a longer path is reached through its open directory.
        directory, name = os.path.split(self.path)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{descriptor}/{name}")
        finally:
            os.close(descriptor)

    def sendall(self, b: bytes) -> None:
        self._arm()
        super().sendall(b)

    def recv(self, length: int) -> bytes:
        self._arm()
        return super().recv(length)

    def _arm(self) -> None:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.sock.settimeout(left_s)
