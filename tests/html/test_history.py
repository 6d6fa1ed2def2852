"""The list of payments and the page of one: complete, paged, and nobody else's."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
import time_machine
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import statement
from accounts.credentials import Credential
from accounts.models import Activity
from accounts.selectors import StatementFilter
from payments.export import csv_lines
from payments.services import send_to_user
from tests.cast import api_of
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


def test_what_is_pending_stands_on_top_and_nowhere_else(alice: Person) -> None:
    (pending,) = record(alice, 1, status="pending")
    lines = record(alice, 31)
    first = alice.get("/payments").page
    assert "Not decided yet" in first.text
    assert listed(first.html) == [str(line.id) for line in [pending, *reversed(lines[1:])]]
    older = re.search(r'href="([^"]*)" rel="next"', first.html)
    assert older
    rest = alice.get("/payments" + older[1].replace("&amp;", "&")).page
    assert listed(rest.html) == [str(lines[0].id)]
    assert "Not decided yet" not in rest.text
    assert "Received + ⚡️32,465" in first.text  # counted once, as before


def test_a_crowd_that_is_pending_leaves_room_for_the_rest(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payments.views.PENDING_ON_TOP", 2)
    record(alice, 3, status="pending")
    page = alice.get("/payments?q=").page
    assert len(listed(page.html)) == 2
    assert "See all pending payments" in page.text
    assert len(listed(alice.get("/payments?show=pending").page.html)) == 3


def test_a_day_a_week_and_a_month_are_one_press_away(alice: Person) -> None:
    today = timezone.now().date()
    for days in (0, 1, 6, 7, 29, 30):
        (line,) = record(alice, 1)
        line.created = timezone.now() - timedelta(days=days)
        line.save()
    page = alice.get("/payments?show=in").page
    found = {}
    for words in ("Today", "7 days", "30 days", "All time"):
        link = re.search(rf'href="\?([^"]*)"[^>]*>{words}</a>', page.html)
        assert link
        shown = alice.get("/payments?" + link[1].replace("&amp;", "&")).page
        assert re.search(rf'aria-current="page">{words}</a>', shown.html)
        assert "show=in" in link[1]
        found[words] = len(listed(shown.html))
    assert found == {"Today": 1, "7 days": 3, "30 days": 5, "All time": 6}
    assert f"end={today}" in page.html


def test_an_empty_history_says_so(alice: Person) -> None:
    assert "No payments yet" in alice.get("/payments").page.text
    assert "Nothing yet" in alice.get("/alice").page.text


def test_a_shared_payment_shows_strangers_a_receipt_and_no_more(
    alice: Person, bob: Person, charlie: Person, stranger: Browser
) -> None:
    """sec-18: a receipt told everybody who has its link a user name. The other side knows it."""
    alice.user.display = "Alice's"
    alice.user.save()
    (line,) = record(alice, 1, memo="between us", counterparty=charlie.user, fee_sat=7)
    assert "between us" in alice.get(f"/payment/{line.id}").page.text
    for reader, path, sees_whose in [
        (stranger, f"/payment/{line.id}", False),
        (bob, f"/payment/{line.id}", False),
        (charlie, f"/payment/{line.id}", True),
        (alice, f"/payment/{line.id}?public", False),
    ]:
        answer = reader.get(path)
        assert answer.status_code == 200
        assert "Receipt" in answer.page.text
        assert "⚡️1,000" in answer.page.text
        main = answer.page.html.split("<main")[1].split("</main>")[0]
        assert ("Alice&#x27;s" in main) == sees_whose
        assert answer.headers["X-Robots-Tag"] == "noindex"
        for secret in ("between us", "alice", "charlie", line.hash, 'balance"', "⚡️7<"):
            assert secret not in main
    assert listed(charlie.get(f"/payments?before={line.id}").page.html) == []


def test_only_settled_payments_have_a_receipt(
    alice: Person, charlie: Person, stranger: Browser
) -> None:
    (pending,) = record(alice, 1, status="pending")
    for wanted in (pending.id, uuid4()):
        assert charlie.get(f"/payment/{wanted}").status_code == 404
        assert stranger.get(f"/payment/{wanted}").status_code == 302


def test_a_strange_position_shows_the_first_page(alice: Person) -> None:
    record(alice, 2)
    assert len(listed(alice.get("/payments?before=nonsense").page.html)) == 2


def test_the_amount_is_worth_what_it_was_worth_then(alice: Person) -> None:
    (line,) = record(alice, 1, rate=Decimal(50000))
    text = alice.get(f"/payment/{line.id}").page.text
    assert "Worth then +$0.50" in text
    assert "Worth now +$1.00" in text


# --- Find, add up, take away ---------------------------------------------------------------------


def on_day(person: Person, day: int, **fields: object) -> Activity:
    """A payment of that day of March."""
    with time_machine.travel(datetime(2026, 3, day, 12, tzinfo=UTC)):
        (line,) = record(person, 1, **fields)
    return line


def test_a_range_of_days_includes_both_ends(alice: Person) -> None:
    lines = [on_day(alice, day) for day in (1, 2, 3, 4)]
    page = alice.get("/payments?start=2026-03-02&end=2026-03-03").page
    assert listed(page.html) == [str(lines[2].id), str(lines[1].id)]
    assert "Received + ⚡️2,000" in page.text
    assert "Received + ⚡️4,000" in alice.get("/payments").page.text


def test_totals_are_kept_apart_by_direction_and_currency(alice: Person) -> None:
    record(alice, 1, rate=Decimal(50000))
    record(alice, 1, rate=Decimal(46000), currency="EUR")
    record(alice, 1, status="failed")
    statement.record(
        user=alice.user,
        type="lightning",
        status="settled",
        amount_sat=-500,
        fee_sat=3,
        hash="lnbc",
        currency="USD",
        rate=None,
    )
    text = alice.get("/payments").page.text
    assert "Received + ⚡️1,000 sats $0.50" in text
    assert "Received + ⚡️1,000 sats €0.46" in text
    assert "Sent −⚡️503" in text
    assert "Sent" not in alice.get("/payments?show=in").page.text.split("CSV")[0].split("Reset")[1]


@pytest.mark.parametrize("text", ["coffee", "COFFEE", "charl", "lnbcwanted", "f" * 64, "F" * 64])
def test_a_payment_is_found_by_note_name_or_hash(alice: Person, charlie: Person, text: str) -> None:
    record(alice, 3)
    wanted = statement.record(
        user=alice.user,
        type="lightning",
        status="settled",
        amount_sat=21,
        hash="lnbcwanted",
        payment_hash="f" * 64,
        counterparty=charlie.user,
        memo="Two coffees",
        currency="USD",
        rate=None,
    )
    record(charlie, 1, memo="Two coffees", payment_hash="f" * 64)
    page = alice.get(f"/payments?q={text}").page
    assert listed(page.html) == [str(wanted.id)]
    assert "Received + ⚡️21 sats" in page.text


def test_an_old_note_is_found_when_the_dates_lead_to_it(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.search.LINES_READ", 2)
    old = on_day(alice, 1, memo="rent", payment_hash="a" * 64)
    for day in (5, 6):
        on_day(alice, day)
    assert listed(alice.get("/payments?q=rent").page.html) == []
    assert listed(alice.get("/payments?q=rent&end=2026-03-02").page.html) == [str(old.id)]
    assert listed(alice.get(f"/payments?q={'a' * 64}").page.html) == [str(old.id)]


@pytest.mark.parametrize("query", ["q=%00", "q=%25", "q='%22\\", "start=never", "end=2026-02-31"])
def test_strange_filters_are_harmless(alice: Person, query: str) -> None:
    record(alice, 1)
    assert alice.get(f"/payments?{query}").status_code == 200


def test_pages_of_a_filter_keep_it(alice: Person) -> None:
    record(alice, 31, memo="rent")
    record(alice, 5)
    older = re.search(r'href="([^"]*)" rel="next"', alice.get("/payments?q=rent").page.html)
    assert older
    rest = alice.get("/payments" + older[1].replace("&amp;", "&")).page.html
    assert len(listed(rest)) == 1


def rows(person: Browser, query: str = "") -> list[dict[str, str]]:
    answer = person.get(f"/payments.csv{query}")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    return list(csv.DictReader(b"".join(answer).decode("utf-8-sig").splitlines()))


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_the_export_has_every_page_with_the_rate_of_its_day(
    alice: Person, charlie: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payments.export.LINES_PER_READ", 4)
    lines = record(alice, 9, rate=Decimal(50000), memo="rent")
    record(charlie, 1)
    found = rows(alice)
    assert [row["id"] for row in found] == [str(line.id) for line in reversed(lines)]
    assert found[-1] | {"created": "", "settled": ""} == {
        "created": "",
        "settled": "",
        "status": "settled",
        "type": "lightning",
        "direction": "in",
        "amount_sat": "1000",
        "tip_sat": "0",
        "network_fee_sat": "0",
        "platform_fee_sat": "0",
        "total_sat": "1000",
        "balance_sat": found[-1]["balance_sat"],
        "currency": "USD",
        "rate": "50000.00000000",
        "fiat_amount": "0.50",
        "fiat_total": "0.50",
        "counterparty": "",
        "memo": "rent",
        "hash": "lnbc0",
        "txid": "",
        "payment_hash": "",
        "id": str(lines[0].id),
    }
    assert len(rows(alice, "?show=out")) == 0
    assert len(rows(alice, "?q=rent")) == 9


def pay(person: Person, to: Person, amount_sat: int) -> Activity:
    return send_to_user(
        credential=Credential(person.user), username=to.user.username, amount_sat=amount_sat
    ).activity


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("lines_per_read", [2, 1000])
def test_the_balance_runs_down_the_export_to_what_there_was_at_first(
    alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch, lines_per_read: int
) -> None:
    """input-C20"""
    monkeypatch.setattr("payments.export.LINES_PER_READ", lines_per_read)
    for amount_sat in (5000, 700, 60):
        pay(alice, bob, amount_sat)
    pay(bob, alice, 1000)
    record(alice, 1, status="failed")
    record(alice, 1, status="pending", type="bitcoin")  # arriving: not to spend yet
    found = rows(alice)
    assert [int(row["balance_sat"]) for row in found] == [
        95_240,
        95_240,
        95_240,
        94_240,
        94_300,
        95_000,
    ]
    assert [int(row["total_sat"]) for row in found] == [0, 0, 1000, -60, -700, -5000]
    assert int(found[0]["balance_sat"]) == alice.available_sat
    assert sum(int(row["total_sat"]) for row in rows(bob)) == bob.available_sat
    for query in ("?show=out", "?show=failed", "?q=lnbc0", f"?q={alice.line(amount_sat=-60).id}"):
        some = rows(alice, query)
        assert some
        assert all(row in found for row in some)


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_the_balance_of_earlier_days_is_that_of_those_days(alice: Person) -> None:
    """Alice has 100,000 of the operator's, and of each day a line that no ledger knows: what came
    after the dates asked for is taken off again, but for what has not arrived."""
    for day in (1, 2, 3, 4):
        on_day(alice, day, tip_sat=10 if day == 4 else None, fee_sat=1 if day == 4 else None)
    on_day(alice, 5, status="failed")
    on_day(alice, 6, status="pending", type="bitcoin")
    all_of_it = {row["id"]: int(row["balance_sat"]) for row in rows(alice)}
    assert sorted(all_of_it.values()) == [96_991, 97_991, 98_991, 100_000, 100_000, 100_000]
    some = rows(alice, "?start=2026-03-02&end=2026-03-03")
    assert [int(row["balance_sat"]) for row in some] == [98_991, 97_991]
    assert all(all_of_it[row["id"]] == int(row["balance_sat"]) for row in some)


def test_what_settles_during_an_export_stays_as_it_was_at_its_start(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payments.export.LINES_PER_READ", 1)
    (arriving,) = record(alice, 1, status="pending", type="bitcoin")
    record(alice, 2)

    async def read() -> str:
        parts = csv_lines(alice.user, StatementFilter(status="all"))
        text = await anext(parts) + await anext(parts)
        await sync_to_async(statement.change)(arriving, status=Activity.Status.SETTLED)
        return text + "".join([part async for part in parts])

    found = list(csv.DictReader(async_to_sync(read)().removeprefix("\ufeff").splitlines()))
    assert [row["balance_sat"] for row in found] == ["100000", "98999", "97999"]
    assert found[-1]["status"] == "pending"
    assert found[-1]["total_sat"] == "0"


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_the_export_says_what_its_letters_are_and_of_which_zone_its_times(
    alice: Person, bob: Person
) -> None:
    """input-I17j, input-C21: without a byte order mark Excel reads the letters as Windows-1252. A
    script finds the first column under its name all the same, with `utf-8-sig`."""
    record(alice, 1, memo="Café für é")
    pay(alice, bob, 100)
    whole = b"".join(alice.get("/payments.csv"))
    assert whole.startswith(b"\xef\xbb\xbfcreated,settled,")
    assert whole.count(b"\xef\xbb\xbf") == 1
    assert "Café für é".encode() in whole
    for row in rows(alice):
        for name in ("created", "settled"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row[name])
    assert b"".join(alice.get("/payments.csv?q=nothing")).startswith(b"\xef\xbb\xbfcreated,")


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t="])
def test_a_note_is_no_formula_in_a_spreadsheet(alice: Person, start: str) -> None:
    """input-C20"""
    record(alice, 1, memo=f"{start}HYPERLINK(1)")
    assert rows(alice)[0]["memo"] == f"'{start}HYPERLINK(1)"


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize(
    "before",
    [
        " ",
        "\u00a0",
        "\u3000",
        "\u200b",
        "\ufeff",
        "\u2066",
        "\u0301",
        "\u3164",
        "\u2800",
        " \u200d ",
    ],
)
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\ufe66", "\uff20"])
def test_a_formula_hides_behind_nothing(alice: Person, before: str, sign: str) -> None:
    """sec-18: a blank, or what nobody sees, in front of the sign; and signs of another width."""
    for memo in (f"{before}{sign}1", f"{sign}1"):
        record(alice, 1, memo=memo)
        assert rows(alice)[0]["memo"] == f"'{memo}"


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("memo", ["2 + 2 = 4", " tea", "\u200bbread", "\u200b", "é - ü", "あ＝い"])
def test_an_ordinary_note_stays_as_it_was_written(alice: Person, memo: str) -> None:
    record(alice, 1, memo=memo)
    assert rows(alice)[0]["memo"] == memo


def test_an_export_is_for_its_owner_only(stranger: Browser) -> None:
    assert stranger.get("/payments.csv").status_code == 302


# --- The edges of the calendar -------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Asia/Kathmandu"])
@pytest.mark.parametrize("day", ["9999-12-31", "9999-12-30", "0001-01-01", "0001-01-02"])
@pytest.mark.parametrize("name", ["start", "end"])
def test_every_day_that_can_be_typed_is_a_range(
    alice: Person, name: str, day: str, zone: str
) -> None:
    """input-I14, input-B3: and by the API in seconds and milliseconds."""
    alice.client.cookies["time_zone"] = zone
    record(alice, 1)
    shown = alice.get(f"/payments?{name}={day}")
    assert shown.status_code == 200
    has_all = (name, day[0]) in (("start", "0"), ("end", "9"))
    assert len(listed(shown.page.html)) == has_all
    assert len(rows(alice, f"?{name}={day}")) == has_all


@pytest.mark.parametrize("text", ["0", "1", "253402300799", "253402300799999", "9" * 18])
@pytest.mark.parametrize("name", ["start", "end"])
def test_every_number_is_a_time_or_refused(alice: Person, name: str, text: str) -> None:
    """input-I14"""
    answer = api_of(alice.user).get(f"/payments?{name}={text}")
    assert answer.status_code == (400 if text == "9" * 18 else 200), answer.body
