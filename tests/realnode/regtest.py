"""Real nodes on a private regtest: one bitcoind and three lightningd, alice - bob - carol.

Alice's lightningd and the wallet `coinos` are ours; bob, carol and the wallet `miner` are the
outside world. `BITCOIND` and `LIGHTNINGD` name the binaries; `bitcoin-cli`, which lightningd
needs, is expected beside bitcoind.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException
from pyln.client import LightningRpc, RpcError

from coinos.money import sat_to_btc
from coinos.nodes.bitcoind import BitcoinCore
from coinos.nodes.cln import CoreLightning

BITCOIND = os.environ.get("BITCOIND", "")
LIGHTNINGD = os.environ.get("LIGHTNINGD", "")
AVAILABLE = bool(BITCOIND and LIGHTNINGD)
MISSING = "set BITCOIND and LIGHTNINGD to the paths of the binaries to run against real nodes"

WALLET = "coinos"
START_SECONDS_MAX = 90
CHANNEL_SAT = 16_000_000
COINBASE_DEPTH = 101


@pytest.fixture(scope="session")
def regtest() -> Iterator[Regtest]:
    """Real nodes with open channels, shared by the tests of a worker."""
    if not AVAILABLE:
        pytest.skip(MISSING)
    network = Regtest()
    try:
        network.start()
        yield network
    finally:
        network.stop()


class Regtest:
    """A `World` (tests/nodes/worlds.py) of real nodes."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="regtest-", dir="/tmp"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._rpc_port = free_port()
        self.bitcoin_rpc_url = f"http://coinos:regtest@127.0.0.1:{self._rpc_port}"
        self.lightning_rpc = str(self.directory / "alice" / "regtest" / "lightning-rpc")
        self.lightning = CoreLightning(self.lightning_rpc)
        self.bitcoin = BitcoinCore(self.bitcoin_rpc_url, wallet=WALLET)

    # --- starting and stopping -----------------------------------------------------------------

    def start(self) -> None:
        self._start_bitcoind()
        for name in ("alice", "bob", "carol"):
            self._start_lightningd(name)
        self._fill_wallets()
        self._open_channel("alice", "bob")
        self._open_channel("bob", "carol")
        until(lambda: self._route_exists(), "alice finds a route to carol")

    def stop(self) -> None:
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start_bitcoind(self) -> None:
        directory = self.directory / "bitcoind"
        directory.mkdir()
        self._run(
            "bitcoind",
            BITCOIND,
            "-regtest",
            f"-datadir={directory}",
            "-server",
            "-listen=0",
            f"-rpcport={self._rpc_port}",
            "-rpcuser=coinos",
            "-rpcpassword=regtest",
            "-fallbackfee=0.00002",
        )
        until(lambda: self._bitcoin("getblockcount") >= 0, "bitcoind answers")
        for wallet in ("miner", WALLET):
            self._bitcoin("createwallet", wallet)
        self.mine(COINBASE_DEPTH + 10)

    def _start_lightningd(self, name: str) -> None:
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        self._run(
            name,
            LIGHTNINGD,
            f"--lightning-dir={directory}",
            "--network=regtest",
            f"--alias={name}",
            f"--addr=127.0.0.1:{free_port()}",
            f"--bitcoin-cli={Path(BITCOIND).parent / 'bitcoin-cli'}",
            "--bitcoin-rpcconnect=127.0.0.1",
            f"--bitcoin-rpcport={self._rpc_port}",
            "--bitcoin-rpcuser=coinos",
            "--bitcoin-rpcpassword=regtest",
            "--allow-deprecated-apis=false",  # a removal must show up as a failure
            "--force-feerates=1012",
            "--fee-base=0",
            "--fee-per-satoshi=100",
            "--developer",
            "--dev-bitcoind-poll=1",
            "--dev-fast-gossip",
        )
        until(lambda: self.node(name).getinfo()["id"], f"{name} answers")

    def _fill_wallets(self) -> None:
        addresses = [self.node(name).newaddr()["p2tr"] for name in ("alice", "bob")]
        addresses += [self.bitcoin.new_address(label="", address_type="bech32") for _ in range(5)]
        self.deposit(dict.fromkeys(addresses, 5 * CHANNEL_SAT))
        self.mine()
        for name in ("alice", "bob"):
            self.until_synced(name)
            until(
                lambda name=name: self.node(name).listfunds()["outputs"],
                f"{name} has coins",
            )

    def _open_channel(self, funder: str, peer: str) -> None:
        info = self.node(peer).getinfo()
        self.node(funder).connect(info["id"], "127.0.0.1", info["binding"][0]["port"])
        half_msat = CHANNEL_SAT * 1000 // 2
        self.node(funder).call(
            "fundchannel",
            {"id": info["id"], "amount": CHANNEL_SAT, "push_msat": f"{half_msat}msat"},
        )
        self.mine(6)
        until(lambda: self._is_open(funder, info["id"]), f"{funder} - {peer} is open")

    def _is_open(self, name: str, peer_id: str) -> bool:
        channels = self.node(name).call("listpeerchannels", {"id": peer_id})["channels"]
        return any(channel["state"] == "CHANNELD_NORMAL" for channel in channels)

    def _route_exists(self) -> bool:
        carol = self.node("carol").getinfo()["id"]
        known = self.node("alice").call("listchannels", {"destination": carol})["channels"]
        return len(known) > 0

    def until_synced(self, name: str) -> None:
        height = self._bitcoin("getblockcount")
        until(
            lambda: self.node(name).getinfo()["blockheight"] == height,
            f"{name} is synced",
        )

    def _run(self, name: str, *command: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    # --- the outside world ---------------------------------------------------------------------

    def node(self, name: str) -> LightningRpc:
        return LightningRpc(str(self.directory / name / "regtest" / "lightning-rpc"))

    def _bitcoin(self, method: str, *params: Any, wallet: str = "") -> Any:
        path = f"/wallet/{wallet}" if wallet else ""
        return getattr(AuthServiceProxy(self.bitcoin_rpc_url + path), method)(*params)

    def pay(self, payment_request: str, amount_msat: int | None = None) -> None:
        params = {"invstring": payment_request}
        if payment_request.lower().startswith("lno"):
            params = {"offer": payment_request, "amount_msat": f"{amount_msat}msat"}
            params = {"invstring": self.node("bob").call("fetchinvoice", params)["invoice"]}
        elif amount_msat is not None:
            params["amount_msat"] = f"{amount_msat}msat"
        try:
            self.node("bob").call("xpay", params)
        except RpcError as error:
            raise AssertionError(error.error) from error

    def invoice(self, amount_msat: int | None, *, expiry_s: int = 3600) -> str:
        return str(self._carol_invoices(amount_msat, expiry_s)["bolt11"])

    def refused_invoice(self, amount_msat: int) -> str:
        invoice = self._carol_invoices(amount_msat, 3600)
        self.node("carol").call("delinvoice", {"label": invoice["label"], "status": "unpaid"})
        return str(invoice["bolt11"])

    def _carol_invoices(self, amount_msat: int | None, expiry_s: int) -> dict[str, Any]:
        label = uuid.uuid4().hex
        amount = "any" if amount_msat is None else f"{amount_msat}msat"
        params = {
            "amount_msat": amount,
            "label": label,
            "description": "x",
            "expiry": expiry_s,
        }
        reply: dict[str, Any] = self.node("carol").call("invoice", params)
        return reply | {"label": label}

    def offer(self) -> str:
        params = {"amount": "any", "description": "x", "label": uuid.uuid4().hex}
        return str(self.node("carol").call("offer", params)["bolt12"])

    def deposit(self, outputs: dict[str, int]) -> str:
        amounts = {address: sat_to_btc(sat) for address, sat in outputs.items()}
        txid = str(self._bitcoin("sendmany", "", amounts, wallet="miner"))
        self._let_wallets_notice()
        return txid

    def mine(self, blocks: int = 1) -> None:
        address = self._bitcoin("getnewaddress", wallet="miner")
        self._bitcoin("generatetoaddress", blocks, address)
        self._let_wallets_notice()

    def _let_wallets_notice(self) -> None:
        """Wallets hear of transactions and blocks a moment after bitcoind has answered."""
        self._bitcoin("syncwithvalidationinterfacequeue")

    def reorganise(self, depth: int) -> None:
        height = self._bitcoin("getblockcount")
        self._bitcoin("invalidateblock", self._bitcoin("getblockhash", height - depth + 1))
        address = self._bitcoin("getnewaddress", wallet="miner")
        for _ in range(depth + 1):
            self._bitcoin("generateblock", address, [])
        self._let_wallets_notice()

    def address(self) -> str:
        return str(self._bitcoin("getnewaddress", wallet="miner"))

    def bump(self, txid: str) -> str:
        bumped = str(self._bitcoin("bumpfee", txid, wallet=WALLET)["txid"])
        self._let_wallets_notice()
        return bumped

    def open_second_channel(self) -> str:
        """Beside the one to Bob that other tests need; its short channel id."""
        bob = self.node("bob").getinfo()["id"]
        before = self._short_channel_ids(bob)
        self._open_channel("alice", "bob")
        until(lambda: len(self._short_channel_ids(bob)) > len(before), "the second channel")
        return (self._short_channel_ids(bob) - before).pop()

    def _short_channel_ids(self, peer_id: str) -> set[str]:
        """Of the channels that are open."""
        channels = self.node("alice").call("listpeerchannels", {"id": peer_id})["channels"]
        return {c["short_channel_id"] for c in channels if c["state"] == "CHANNELD_NORMAL"}

    def close(self, short_channel_id: str) -> None:
        """In agreement; the transaction waits for a block."""
        self.node("alice").call("close", {"id": short_channel_id})

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """What our lightningd learns meanwhile is lost: its database becomes what it was. No
        channel may change: an old copy of those is worth nothing, and dangerous elsewhere."""
        database = self.directory / "alice" / "regtest" / "lightningd.sqlite3"
        copy = database.with_suffix(".copy")
        self._stop_lightningd("alice")
        shutil.copyfile(database, copy)
        self._start_lightningd("alice")
        yield
        self._stop_lightningd("alice")
        copy.replace(database)
        self._start_lightningd("alice")
        until(self._route_exists, "alice finds a route to carol again")

    def restart(self, name: str) -> None:
        """Returns as soon as it answers, which is before it has caught up with the chain."""
        self._stop_lightningd(name)
        self._start_lightningd(name)

    def _stop_lightningd(self, name: str) -> None:
        self.node(name).stop()
        self._processes[name].wait(60)

    def unload_wallet(self) -> None:
        self._bitcoin("unloadwallet", WALLET)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(is_so: Callable[[], Any], what: str) -> None:
    """Wait until a node says so; AssertionError after START_SECONDS_MAX."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            if is_so():
                return
        except (OSError, JSONRPCException, RpcError):
            pass  # not started yet, or warming up
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.2)
