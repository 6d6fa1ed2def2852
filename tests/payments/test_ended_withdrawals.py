"""money-K4: a signed withdrawal whose coin is gone ends, with its hold released.

It was signed, its broadcast never reached the node, and the coin was spent elsewhere. Only when
that is buried six deep can the withdrawal never confirm. Until then it stays held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError

from accounts import ledger
from coinos import killswitch
from coinos.simnet.control import Control
from payments.errors import MayStillConfirm
from payments.models import Payment, WithdrawalInput, WithdrawalTransaction
from payments.services.withdrawals import abandon
from tests.payments.conftest import Person
from tests.payments.operators import run
from tests.payments.withdrawing import (
    next_round,
    paid_to,
    pay_by_hand,
    refill,
    signed_only,
    sweep,
    wallet,
    withdraw,
)


@pytest.fixture(autouse=True)
def treasury(network: Control, settings: Any, tmp_path: Any, redis: Any) -> Iterator[None]:
    settings.STOP_FILE = tmp_path / "stop"
    network.mine(1)
    yield
    network.clear_faults()
    network.mine(1)
    refill(network)


def assert_ended(person: Person, payment: Payment) -> None:
    payment.refresh_from_db()
    assert payment.state == "failed"
    balance = ledger.balance_of(person.user.id)
    assert (balance.available_sat, balance.held_sat) == (100_000, 0)
    assert person.line().status == "failed"
    assert not WithdrawalInput.objects.filter(payment=payment, live=True).exists()
    assert set(payment.versions.values_list("state", flat=True)) == {"dead"}
    assert not killswitch.is_stopped()
    assert ledger.differences() == []


def test_k4_it_ends_when_its_coin_was_spent_elsewhere_six_blocks_ago(
    alice: Person, network: Control
) -> None:
    payment = signed_only(alice, network, network.address())
    sweep(network)
    network.mine(1)
    next_round()
    for _ in range(4):
        network.mine(1)
        next_round()
        assert alice.payment().state == "signed"
        assert ledger.balance_of(alice.user.id).held_sat == payment.held_sat
    network.mine(1)
    next_round()
    assert_ended(alice, payment)


def test_k4_a_coin_that_comes_back_is_spent_after_all(alice: Person, network: Control) -> None:
    """What spent it is reorganised away: the very same transaction goes out."""
    address = network.address()
    payment = signed_only(alice, network, address, feeRate=20)
    spent = pay_by_hand(network, payment, network.address(), 700, rate_sat_vb=1)
    network.mine(1)
    next_round()
    assert WithdrawalInput.objects.get(payment=payment).missing_since
    network.mine(3)
    network.reorg(4, drop=[spent])
    next_round()
    assert (alice.payment().state, alice.payment().txid) == ("broadcast", payment.txid)
    assert paid_to(network, address) == [5000]


def test_k4_six_blocks_are_counted_anew_after_the_chain_has_turned(
    alice: Person, network: Control
) -> None:
    payment = signed_only(alice, network, network.address())
    sweep(network)
    network.mine(1)
    next_round()
    first = WithdrawalInput.objects.get(payment=payment).missing_since
    network.reorg(1)
    network.mine(4)
    next_round()
    assert alice.payment().state == "signed"
    assert WithdrawalInput.objects.get(payment=payment).missing_since != first
    network.mine(5)
    next_round()
    assert_ended(alice, payment)


def test_k4_a_deposit_that_was_undone_under_it_ends_it_when_the_rival_is_deep(
    alice: Person, network: Control
) -> None:
    sweep(network)
    network.mine(1)
    deposit = network.deposit(wallet(network).getnewaddress("treasury"), 50_000)
    network.mine(1)
    payment = signed_only(alice, network, network.address())
    assert payment.inputs.get().txid == deposit
    network.conflict(deposit)
    next_round()
    network.mine(3)
    next_round()
    assert alice.payment().state == "signed"
    network.mine(3)
    next_round()
    assert_ended(alice, payment)


def test_k4_what_the_operator_paid_by_hand_with_the_same_coin_is_taken_for_it(
    alice: Person, network: Control
) -> None:
    address = network.address()
    payment = signed_only(alice, network, address)
    by_hand = pay_by_hand(network, payment, address, 5000)
    network.mine(1)
    next_round()
    payment.refresh_from_db()
    assert (payment.state, payment.txid) == ("broadcast", by_hand)
    assert dict(payment.versions.values_list("txid", "state"))[by_hand] == "live"
    network.mine(7)
    next_round()
    assert alice.payment().state == "confirmed"
    assert paid_to(network, address) == [5000]
    assert alice.available_sat == 100_000 - 5000 - (alice.payment().fee_sat or 0)


def test_an_operator_cannot_abandon_what_may_still_confirm(alice: Person, network: Control) -> None:
    address = network.address()
    payment = signed_only(alice, network, address)
    with pytest.raises(MayStillConfirm):
        abandon(payment.id)
    next_round()
    assert alice.payment().state == "broadcast"
    with pytest.raises(MayStillConfirm):
        abandon(payment.id)
    network.mine(7)
    next_round()
    with pytest.raises(MayStillConfirm):
        abandon(payment.id)
    assert alice.payment().state == "confirmed"
    assert paid_to(network, address) == [5000]


def test_an_operator_abandons_what_never_can(alice: Person, network: Control) -> None:
    payment = signed_only(alice, network, network.address())
    sweep(network)
    network.mine(1)
    next_round()
    said = ["abandon", str(payment.id), "--reason", "the coins are in the cold wallet"]
    with pytest.raises(CommandError, match="may still confirm"):
        run(*said)
    network.mine(5)
    assert run(*said) == "Done: it can never confirm, and its sats are back.\n"
    assert_ended(alice, payment)
    abandon(payment.id)


def test_coins_of_an_ended_withdrawal_that_are_still_there_are_free_again(
    alice: Person, charlie: Person, network: Control
) -> None:
    sweep(network)
    network.mine(1)
    for _ in range(2):
        network.deposit(wallet(network).getnewaddress("treasury"), 4000)
    network.mine(1)
    payment = signed_only(alice, network, network.address(), amount=5000)
    coins = list(payment.inputs.values_list("txid", "vout"))
    assert len(coins) == 2
    spent = pay_by_hand(network, payment, network.address(), 2000)
    used = {
        point["txid"]
        for point in wallet(network).decoderawtransaction(
            wallet(network).gettransaction(spent)["hex"]
        )["vin"]
    }
    [(other, other_vout)] = [coin for coin in coins if coin[0] not in used]
    network.mine(1)
    next_round()
    network.mine(5)
    next_round()
    assert_ended(alice, payment)
    locked = [(coin["txid"], coin["vout"]) for coin in wallet(network).listlockunspent()]
    assert (other, other_vout) not in locked
    network.mine(1)
    again = withdraw(charlie, network.address(), amount=3000)
    assert (other, other_vout) in again.inputs.values_list("txid", "vout")
    assert WithdrawalTransaction.objects.filter(payment=again, state="live").exists()
