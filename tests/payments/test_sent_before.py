"""money-K3: a withdrawal that the database has forgotten is found in the wallet, never paid again.

A standby is promoted without the last commits, or a backup is restored: the withdrawal is there as
it was accepted, held, and what signed and sent it is lost. The wallet of the node still has it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from bitcoinrpc.authproxy import AuthServiceProxy
from django.core.management import CommandError
from django.utils import timezone

from accounts import ledger
from accounts.models import Activity
from coinos import alarms
from coinos.simnet.control import Control
from payments.models import Payment, WithdrawalInput, WithdrawalTransaction
from payments.services import advance_withdrawals
from tests.payments.conftest import Person
from tests.payments.operators import run


@pytest.fixture(autouse=True)
def confirmed_coins(network: Control) -> None:
    network.mine(1)


def wallet(network: Control, settings: Any) -> Any:
    return AuthServiceProxy(f"{network.bitcoin_rpc_url}/wallet/{settings.BITCOIN_WALLET}")


def withdraw(person: Person, address: str, amount: int = 5000, **body: Any) -> Payment:
    sent = person.api.post("/bitcoin/send", {"address": address, "amount": amount, **body})
    assert sent.status_code == 200, sent.body
    return Payment.objects.get(id=sent.body["id"])


def forget(payment: Payment) -> None:
    """The row goes back to what it was when it was accepted, some minutes ago; the hold too."""
    payment.inputs.all().delete()
    payment.versions.all().delete()
    Payment.objects.filter(id=payment.id).update(
        state="created",
        txid=None,
        fee_sat=None,
        fee_final=False,
        broadcast_attempted_at=None,
        attempted_at=None,
        created=timezone.now() - timedelta(minutes=5),
    )


@pytest.fixture
def nothing_is_booked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """While it lasts the ledger's rows are those of before the broadcast, too."""

    def start() -> None:
        monkeypatch.setattr("payments.services.withdrawals.sending._book", lambda payment_id: None)

    return start, monkeypatch.undo


def paid_to(network: Control, address: str) -> list[int]:
    """The amounts that the chain says arrived there, a block later."""
    network.mine(1)
    return [
        output["amount_sat"]
        for sent in network.chain_truth()["sent"]
        if sent["confirmations"] > 0
        for output in sent["outputs"]
        if output["address"] == address
    ]


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("mined", [False, True])
def test_k3_what_a_failover_forgot_is_paid_once_and_booked_with_its_real_fee(
    alice: Person, network: Control, nothing_is_booked: Any, subtract: bool, mined: bool
) -> None:
    start, end = nothing_is_booked
    address = network.address()
    start()
    payment = withdraw(alice, address, subtract=subtract)
    end()
    sent = WithdrawalTransaction.objects.get()
    before = Payment.objects.values("amount_sat").get(id=payment.id)["amount_sat"]
    forget(payment)
    if mined:
        network.mine(2)
    advance_withdrawals()
    payment.refresh_from_db()
    assert (payment.state, payment.txid) == ("broadcast", sent.txid)
    assert (payment.fee_sat, payment.amount_sat) == (sent.fee_sat, before)
    assert set(payment.inputs.values_list("txid", "vout"))
    assert paid_to(network, address) == [payment.amount_sat]
    line = Activity.objects.get(id=payment.id)
    assert (line.hash, line.fee_sat, line.amount_sat) == (sent.txid, sent.fee_sat, -before)
    balance = ledger.balance_of(alice.user.id)
    assert (balance.available_sat, balance.held_sat) == (100_000 - before - sent.fee_sat, 0)
    assert ledger.differences() == []


def test_k3_it_is_found_while_sends_are_stopped(
    alice: Person, network: Control, nothing_is_booked: Any, settings: Any, tmp_path: Any
) -> None:
    """As operators do before they compare: nothing leaves, and what has left is found."""
    start, end = nothing_is_booked
    start()
    payment = withdraw(alice, network.address())
    end()
    forget(payment)
    settings.STOP_FILE = tmp_path / "stop"
    settings.STOP_FILE.write_text("after a restore")
    advance_withdrawals()
    assert alice.payment().state == "broadcast"


def test_k3_the_version_that_an_operator_made_meanwhile_is_the_one(
    alice: Person, network: Control, nothing_is_booked: Any, settings: Any
) -> None:
    """Of two that replace each other one counts; what it cost above the hold is the house's."""
    start, end = nothing_is_booked
    address = network.address()
    start()
    payment = withdraw(alice, address)
    end()
    bumped = wallet(network, settings).bumpfee(payment.txid, {"fee_rate": 100})
    forget(payment)
    advance_withdrawals()
    payment = alice.payment()
    assert (payment.state, payment.txid) == ("broadcast", bumped["txid"])
    version = payment.versions.get()
    assert version.fee_sat == round(bumped["fee"] * 100_000_000) > payment.max_fee_sat
    assert payment.fee_sat == payment.max_fee_sat
    assert alice.available_sat == 100_000 - 5000 - payment.max_fee_sat
    house_sat = -ledger.house_balance_msat(ledger.House.EQUITY) // 1000 - 100_000
    assert house_sat == version.fee_sat - payment.max_fee_sat
    assert paid_to(network, address) == [5000]


def test_k3_two_that_it_may_be_keep_it_held_until_an_operator_says(
    alice: Person, network: Control, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    address = network.address()
    network.set_faults([{"kind": "drop_before", "method": "send", "nth": 2}])
    payment = withdraw(alice, address)
    network.clear_faults()
    assert alice.payment().state == "created"
    for _ in range(2):
        txid = wallet(network, settings).sendtoaddress(address, "0.00005000")
    Payment.objects.update(created=timezone.now() - timedelta(minutes=5), attempted_at=None)
    advance_withdrawals()
    assert alice.payment().state == "created"
    assert ledger.balance_of(alice.user.id).held_sat == alice.payment().held_sat
    assert f"withdrawal {payment.id}: which of these is it?" in caplog.text
    [alarm] = alarms.standing()
    assert txid in alarm.sentence
    assert paid_to(network, address) == [5000, 5000]
    said = ["match", str(payment.id), txid, "--reason", "the receipt names it, ticket 7"]
    assert run(*said) == "Done: it is booked as sent, with the fee that it took.\n"
    assert (alice.payment().state, alice.payment().txid) == ("broadcast", txid)
    assert not alarms.standing()
    assert paid_to(network, address) == [5000, 5000]
    with pytest.raises(CommandError, match="not in doubt"):
        run(*said)


def test_k3_an_equal_withdrawal_to_the_same_address_is_not_it(
    alice: Person, charlie: Person, network: Control
) -> None:
    """Whose transaction a known one is stands in our rows, so both are paid."""
    address = network.address()
    network.set_faults([{"kind": "drop_before", "method": "send", "nth": 2}])
    withdraw(alice, address)
    network.clear_faults()
    withdraw(charlie, address)
    Payment.objects.update(created=timezone.now() - timedelta(minutes=5), attempted_at=None)
    advance_withdrawals()
    assert (alice.payment().state, charlie.payment().state) == ("broadcast", "broadcast")
    assert paid_to(network, address) == [5000, 5000]
    assert WithdrawalInput.objects.values("txid", "vout").distinct().count() == 2


def test_an_operator_matches_only_what_may_be_it(
    alice: Person, charlie: Person, network: Control
) -> None:
    network.set_faults([{"kind": "drop_before", "method": "send", "nth": 2}])
    payment = withdraw(alice, network.address())
    network.clear_faults()
    other = withdraw(charlie, network.address())
    for txid in (other.txid or "", "ab" * 32):
        with pytest.raises(CommandError, match="cannot be this withdrawal"):
            run("match", str(payment.id), txid, "--reason", "x")
    assert alice.payment().state == "created"


@pytest.mark.parametrize("sat", [4999, 5001])
def test_k3_another_amount_to_the_same_address_is_not_it(
    alice: Person, network: Control, settings: Any, sat: int
) -> None:
    address = network.address()
    network.set_faults([{"kind": "drop_before", "method": "send", "nth": 2}])
    withdraw(alice, address)
    network.clear_faults()
    wallet(network, settings).sendtoaddress(address, f"{sat / 100_000_000:.8f}")
    Payment.objects.update(created=timezone.now() - timedelta(minutes=5), attempted_at=None)
    advance_withdrawals()
    assert alice.payment().state == "broadcast"
    assert sorted(paid_to(network, address)) == sorted([sat, 5000])


def test_k3_what_was_sent_long_before_it_was_accepted_is_not_it(
    alice: Person, network: Control, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No longer before than clocks may differ: an equal payment of last week is another one."""
    address = network.address()
    network.set_faults([{"kind": "drop_before", "method": "send", "nth": 2}])
    withdraw(alice, address)
    network.clear_faults()
    wallet(network, settings).sendtoaddress(address, "0.00005000")
    accepted = timezone.now() - timedelta(minutes=5)
    Payment.objects.update(created=accepted, attempted_at=None)
    monkeypatch.setattr("payments.services.withdrawals.search.CLOCKS_APART", -timedelta(minutes=10))
    advance_withdrawals()
    assert alice.payment().state == "broadcast"
    assert paid_to(network, address) == [5000, 5000]
