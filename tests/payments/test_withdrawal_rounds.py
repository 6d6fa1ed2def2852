"""Whose turn it is, and what is looked at once more before a withdrawal is signed or leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts import ledger
from accounts.models import Transfer
from accounts.services import freeze
from coinos.nodes.base import SignedTransaction
from coinos.nodes.bitcoind import BitcoinCore
from coinos.simnet.control import Control
from payments.models import Payment
from payments.services import advance_withdrawals, cancel
from payments.services.withdrawals import rounds
from tests.payments.conftest import Person
from tests.payments.withdrawing import next_round, paid_to, signed_only, wallet, withdraw


@pytest.fixture(autouse=True)
def stop_file(network: Control, settings: Any, tmp_path: Path, redis: Any) -> Iterator[Path]:
    settings.STOP_FILE = tmp_path / "stop-sends"
    network.mine(1)
    yield tmp_path / "stop-sends"
    network.stuck(False)


def waiting(person: Person, network: Control, address: str, **body: Any) -> Payment:
    """A withdrawal that was accepted while the node could not prepare it."""
    network.set_faults([{"kind": "drop_before", "method": "send", "nth": 2}])
    payment = withdraw(person, address, **body)
    network.clear_faults()
    assert payment.state == "created"
    return payment


# --- Turns ---------------------------------------------------------------------------------------


def a_minute_later() -> None:
    """Nobody's turn is forgotten: everything that waits for a time has waited a minute more."""
    for payment in Payment.objects.all():
        payment.created -= timedelta(minutes=1)
        if payment.next_look_at:
            payment.next_look_at -= timedelta(minutes=1)
        payment.save(update_fields=["created", "next_look_at"])
    advance_withdrawals()


def test_h3_those_that_do_not_confirm_keep_no_later_one_from_its_turn(
    alice: Person, charlie: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-H3"""
    monkeypatch.setattr(rounds, "PER_ROUND", 3)
    for _ in range(3):
        withdraw(alice, network.address(), 600, feeRate=1)
    network.stuck(True)
    Payment.objects.update(created=timezone.now() - timedelta(hours=1))
    payment = signed_only(charlie, network, network.address())
    for _ in range(2):
        a_minute_later()
    payment.refresh_from_db()
    assert payment.state == "broadcast"


def test_h3_those_of_frozen_payers_take_no_turn(
    alice: Person, charlie: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-H3"""
    monkeypatch.setattr(rounds, "PER_ROUND", 1)
    waiting(alice, network, network.address())
    Payment.objects.update(created=timezone.now() - timedelta(hours=1))
    freeze(alice.user, actor="operator", reason="theft")
    payment = waiting(charlie, network, network.address())
    Payment.objects.update(attempted_at=None)
    a_minute_later()
    payment.refresh_from_db()
    assert payment.state == "broadcast"
    assert alice.payment().state == "created"


def test_a_withdrawal_that_was_looked_at_rests_until_its_time(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A young one a few seconds, so that every ring finds it; an old one a minute."""
    withdraw(alice, network.address())
    rest = {}
    for age in (timedelta(minutes=1), timedelta(hours=1)):
        Payment.objects.update(created=timezone.now() - age, next_look_at=None)
        assert advance_withdrawals() == 1
        next_look_at = alice.payment().next_look_at
        assert next_look_at
        rest[age] = next_look_at - timezone.now()
    assert advance_withdrawals() == 0
    assert rest[timedelta(minutes=1)] <= rounds.LOOK_AGAIN_YOUNG < timedelta(seconds=5)
    assert rounds.LOOK_AGAIN_YOUNG < rest[timedelta(hours=1)] <= rounds.LOOK_AGAIN_OLD


# --- The kill switch -----------------------------------------------------------------------------


def test_what_waits_is_not_even_signed_while_sends_are_stopped(
    alice: Person, network: Control, stop_file: Path
) -> None:
    address = network.address()
    waiting(alice, network, address)
    stop_file.write_text("look into it")
    next_round()
    assert (alice.payment().state, alice.payment().versions.count()) == ("created", 0)
    stop_file.unlink()
    next_round()
    assert alice.payment().state == "broadcast"
    assert paid_to(network, address) == [5000]


def test_what_is_signed_does_not_leave_while_sends_are_stopped(
    alice: Person, network: Control, stop_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between signing and the first broadcast."""
    signed = BitcoinCore.prepare

    def prepare_and_stop(self: BitcoinCore, **asked: Any) -> SignedTransaction:
        if asked["lock_inputs"]:
            stop_file.write_text("look into it")
        return signed(self, **asked)

    monkeypatch.setattr(BitcoinCore, "prepare", prepare_and_stop)
    address = network.address()
    withdraw(alice, address)
    monkeypatch.undo()
    assert (alice.payment().state, alice.payment().broadcast_attempted_at) == ("signed", None)
    next_round()
    assert paid_to(network, address) == []
    stop_file.unlink()
    next_round()
    assert paid_to(network, address) == [5000]


# --- Coins and fees ------------------------------------------------------------------------------


def test_coins_of_a_signed_withdrawal_are_locked_again_each_round(
    alice: Person, network: Control, stop_file: Path
) -> None:
    """A06: a node that was restarted has forgotten its locks."""
    payment = signed_only(alice, network, network.address())
    stop_file.write_text("it has to wait")
    network.restart()
    assert wallet(network).listlockunspent() == []
    next_round()
    locked = {(coin["txid"], coin["vout"]) for coin in wallet(network).listlockunspent()}
    assert locked >= set(payment.inputs.values_list("txid", "vout"))


def test_coins_of_what_is_cancelled_during_the_round_are_not_locked_for_ever(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as died:
        died.setattr(rounds, "send", lambda payment: None)
        payment = withdraw(alice, network.address())
    lock = BitcoinCore.lock

    def cancelled_before(node: BitcoinCore, coins: tuple[tuple[str, int], ...]) -> None:
        cancel(payment.id)
        lock(node, coins)

    monkeypatch.setattr(BitcoinCore, "lock", cancelled_before)
    next_round()
    assert alice.payment().was_cancelled
    locked = {(coin["txid"], coin["vout"]) for coin in wallet(network).listlockunspent()}
    assert locked.isdisjoint(payment.inputs.values_list("txid", "vout"))


@pytest.fixture
def dearer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of what is signed, and not of quotes: `fee(held)` is what the network takes."""
    signed = BitcoinCore.prepare

    def become(fee_sat: Any) -> None:
        def prepare(self: BitcoinCore, **asked: Any) -> SignedTransaction:
            found = signed(self, **asked)
            return replace(found, fee_sat=fee_sat()) if asked["lock_inputs"] else found

        monkeypatch.setattr(BitcoinCore, "prepare", prepare)

    return become


@pytest.mark.parametrize(("subtract", "times"), [(False, 1), (True, 2)])
def test_a_fee_above_what_was_agreed_is_not_signed(
    alice: Person, network: Control, dearer: Any, subtract: bool, times: int
) -> None:
    """What was held is the limit; of a fee that comes out of the amount, which the recipient bears,
    twice what was shown. Up to there it is signed, above it fails and its coins are free again."""
    address = network.address()
    locked = wallet(network).listlockunspent()
    dearer(lambda: Payment.objects.latest("created").max_fee_sat * times + 1)
    refused = alice.api.post(
        "/bitcoin/send", {"address": address, "amount": 5000, "subtract": subtract}
    )
    assert (refused.status_code, refused.body["code"]) == (400, "payment_failed")
    assert "rose above what was held" in refused.body["message"]
    balance = ledger.balance_of(alice.user.id)
    assert (balance.available_sat, balance.held_sat) == (100_000, 0)
    assert alice.payment().state == "failed"
    assert wallet(network).listlockunspent() == locked
    assert paid_to(network, address) == []
    dearer(lambda: Payment.objects.latest("created").max_fee_sat * times)
    withdraw(alice, address, subtract=subtract)
    payment = Payment.objects.latest("created")
    assert (payment.state, payment.fee_sat) == ("broadcast", payment.max_fee_sat * times)
    if subtract:
        assert payment.amount_sat + payment.max_fee_sat * times == 5000
    assert alice.available_sat == 100_000 - payment.amount_sat - (payment.fee_sat or 0)
    assert not Transfer.objects.filter(kind="fee.overrun").exists()
