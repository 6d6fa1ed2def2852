"""The limits of this machine: the ledger's SQL alone, the node alone, one kept-alive client."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
from django.conf import settings

from coinos import embedded
from coinos.simnet.control import Control
from coinos.simnet.pace import CORE_LIGHTNING

# --- PostgreSQL ----------------------------------------------------------------------------------

TRANSFER = """
\\set payer {payer}
\\set payee {payee}
\\set debit :first + :payer
\\set credit :first + :payee
WITH line AS (
    INSERT INTO accounts_activity (id, user_id, counterparty_id, type, status, amount_sat, hash,
        memo, reason, currency, created)
    SELECT gen_random_uuid(), payer.user_id, payee.user_id, 'internal', 'settled', -1, '',
        '', '', 'USD', now()
    FROM ledger_account payer, ledger_account payee WHERE payer.id = :debit AND payee.id = :credit
    RETURNING *)
SELECT ledger_move_internal(user_id, counterparty_id, 1000, 'bench:' || id, id::text) FROM line;
"""
COLD = {"payer": "random(0, :many - 1)", "payee": "(:payer + random(1, :many - 1)) % :many"}
HOT = {"payer": "1 + random(0, :many - 2)", "payee": "0"}


def transfers(
    *, first: int, many: int, clients: int, seconds: float, hot: bool = False
) -> tuple[float, float]:
    """Transfers a second, and their mean time in ms, of the same ledger function that POST /send
    calls, with the payer's line without which it books nothing, by pgbench over prepared
    statements. The accounts are `first` … `first + many - 1`."""
    script = TRANSFER.format(**(HOT if hot else COLD))
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        argv = [pgbench(), "--no-vacuum", "--protocol", "prepared", "--file", file.name]
        argv += ["--client", str(clients), "--jobs", "1", "--time", str(max(1, round(seconds)))]
        argv += ["--define", f"first={first}", "--define", f"many={many}", settings.DATABASE_URL]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    tps = re.search(r"tps = ([\d.]+)", done.stdout)
    latency = re.search(r"latency average = ([\d.]+)", done.stdout)
    if not tps or not latency:
        raise RuntimeError(f"pgbench failed: {done.stderr or done.stdout}")
    return float(tps[1]), float(latency[1])


def pgbench() -> str:
    """From the PATH, else the one of the embedded PostgreSQL."""
    return shutil.which("pgbench") or str(embedded._postgres_bin() / "pgbench")


# --- The Lightning node --------------------------------------------------------------------------


@contextmanager
def paced() -> Iterator[None]:
    """Simnet is as fast as Core Lightning was measured to be, and no faster, until the end."""
    world = Control(settings.SIMNET_CONTROL)
    world.set_pace(CORE_LIGHTNING)
    try:
        yield
    finally:
        world.set_pace({})


class RawNode:
    """Calls on one kept-open connection to `lightning-rpc`, with nothing around them."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(60)
        self._sock.connect(settings.LIGHTNING_RPC)
        self._calls = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result. Raises RuntimeError with the node's words."""
        self._calls += 1
        request = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": params}
        self._sock.sendall(json.dumps(request).encode())
        answer = b""
        while not answer.endswith(b"\n\n"):
            chunk = self._sock.recv(1 << 16)
            if not chunk:
                raise ConnectionError
            answer += chunk
        reply = json.loads(answer)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result


def at_once(work: Sequence[Any], do: Callable[[RawNode, Any], object], *, threads: int) -> float:
    """Do all of `work` on so many connections; returns how many a second."""

    def run(share: Sequence[Any]) -> None:
        node = RawNode()
        for item in share:
            do(node, item)

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(run, [work[number::threads] for number in range(threads)]):
            pass
    return len(work) / (time.perf_counter() - began)


# --- HTTP out ------------------------------------------------------------------------------------


def posts(url: str, *, body: bytes, count: int) -> float:
    """Posts a second of one kept-alive httpx client."""
    with httpx.Client(trust_env=False) as client:
        began = time.perf_counter()
        for _ in range(count):
            client.post(url, content=body).raise_for_status()
        return count / (time.perf_counter() - began)
