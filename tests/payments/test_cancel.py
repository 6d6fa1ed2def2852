"""Whatever has not left can be cancelled, and comes back; of a cancel and a claim, one is first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from bitcoinrpc.authproxy import AuthServiceProxy
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from accounts import ledger
from coinos.errors import NodeUnavailable
from coinos.simnet.control import Control
from payments.errors import TooLateToCancel
from payments.models import Payment, SendBudget, WithdrawalInput
from payments.services import advance_withdrawals, cancel, lightning
from payments.services.cancel import _cancel as end_as_cancelled
from payments.services.lightning import send
from payments.services.withdrawals import advance
from payments.services.withdrawals.sending import _begin_broadcast as begin
from payments.services.withdrawals.signing import claim
from tests.payments.conftest import Person
from tests.payments.test_lightning import until_resolved


@pytest.fixture
def nobody_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when every place of the pool is taken."""
    monkeypatch.setattr(lightning, "send_soon", lambda *_, **__: None)


@pytest.fixture
def waiting(alice: Person, network: Control, nobody_sends: None) -> Payment:
    """A Lightning payment that nobody has begun to send."""
    answer = alice.api.post("/payments", {"payreq": network.invoice(5_000_000)})
    assert (answer.status_code, answer.body["status"]) == (200, "pending")
    return alice.payment()


@pytest.fixture
def unsigned(alice: Person, network: Control) -> Payment:
    """A withdrawal that the node did not prepare."""
    return withdraw_without(network, alice, {"method": "send", "nth": 2})


@pytest.fixture
def signed(alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch) -> Payment:
    """A withdrawal that is signed, and that nobody has begun to give to the network."""
    with monkeypatch.context() as died:
        died.setattr("payments.services.withdrawals.rounds.send", lambda payment: None)
        network.mine()
        sent = alice.api.post("/bitcoin/send", {"address": network.address(), "amount": 5000})
    assert sent.status_code == 200, sent.body
    assert alice.payment().state == "signed"
    return alice.payment()


def withdraw_without(network: Control, person: Person, lost: dict[str, Any]) -> Payment:
    network.mine()
    address = network.address()
    network.set_faults([{"kind": "drop_before", **lost}])
    sent = person.api.post("/bitcoin/send", {"address": address, "amount": 5000})
    assert sent.status_code == 200, sent.body
    network.clear_faults()
    return person.payment()


def assert_all_is_back(person: Person, sats: int = 100_000) -> None:
    assert person.available_sat == sats
    assert ledger.balance_of(person.user.id).held_sat == 0
    assert ledger.differences() == []


def locked_coins(network: Control) -> set[tuple[str, int]]:
    wallet = AuthServiceProxy(f"{network.bitcoin_rpc_url}/wallet/{settings.BITCOIN_WALLET}")
    return {(coin["txid"], coin["vout"]) for coin in wallet.listlockunspent()}


def left_the_wallet(network: Control) -> set[str]:
    return {entry["txid"] for entry in network.chain_truth()["sent"]}


# --- What can be cancelled ------------------------------------------------------------------------


def test_a_lightning_payment_that_waits_is_cancelled_by_its_user(
    alice: Person, network: Control, waiting: Payment
) -> None:
    """money-H4"""
    answer = alice.api.post(f"/payments/{waiting.id}/cancel")
    assert (answer.status_code, answer.body["status"]) == (200, "failed")
    assert answer.body["reason"] == "Cancelled before anything was sent"
    assert_all_is_back(alice)
    send(waiting.id)
    assert network.payment(str(waiting.payment_hash))["status"] == "unknown"
    assert alice.payment().state == "failed"


def test_its_invoice_can_be_paid_again(
    alice: Person, network: Control, waiting: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel(waiting.id)
    monkeypatch.undo()
    assert alice.api.post("/payments", {"payreq": waiting.destination}).body["status"] == "settled"


def test_a_withdrawal_that_waits_is_cancelled(
    alice: Person, network: Control, unsigned: Payment
) -> None:
    """money-H4"""
    assert unsigned.state == "created"
    before = left_the_wallet(network)
    cancel(unsigned.id)
    assert_all_is_back(alice)
    Payment.objects.update(created=timezone.now() - timedelta(minutes=2), attempted_at=None)
    advance_withdrawals()
    assert left_the_wallet(network) == before
    assert_all_is_back(alice)


def test_a_signed_withdrawal_that_nobody_saw_is_cancelled_and_its_coins_are_free(
    alice: Person, charlie: Person, network: Control, signed: Payment
) -> None:
    """money-H4"""
    before = left_the_wallet(network)
    cancel(signed.id)
    assert_all_is_back(alice)
    assert not WithdrawalInput.objects.filter(live=True).exists()
    assert set(signed.inputs.values_list("txid", "vout")).isdisjoint(locked_coins(network))
    Payment.objects.update(created=timezone.now() - timedelta(minutes=2))
    advance_withdrawals()
    assert left_the_wallet(network) == before


def test_what_was_cancelled_no_longer_counts_against_a_limit(
    alice: Person, network: Control, nobody_sends: None, settings: Any
) -> None:
    settings.SEND_LIMIT_USER_SAT = 10_000
    sent = alice.api.post("/payments", {"payreq": network.invoice(5_000_000)}).body
    assert SendBudget.objects.get().spent_sat > 5000
    cancel(sent["id"])
    assert SendBudget.objects.get().spent_sat == 0


def test_a_subtracted_fee_comes_back_to_the_limits_as_it_was_counted(
    alice: Person, network: Control, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SEND_LIMIT_USER_SAT = 200_000
    monkeypatch.setattr("payments.services.withdrawals.rounds.send", lambda payment: None)
    network.mine()
    body = {"address": network.address(), "amount": 100_000, "subtract": True}
    assert alice.api.post("/bitcoin/send", body).status_code == 200
    assert (alice.payment().state, SendBudget.objects.get().spent_sat) == ("signed", 100_000)
    cancel(alice.payment().id)
    assert SendBudget.objects.get().spent_sat == 0
    assert_all_is_back(alice)


def test_to_cancel_again_changes_nothing(alice: Person, network: Control, waiting: Payment) -> None:
    answers = [alice.api.post(f"/payments/{waiting.id}/cancel") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert_all_is_back(alice)


# --- What cannot ----------------------------------------------------------------------------------


def test_what_was_sent_cannot_be_cancelled(alice: Person, network: Control) -> None:
    network.mine()
    body = {"address": network.address(), "amount": 5000}
    withdrawn = alice.api.post("/bitcoin/send", body).body
    paid = alice.api.post("/payments", {"payreq": network.invoice(1_000_000)}).body
    before = alice.available_sat
    for payment in (withdrawn, paid):
        late = alice.api.post(f"/payments/{payment['id']}/cancel")
        assert (late.status_code, late.body["code"]) == (409, "too_late_to_cancel")
    assert alice.available_sat == before


def test_a_payment_that_is_being_sent_cannot_be_cancelled(
    alice: Person, network: Control, waiting: Payment
) -> None:
    Payment.objects.update(state="sending")
    with pytest.raises(TooLateToCancel):
        cancel(waiting.id)
    assert ledger.balance_of(alice.user.id).held_sat > 5000


def test_a_withdrawal_that_may_have_reached_the_network_cannot_be_cancelled(
    alice: Person, network: Control
) -> None:
    payment = withdraw_without(network, alice, {"method": "sendrawtransaction"})
    assert payment.state == "signed"
    assert payment.broadcast_attempted_at
    with pytest.raises(TooLateToCancel):
        cancel(payment.id)
    assert ledger.balance_of(alice.user.id).held_sat > 5000


def test_nothing_is_cancelled_that_the_node_has_although_our_database_forgot_it(
    alice: Person, network: Control
) -> None:
    """money-K3: a standby that took over had not got the last commits."""
    paid = alice.api.post("/payments", {"payreq": network.invoice(1_000_000)}).body
    network.mine()
    body = {"address": network.address(), "amount": 5000}
    withdrawn = alice.api.post("/bitcoin/send", body).body
    Payment.objects.filter(id=paid["id"]).update(state="created")
    with pytest.raises(TooLateToCancel):
        cancel(paid["id"])
    for state in ("signed", "created"):
        Payment.objects.filter(id=withdrawn["id"]).update(state=state, broadcast_attempted_at=None)
        with pytest.raises(TooLateToCancel):
            cancel(withdrawn["id"])


def test_while_the_node_is_away_nothing_is_cancelled(
    alice: Person, network: Control, waiting: Payment, settings: Any
) -> None:
    settings.LIGHTNING_RPC = "/nowhere/lightning-rpc"
    with pytest.raises(NodeUnavailable):
        cancel(waiting.id)
    assert alice.payment().state == "created"


def test_nobody_cancels_the_payment_of_another(
    alice: Person, bob: Person, network: Control, waiting: Payment
) -> None:
    for key in (waiting.id, waiting.payment_hash, waiting.destination):
        refused = bob.api.post(f"/payments/{key}/cancel")
        assert (refused.status_code, refused.body["code"]) == (404, "not_found")
    assert alice.payment().state == "created"


def test_a_payment_between_users_is_over_at_once(alice: Person, bob: Person) -> None:
    sent = alice.api.post("/send", {"username": "bob", "amount": 10}).body
    assert alice.api.post(f"/payments/{sent['id']}/cancel").status_code == 404


# --- At the same moment ---------------------------------------------------------------------------


def at_once(*functions: Callable[[], Any]) -> None:
    gate = threading.Barrier(len(functions))

    def run(function: Callable[[], Any]) -> None:
        try:
            connection.ensure_connection()
            gate.wait(30)
            function()
        except TooLateToCancel:
            pass  # the other was first
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("_turn", range(5))
def test_a_lightning_payment_is_cancelled_or_sent_and_never_both(
    alice: Person, network: Control, waiting: Payment, _turn: int
) -> None:
    """money-H4"""
    at_once(*[lambda: send(waiting.id)] * 3, *[lambda: cancel(waiting.id)] * 3)
    payment = until_resolved(alice)
    truth = network.payment(str(waiting.payment_hash))
    if payment.state == "failed":
        assert truth["status"] == "unknown"
        assert_all_is_back(alice)
    else:
        assert (payment.state, truth["status"]) == ("settled", "settled")
        assert alice.available_sat < 95_000
    assert ledger.differences() == []


@pytest.mark.parametrize("_turn", range(5))
@pytest.mark.parametrize("state", ["unsigned", "signed"])
def test_a_withdrawal_is_cancelled_or_broadcast_and_never_both(
    alice: Person, network: Control, request: pytest.FixtureRequest, state: str, _turn: int
) -> None:
    """money-H4"""
    waiting: Payment = request.getfixturevalue(state)
    Payment.objects.update(attempted_at=None)
    before = left_the_wallet(network)
    at_once(*[lambda: advance(waiting.id)] * 3, *[lambda: cancel(waiting.id)] * 3)
    payment = alice.payment()
    if payment.state == "failed":
        assert left_the_wallet(network) == before
        assert_all_is_back(alice)
    else:
        assert payment.state == "broadcast"
        assert left_the_wallet(network) - before == {payment.txid}
    assert ledger.differences() == []


def after_waiting_for(first: Callable[[], Any], then: Callable[[], Any]) -> Any:
    """What `then` answers that began while the transaction of `first` was open, and waited."""
    answers: list[Any] = []

    def run() -> None:
        answers.append(then())
        connection.close()

    thread = threading.Thread(target=run)
    with transaction.atomic(), connection.cursor() as cursor:
        first()
        thread.start()
        waits = False
        while not waits and thread.is_alive():
            cursor.execute(
                "SELECT count(*) FROM pg_locks"
                " WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            waits = cursor.fetchone()[0] > 0
    thread.join()
    assert waits
    return answers[0]


def test_a_broadcast_that_waited_for_a_cancel_does_not_begin(
    alice: Person, signed: Payment
) -> None:
    """money-H4"""
    assert not after_waiting_for(lambda: end_as_cancelled(signed.id), lambda: begin(signed))
    assert alice.payment().broadcast_attempted_at is None
    assert_all_is_back(alice)


def test_a_claim_that_waited_for_another_is_none(alice: Person, unsigned: Payment) -> None:
    Payment.objects.update(attempted_at=None)
    assert not after_waiting_for(lambda: claim(unsigned), lambda: claim(unsigned))
