"""The control socket: how tests, the command line and the wallet's simnet page move the world.

One JSON object a line, `{"method": …, "params": {…}}` answered by `{"result": …}` or
`{"error": {"code": word, "message": sentence}}`. `Control` is the client.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coinos.simnet.network import WorldError

ControlMethod = Callable[[dict[str, Any]], Any]
LARGEST_LINE = 64 << 20


class ControlError(Exception):
    """The world could not do it; `code` is a word such as expired, already_paid, unknown."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Control:
    """Client of a running simnet. One connection per call; safe in threads."""

    def __init__(self, path: Path | str, timeout: float = 30.0) -> None:
        self.path = Path(path)
        self.timeout = timeout

    @property
    def directory(self) -> Path:
        return self.path.parent

    @property
    def lightning_rpc(self) -> str:
        """Path of our node's `lightning-rpc` socket."""
        return str(self.directory / "lightning-rpc")

    @property
    def bitcoin_rpc_url(self) -> str:
        """URL of the bitcoin node, credentials included."""
        port = int((self.directory / "bitcoin-port").read_text())
        return f"http://simnet:simnet@127.0.0.1:{port}"

    def call(self, method: str, **params: Any) -> Any:
        """Call any control method. Raises ControlError, or OSError when simnet is not there."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self.timeout)
            connection.connect(str(self.path))
            request = json.dumps({"method": method, "params": params})
            connection.sendall(request.encode() + b"\n")
            line = connection.makefile("rb").readline()
        if not line:
            raise ConnectionError("simnet closed the connection")
        reply = json.loads(line)
        if "error" in reply:
            raise ControlError(reply["error"]["code"], reply["error"]["message"])
        return reply["result"]

    # --- the outside Lightning wallet --------------------------------------------------------

    def pay(
        self, bolt11: str, amount_msat: int | None = None, payer: str = "bob"
    ) -> dict[str, Any]:
        """The outside wallet pays an invoice or offer of our node; returns `payment_hash`,
        `preimage`, `amount_msat`. ControlError codes: unknown, expired, already_paid,
        amount_required, bad_amount, wrong_amount, no_route, invalid."""
        result: dict[str, Any] = self.call(
            "pay", bolt11=bolt11, amount_msat=amount_msat, payer=payer
        )
        return result

    def invoice(
        self,
        amount_msat: int | None = None,
        description: str = "simnet",
        expiry: int = 3600,
        node: str = "carol",
        hashed: bool = False,
        preimage: str | None = None,
    ) -> str:
        """An outside invoice for our node to pay. `node`: bob (direct, no fee), carol (one hop,
        100 ppm), fail (always refused), hold (kept for a minute), slow (5 s). `hashed`: it has the
        hash of the description only, as those of LNURL services. `preimage`: one of yours, hex."""
        return str(
            self.call(
                "invoice",
                amount_msat=amount_msat,
                description=description,
                expiry=expiry,
                node=node,
                hashed=hashed,
                preimage=preimage,
            )
        )

    def offer(
        self, amount_msat: int | None = None, description: str = "simnet", node: str = "carol"
    ) -> str:
        """An outside BOLT 12 offer for our node to fetch invoices from."""
        return str(self.call("offer", amount_msat=amount_msat, description=description, node=node))

    def hold(self, payment_hash: str) -> None:
        """The receiver keeps the HTLCs of this payment until `release`."""
        self.call("hold", payment_hash=payment_hash)

    def release(self, payment_hash: str, settle: bool = True) -> int:
        """End all pending HTLCs of this payment; returns how many there were."""
        return int(self.call("release", payment_hash=payment_hash, settle=settle))

    def withhold(self, on: bool = True) -> None:
        """Bob takes the preimage for what he pays and sends no commitment any more: the invoice is
        paid and the channel has not grown. False: he goes on."""
        self.call("withhold", on=on)

    def close_channel(self, how: str = "mutual") -> None:
        """Close our channel, mutual or unilateral. The next block has the transaction; the coins
        are in the node's wallet at once or, unilateral, seven blocks later."""
        self.call("close_channel", how=how)

    def open_channel(self) -> None:
        """Put what came of the last channel into a new one, at once."""
        self.call("open_channel")

    # --- truth -------------------------------------------------------------------------------

    def payment(self, payment_hash: str) -> dict[str, Any]:
        """What really became of a payment: `direction`, `status` (settled, pending, failed,
        unpaid, expired, unknown), `amount_msat`, `fee_msat`, `preimage`, `pending_parts`."""
        result: dict[str, Any] = self.call("payment", payment_hash=payment_hash)
        return result

    def truth(self) -> dict[str, Any]:
        """All that settled: `sent` and `received` by payment_hash, and their sums."""
        result: dict[str, Any] = self.call("truth")
        return result

    # --- faults ------------------------------------------------------------------------------

    def set_faults(self, rules: list[dict[str, Any]], seed: int = 0) -> None:
        """Replace the faults in force; faults.py describes the rules."""
        self.call("set_faults", rules=rules, seed=seed)

    def clear_faults(self) -> None:
        self.call("clear_faults")

    def fault_counts(self) -> dict[str, int]:
        """How often each kind of fault has struck since the start of the process."""
        result: dict[str, int] = self.call("fault_counts")
        return result

    def set_pace(self, rules: dict[str, dict[str, float]]) -> None:
        """How fast our Lightning node answers from now on: pace.py describes the rules; without
        any it is as fast as it can."""
        self.call("set_pace", rules=rules)

    def restart(self, down_s: float = 0.2) -> None:
        """The nodes die and come back: connections drop, calls are lost, HTLCs stay."""
        self.call("restart", down_s=down_s)

    def configure(self, options_s: dict[str, int]) -> None:
        """What `listconfigs` of our Lightning node says from now on, such as the age at which it
        deletes payments; nothing is deleted by that."""
        self.call("configure", options_s=options_s)

    def syncing(self, on: bool = True) -> None:
        """Our Lightning node catches up with the chain, as after its start: it knows nothing of the
        last blocks until it has read them again."""
        self.call("syncing", on=on)

    # --- fiat rates --------------------------------------------------------------------------

    def set_rate(self, currency: str, rate: Any) -> None:
        """Quote `rate` for a bitcoin from now on; None stops quoting this currency."""
        self.call("set_rate", currency=currency, rate=rate)

    def rates_down(self, on: bool = True) -> None:
        """The source of rates answers 503."""
        self.call("rates_down", on=on)

    # --- the chain: coinos/simnet/bitcoin_control.py has every parameter ---------------------

    def deposit(self, address: str, amount_sat: int, **options: Any) -> str:
        """The outside wallet sends coins to an address of ours, unconfirmed; returns the txid."""
        return str(self.call("deposit", address=address, amount_sat=amount_sat, **options))

    def mine(self, n: int = 1) -> list[str]:
        """Mine n blocks with all that is in the mempool; returns their hashes."""
        return list(self.call("mine", n=n))

    def address(self) -> str:
        """A new address of the outside wallet, to send coins to."""
        return str(self.call("address"))

    def reorg(self, depth: int, **options: Any) -> list[str]:
        """Replace the last `depth` blocks by a longer chain; returns the hashes of its blocks."""
        return list(self.call("reorg", depth=depth, **options))

    def replace(self, txid: str, **options: Any) -> str:
        """Replace an unconfirmed transaction from outside; returns the txid of the rival."""
        return str(self.call("replace", txid=txid, **options))

    def mine_replaced(self, txid: str) -> None:
        """Mine a transaction that another has replaced in the mempool."""
        self.call("mine_replaced", txid=txid)

    def conflict(self, txid: str) -> str:
        """Mine a rival of this transaction; returns the txid of the rival."""
        return str(self.call("conflict", txid=txid))

    def stuck(self, on: bool = True) -> None:
        """Blocks stay empty: what is in the mempool is not mined."""
        self.call("stuck", on=on)

    def min_fee(self, sat_vb: float) -> None:
        """The mempool takes nothing below this rate from now on."""
        self.call("min_fee", sat_vb=sat_vb)

    def fee_estimates(self, sat_vb: dict[int, float] | None) -> None:
        """What estimatesmartfee says, by target in blocks; None: it has no data."""
        self.call("fee_estimates", sat_vb=sat_vb)

    def unload_wallet(self) -> None:
        """The bitcoin node's wallet is not loaded any more, as after a restart."""
        self.call("unload_wallet")

    def chain_truth(self) -> dict[str, Any]:
        """What the chain really says about our deposits and withdrawals."""
        result: dict[str, Any] = self.call("chain_truth")
        return result


class ControlServer:
    """Serves control methods, each a function of its params, coroutine or not."""

    def __init__(self, path: Path, methods: dict[str, ControlMethod]) -> None:
        self.path = path
        self.methods = methods
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, str(self.path), limit=LARGEST_LINE
        )
        self.path.chmod(0o600)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            method = self.methods.get(request["method"])
            if method is None:
                raise WorldError("unknown_method", f"no control method {request['method']!r}")
            result = method(request.get("params", {}))
            return {"result": await result if inspect.isawaitable(result) else result}
        except WorldError as error:
            return {"error": {"code": error.code, "message": error.message}}
        except Exception as error:
            return {"error": {"code": "bad_request", "message": f"{type(error).__name__}: {error}"}}
