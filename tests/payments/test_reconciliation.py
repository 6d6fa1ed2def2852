"""The auditor: when the books or the nodes do not add up, nothing leaves (O07)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.cache import cache
from django.db.models import F
from django.utils import timezone

from coinos import heartbeat, killswitch
from coinos.models import Alarm, Heartbeat
from coinos.simnet.control import Control
from payments import reconciliation, tasks
from payments.models import Payment
from payments.reconciliation import APART, reconcile, settled_after_release, solvency
from tests.cast import fund
from tests.payments.conftest import Person
from tests.payments.test_lightning import pay


@pytest.fixture(autouse=True)
def own_stop_file(settings: Any, tmp_path: Path, redis: Any) -> None:
    settings.STOP_FILE = tmp_path / "stop-sends"


def test_books_and_nodes_that_agree_stop_nothing(alice: Person, network: Control) -> None:
    reconcile()
    reconcile()
    assert not killswitch.is_stopped()


def test_a_payment_just_made_is_not_counted_as_ours_any_more(
    alice: Person, network: Control
) -> None:
    before = solvency()
    paid = alice.api.post("/payments", {"payreq": network.invoice(9_000_000)}).body
    after = solvency()
    spent_msat = before.owed_msat - after.owed_msat
    assert spent_msat == (9000 + paid["fee"]) * 1000
    assert 0 <= spent_msat - (before.assets_msat - after.assets_msat) < 1000


def test_a_balance_that_is_wrong_by_1_sat_stops_sends(
    alice: Person, bob: Person, network: Control, cloned_db: Any
) -> None:
    with psycopg.connect(cloned_db.owner_url, autocommit=True) as owner:
        owner.execute("UPDATE ledger_account SET posted_msat = posted_msat + 1000 WHERE id >= 1000")
    reconcile()
    assert killswitch.is_stopped()
    refused = alice.api.post("/payments", {"payreq": network.invoice(1_000_000)})
    assert refused.body["code"] == "withdrawals_paused"
    assert alice.api.post("/send", {"username": "bob", "amount": 1}).status_code == 200


def test_a_long_history_is_summed_less_often(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep the database busy for good; the other checks go on every minute."""
    clock, summed = iter(range(0, 1_000, 2)), []
    monkeypatch.setattr(reconciliation, "monotonic", lambda: next(clock))
    monkeypatch.setattr(reconciliation.ledger, "differences", lambda: summed.append(1) or [])
    reconcile()  # takes two seconds: rests for 100
    reconcile()
    assert len(summed) == 1
    cache.delete(reconciliation.RESTING)
    reconcile()
    assert len(summed) == 2


def test_owing_more_than_the_nodes_hold_stops_sends_at_the_second_reading(
    alice: Person, network: Control
) -> None:
    """money-L2: two that run side by side are one reading."""
    fund(alice.user, 2_000_000_000)
    assert solvency().is_short
    reconcile()
    reconcile()
    assert not killswitch.is_stopped()
    Alarm.objects.update(first_seen=F("first_seen") - APART)
    reconcile()
    assert killswitch.is_stopped()
    assert "less than is owed" in killswitch.settings.STOP_FILE.read_text()


def test_a_payment_that_was_given_back_and_is_paid_after_all_stops_sends(
    alice: Person, network: Control
) -> None:
    """M08: whatever made us release it, the node's record is looked at again."""
    paid = alice.api.post("/payments", {"payreq": network.invoice(1_000_000)}).body
    Payment.objects.filter(id=paid["id"]).update(state="failed", fee_final=False)
    reconcile()
    assert killswitch.is_stopped()
    assert "was given back and then paid" in killswitch.settings.STOP_FILE.read_text()


def given_back_and_paid(alice: Person, network: Control) -> Payment:
    """A payment that the node has made, and that our rows call failed."""
    paid = pay(alice, network.invoice(1_000_000)).body
    Payment.objects.filter(id=paid["id"]).update(
        state="failed", fee_final=False, resolved_at=timezone.now() - timedelta(minutes=2)
    )
    return Payment.objects.get(id=paid["id"])


@pytest.mark.parametrize("state", ["sending", "settled"])
def test_an_invoice_that_is_paid_at_the_second_try_stops_nothing(
    alice: Person, network: Control, state: str
) -> None:
    """money-H1: also before we know that the second try has settled. A stranger can choose when
    that is: whoever gets the payment."""
    first = given_back_and_paid(alice, network)
    assert [payment.id for payment in settled_after_release()] == [first.id]
    Payment.objects.create(
        user=alice.user,
        type="lightning",
        state=state,
        destination=first.destination,
        payment_hash=first.payment_hash,
        amount_sat=1000,
        amount_msat=1_000_000,
        max_fee_sat=0,
        hold_id=first.hold_id,
        preimage=first.preimage,
    )
    assert settled_after_release() == []


def test_however_many_payments_have_failed_since_one_that_was_paid_is_found(
    alice: Person, charlie: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-M4: each round looks at some of the last day's."""
    monkeypatch.setattr(reconciliation, "LOOK_BACK_PAYMENTS", 3)
    paid = given_back_and_paid(alice, network)
    for number in range(7):
        Payment.objects.create(
            user=charlie.user,
            type="lightning",
            state="failed",
            destination=f"x{number}",
            payment_hash=f"{number:064x}",
            amount_sat=1,
            amount_msat=1000,
            max_fee_sat=0,
            hold_id=paid.hold_id,
            attempted_at=timezone.now(),
            resolved_at=timezone.now() - timedelta(seconds=number),
        )
    found = [settled_after_release() for _ in range(6)]
    assert found == [[], [], [paid], [], [], [paid]]


def test_sends_stop_when_nobody_has_compared_books_and_nodes_for_long(
    alice: Person, bob: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-M5"""
    monkeypatch.setattr(heartbeat, "_asked", {})  # no other test shall find what this one saw
    monkeypatch.setattr(heartbeat, "ASK_AGAIN_S", -1)
    monkeypatch.setattr(heartbeat, "STARTED_AT", timezone.now() - timedelta(days=1))
    tasks.reconcile()
    assert pay(alice, network.invoice(1_000_000)).status_code == 200
    Heartbeat.objects.update(succeeded_at=timezone.now() - timedelta(minutes=11))
    refused = pay(alice, network.invoice(1_000_000))
    assert (refused.status_code, refused.body["code"]) == (403, "withdrawals_paused")
    assert alice.api.post("/send", {"username": "bob", "amount": 1}).status_code == 200
    tasks.reconcile()
    assert pay(alice, network.invoice(1_000_000)).status_code == 200
