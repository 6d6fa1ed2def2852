"""What has waited longer than promised is sped up by itself, within what its user agreed to."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts import funds, ledger
from accounts.credentials import Credential
from accounts.ledger import House
from accounts.services import freeze
from coinos.nodes.base import FeeRates
from coinos.nodes.bitcoind import BitcoinCore
from coinos.simnet.bitcoin_node import FEE_ESTIMATES_SAT_VB
from coinos.simnet.control import Control
from payments.fees import promised_wait
from payments.models import AutoWithdrawRun, Payment, WithdrawalTransaction
from payments.services import advance_withdrawals, bump, send_onchain
from payments.services.overdue import bump_overdue
from tests.cast import fund
from tests.database import ROOT, Database
from tests.payments.conftest import Person
from tests.payments.withdrawing import next_round, paid_to, wallet, withdraw
from tests.simnet_fixtures import SimnetProcess

QUIET_SAT_VB = {1: 12, 2: 12, 3: 10, 6: 6, 144: 2}
BUSY_SAT_VB = {1: 60, 2: 60, 3: 50, 6: 30, 144: 5}
SLIGHTLY_BUSIER_SAT_VB = {1: 14, 2: 14, 3: 12, 6: 6, 144: 2}


@pytest.fixture
def network(own_simnet: SimnetProcess, settings: Any, tmp_path: Any, redis: Any) -> Iterator[Any]:
    """A network of our own: the fees rise while a withdrawal waits, and no block takes it."""
    control = own_simnet.control
    settings.STOP_FILE = tmp_path / "stop"
    settings.LIGHTNING_RPC = control.lightning_rpc
    settings.BITCOIN_RPC_URL = control.bitcoin_rpc_url
    control.mine(6)
    control.fee_estimates(QUIET_SAT_VB)
    control.stuck(True)
    yield control
    control.clear_faults()
    control.stuck(False)
    control.fee_estimates(FEE_ESTIMATES_SAT_VB)
    control.mine(6)


def later(wait: timedelta) -> None:
    """So much time passes."""
    for payment in Payment.objects.all():
        assert payment.expected_by
        payment.created -= wait
        payment.expected_by -= wait
        payment.next_look_at = None
        payment.save(update_fields=["created", "expected_by", "next_look_at"])
    for version in WithdrawalTransaction.objects.all():
        version.created -= wait
        version.save(update_fields=["created"])


def waited_too_long(person: Person, network: Control, **body: Any) -> Payment:
    """A withdrawal that no block took in time, since the network asks more by now."""
    payment = withdraw(person, network.address(), **body)
    later(timedelta(days=2))
    network.fee_estimates(BUSY_SAT_VB)
    return payment


def mined(network: Control) -> None:
    network.stuck(False)
    network.mine(6)
    next_round()


def assert_booked(person: Person, fee_sat: int) -> None:
    """The user has paid this fee and holds nothing; what left is in the books to the sat."""
    assert person.available_sat == 100_000 - 5000 - fee_sat
    assert ledger.balance_of(person.user.id).held_sat == 0
    assert person.line().fee_sat == person.payment().fee_sat == fee_sat
    house_bore_sat = -ledger.house_balance_msat(House.EQUITY) // 1000 - 100_000
    left_sat = 5000 + fee_sat + house_bore_sat
    assert ledger.house_balance_msat(House.ONCHAIN) == left_sat * 1000
    assert ledger.differences() == []


def assert_nothing_was_done(payment: Payment) -> None:
    before = payment.txid, payment.fee_sat
    assert bump_overdue() == 0
    payment.refresh_from_db()
    assert (payment.txid, payment.fee_sat) == before
    assert payment.versions.count() == 1


# --- What is done ---------------------------------------------------------------------------------


def test_an_overdue_withdrawal_goes_out_with_as_much_as_was_agreed(
    alice: Person, network: Control
) -> None:
    payment = waited_too_long(alice, network)
    slow, slow_sat = payment.txid, payment.fee_sat or 0
    assert slow_sat < payment.max_fee_sat
    assert bump_overdue() == 1
    payment.refresh_from_db()
    assert payment.fee_sat
    assert payment.txid != slow
    assert payment.fee_rate_sat_vb == 15  # half as much again as the ten that it went out with
    assert slow_sat < payment.fee_sat <= payment.max_fee_sat
    assert wallet(network).getmempoolentry(payment.txid)["vsize"] > 0
    assert_booked(alice, payment.fee_sat)
    mined(network)
    assert alice.payment().state == "confirmed"
    assert paid_to(network, payment.destination) == [5000]
    assert_booked(alice, payment.fee_sat)


def test_it_gets_no_more_than_a_new_one_would(alice: Person, network: Control) -> None:
    payment = waited_too_long(alice, network)
    network.fee_estimates(SLIGHTLY_BUSIER_SAT_VB)
    assert bump_overdue() == 1
    payment.refresh_from_db()
    assert payment.fee_rate_sat_vb == 12
    assert_booked(alice, payment.fee_sat or 0)


def test_each_version_has_an_hour_before_there_is_another(alice: Person, network: Control) -> None:
    payment = waited_too_long(alice, network)
    network.fee_estimates(SLIGHTLY_BUSIER_SAT_VB)
    assert bump_overdue() == 1
    network.fee_estimates(BUSY_SAT_VB)
    assert bump_overdue() == 0
    later(timedelta(minutes=59))
    assert bump_overdue() == 0
    later(timedelta(minutes=2))
    assert bump_overdue() == 1
    later(timedelta(hours=2))
    assert bump_overdue() == 0  # all that was agreed is spent
    payment.refresh_from_db()
    assert (payment.versions.count(), payment.fee_rate_sat_vb) == (3, 15)
    assert payment.fee_sat
    assert payment.fee_sat <= payment.max_fee_sat
    assert_booked(alice, payment.fee_sat)


def test_when_the_first_one_is_mined_after_all_the_difference_comes_back(
    alice: Person, network: Control
) -> None:
    payment = waited_too_long(alice, network)
    slow, slow_sat = payment.txid, payment.fee_sat or 0
    network.set_faults([{"kind": "drop_before", "method": "sendrawtransaction"}])
    assert bump_overdue() == 1
    assert alice.payment().txid != slow
    network.stuck(False)
    network.mine(6)
    network.clear_faults()
    next_round()
    next_round()
    assert (alice.payment().txid, alice.payment().state) == (slow, "confirmed")
    assert_booked(alice, slow_sat)


@pytest.mark.parametrize(
    ("rate_sat_vb", "minutes"), [(12, 30), (10, 30), (9, 60), (6, 60), (5, 1440), (2, 1440)]
)
def test_what_is_promised_is_what_the_rate_was_chosen_by(rate_sat_vb: int, minutes: int) -> None:
    fees = FeeRates(fastest=12, half_hour=10, hour=6, economy=2, minimum=1)
    assert promised_wait(rate_sat_vb, fees) == timedelta(minutes=minutes)


def test_it_is_overdue_half_an_hour_after_its_time(alice: Person, network: Control) -> None:
    soon = withdraw(alice, network.address(), feeRate=6)
    patient = withdraw(alice, network.address(), feeRate=2)
    network.fee_estimates(BUSY_SAT_VB)
    later(timedelta(minutes=89))
    assert bump_overdue() == 0
    later(timedelta(minutes=2))
    assert bump_overdue() == 1
    soon.refresh_from_db()
    patient.refresh_from_db()
    assert (soon.fee_rate_sat_vb, patient.fee_rate_sat_vb) == (9, 2)


# --- What is not done -----------------------------------------------------------------------------


def test_while_the_network_asks_no_more_nothing_is_done(alice: Person, network: Control) -> None:
    payment = waited_too_long(alice, network)
    network.fee_estimates(QUIET_SAT_VB)
    assert_nothing_was_done(payment)


def test_a_fee_that_came_out_of_the_amount_is_not_raised(alice: Person, network: Control) -> None:
    """Nothing was held for more."""
    assert_nothing_was_done(waited_too_long(alice, network, subtract=True))


def test_who_has_spent_the_rest_since_pays_no_more(
    alice: Person, bob: Person, network: Control
) -> None:
    payment = waited_too_long(alice, network)
    alice.api.post("/send", {"username": "bob", "amount": alice.available_sat})
    assert alice.available_sat == 0
    assert_nothing_was_done(payment)


def test_nothing_is_done_for_a_frozen_user_or_while_sends_are_stopped(
    alice: Person, network: Control, settings: Any
) -> None:
    payment = waited_too_long(alice, network)
    settings.STOP_FILE.write_text("theft")
    assert_nothing_was_done(payment)
    settings.STOP_FILE.unlink()
    freeze(alice.user, actor="operator", reason="theft")
    assert_nothing_was_done(payment)


def test_a_user_who_is_frozen_meanwhile_pays_nothing(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the booking."""
    payment = waited_too_long(alice, network)
    sign = BitcoinCore.bump

    def freeze_and_sign(self: BitcoinCore, *args: Any, **asked: Any) -> Any:
        freeze(alice.user, actor="operator", reason="theft")
        return sign(self, *args, **asked)

    monkeypatch.setattr(BitcoinCore, "bump", freeze_and_sign)
    assert_nothing_was_done(payment)


def test_a_fund_pays_nothing_while_its_owner_is_frozen(bob: Person, network: Control) -> None:
    picnic = funds.create_fund(bob.user, username="picnic")
    fund(picnic, 50_000)
    spent = send_onchain(
        credential=funds.to_spend_from(picnic, Credential(bob.user)),
        address=network.address(),
        amount_sat=5000,
    )
    later(timedelta(days=2))
    network.fee_estimates(BUSY_SAT_VB)
    freeze(bob.user, actor="operator", reason="theft")
    assert_nothing_was_done(Payment.objects.get(id=spent.activity.id))


def test_what_auto_withdraw_has_to_leave_stays(
    alice: Person, bob: Person, network: Control
) -> None:
    payment = waited_too_long(alice, network)
    AutoWithdrawRun.objects.create(
        user=alice.user, event="receipt:1", state="paid", activity_id=payment.id
    )
    alice.user.reserve_sat = 90_000
    alice.user.save(update_fields=["reserve_sat"])
    alice.api.post("/send", {"username": "bob", "amount": alice.available_sat - 90_000})
    assert_nothing_was_done(payment)
    alice.user.reserve_sat = 80_000
    alice.user.save(update_fields=["reserve_sat"])
    assert bump_overdue() == 1


def test_what_somebody_sped_up_beyond_what_was_agreed_stays(
    alice: Person, network: Control
) -> None:
    """Whether its user paid for that, or the house."""
    payment = waited_too_long(alice, network)
    before = payment.fee_sat or 0
    bump(payment.id, 40)
    later(timedelta(days=1))
    assert bump_overdue() == 0
    assert_booked(alice, before)


def test_what_another_is_built_upon_waits_on(alice: Person, network: Control) -> None:
    payment = waited_too_long(alice, network)
    node = wallet(network)
    change = next(
        coin for coin in node.listunspent(0, 9999999, [], False) if coin["txid"] == payment.txid
    )
    point = {"txid": change["txid"], "vout": change["vout"]}
    node.send([{node.getrawchangeaddress(): "0.01"}], None, "unset", 2, {"inputs": [point]})
    assert_nothing_was_done(payment)


# --- At once, and killed --------------------------------------------------------------------------


def test_rounds_at_once_raise_it_once(alice: Person, network: Control) -> None:
    payment = waited_too_long(alice, network)
    done: list[int] = []

    def run() -> None:
        done.append(bump_overdue())
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 1
    payment.refresh_from_db()
    assert payment.versions.count() == 2
    assert_booked(alice, payment.fee_sat or 0)
    mined(network)
    assert paid_to(network, payment.destination) == [5000]
    assert_booked(alice, payment.fee_sat or 0)


@pytest.mark.parametrize("failpoint", ["btc.replaced", "btc.bumped", "btc.bump_broadcast"])
def test_whoever_is_killed_raises_it_once(
    alice: Person, network: Control, cloned_db: Database, settings: Any, failpoint: str
) -> None:
    payment = waited_too_long(alice, network)
    environment = cloned_db.environment | {
        "COINOS_FAILPOINT": failpoint,
        "LIGHTNING_RPC": network.lightning_rpc,
        "BITCOIN_RPC_URL": network.bitcoin_rpc_url,
        "STOP_FILE": str(settings.STOP_FILE),
    }
    code = (
        "import django; django.setup();"
        "from payments.services.overdue import bump_overdue; bump_overdue()"
    )
    died = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, timeout=120, capture_output=True
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()[-2000:]
    is_stored = failpoint != "btc.replaced"
    assert payment.versions.count() == 1 + is_stored
    assert bump_overdue() == (not is_stored)
    Payment.objects.update(next_look_at=None, created=timezone.now() - timedelta(days=1))
    advance_withdrawals()
    payment.refresh_from_db()
    assert (payment.versions.count(), payment.fee_rate_sat_vb) == (2, 15)
    assert wallet(network).getmempoolentry(payment.txid)["vsize"] > 0
    assert_booked(alice, payment.fee_sat or 0)
    mined(network)
    assert paid_to(network, payment.destination) == [5000]
    assert_booked(alice, payment.fee_sat or 0)
