"""One thing, many hands: a payout, an invoice, a fee. What happens once happens once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connection

from accounts import ledger
from accounts.ledger import House
from accounts.models import Transfer
from coinos.nodes.base import Failed, Settled
from coinos.simnet.control import Control
from payments.models import Payment
from payments.services import resolution
from payments.services.onchain import advance
from tests.payments.conftest import Person


def at_once(function: Callable[[], Any], times: int) -> list[Any]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(function())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_twenty_workers_make_one_transaction_of_one_withdrawal(
    alice: Person, network: Control, monkeypatch: Any
) -> None:
    """M12"""
    network.mine(1)
    monkeypatch.setattr("payments.services.onchain.advance", lambda payment_id: None)
    sent = alice.api.post("/bitcoin/send", {"address": network.address(), "amount": 5000})
    monkeypatch.undo()
    payment = Payment.objects.get(id=sent.body["id"])
    assert payment.state == Payment.State.CREATED
    before = {entry["txid"] for entry in network.chain_truth()["sent"]}
    at_once(lambda: advance(payment.id), 20)
    payment.refresh_from_db()
    assert payment.state == Payment.State.BROADCAST
    after = {entry["txid"] for entry in network.chain_truth()["sent"]}
    assert after - before == {payment.txid}
    assert Transfer.objects.filter(kind="send.post").count() == 1


def test_nobody_pays_his_own_invoice_however_often_he_tries(
    alice: Person, bob: Person, network: Control
) -> None:
    """M15"""
    own = alice.api.post("/invoice", {"invoice": {"amount": 100}}).body
    answers = at_once(lambda: alice.api.post("/payments", {"payreq": own["hash"]}), 20)
    assert {(answer.status_code, answer.body["code"]) for answer in answers} == {
        (400, "self_payment")
    }
    assert not Transfer.objects.exclude(kind="operator.credit").exists()


def test_a_neighbours_invoice_is_paid_once_by_twenty_hands(
    alice: Person, bob: Person, network: Control
) -> None:
    """M15, M35: debited and credited by one row."""
    invoice = bob.api.post("/invoice", {"invoice": {"amount": 100}}).body
    answers = at_once(lambda: alice.api.post("/payments", {"payreq": invoice["hash"]}), 20)
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] + [409] * 19
    assert (alice.available_sat, bob.available_sat) == (99_900, 100)


def test_the_payer_bears_the_whole_fee_and_the_house_none(alice: Person, network: Control) -> None:
    """F02, F03: what left the node is what users were debited; equity never paid."""
    for amount_msat in (1_000, 10_500, 777_777, 2_000_001):
        paid = alice.api.post("/payments", {"payreq": network.invoice(amount_msat)})
        assert (paid.status_code, paid.body["status"]) == (200, "settled"), paid.body
    hashes = Payment.objects.values_list("payment_hash", flat=True)
    truth = [network.payment(str(payment_hash)) for payment_hash in hashes]
    left_msat = sum(entry["amount_msat"] + entry["fee_msat"] for entry in truth)
    assert ledger.house_balance_msat(House.LIGHTNING) == left_msat
    debited_msat = (100_000 - alice.available_sat) * 1000
    assert debited_msat == left_msat + ledger.house_balance_msat(House.ROUNDING)
    assert not Transfer.objects.filter(kind="fee.overrun").exists()


def test_a_node_that_took_more_than_it_was_allowed_costs_the_house_and_stops_sends(
    alice: Person, network: Control, settings: Any, tmp_path: Path
) -> None:
    """F01, F03: the user pays what was held, settlement does not raise, nothing more goes out."""
    settings.STOP_FILE = tmp_path / "stop-sends"
    invoice = network.invoice(1_000_000)
    network.set_faults([{"kind": "drop_before", "method": "xpay"}])
    assert alice.api.post("/payments", {"payreq": invoice}).body["status"] == "pending"
    network.clear_faults()
    payment = alice.payment()
    fee_msat = payment.max_fee_sat * 1000 + 1
    resolution._settle(payment.id, Settled(fee_msat=fee_msat, preimage="ab" * 32, fee_final=True))
    assert alice.available_sat == 100_000 - payment.held_sat
    overrun = Transfer.objects.get(kind="fee.overrun")
    assert (overrun.amount_msat, overrun.debit_id) == (1, House.EQUITY)
    assert alice.line().status == "settled"
    assert settings.STOP_FILE.exists()
    refused = alice.api.post("/payments", {"payreq": network.invoice(1_000)})
    assert (refused.status_code, refused.body["code"]) == (403, "withdrawals_paused")


def test_what_others_have_settled_meanwhile_does_not_fail_any_more(
    alice: Person, network: Control
) -> None:
    """Two look at once: one finds nothing and is slow, the other finds the payment complete."""
    paid = alice.api.post("/payments", {"payreq": network.invoice(1_000_000)}).body
    assert paid["status"] == "settled"
    payment = alice.payment()
    left_sat = alice.available_sat
    for fee_final in (True, False):
        Payment.objects.filter(id=payment.id).update(fee_final=fee_final)
        resolution._apply(payment, Failed("nothing was paid"))
        assert alice.payment().state == "settled"
        assert alice.available_sat == left_sat
        assert alice.line().status == "settled"
