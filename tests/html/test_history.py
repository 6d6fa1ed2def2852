"""The list of payments and the page of one: complete, paged, and nobody else's."""

from __future__ import annotations

import re

from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import statement
from accounts.models import Activity
from tests.html.conftest import Browser, Person


def record(person: Person, count: int, **fields: object) -> list[Activity]:
    given = {"type": "lightning", "status": "settled", "currency": "USD", "rate": None} | fields
    return [
        statement.record(
            user=person.user,
            amount_sat=1000 + number,
            hash=f"lnbc{number}",
            **given,  # type: ignore[arg-type]
        )
        for number in range(count)
    ]


def listed(page: str) -> list[str]:
    return re.findall(r'href="/payment/([0-9a-f-]{36})"', page)


def test_every_payment_is_on_exactly_one_page(alice: Person) -> None:
    lines = record(alice, 65)
    found: list[str] = []
    path = "/payments"
    pages = 0
    while path:
        html = alice.get(path).page.html
        found += listed(html)
        older = re.search(r'href="([^"]*)" rel="next"', html)
        path = "/payments" + older[1].replace("&amp;", "&") if older else ""
        pages += 1
    assert pages == 3
    assert found == [str(line.id) for line in reversed(lines)]


def test_a_page_costs_the_same_for_a_long_history(alice: Person) -> None:
    record(alice, 3)
    alice.get("/payments")  # reads the rates
    with CaptureQueriesContext(connection) as few:
        alice.get("/payments")
    record(alice, 200)
    with CaptureQueriesContext(connection) as many:
        alice.get("/payments")
    assert len(many) == len(few)
    assert len(many) <= 8


def test_filters_show_what_they_say(alice: Person) -> None:
    record(alice, 1)
    record(alice, 1, status="failed")
    record(alice, 1, status="pending")
    counts = {
        show: len(listed(alice.get(f"/payments?show={show}").page.html))
        for show in ("all", "in", "out", "pending", "failed", "nonsense")
    }
    assert counts == {"all": 3, "in": 3, "out": 0, "pending": 1, "failed": 1, "nonsense": 3}


def test_an_empty_history_says_so(alice: Person) -> None:
    assert "No payments yet" in alice.get("/payments").page.text
    assert "Nothing yet" in alice.get("/alice").page.text


def test_a_payment_of_somebody_else_is_not_found(
    alice: Person, charlie: Person, stranger: Browser
) -> None:
    (line,) = record(alice, 1, memo="between us")
    assert "between us" in alice.get(f"/payment/{line.id}").page.text
    answer = charlie.get(f"/payment/{line.id}")
    assert answer.status_code == 404
    assert "between us" not in answer.page.text
    assert stranger.get(f"/payment/{line.id}").status_code == 302
    assert listed(charlie.get(f"/payments?before={line.id}").page.html) == []


def test_a_strange_position_shows_the_first_page(alice: Person) -> None:
    record(alice, 2)
    assert len(listed(alice.get("/payments?before=nonsense").page.html)) == 2


def test_the_amount_is_worth_what_it_was_worth_then(alice: Person) -> None:
    from decimal import Decimal

    (line,) = record(alice, 1, rate=Decimal(50000))
    assert "+$0.50" in alice.get(f"/payment/{line.id}").page.text
