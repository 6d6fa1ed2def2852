"""What a request does not need, it does not do: how many queries each endpoint makes.

A number that rises is a decision, not an accident; one that falls is good news: lower it here.
Savepoints are counted, since they are round trips too; the test's own transaction makes a
transaction of the server's one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import statement
from accounts.models import User
from coinos import rates
from coinos.models import Rate
from tests.cast import Api, api_of, fund


@pytest.fixture
def api(alice: User, bob: User, redis: Any) -> Iterator[Api]:
    """Alice, with some money, some history, and rates that this process knows already."""
    Rate.objects.create(minute=timezone.now(), rates={"USD": "100000.00", "CAD": "137000.00"})
    rates.forget()
    rates.rates()
    fund(alice, 10_000)
    history(alice, bob, 3)
    api_of(alice).post("/app", {"name": "shop"})
    yield api_of(alice)
    rates.forget()


def history(user: User, other: User, lines: int) -> None:
    for number in range(lines):
        statement.record(
            user=user,
            type="internal",
            status="settled",
            amount_sat=number + 1,
            hash="x",
            currency="USD",
            rate=None,
            counterparty=other,
        )


def count(ask: Callable[[], Any]) -> int:
    rates.rates()  # a copy of a few seconds, renewed outside what is counted
    with CaptureQueriesContext(connection) as queries:
        assert ask().status_code == 200
    return len(queries)


@pytest.mark.parametrize(
    ("method", "path", "queries"),
    [
        ("get", "/me", 2),  # session with user, balance
        ("get", "/ro", 4),  # noted that it was shown: a counter and a row
        ("get", "/contacts", 2),
        ("get", "/apps", 2),
        ("get", "/payments", 3),  # session, lines, daily totals
        ("get", "/payments?limit=1&offset=1", 3),
        ("get", "/invoices", 2),
        ("post", "/user", 4),  # session, savepoint, update
        ("post", "/logout", 5),  # session, savepoint, update, noted, release
    ],
)
def test_each_thing_is_asked_for_once(api: Api, method: str, path: str, queries: int) -> None:
    api.get("/ro")  # makes the read-only session, once
    if method == "get":
        assert count(lambda: api.get(path)) == queries
    else:
        assert count(lambda: api.post(path, {"display": "A"})) == queries


@pytest.mark.parametrize(
    ("path", "queries"), [("/users/alice", 1), ("/rates", 0), ("/health", 2), ("/schema", 0)]
)
def test_so_is_what_anybody_may_see(api: Api, anyone: Api, path: str, queries: int) -> None:
    anyone.get(path)
    assert count(lambda: anyone.get(path)) == queries


@pytest.mark.parametrize("path", ["/payments", "/contacts", "/apps"])
def test_a_longer_history_makes_no_more_queries(
    api: Api, alice: User, charlie: User, path: str
) -> None:
    before = count(lambda: api.get(path))
    history(alice, charlie, 20)
    for number in range(5):
        api.post("/app", {"name": f"app {number}"})
    assert count(lambda: api.get(path)) == before
