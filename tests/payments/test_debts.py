"""A reorganisation takes a deposit away, and what it had paid for comes back: no money is made."""

from __future__ import annotations

import time
from typing import Any

import pytest
from bitcoinrpc.authproxy import AuthServiceProxy
from django.conf import settings as django_settings

from accounts import ledger
from accounts.books import check_books
from coinos.simnet.control import Control
from invoices import services
from invoices.models import Deposit
from tests.payments.conftest import Person
from tests.payments.test_lightning import until_resolved
from tests.payments.withdrawing import next_round
from tests.simnet_fixtures import SimnetProcess


@pytest.fixture
def network(own_simnet: SimnetProcess, settings: Any, tmp_path: Any) -> Control:
    """A chain of this test's own, since it is reorganised."""
    settings.STOP_FILE = tmp_path / "stop"
    settings.LIGHTNING_RPC = own_simnet.control.lightning_rpc
    settings.BITCOIN_RPC_URL = own_simnet.control.bitcoin_rpc_url
    return own_simnet.control


def deposit(bob: Person, network: Control, sats: int) -> str:
    """Bob's deposit, credited; returns its transaction."""
    services.scan_bitcoin()
    invoice = bob.api.post("/invoice", {"invoice": {"type": "bitcoin"}}).body
    txid = network.deposit(invoice["hash"], sats)
    services.scan_bitcoin()
    network.mine(1)
    services.scan_bitcoin()
    assert bob.available_sat == sats
    return txid


def nothing_was_made(bob: Person) -> None:
    """No coin came and none went: the books say so, too."""
    assert bob.available_sat == 0
    assert ledger.owed_by_msat(bob.user.id) == 0
    assert ledger.house_balance_msat(ledger.House.BAD_DEBT) == 0
    assert [found for found in check_books() if found.differences] == []


def test_k6_a_deposit_and_the_withdrawal_that_spent_it_vanish_together(
    bob: Person, network: Control
) -> None:
    """money-K6: Bob withdraws the very coin that he deposited, and the sender spends it elsewhere
    in a reorganisation. Eight blocks later the withdrawal comes back to him, and he owes it."""
    wallet = AuthServiceProxy(f"{network.bitcoin_rpc_url}/wallet/{django_settings.BITCOIN_WALLET}")

    def trusted() -> Any:
        return wallet.getbalances()["mine"]["trusted"]

    def look() -> None:
        next_round()
        services.scan_bitcoin()

    before = trusted()
    others = [{"txid": coin["txid"], "vout": coin["vout"]} for coin in wallet.listunspent()]
    txid = deposit(bob, network, 50_000)
    if others:
        wallet.lockunspent(False, others)
    sent = bob.api.post("/bitcoin/send", {"address": network.address(), "amount": 40_000})
    assert sent.status_code == 200
    assert {coin.txid for coin in bob.payment().inputs.all()} == {txid}
    if others:
        wallet.lockunspent(True, others)

    network.conflict(txid)
    look()
    assert Deposit.objects.get().state != "credited"
    assert ledger.owed_by_msat(bob.user.id) > 40_000_000
    for _ in range(8):
        network.mine(1)
        look()
    assert bob.payment().state == "failed"
    assert trusted() == before
    nothing_was_made(bob)


def test_k6_a_deposit_vanishes_while_its_money_is_on_its_way(
    bob: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-K6: the payee holds a Lightning payment meanwhile, and then fails it."""
    monkeypatch.setattr("payments.services.lightning.ANSWER_WITHIN_S", 0.3)
    txid = deposit(bob, network, 50_000)
    bolt11 = network.invoice(49_000_000)
    payment_hash = bob.api.get(f"/decode/{bolt11}").body["payment_hash"]
    network.hold(payment_hash)
    assert bob.api.post("/payments", {"payreq": bolt11}).body["status"] == "pending"
    deadline = time.monotonic() + 30
    while bob.payment().state == "created" and time.monotonic() < deadline:
        time.sleep(0.1)
    network.conflict(txid)
    services.scan_bitcoin()
    services.scan_bitcoin()
    assert ledger.owed_by_msat(bob.user.id) >= 49_000_000
    network.release(payment_hash, settle=False)
    assert until_resolved(bob, 30).state == "failed"
    nothing_was_made(bob)
