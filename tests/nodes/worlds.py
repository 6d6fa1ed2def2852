"""The world around our two nodes, as the contract tests need it: simulated or real.

A world has our nodes behind the production adapters, an outside Lightning wallet and an outside
on-chain wallet. `tests/realnode/regtest.py` is the other one.
"""

from __future__ import annotations

from typing import Protocol

from bitcoinrpc.authproxy import AuthServiceProxy

from coinos.nodes.bitcoind import BitcoinCore
from coinos.nodes.cln import CoreLightning
from coinos.simnet.control import Control, ControlError

WALLET = "coinos"
MARGIN_S = 3


class World(Protocol):
    lightning: CoreLightning
    bitcoin: BitcoinCore

    def pay(self, payment_request: str, amount_msat: int | None = None) -> None:
        """The outside wallet pays, and the payment arrives. AssertionError when it cannot."""

    def invoice(self, amount_msat: int | None, *, expiry_s: int = 3600) -> str:
        """An invoice of an outside node one hop beyond our peer, for a fee."""

    def refused_invoice(self, amount_msat: int) -> str:
        """An invoice that its own node will refuse when it is paid."""

    def offer(self) -> str:
        """A BOLT12 offer of an outside node, for any amount."""

    def deposit(self, outputs: dict[str, int]) -> str:
        """The outside wallet sends sats to addresses in one transaction; returns its txid."""

    def mine(self, blocks: int = 1) -> None: ...

    def reorganise(self, depth: int) -> None:
        """The last `depth` blocks give way to a longer chain without their transactions, which
        wait in the mempool again."""

    def address(self) -> str:
        """A new address of the outside wallet."""

    def bump(self, txid: str) -> str:
        """An operator bumps the fee of our wallet's transaction by hand; returns the new txid."""

    def unload_wallet(self) -> None:
        """Our wallet is not loaded any more, as after an unlucky restart of bitcoind."""


class Simnet:
    """The simulated network as a `World`."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.lightning = CoreLightning(control.lightning_rpc, margin_s=MARGIN_S)
        self.bitcoin = BitcoinCore(control.bitcoin_rpc_url, wallet=WALLET)

    def pay(self, payment_request: str, amount_msat: int | None = None) -> None:
        try:
            self.control.pay(payment_request, amount_msat)
        except ControlError as error:
            raise AssertionError(error.code) from error

    def invoice(self, amount_msat: int | None, *, expiry_s: int = 3600) -> str:
        return self.control.invoice(amount_msat, expiry=expiry_s)

    def refused_invoice(self, amount_msat: int) -> str:
        return self.control.invoice(amount_msat, node="fail")

    def offer(self) -> str:
        return self.control.offer()

    def deposit(self, outputs: dict[str, int]) -> str:
        return str(self.control.call("deposit", outputs=outputs))

    def mine(self, blocks: int = 1) -> None:
        self.control.mine(blocks)

    def reorganise(self, depth: int) -> None:
        self.control.reorg(depth, remine=False)

    def address(self) -> str:
        return self.control.address()

    def bump(self, txid: str) -> str:
        wallet = AuthServiceProxy(f"{self.control.bitcoin_rpc_url}/wallet/{WALLET}")
        return str(wallet.bumpfee(txid)["txid"])

    def unload_wallet(self) -> None:
        self.control.unload_wallet()
