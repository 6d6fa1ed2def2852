"""A withdrawal that waits for a block is sped up: whichever version is mined, its fee is booked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from accounts import ledger
from accounts.errors import HoldExceeded, InsufficientFunds
from accounts.ledger import House
from accounts.services import freeze
from coinos.simnet.control import Control
from payments import operations
from payments.models import Payment
from payments.operations import By
from payments.services import bump
from tests import causes
from tests.cast import give_pin
from tests.payments.conftest import Person
from tests.payments.withdrawing import next_round, paid_to, signed_only, wallet, withdraw


@pytest.fixture(autouse=True)
def quiet_chain(network: Control, settings: Any, tmp_path: Any, redis: Any) -> Iterator[None]:
    settings.STOP_FILE = tmp_path / "stop"
    network.mine(1)
    yield
    network.clear_faults()
    network.mine(1)


def speed_up(person: Person, payment: Payment, rate_sat_vb: int, **body: Any) -> Any:
    return person.api.post(f"/payments/{payment.id}/bump", {"feeRate": rate_sat_vb, **body})


def house_bore_sat() -> int:
    """Beside the start balance that the cast was given out of its equity."""
    return -ledger.house_balance_msat(House.EQUITY) // 1000 - 100_000


def assert_booked(person: Person, network: Control, fee_sat: int) -> None:
    """The user has paid this fee, the recipient has the amount, and the books have what left."""
    assert person.available_sat == 100_000 - 5000 - fee_sat
    assert ledger.balance_of(person.user.id).held_sat == 0
    assert person.line().fee_sat == fee_sat
    left_sat = 5000 + fee_sat + house_bore_sat()
    assert ledger.house_balance_msat(House.ONCHAIN) == left_sat * 1000
    assert ledger.differences() == []


# --- The user asks, and pays ----------------------------------------------------------------------


def test_the_user_pays_for_a_faster_version_and_one_of_them_is_mined(
    alice: Person, network: Control
) -> None:
    address = network.address()
    payment = withdraw(alice, address)
    slow_sat, slow = payment.fee_sat or 0, payment.txid
    answer = speed_up(alice, payment, 50)
    assert answer.status_code == 200, answer.body
    payment.refresh_from_db()
    assert (payment.txid == slow, payment.fee_rate_sat_vb) == (False, 50)
    assert answer.body["hash"] == payment.txid
    assert answer.body["status"] == "pending"
    assert payment.fee_sat == answer.body["fee"] > 5 * slow_sat
    assert dict(payment.versions.values_list("txid", "state")) == {
        slow: "replaced",
        payment.txid: "live",
    }
    assert_booked(alice, network, payment.fee_sat)
    assert house_bore_sat() == 0
    network.mine(6)
    next_round()
    payment.refresh_from_db()
    assert payment.state == "confirmed"
    assert paid_to(network, address) == [5000]
    assert_booked(alice, network, payment.fee_sat)


def test_when_the_slower_version_is_mined_after_all_the_difference_comes_back(
    alice: Person, network: Control
) -> None:
    """The miner had not heard of the faster one."""
    address = network.address()
    payment = withdraw(alice, address)
    slow_sat, slow = payment.fee_sat or 0, payment.txid
    network.set_faults([{"kind": "drop_before", "method": "sendrawtransaction"}])
    assert speed_up(alice, payment, 50).status_code == 200
    payment.refresh_from_db()
    assert payment.fee_sat != slow_sat
    network.mine(6)
    network.clear_faults()
    next_round()
    next_round()
    payment.refresh_from_db()
    assert (payment.txid, payment.state) == (slow, "confirmed")
    assert paid_to(network, address) == [5000]
    assert_booked(alice, network, slow_sat)
    assert house_bore_sat() == 0


def test_a_faster_version_that_the_node_never_got_is_given_to_it_again(
    alice: Person, network: Control
) -> None:
    payment = withdraw(alice, network.address())
    network.set_faults([{"kind": "drop_before", "method": "sendrawtransaction"}])
    assert speed_up(alice, payment, 50).status_code == 200
    network.clear_faults()
    payment.refresh_from_db()
    assert wallet(network).getmempoolinfo()["size"] == 1
    next_round()
    network.mine(6)
    next_round()
    payment.refresh_from_db()
    assert payment.state == "confirmed"
    assert_booked(alice, network, payment.fee_sat or 0)


def test_it_can_be_sped_up_again(alice: Person, network: Control) -> None:
    address = network.address()
    payment = withdraw(alice, address)
    for rate_sat_vb in (20, 50, 100):
        assert speed_up(alice, payment, rate_sat_vb).status_code == 200
        payment.refresh_from_db()
        assert_booked(alice, network, payment.fee_sat or 0)
    network.mine(6)
    next_round()
    assert paid_to(network, address) == [5000]
    assert payment.versions.count() == 4


# --- What cannot be sped up -----------------------------------------------------------------------


def test_who_cannot_pay_for_it_has_changed_nothing(alice: Person, network: Control) -> None:
    payment = withdraw(alice, network.address())
    before = payment.fee_sat
    alice.api.post("/payments", {"payreq": network.invoice(94_000_000, node="bob"), "fee": 0})
    assert alice.available_sat < 1000
    refused = speed_up(alice, payment, 400)
    assert (refused.status_code, refused.body["code"]) == (400, "insufficient_funds")
    payment.refresh_from_db()
    assert (payment.fee_sat, payment.versions.count()) == (before, 1)
    assert wallet(network).listlockunspent() == []


@pytest.mark.parametrize("rate_sat_vb", [1, 4, 501])
def test_a_rate_that_makes_no_sense_is_refused(
    alice: Person, network: Control, rate_sat_vb: int
) -> None:
    payment = withdraw(alice, network.address())
    refused = speed_up(alice, payment, rate_sat_vb)
    assert refused.status_code == 400
    assert refused.body["code"] in ("fee_rate_too_low", "invalid_amount")
    payment.refresh_from_db()
    assert payment.versions.count() == 1


def test_what_a_block_has_or_another_is_built_upon_is_not_sped_up(
    alice: Person, network: Control
) -> None:
    mined, parent = withdraw(alice, network.address()), None
    network.mine(1)
    for is_noticed in (False, True):
        if is_noticed:
            next_round()
        refused = speed_up(alice, mined, 50)
        assert (refused.status_code, refused.body["code"]) == (409, "cannot_bump")
    parent = withdraw(alice, network.address())
    node = wallet(network)
    change = next(
        coin for coin in node.listunspent(0, 9999999, [], False) if coin["txid"] == parent.txid
    )
    point = {"txid": change["txid"], "vout": change["vout"]}
    half = f"{change['amount'] / 2:.8f}"
    node.send([{node.getrawchangeaddress(): half}], None, "unset", 2, {"inputs": [point]})
    refused = speed_up(alice, parent, 50)
    assert (refused.status_code, refused.body["code"]) == (409, "cannot_bump")
    assert "built upon it" in refused.body["message"]


def leave_one_coin(network: Control) -> None:
    """So that a withdrawal spends the largest coin, and the next one its change."""
    network.mine(1)
    node = wallet(network)
    coins = sorted(node.listunspent(1), key=lambda coin: coin["amount"])
    node.lockunspent(False, [{"txid": coin["txid"], "vout": coin["vout"]} for coin in coins[:-1]])


def test_a_withdrawal_is_not_sped_up_from_under_one_that_the_node_has_not_seen(
    alice: Person, charlie: Person, network: Control
) -> None:
    """Charlie's is signed, with alice's change, and waits for its first broadcast: the node knows
    nothing of it, and would replace alice's."""
    leave_one_coin(network)
    parent = withdraw(alice, network.address())
    address = network.address()
    child = signed_only(charlie, network, address)
    assert set(child.inputs.values_list("txid", flat=True)) == {parent.txid}
    refused = speed_up(alice, parent, 50)
    assert (refused.status_code, refused.body["code"]) == (409, "cannot_bump")
    next_round()
    network.mine(6)
    next_round()
    assert paid_to(network, address) == [5000]
    assert {alice.payment().state, charlie.payment().state} == {"confirmed"}
    wallet(network).lockunspent(True)


def test_no_withdrawal_is_built_upon_one_that_is_just_being_replaced(
    alice: Person, charlie: Person, network: Control
) -> None:
    """Alice's faster version is stored, and the node has the slow one still, with its change."""
    leave_one_coin(network)
    parent = withdraw(alice, network.address())
    network.set_faults([{"kind": "drop_before", "method": "sendrawtransaction"}])
    assert speed_up(alice, parent, 50).status_code == 200
    network.clear_faults()
    address = network.address()
    child = withdraw(charlie, address)
    assert (child.state, child.inputs.count()) == ("created", 0)
    next_round()
    next_round()
    network.mine(6)
    next_round()
    assert paid_to(network, address) == [5000]
    assert {alice.payment().state, charlie.payment().state} == {"confirmed"}
    wallet(network).lockunspent(True)


def test_only_its_owner_speeds_it_up_with_the_pin_and_while_the_account_may_spend(
    alice: Person, bob: Person, network: Control, settings: Any
) -> None:
    payment = withdraw(alice, network.address())
    assert speed_up(bob, payment, 50).status_code == 404
    give_pin(alice.user)
    assert speed_up(alice, payment, 50).body["code"] == "invalid_pin"
    settings.STOP_FILE.write_text("theft")
    assert speed_up(alice, payment, 50, pin="123456").body["code"] == "withdrawals_paused"
    settings.STOP_FILE.unlink()
    freeze(alice.user, actor="operator", reason="theft")
    assert speed_up(alice, payment, 50, pin="123456").body["code"] == "account_frozen"
    payment.refresh_from_db()
    assert payment.versions.count() == 1


def test_what_is_paid_more_counts_against_the_limits(
    alice: Person, network: Control, settings: Any
) -> None:
    settings.SEND_LIMIT_USER_SAT = 10_000
    payment = withdraw(alice, network.address())
    refused = speed_up(alice, payment, 100)
    assert (refused.status_code, refused.body["code"]) == (403, "limit_exceeded")
    payment.refresh_from_db()
    assert payment.versions.count() == 1


def test_of_many_at_once_each_version_spends_the_coins_of_the_one_before(
    alice: Person, network: Control
) -> None:
    address = network.address()
    payment = withdraw(alice, address)

    def run(rate_sat_vb: int) -> None:
        speed_up(alice, payment, rate_sat_vb)
        connection.close()

    threads = [threading.Thread(target=run, args=(rate,)) for rate in (20, 30, 40, 50, 60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    next_round()
    network.mine(6)
    next_round()
    next_round()
    payment.refresh_from_db()
    assert payment.state == "confirmed"
    assert paid_to(network, address) == [5000]
    assert_booked(alice, network, payment.fee_sat or 0)


# --- An operator does it, and the house pays ------------------------------------------------------


def test_when_an_operator_speeds_it_up_the_house_pays(alice: Person, network: Control) -> None:
    address = network.address()
    payment = withdraw(alice, address)
    before = payment.fee_sat or 0
    asked = {"payment": payment.id, "fee_rate": "50"}
    act = operations.ask("bump", asked, by=By("root"), reason="ticket 4")
    assert act.state == "carried out"
    payment.refresh_from_db()
    live = payment.versions.get(state="live")
    assert (payment.fee_sat, house_bore_sat()) == (before, live.fee_sat - before)
    assert_booked(alice, network, before)
    network.mine(6)
    next_round()
    assert paid_to(network, address) == [5000]


def test_what_the_house_paid_for_a_version_that_lost_comes_back_to_it(
    alice: Person, network: Control
) -> None:
    payment = withdraw(alice, network.address())
    before = payment.fee_sat or 0
    network.set_faults([{"kind": "drop_before", "method": "sendrawtransaction"}])
    bump(payment.id, 50)
    assert house_bore_sat() > 0
    network.mine(6)
    network.clear_faults()
    next_round()
    next_round()
    assert alice.payment().state == "confirmed"
    assert house_bore_sat() == 0
    assert_booked(alice, network, before)


# --- The books, with Python bypassed --------------------------------------------------------------


def test_the_books_raise_the_fee_of_a_settled_payment_only(alice: Person, network: Control) -> None:
    payment = withdraw(alice, network.address())
    spent_msat = (5000 + (payment.fee_sat or 0)) * 1000
    with transaction.atomic():
        assert ledger.raise_fee(hold_id=payment.hold_id, spent_msat=spent_msat) == 0
        assert ledger.raise_fee(hold_id=payment.hold_id, spent_msat=spent_msat - 1000) == 0
    payment.versions.update(fee_sat=195_000)
    with pytest.raises(InsufficientFunds), transaction.atomic():
        ledger.raise_fee(hold_id=payment.hold_id, spent_msat=200_000_000)
    with transaction.atomic():
        held = ledger.hold_for_payment(
            user_id=alice.user.id,
            through=House.ONCHAIN,
            amount_msat=1000,
            payment_id=alice.user.id,
        )
        causes.payment(alice.user, alice.user.id, held, 1, House.ONCHAIN)
    with pytest.raises(HoldExceeded), transaction.atomic():
        ledger.raise_fee(hold_id=held, spent_msat=2000)
