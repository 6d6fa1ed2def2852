"""Alice withdraws to bitcoin addresses; simnet's chain knows what really happened."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from accounts import ledger
from accounts.models import Transfer
from coinos.simnet.control import Control
from payments.models import Payment, WithdrawalInput
from tests.payments.conftest import Person
from tests.payments.withdrawing import next_round


def send(person: Person, address: str, amount: int, **body: Any) -> Any:
    headers = {name: body.pop(name) for name in ("Idempotency_Key",) if name in body}
    fields = {"address": address, "amount": amount, **body}
    return person.api.post("/bitcoin/send", fields, **headers)


@pytest.fixture(autouse=True)
def confirmed_coins(network: Control) -> None:
    """What earlier tests spent has confirmed: withdrawals use confirmed coins only."""
    network.mine(1)


def test_of_a_link_the_address_of_this_network_is_paid(alice: Person, network: Control) -> None:
    """input-B5: as on the page."""
    address = network.address()
    link = f"bitcoin:bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4?bcrt={address}"
    quote = alice.api.post("/bitcoin/fee", {"address": link, "amount": 5000})
    assert quote.status_code == 200, quote.body
    assert send(alice, link, 5000).status_code == 200
    assert alice.payment().destination == address


def test_a_withdrawal_is_broadcast_at_the_quoted_fee_and_settles_when_mined(
    alice: Person, network: Control
) -> None:
    address = network.address()
    quote = alice.api.post("/bitcoin/fee", {"address": address, "amount": 5000})
    assert quote.status_code == 200, quote.body
    assert quote.body["fee"] > 0
    assert set(quote.body["fees"]) == {
        "fastestFee",
        "halfHourFee",
        "hourFee",
        "economyFee",
        "minimumFee",
    }
    sent = send(alice, address, 5000)
    assert sent.status_code == 200, sent.body
    body = sent.body
    assert (body["type"], body["amount"], body["fee"]) == ("bitcoin", -5000, quote.body["fee"])
    assert (body["confirmed"], body["status"]) == (True, "pending")
    assert len(body["hash"]) == 64
    assert alice.available_sat == 100_000 - 5000 - body["fee"]
    assert ledger.balance_of(alice.user.id).held_sat == 0
    network.mine(1)
    next_round()
    assert alice.api.get(f"/payments/{body['hash']}").body["status"] == "settled"


def test_a_quote_leaves_no_trace(alice: Person, network: Control) -> None:
    """A07"""
    address = network.address()
    for _ in range(20):
        alice.api.post("/bitcoin/fee", {"address": address, "amount": 5000})
    assert not Payment.objects.exists()
    assert not Transfer.objects.filter(kind="send.hold").exists()
    assert send(alice, address, 5000).status_code == 200


def test_send_all_empties_the_account(alice: Person, network: Control) -> None:
    sent = send(alice, network.address(), 100_000, subtract=True)
    assert sent.status_code == 200, sent.body
    assert sent.body["amount"] - sent.body["fee"] == -100_000
    assert alice.available_sat == 0
    assert ledger.differences() == []


def test_an_amount_is_never_reduced_silently(alice: Person, network: Control) -> None:
    """F19"""
    refused = send(alice, network.address(), 100_000)
    assert (refused.status_code, refused.body["code"]) == (400, "insufficient_funds")
    assert "can be sent" in refused.body["message"]
    assert alice.available_sat == 100_000


@pytest.mark.parametrize(
    ("address", "amount", "body", "code"),
    [
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", 5000, {}, "invalid_address"),
        ("bcrt1qnonsense", 5000, {}, "invalid_address"),
        ("alice", 5000, {}, "invalid_address"),
        (None, 545, {}, "invalid_amount"),
        (None, 0, {}, "invalid_amount"),
        (None, 5000, {"feeRate": 100_000}, "invalid_amount"),
        (None, 5000, {"feeRate": -1}, "invalid_request"),
        (None, 200_000, {}, "insufficient_funds"),
    ],
)
def test_what_cannot_be_withdrawn_is_refused_and_holds_nothing(
    alice: Person, network: Control, address: str | None, amount: int, body: Any, code: str
) -> None:
    """F12"""
    refused = send(alice, address or network.address(), amount, **body)
    assert (refused.status_code, refused.body["code"]) == (400, code)
    assert not Payment.objects.exists()


def test_a_fiat_rate_of_the_caller_changes_nothing(alice: Person, network: Control) -> None:
    """F15"""
    sent = send(alice, network.address(), 5000, rate=1_000_000_000)
    assert sent.body["amount"] == -5000
    assert sent.body["rate"] != 1_000_000_000


def test_an_address_of_another_user_is_paid_inside(
    alice: Person, bob: Person, network: Control
) -> None:
    invoice = bob.api.post("/invoice", {"invoice": {"amount": 3000, "type": "bitcoin"}}).body
    sent = send(alice, invoice["hash"], 3000)
    assert (sent.body["type"], sent.body["fee"], sent.body["hash"]) == (
        "internal",
        0,
        invoice["hash"],
    )
    assert bob.available_sat == 3000
    assert send(alice, invoice["hash"], 3000).status_code == 200
    own = send(bob, invoice["hash"], 1000)
    assert own.body["code"] == "self_payment"


TAPROOT = "bcrt1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqc8gma6"  # of BIP 350
NOT_ON_THE_CURVE = "bcrt1plllllllllllllllllllllllllllllllllllllllllllllllllllse0lp4e"


@pytest.mark.parametrize("address", [TAPROOT, TAPROOT.upper(), NOT_ON_THE_CURVE])
def test_coins_go_to_a_taproot_address_however_it_is_written(
    alice: Person, network: Control, address: str
) -> None:
    """input-C12, input-C14: Bitcoin Core sends to a key that is no point of the curve as well."""
    sent = send(alice, address, 5000)
    assert sent.status_code == 200, sent.body
    network.mine(1)
    next_round()
    line = alice.api.get(f"/payments/{sent.body['hash']}").body
    assert (line["status"], line["amount"]) == ("settled", -5000)


def test_a_lost_broadcast_reply_is_given_the_same_transaction_again(
    alice: Person, network: Control
) -> None:
    network.set_faults([{"kind": "exec_then_drop", "method": "sendrawtransaction"}])
    sent = send(alice, network.address(), 5000)
    assert (sent.status_code, sent.body["status"]) == (200, "pending")
    assert alice.payment().state == "signed"
    txid = alice.payment().txid
    network.clear_faults()
    next_round()
    assert (alice.payment().state, alice.payment().txid) == ("broadcast", txid)
    assert Transfer.objects.filter(kind="send.post").count() == 1
    assert alice.available_sat == 100_000 - 5000 - (alice.payment().fee_sat or 0)


def test_a_node_that_never_saw_the_broadcast_gets_the_same_transaction(
    alice: Person, network: Control
) -> None:
    network.set_faults([{"kind": "drop_before", "method": "sendrawtransaction"}])
    send(alice, network.address(), 5000)
    txid = alice.payment().txid
    network.clear_faults()
    network.restart()  # the node forgets its locks
    next_round()
    assert (alice.payment().state, alice.payment().txid) == ("broadcast", txid)


def test_withdrawals_at_once_never_share_an_input(alice: Person, network: Control) -> None:
    """A06"""
    addresses = [network.address() for _ in range(6)]
    codes: list[int] = []

    def run(address: str) -> None:
        codes.append(send(alice, address, 2000).status_code)
        connection.close()

    threads = [threading.Thread(target=run, args=(address,)) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 6
    next_round()
    inputs = list(WithdrawalInput.objects.values_list("txid", "vout"))
    assert len(inputs) == len(set(inputs))
    assert set(Payment.objects.values_list("state", flat=True)) == {"broadcast"}
    network.mine(1)
    next_round()
    assert {p.confirmations for p in Payment.objects.all()} == {1}


def test_the_database_refuses_an_input_in_two_withdrawals(alice: Person, network: Control) -> None:
    """A06, with Python bypassed."""
    send(alice, network.address(), 2000)
    used = WithdrawalInput.objects.first()
    assert used
    with pytest.raises(IntegrityError, match="one_withdrawal_per_input"), transaction.atomic():
        WithdrawalInput.objects.create(payment=used.payment, txid=used.txid, vout=used.vout)


def test_a_reorg_makes_a_withdrawal_pending_again_until_it_is_mined_again(
    alice: Person, network: Control
) -> None:
    sent = send(alice, network.address(), 5000).body
    network.mine(1)
    next_round()
    network.reorg(1, drop=[sent["hash"]])
    next_round()
    assert alice.api.get(f"/payments/{sent['id']}").body["status"] == "pending"
    network.mine(1)
    next_round()
    assert alice.api.get(f"/payments/{sent['id']}").body["status"] == "settled"
    assert Transfer.objects.filter(kind="send.post").count() == 1


def test_a_withdrawal_waits_while_the_node_is_away(
    alice: Person, network: Control, settings: Any
) -> None:
    address = network.address()
    settings.BITCOIN_RPC_URL = "http://simnet:simnet@127.0.0.1:9"
    away = send(alice, address, 5000)
    assert (away.status_code, away.body["code"]) == (503, "node_unavailable")
    assert not Payment.objects.exists()


def test_a_withdrawal_that_cannot_be_prepared_does_not_hold_up_the_others(
    alice: Person, charlie: Person, network: Control
) -> None:
    """A10"""
    network.set_faults([{"kind": "drop_before", "method": "send", "nth": 2}])
    assert send(alice, network.address(), 5000).body["confirmed"] is False
    assert alice.payment().state == "created"
    network.clear_faults()
    assert send(charlie, network.address(), 5000).body["confirmed"] is True
    network.mine(1)
    network.set_faults([{"kind": "drop_before", "method": "send"}])
    next_round()
    assert alice.payment().state == "created"
    assert charlie.line().status == "settled"


def test_a_withdrawal_that_certainly_failed_is_answered_as_a_failure_each_time(
    alice: Person, network: Control
) -> None:
    fault = {"kind": "exec_then_error", "method": "send", "nth": 2, "code": -5}
    network.set_faults([fault])
    address = network.address()
    for _ in range(2):
        refused = send(alice, address, 5000, Idempotency_Key="rent")
        assert (refused.status_code, refused.body["code"]) == (400, "payment_failed")
        network.clear_faults()
    assert alice.payment().state == "failed"
    assert alice.available_sat == 100_000
