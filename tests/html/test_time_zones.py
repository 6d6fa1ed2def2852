"""Times and days are the reader's, of the zone that the browser has named (input-I17k)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import time_machine

from accounts import statement
from accounts.models import Activity
from tests.html.conftest import Person
from tests.html.test_history import listed, rows


def line_at(person: Person, when: str, amount_sat: int) -> Activity:
    with time_machine.travel(datetime.fromisoformat(when).replace(tzinfo=UTC)):
        return statement.record(
            user=person.user,
            amount_sat=amount_sat,
            hash=f"lnbc{amount_sat}",
            type="lightning",
            status="settled",
            currency="USD",
            rate=None,
        )


def is_in(person: Person, zone: str) -> None:
    """What static/wallet.js does."""
    person.client.cookies["time_zone"] = zone


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        ("", "2 Mar 2026, 01:30 UTC"),
        ("UTC", "2 Mar 2026, 01:30 UTC"),
        ("America/Los_Angeles", "1 Mar 2026, 17:30 UTC−8"),
        ("Asia/Kolkata", "2 Mar 2026, 07:00 UTC+5:30"),
        ("Mars/Olympus", "2 Mar 2026, 01:30 UTC"),
        ("../../etc/passwd", "2 Mar 2026, 01:30 UTC"),
        ("x" * 3000, "2 Mar 2026, 01:30 UTC"),
    ],
)
def test_a_payment_tells_the_hour_of_its_reader(alice: Person, zone: str, told: str) -> None:
    line = line_at(alice, "2026-03-02T01:30", 1000)
    is_in(alice, zone)
    assert told in alice.get(f"/payment/{line.id}").page.text


def test_payments_stand_under_the_day_that_the_reader_had(alice: Person) -> None:
    line_at(alice, "2026-03-02T01:30", 1000)
    line_at(alice, "2026-03-02T09:00", 2000)
    at_home = alice.get("/payments").page.text
    assert "Sunday, 1 March 2026" not in at_home
    is_in(alice, "America/Los_Angeles")
    away = alice.get("/payments").page.text
    assert away.index("Monday, 2 March 2026") < away.index("Sunday, 1 March 2026")


def test_days_of_a_range_begin_and_end_where_the_reader_is(alice: Person) -> None:
    night, day = line_at(alice, "2026-03-02T01:30", 1000), line_at(alice, "2026-03-02T20:00", 2000)
    is_in(alice, "America/Los_Angeles")
    found = {
        date: listed(alice.get(f"/payments?start={date}&end={date}").page.html)
        for date in ("2026-03-01", "2026-03-02")
    }
    assert found == {"2026-03-01": [str(night.id)], "2026-03-02": [str(day.id)]}
    assert "Received + ⚡️1,000" in alice.get("/payments?start=2026-03-01&end=2026-03-01").page.text


def test_today_is_the_day_of_the_reader(alice: Person) -> None:
    is_in(alice, "Asia/Tokyo")
    with time_machine.travel(datetime(2026, 3, 1, 20, tzinfo=UTC)):
        assert "start=2026-03-02&amp;end=2026-03-02" in alice.get("/payments").page.html


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_an_export_of_the_readers_days_has_the_balances_of_then(alice: Person) -> None:
    """The lines of the same day in UTC that come after the range are taken off again, too."""
    for when, amount_sat in [("01T12:00", 500), ("02T01:30", 1000), ("02T20:00", 2000)]:
        line_at(alice, f"2026-03-{when}", amount_sat)
    line_at(alice, "2026-03-03T20:00", 4000)
    is_in(alice, "America/Los_Angeles")
    all_of_it = {row["id"]: row["balance_sat"] for row in rows(alice)}
    some = rows(alice, "?start=2026-03-01&end=2026-03-01")
    assert [row["total_sat"] for row in some] == ["1000", "500"]
    assert [row["balance_sat"] for row in some] == [all_of_it[row["id"]] for row in some]
    assert [row["created"][:13] for row in some] == ["2026-03-02T01", "2026-03-01T12"]
