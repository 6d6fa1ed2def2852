"""money-L3: a database dumped and read into another cluster, where transaction ids begin again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from accounts.models import Event, User
from accounts.streams import OLDEST_RUNNING
from payments.models import AutoWithdraw
from payments.services.another_cluster import follow_this_cluster
from payments.services.autowithdraw import Order, save_auto_withdraw
from tests.cast import api_of, fund, make_user
from tests.payments.conftest import Person
from tests.payments.test_autowithdraw import let_older_transactions_end, ring

LATER = 5_000_000


@pytest.fixture
def payer(alice: Person, bob: Person, settings: Any, tmp_path: Path, redis: Any) -> User:
    """Alice has had her first automatic withdrawal to Bob; Zed will pay her."""
    settings.STOP_FILE = tmp_path / "stop-sends"
    wanted = {"autowithdraw": True, "threshold_sat": 1000, "reserve_sat": 500, "destination": "bob"}
    save_auto_withdraw(alice.user, Order(wanted, bob.user))
    ring()
    assert alice.available_sat == 500
    zed = make_user("zed")
    fund(zed, 90_000)
    return zed


def move_to_another_cluster() -> None:
    """The old one had used up five million numbers more."""
    Event.objects.update(transaction_id=F("transaction_id") + LATER)
    AutoWithdraw.objects.update(seen_transaction=F("seen_transaction") + LATER)


def receive(payer: User, sats: int) -> None:
    sent = api_of(payer).post("/send", {"username": "alice", "amount": sats})
    assert sent.status_code == 200
    ring()


def test_the_first_receipt_there_is_withdrawn(alice: Person, bob: Person, payer: User) -> None:
    move_to_another_cluster()
    follow_this_cluster()
    receive(payer, 20_000)
    assert alice.available_sat == 500


def test_a_receipt_just_before_the_move_is_withdrawn_after_it(
    alice: Person, bob: Person, payer: User
) -> None:
    sent = api_of(payer).post("/send", {"username": "alice", "amount": 20_000})
    assert sent.status_code == 200
    move_to_another_cluster()
    follow_this_cluster()
    ring()
    assert alice.available_sat == 500


def test_no_event_looks_as_if_its_transaction_were_running(alice: Person, payer: User) -> None:
    """A stream would ask for it four times a second, for ever."""
    before = list(Event.objects.order_by("id").values_list("transaction_id", flat=True))
    move_to_another_cluster()
    running = Event.objects.filter(transaction_id__gte=OLDEST_RUNNING)
    assert running.exists()
    follow_this_cluster()
    let_older_transactions_end()
    assert not running.exists()
    after = list(Event.objects.order_by("id").values_list("transaction_id", flat=True))
    assert [b - before[0] for b in before] == [a - after[0] for a in after]


def test_on_the_same_cluster_nothing_changes(alice: Person, payer: User) -> None:
    before = list(Event.objects.order_by("id").values_list("transaction_id", flat=True))
    follow_this_cluster()
    assert list(Event.objects.order_by("id").values_list("transaction_id", flat=True)) == before
