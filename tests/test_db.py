"""Several statements in one round trip: what they see, and what is left when one fails."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from django.conf import settings
from django.db import DataError, IntegrityError, connection, transaction

from coinos import embedded
from coinos.db import Query, as_operator, ask, ask_at_once
from coinos.errors import NotTheOwner
from coinos.models import Rate

pytestmark = pytest.mark.usefixtures("cloned_db")

RATES = Query("SELECT minute::text FROM coinos_rate ORDER BY minute", [])


def insert(minute: str) -> Query:
    return Query("INSERT INTO coinos_rate (minute, rates) VALUES (%s, '{}')", [minute])


def test_each_sees_what_those_before_it_did() -> None:
    answers = ask_at_once(
        insert("2026-11-26 10:00+00"), RATES, insert("2026-11-26 10:01+00"), RATES
    )
    assert [len(rows) for rows in answers] == [0, 1, 0, 2]


@pytest.mark.parametrize("around", [transaction.atomic, contextlib.nullcontext])
def test_when_one_fails_its_error_is_raised_and_nothing_is_left(around: Any) -> None:
    failing = [insert("2026-11-26 10:00+00"), Query("SELECT 1 / 0", []), RATES]
    with pytest.raises(DataError, match="division by zero"), around():
        ask_at_once(*failing)
    assert ask(RATES) == []
    assert not connection.in_atomic_block


def test_a_constraint_is_named_as_django_names_it() -> None:
    ask(insert("2026-11-26 10:00+00"))
    with pytest.raises(IntegrityError), transaction.atomic():
        ask_at_once(RATES, insert("2026-11-26 10:00+00"), RATES)
    assert Rate.objects.count() == 1


def test_a_failure_before_the_commit_that_goes_with_it_leaves_nothing() -> None:
    with pytest.raises(DataError), transaction.atomic():
        ask_at_once(insert("2026-11-26 10:00+00"), Query("SELECT 1 / 0", []), commit=True)
    assert ask(RATES) == []


def test_what_the_commit_itself_refuses_is_raised() -> None:
    insert_event = "INSERT INTO accounts_event (user_id, kind) VALUES (gen_random_uuid(), '')"
    with pytest.raises(IntegrityError), transaction.atomic():  # by a deferred foreign key
        ask_at_once(insert("2026-11-26 10:00+00"), Query(insert_event, []), commit=True)
    assert ask(RATES) == []


# --- As the operator -----------------------------------------------------------------------------

WHO = Query("SELECT current_user::text", [])


def test_an_operators_act_is_done_as_the_owner_of_the_tables_and_nothing_else_is() -> None:
    with as_operator(), transaction.atomic():
        assert ask(WHO) == [(embedded.OWNER_ROLE,)]
        ask(insert("2026-11-26 10:00+00"))
    assert ask(WHO) == [(embedded.APP_ROLE,)]
    assert Rate.objects.count() == 1


def test_an_act_that_fails_leaves_nothing_and_gives_the_connection_back() -> None:
    with pytest.raises(DataError), as_operator(), transaction.atomic():
        ask_at_once(insert("2026-11-26 10:00+00"), Query("SELECT 1 / 0", []))
    assert ask(WHO) == [(embedded.APP_ROLE,)]
    assert Rate.objects.count() == 0


def test_a_process_without_the_owners_address_says_where_to_go(monkeypatch: Any) -> None:
    monkeypatch.setitem(settings.DATABASE_OWNER, "USER", embedded.APP_ROLE)
    with pytest.raises(NotTheOwner, match="DATABASE_OWNER_URL"), as_operator():
        pytest.fail("the block ran")
    assert ask(WHO) == [(embedded.APP_ROLE,)]


def test_an_operators_act_is_no_part_of_another_transaction() -> None:
    with transaction.atomic(), pytest.raises(RuntimeError), as_operator():
        pytest.fail("the block ran")
