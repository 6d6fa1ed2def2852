"""money-M1, M24: a withdrawal whose fee was bumped by hand in the node's wallet is followed.

What pays the recipient the same is the withdrawal from then on, and the books have its real fee.
What does not pay the recipient ends it, once it is six deep. Sends go on: the cause is understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from accounts import ledger
from accounts.ledger import House
from coinos import killswitch
from coinos.simnet.control import Control
from payments.models import Payment
from tests.payments.conftest import Person
from tests.payments.withdrawing import next_round, paid_to, pay_by_hand, wallet, withdraw


@pytest.fixture(autouse=True)
def quiet_chain(network: Control, settings: Any, tmp_path: Any, redis: Any) -> Iterator[None]:
    settings.STOP_FILE = tmp_path / "stop"
    network.mine(1)
    yield
    network.stuck(False)
    network.min_fee(1)
    network.mine(1)


def bump(network: Control, payment: Payment, rate_sat_vb: int = 50) -> str:
    return str(wallet(network).bumpfee(payment.txid, {"fee_rate": rate_sat_vb})["txid"])


def house_bore_sat() -> int:
    """Beside the start balance that the cast was given out of its equity."""
    return -ledger.house_balance_msat(House.EQUITY) // 1000 - 100_000


def states(payment: Payment) -> dict[str, str]:
    return dict(payment.versions.values_list("txid", "state"))


def test_m1_a_fee_bumped_by_hand_is_followed_and_paid_by_the_house(
    alice: Person, network: Control
) -> None:
    address = network.address()
    payment = withdraw(alice, address)
    first, charged = payment.txid, payment.fee_sat or 0
    bumped = bump(network, payment)
    next_round()
    payment.refresh_from_db()
    assert (payment.state, payment.txid) == ("broadcast", bumped)
    live = payment.versions.get(state="live")
    assert (live.txid, live.fee_sat > charged) == (bumped, True)
    assert (payment.fee_sat, house_bore_sat()) == (charged, live.fee_sat - charged)
    assert alice.available_sat == 100_000 - 5000 - charged
    assert ledger.house_balance_msat(House.ONCHAIN) == (5000 + live.fee_sat) * 1000
    for txid in (bumped, first):  # whoever stored the first one finds it, too
        found = alice.api.get(f"/payments/{txid}").body
        assert (found["id"], found["hash"]) == (str(payment.id), bumped)
    network.mine(1)
    next_round()
    assert alice.line().status == "settled"
    network.mine(6)
    next_round()
    payment.refresh_from_db()
    assert payment.state == "confirmed"
    assert sorted(states(payment).values()) == ["dead", "live"]
    assert not payment.inputs.filter(live=True).exists()
    assert paid_to(network, address) == [5000]
    assert not killswitch.is_stopped()
    assert ledger.differences() == []


def test_m1_it_is_followed_when_nobody_looked_until_it_was_deep(
    alice: Person, network: Control
) -> None:
    payment = withdraw(alice, network.address())
    bumped = bump(network, payment)
    network.mine(7)
    next_round()
    next_round()
    payment.refresh_from_db()
    assert (payment.state, payment.txid) == ("confirmed", bumped)
    assert not killswitch.is_stopped()


def test_m1_bumped_twice_by_hand_the_last_one_counts(alice: Person, network: Control) -> None:
    payment = withdraw(alice, network.address())
    charged = payment.fee_sat or 0
    bump(network, payment, 20)
    next_round()
    payment.refresh_from_db()
    last = bump(network, payment, 60)
    next_round()
    payment.refresh_from_db()
    live = payment.versions.get(state="live")
    assert (payment.txid, live.txid, payment.versions.count()) == (last, last, 3)
    assert house_bore_sat() == live.fee_sat - charged


def test_m1_the_first_version_that_confirms_after_all_counts_again(
    alice: Person, network: Control
) -> None:
    """A miner that never saw the bump: the house has back what it bore."""
    address = network.address()
    payment = withdraw(alice, address)
    first, charged = payment.txid or "", payment.fee_sat or 0
    bumped = bump(network, payment)
    next_round()
    assert alice.payment().txid == bumped
    network.mine_replaced(first)
    next_round()
    next_round()
    payment.refresh_from_db()
    assert (payment.txid, payment.confirmations) == (first, 1)
    assert states(payment) == {first: "live", bumped: "replaced"}
    assert (payment.fee_sat, house_bore_sat()) == (charged, 0)
    assert ledger.house_balance_msat(House.ONCHAIN) == (5000 + charged) * 1000
    assert paid_to(network, address) == [5000]


def test_m1_what_does_not_pay_the_recipient_ends_it_when_it_is_deep(
    alice: Person, network: Control
) -> None:
    address = network.address()
    payment = withdraw(alice, address)
    pay_by_hand(network, payment, network.address(), 700, rate_sat_vb=80)
    before = alice.available_sat
    network.mine(5)
    next_round()
    assert (alice.payment().state, alice.available_sat) == ("broadcast", before)
    assert alice.line().status == "pending"
    network.mine(1)
    next_round()
    payment.refresh_from_db()
    assert payment.state == "failed"
    assert set(states(payment).values()) == {"dead"}
    assert not payment.inputs.filter(live=True).exists()
    assert alice.line().status == "failed"
    assert alice.available_sat == 100_000
    assert ledger.house_balance_msat(House.ONCHAIN) == 0
    assert not killswitch.is_stopped()
    assert paid_to(network, address) == []


def test_m1_what_the_house_bore_comes_back_to_it_when_the_withdrawal_fails(
    alice: Person, network: Control
) -> None:
    payment = withdraw(alice, network.address())
    bump(network, payment)
    next_round()
    assert house_bore_sat() > 0
    payment.refresh_from_db()
    network.conflict(payment.txid or "")
    network.mine(6)
    next_round()
    payment.refresh_from_db()
    assert (payment.state, alice.available_sat, house_bore_sat()) == ("failed", 100_000, 0)
    assert ledger.house_balance_msat(House.ONCHAIN) == 0


def test_m1_another_amount_to_the_recipient_is_for_an_operator_to_judge(
    alice: Person, network: Control
) -> None:
    address = network.address()
    payment = withdraw(alice, address)
    before = alice.available_sat
    pay_by_hand(network, payment, address, 4000, rate_sat_vb=80)
    network.mine(7)
    next_round()
    assert (alice.payment().state, alice.available_sat) == ("broadcast", before)
    assert killswitch.is_stopped()
