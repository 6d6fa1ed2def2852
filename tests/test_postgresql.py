"""Our words to Django's PostgreSQL backend: pooled connections, times."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from django.db import connection

from coinos.postgresql.base import DatabaseWrapper

pytestmark = pytest.mark.django_db


@pytest.fixture
def pooled() -> Iterator[DatabaseWrapper]:
    """A connection of a pool with one place, as a web process has one of twenty."""
    options = connection.settings_dict["OPTIONS"] | {"pool": {"min_size": 0, "max_size": 1}}
    wrapper = DatabaseWrapper(connection.settings_dict | {"OPTIONS": options}, alias="pooled")
    yield wrapper
    wrapper.close()
    wrapper.close_pool()


def server_process(wrapper: DatabaseWrapper) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def test_a_connection_is_used_again(pooled: DatabaseWrapper) -> None:
    first = server_process(pooled)
    pooled.close()
    assert server_process(pooled) == first


def test_one_that_the_server_has_closed_meanwhile_is_not(pooled: DatabaseWrapper) -> None:
    first = server_process(pooled)
    pooled.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
    assert server_process(pooled) != first


@pytest.mark.parametrize("text", ["2026-11-25 22:00:00", "2026-02-28 23:59:59.5", "0001-01-01"])
def test_times_are_in_utc(text: str) -> None:
    expected = dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::timestamptz", [text])
        (found,) = cursor.fetchone()
    assert (found, found.tzinfo) == (expected, dt.UTC)


def test_the_server_keeps_the_plan_of_a_fixed_statement(pooled: DatabaseWrapper) -> None:
    for number in range(3):
        cursor = pooled.fixed_cursor()
        cursor.execute("SELECT %s::int + 1", [number])
        assert cursor.fetchone() == (number + 1,)
    with pooled.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        assert cursor.fetchall() == [("SELECT $1::int + 1",)]
