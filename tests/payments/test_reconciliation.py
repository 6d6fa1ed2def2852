"""The auditor: when the books or the nodes do not add up, nothing leaves (O07, rule 10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.cache import cache

from coinos import killswitch
from coinos.simnet.control import Control
from payments import reconciliation
from payments.models import Payment
from payments.reconciliation import reconcile, solvency
from tests.cast import fund
from tests.payments.conftest import Person


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
    fund(alice.user, 2_000_000_000)
    assert solvency().is_short
    reconcile()
    assert not killswitch.is_stopped()
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


def test_a_stop_file_that_cannot_be_written_fails_no_settlement(
    alice: Person, settings: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.STOP_FILE = tmp_path / "file" / "stop"
    killswitch.stop_sends("no room on the disk")
