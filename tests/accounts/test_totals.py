"""The totals of a whole history: one row for each kind, whenever its payments were."""

from __future__ import annotations

import importlib
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from accounts import selectors, statement
from accounts.models import Activity, DailyTotal, User
from accounts.selectors import StatementFilter

EVER = StatementFilter()


def received(user: User, sats: int, *, days_ago: int) -> Activity:
    line = statement.line(
        user_id=user.id,
        type="lightning",
        status="settled",
        amount_sat=sats,
        hash=f"{sats}",
        currency="USD",
        rate=None,
    )
    line.created -= timedelta(days=days_ago)
    line.user = user
    statement.record_all([line])
    return line


def test_all_days_are_one_row_and_each_day_is_its_own(alice: User) -> None:
    for days_ago in range(5):
        received(alice, 100, days_ago=days_ago)
    rows = DailyTotal.objects.filter(user=alice)
    assert [row.sats for row in rows.order_by("day")] == [100] * 5 + [500]
    assert rows.get(day=DailyTotal.ALL_DAYS).count == 5
    [ever] = selectors.totals(alice, EVER).values()
    since = timezone.now() - timedelta(days=1, minutes=1)
    [lately] = selectors.totals(alice, StatementFilter(start=since)).values()
    [early] = selectors.totals(alice, StatementFilter(end=since)).values()
    assert (ever.sats, lately.sats, early.sats) == (500, 200, 300)


def test_an_old_payment_that_fails_is_taken_off_its_day_and_all_days(alice: User) -> None:
    received(alice, 100, days_ago=400)
    pending = received(alice, 20, days_ago=400)
    statement.change(pending, status="failed")
    assert [row.sats for row in DailyTotal.objects.filter(user=alice)] == [100, 100]


def test_the_days_are_not_read_for_it(alice: User) -> None:
    received(alice, 100, days_ago=3)
    DailyTotal.objects.filter(user=alice).exclude(day=DailyTotal.ALL_DAYS).update(sats=1)
    [ever] = selectors.totals(alice, EVER).values()
    assert ever.sats == 100


def test_what_was_there_before_is_summed_by_the_migration(alice: User, bob: User) -> None:
    for days_ago in range(3):
        received(alice, 100, days_ago=days_ago)
    received(bob, 7, days_ago=0)
    migration: Any = importlib.import_module("accounts.migrations.0013_total_of_all_days")
    ever = DailyTotal.objects.filter(day=DailyTotal.ALL_DAYS).order_by("sats")
    kept = list(ever.values("user", "incoming", "currency", "count", "sats", "fiat"))
    with connection.cursor() as cursor:
        cursor.execute(migration.FORGET_THEM)
        assert not ever.exists()
        cursor.execute(migration.SUM_ALL_DAYS)
    assert list(ever.values("user", "incoming", "currency", "count", "sats", "fiat")) == kept
