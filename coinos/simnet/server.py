"""The simnet process: both nodes, the outside world and the control socket, in one directory.

    DIR/lightning-rpc     our Lightning node, as lightningd
    DIR/bitcoin-port      where our bitcoin node listens on 127.0.0.1, as bitcoind
    DIR/rates-port        where GET /rates tells what a bitcoin costs
    DIR/control           the world; see control.py
    DIR/*.jsonl           what both remember

`python -m coinos.simnet --dir DIR` runs it without Django, `manage.py simnet run` within the data
directory of this installation.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import Any

from coinos.simnet.bitcoin import BitcoinServer
from coinos.simnet.control import ControlMethod, ControlServer
from coinos.simnet.faults import Faults
from coinos.simnet.lightning import Lightning
from coinos.simnet.network import Network, Timing
from coinos.simnet.pace import Pace
from coinos.simnet.payments import Payments
from coinos.simnet.rates import RatesServer
from coinos.simnet.records import Store
from coinos.simnet.rpc import RpcServer

CAPACITY_MSAT = 1_600_000_000_000  # 16 BTC; half of it is ours at the start


class AlreadyRunning(Exception):
    """Another simnet process uses this directory."""


class Simnet:
    """One simulated network with its state in `directory`."""

    def __init__(
        self, directory: Path, *, bitcoin_port: int = 0, timing: Timing | None = None
    ) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(directory / "lock")
        self.faults = Faults()
        self.pace = Pace()
        self.bitcoin = BitcoinServer(directory, bitcoin_port, self.faults)
        self.rates = RatesServer(directory)
        self.store = Store(directory / "lightning.jsonl", capacity_msat=CAPACITY_MSAT)
        self.network = Network(self.store, timing=timing, height=self.height)
        self.payments = Payments(self.network, self.faults)
        self.lightning = Lightning(self.network, self.payments, str(directory))
        self.rpc = RpcServer(
            directory / "lightning-rpc", self.lightning.methods, self.faults, self.pace
        )
        self.control = ControlServer(directory / "control", self.control_methods())
        self._expiry: asyncio.Task[None] | None = None

    def height(self) -> int:
        return self.bitcoin.node.chain.height

    async def start(self) -> None:
        """Listen on everything; the control socket last, so that it means ready."""
        await self.bitcoin.start()
        await self.rates.start()
        self.payments.start()
        self._expiry = asyncio.create_task(self.network.expire_invoices())
        await self.rpc.start()
        await self.control.start()

    async def stop(self) -> None:
        await self.control.stop()
        await self.rpc.stop()
        await self.bitcoin.stop()
        await self.rates.stop()
        if self._expiry is not None:
            self._expiry.cancel()
        self.store.close()
        os.close(self._lock)

    async def restart(self, down_s: float) -> None:
        """Both nodes die and come back; what they had in memory only is gone."""
        await self.rpc.stop()
        await self.bitcoin.stop()
        self.payments.forget_attempts()
        await asyncio.sleep(down_s)
        await self.bitcoin.start()
        await self.rpc.start()

    async def mine_on_timer(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self.bitcoin.control_methods["mine"]({"n": 1})

    def control_methods(self) -> dict[str, ControlMethod]:
        network, payments, faults = self.network, self.payments, self.faults
        pace = self.pace

        def truth(_: dict[str, Any]) -> dict[str, Any]:
            return network.truth()

        return (
            self.bitcoin.control_methods
            | self.rates.control_methods
            | {
                "pay": lambda p: network.pay_from_outside(
                    p["bolt11"], p["amount_msat"], p["payer"]
                ),
                "invoice": lambda p: network.outside_invoice(**p),
                "offer": lambda p: network.outside_offer(**p),
                "payment": lambda p: network.payment(p["payment_hash"]),
                "truth": truth,
                "hold": lambda p: payments.hold(p["payment_hash"]),
                "release": lambda p: payments.release(p["payment_hash"], settle=p["settle"]),
                "withhold": lambda p: network.withhold(p["on"]),
                "close_channel": lambda p: network.close_channel(p["how"]),
                "open_channel": lambda p: network.open_channel(),
                "set_faults": lambda p: faults.set(p["rules"], p["seed"]),
                "clear_faults": lambda p: faults.clear(),
                "fault_counts": lambda p: dict(faults.counts),
                "set_pace": lambda p: pace.set(p["rules"]),
                "restart": lambda p: self.restart(p["down_s"]),
                "configure": lambda p: self.lightning.options_s.update(p["options_s"]),
                "syncing": lambda p: setattr(self.network, "is_syncing", p["on"]),
            }
        )


def _lock(path: Path) -> int:
    """Two processes on one journal would ruin it. The lock dies with the process."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise AlreadyRunning(f"another simnet process uses {path.parent}") from None
    return handle


async def serve(
    directory: Path,
    *,
    bitcoin_port: int = 0,
    block_interval_s: float = 0,
    until_eof: bool = False,
) -> None:
    """Run until SIGTERM or SIGINT, or the end of stdin: it ends with a parent that is killed.

    `block_interval_s` 0: blocks only on command.
    """
    simnet = Simnet(directory, bitcoin_port=bitcoin_port)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if until_eof:
        loop.add_reader(sys.stdin, stopped.set)
    await simnet.start()
    miner = (
        asyncio.create_task(simnet.mine_on_timer(block_interval_s)) if block_interval_s else None
    )
    await stopped.wait()
    if miner is not None:
        miner.cancel()
    await simnet.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m coinos.simnet")
    parser.add_argument("--dir", type=Path, required=True, help="where its state and sockets live")
    parser.add_argument("--bitcoin-port", type=int, default=0, help="0: any free port")
    parser.add_argument(
        "--block-interval", type=float, default=0, help="seconds between blocks; 0: on command"
    )
    parser.add_argument("--until-eof", action="store_true", help="end when stdin is closed")
    given = parser.parse_args()
    try:
        asyncio.run(
            serve(
                given.dir,
                bitcoin_port=given.bitcoin_port,
                block_interval_s=given.block_interval,
                until_eof=given.until_eof,
            )
        )
    except AlreadyRunning as error:
        parser.exit(1, f"{error}\n")
