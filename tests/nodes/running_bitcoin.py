"""Simnet's bitcoin node for a test, over its real socket, in a thread of the test's process.

`rpc` calls it through python-bitcoinrpc as the wallet does, `http` sends raw requests, `world` is
what happens outside. The operator's wallet starts empty unless told otherwise.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException

from coinos.simnet.bitcoin import BitcoinServer
from coinos.simnet.faults import Faults
from coinos.simnet.transactions import SAT_PER_BTC

BTC = Decimal(SAT_PER_BTC)
QUIET: dict[str, Any] = {"add_to_wallet": False, "lock_unspents": True, "minconf": 1}


@dataclass(frozen=True)
class HttpAnswer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RunningBitcoin:
    def __init__(self, directory: Path, treasury_sat: int = 0) -> None:
        self.faults = Faults()
        self.server = BitcoinServer(directory, 0, self.faults, treasury_sat)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.wait(self.server.start())

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def restart(self) -> None:
        self.wait(self.server.stop())
        self.wait(self.server.start())

    def close(self) -> None:
        self.wait(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def rpc(self, method: str, *params: Any, wallet: str | None = "coinos") -> Any:
        """Amounts come back as Decimal. Raises JSONRPCException."""
        path = "/" if wallet is None else f"/wallet/{wallet}"
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        proxy = AuthServiceProxy(self.server.url + path, method, connection=connection)
        try:
            return proxy(*params)
        finally:
            connection.close()

    def world(self, verb: str, **params: Any) -> Any:
        async def act() -> Any:
            return self.server.control_methods[verb](params)

        return self.wait(act())

    def post(
        self, body: bytes, path: str = "/wallet/coinos", password: str = "simnet"
    ) -> HttpAnswer:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        token = base64.b64encode(f"simnet:{password}".encode()).decode()
        try:
            connection.request("POST", path, body, {"Authorization": f"Basic {token}"})
            response = connection.getresponse()
            return HttpAnswer(response.status, response.read())
        finally:
            connection.close()

    def http(self, method: str, params: Any, path: str, **options: str) -> HttpAnswer:
        """A request as python-bitcoinrpc and other old clients make it."""
        request = {"version": "1.1", "method": method, "params": params, "id": 7}
        return self.post(json.dumps(request).encode(), path, **options)


def error_of(bitcoin: RunningBitcoin, method: str, *params: Any) -> tuple[int, str]:
    with pytest.raises(JSONRPCException) as raised:
        bitcoin.rpc(method, *params)
    return raised.value.error["code"], raised.value.error["message"]


def deposit(bitcoin: RunningBitcoin, amount_sat: int = 50_000) -> str:
    address = bitcoin.rpc("getnewaddress", "alice")
    return str(bitcoin.world("deposit", address=address, amount_sat=amount_sat))


def since(bitcoin: RunningBitcoin, block_hash: str, *options: Any) -> dict[str, int]:
    """txid -> confirmations of what listsinceblock shows."""
    answer = bitcoin.rpc("listsinceblock", block_hash, *options)
    return {entry["txid"]: entry["confirmations"] for entry in answer["transactions"]}


def removed(bitcoin: RunningBitcoin, block_hash: str) -> dict[str, int]:
    answer = bitcoin.rpc("listsinceblock", block_hash)
    return {entry["txid"]: entry["confirmations"] for entry in answer["removed"]}


def prepare(bitcoin: RunningBitcoin, amount_sat: int = 100_000, **options: Any) -> dict[str, Any]:
    """A withdrawal, signed and not broadcast, as the wallet makes it."""
    outputs = [{bitcoin.world("address"): f"{amount_sat / BTC:.8f}"}]
    rate = options.pop("fee_rate", 2)
    answer: dict[str, Any] = bitcoin.rpc("send", outputs, None, "unset", rate, QUIET | options)
    return answer


def inputs_of(bitcoin: RunningBitcoin, raw_hex: str) -> set[tuple[str, int]]:
    decoded = bitcoin.rpc("decoderawtransaction", raw_hex)
    return {(entry["txid"], entry["vout"]) for entry in decoded["vin"]}


def locked(bitcoin: RunningBitcoin) -> set[tuple[str, int]]:
    return {(entry["txid"], entry["vout"]) for entry in bitcoin.rpc("listlockunspent")}
