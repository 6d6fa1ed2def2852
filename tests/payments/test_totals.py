"""A total that is shown is what the payments did to the balance, by every door (input-I04)."""

from __future__ import annotations

import importlib
import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import selectors, statement
from accounts.models import Activity, DailyTotal, User
from accounts.selectors import StatementFilter
from coinos.money import sat_to_fiat
from coinos.simnet.control import Control
from payments.serializers import totals_json
from tests.cast import make_user
from tests.payments.conftest import Person

RATE = Decimal(100_000)
numbers = itertools.count()


def record(user: User, **fields: Any) -> Activity:
    given = {"type": "lightning", "status": "settled", "hash": "x", "currency": "USD", "rate": RATE}
    return statement.record(user=user, **(given | fields))


def test_tips_and_fees_are_in_the_sums_of_the_api(alice: Person, network: Control) -> None:
    """input-I04: what the original counts, and the balance."""
    record(alice.user, amount_sat=1000, tip_sat=100)
    record(alice.user, amount_sat=-500, fee_sat=1, platform_fee_sat=2)
    body = alice.api.get("/payments").body
    assert body["incoming"]["USD"] == {
        "tips": 100,
        "fiatTips": "0.10",
        "sats": 1100,
        "fiat": "1.10",
    }
    assert body["outgoing"]["USD"]["sats"] == -503
    assert body["outgoing"]["USD"]["fiat"] == "-0.50"
    assert body["totals"]["USD"] == {
        "tips": 100,
        "fiatTips": "0.10",
        "sats": 597,
        "fiat": "0.60",
    }


def test_the_sum_of_a_history_is_the_balance(alice: Person, bob: Person, network: Control) -> None:
    """input-I04: through the real services, a tip and a fee among them."""
    made = bob.api.post("/invoice", {"invoice": {"amount": 1000, "tip": 100}})
    assert alice.api.post("/payments", {"payreq": made.body["hash"]}).status_code == 200
    paid = bob.api.post("/payments", {"payreq": network.invoice(500_000), "maxfee": 10})
    assert paid.status_code == 200, paid.body
    assert alice.api.get("/payments").body["outgoing"]["USD"]["sats"] == -1100
    [sums] = bob.api.get("/payments").body["totals"].values()
    assert sums["sats"] == bob.available_sat < 600


MONEY = st.fixed_dictionaries(
    {
        "incoming": st.booleans(),
        "amount_sat": st.integers(1, 10**9),
        "tip_sat": st.one_of(st.none(), st.integers(0, 10**6)),
        "fee_sat": st.one_of(st.none(), st.integers(0, 10**5)),
        "platform_fee_sat": st.one_of(st.none(), st.integers(0, 10**5)),
        "currency": st.sampled_from(["USD", "EUR"]),
        "status": st.sampled_from(["settled", "settled", "failed"]),
        "rate": st.sampled_from([None, RATE, Decimal("91234.56")]),
        "ago": st.integers(0, 5 * 86_400),
    }
)


def lines_of(user: User, history: list[dict[str, Any]], now: datetime) -> list[Activity]:
    lines = []
    for entry in history:
        fields = dict(entry)
        incoming, ago = fields.pop("incoming"), fields.pop("ago")
        if not incoming:
            fields["amount_sat"] *= -1
        else:
            fields["fee_sat"] = fields["platform_fee_sat"] = None
        line = statement.line(user_id=user.id, type="lightning", hash="x", **fields)
        line.user, line.created = user, now - timedelta(seconds=ago)
        lines.append(line)
    statement.record_all(lines)
    return lines


@settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    history=st.lists(MONEY, max_size=8),
    ago_s=st.tuples(st.integers(0, 5 * 86_400), st.integers(0, 5 * 86_400)),
)
def test_the_sum_of_a_range_is_the_change_of_the_balance_in_it(
    db: None, history: list[dict[str, Any]], ago_s: tuple[int, int]
) -> None:
    """input-I04: random histories and ranges; sats to the last, fiat to the cent of each part."""
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    user = make_user(f"u{next(numbers)}")
    lines = [one for one in lines_of(user, history, now) if one.status != "failed"]
    start, end = now - timedelta(seconds=max(ago_s)), now - timedelta(seconds=min(ago_s))
    for wanted, within in [
        (StatementFilter(), lines),
        (StatementFilter(start, end), [one for one in lines if start <= one.created <= end]),
    ]:
        shown = totals_json(selectors.totals(user, wanted))
        assert shown["count"] == len(within)
        for currency in ("USD", "EUR"):
            of = [one for one in within if one.currency == currency]
            if not of:
                assert currency not in shown["totals"]
                continue
            assert shown["totals"][currency]["sats"] == sum(one.total_sat for one in of)
            worth = sum(sat_to_fiat(one.total_sat, one.rate) for one in of if one.rate)
            off = abs(Decimal(shown["totals"][currency]["fiat"]) - worth)
            assert off <= Decimal("0.02") * len(of)
            sides = [shown[side].get(currency, {"sats": 0}) for side in ("incoming", "outgoing")]
            assert sum(side["sats"] for side in sides) == shown["totals"][currency]["sats"]


def test_the_fees_of_what_was_there_before_are_summed_by_the_migration(alice: Person) -> None:
    """input-I04"""
    migration: Any = importlib.import_module("accounts.migrations.0025_fiat_of_fees")
    for amount_sat in (-500, -7000):
        record(alice.user, amount_sat=amount_sat, fee_sat=1500, platform_fee_sat=12)
    record(alice.user, amount_sat=-1, fee_sat=9000, status="failed")
    rows = DailyTotal.objects.filter(user=alice.user).order_by("id")
    kept = list(rows.values_list("day", "incoming", "currency", "fiat_fees"))
    rows.update(fiat_fees=0)
    with connection.cursor() as cursor:
        cursor.execute(migration.SUM_FEES)
    assert list(rows.values_list("day", "incoming", "currency", "fiat_fees")) == kept


# --- Ranges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("microsecond", [0, 1, 499, 500, 999, 1000, 123_456, 999_999])
def test_a_payment_is_within_the_range_of_its_own_time(alice: Person, microsecond: int) -> None:
    """input-I05: shown in milliseconds, or asked for in seconds, to the end of either."""
    line = record(alice.user, amount_sat=5)
    moment = datetime(2026, 3, 1, 12, 0, 0, microsecond, tzinfo=UTC)
    Activity.objects.filter(id=line.id).update(created=moment)
    [shown] = alice.api.get("/payments").body["payments"]
    created, second = shown["created"], int(moment.timestamp())
    for query, count in [
        (f"start={created}&end={created}", 1),
        (f"start={second}&end={second}", 1),
        (f"start={created + 1}", 0),
        (f"end={created - 1}", 0),
        (f"start={second + 1}", 0),
        (f"end={second - 1}", 0),
    ]:
        assert len(alice.api.get(f"/payments?{query}").body["payments"]) == count, query


def test_pages_put_together_are_the_whole_list(alice: Person) -> None:
    """input-C19: payments of one and the same moment among them, none is shown twice, none is left
    out."""
    lines = [record(alice.user, amount_sat=sats) for sats in range(1, 9)]
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    Activity.objects.filter(id__in=[line.id for line in lines[2:7]]).update(created=moment)
    whole = alice.api.get("/payments").body
    assert len(whole["payments"]) == whole["count"] == 8
    pages = [alice.api.get(f"/payments?limit=3&offset={n}").body for n in (0, 3, 6)]
    assert [line for page in pages for line in page.pop("payments")] == whole.pop("payments")
    assert pages == [whole] * 3
