"""What the payment endpoints read, and the list of payments as they show it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import add
from typing import Any

from rest_framework import serializers

from accounts.selectors import StatementFilter, TotalsByCurrency
from coinos.api import FlagField, SatField, TextField, WholeField
from coinos.errors import InvalidRequest
from payments.destinations import PASTED_MAX_CHARACTERS

MILLISECONDS_FROM = 100_000_000_000
LIMIT_MAX = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class LightningPayment(serializers.Serializer[Any]):
    payreq = TextField(required=False, max_length=PASTED_MAX_CHARACTERS)
    hash = TextField(required=False, max_length=PASTED_MAX_CHARACTERS)
    amount = SatField(required=False)
    fee = SatField(required=False, minimum=0)
    maxfee = SatField(required=False, minimum=0)
    memo = TextField(required=False, max_length=5000)
    fund = TextField(required=False, max_length=200)


class InternalPayment(serializers.Serializer[Any]):
    username = TextField(max_length=200)
    amount = SatField()
    memo = TextField(required=False, max_length=5000)


class AddressInPath(serializers.Serializer[Any]):
    lnaddress = TextField(max_length=PASTED_MAX_CHARACTERS)
    amount = SatField()


class AddressPayment(serializers.Serializer[Any]):
    fee = SatField(required=False, minimum=0)
    memo = TextField(required=False, max_length=5000)
    payerData = serializers.ListField(
        child=serializers.ChoiceField(["name", "identifier", "email"]),
        required=False,
        max_length=3,
        source="tell",
        help_text="what the recipient may be told about you, if it asks (LUD-18)",
    )


class OnchainPayment(serializers.Serializer[Any]):
    address = TextField(max_length=PASTED_MAX_CHARACTERS)
    amount = SatField()
    feeRate = WholeField(required=False, minimum=1, maximum=100_000)
    subtract = FlagField(required=False)
    memo = TextField(required=False, max_length=5000)


class Bump(serializers.Serializer[Any]):
    feeRate = WholeField(minimum=1, maximum=100_000)


class PaymentRequestToParse(serializers.Serializer[Any]):
    payreq = TextField(max_length=PASTED_MAX_CHARACTERS)


def statement_filter(query: Any) -> tuple[StatementFilter, int, int]:
    """The filter, limit and offset of `GET /payments`. Raises `InvalidRequest`."""
    limit = _whole(query, "limit") or LIMIT_MAX
    status = query.get("status") or None
    if status not in (None, "all", "pending", "settled", "failed"):
        raise InvalidRequest("status must be all, pending, settled or failed", field="/status")
    incoming = True if query.get("received") in ("true", "1") else None
    start, end = _time(query, "start"), _time(query, "end", to_the_end_of_its_unit=True)
    wanted = StatementFilter(start, end, incoming, status)
    return wanted, min(limit, LIMIT_MAX), _whole(query, "offset") or 0


def _whole(query: Any, name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest(f"{name} must be a whole number, 0 or more", field=f"/{name}")
    return int(text)


def _time(query: Any, name: str, *, to_the_end_of_its_unit: bool = False) -> datetime | None:
    """Seconds below 1e11, else milliseconds; the first microsecond of it, or the last: a payment
    whose time is shown in milliseconds is within the range that names it."""
    value = _whole(query, name)
    if value is None:
        return None
    unit = timedelta(milliseconds=1) if value >= MILLISECONDS_FROM else timedelta(seconds=1)
    try:
        time = EPOCH + value * unit
    except OverflowError as error:
        raise InvalidRequest(f"{name} is not a time", field=f"/{name}") from error
    return time + (unit - MICROSECOND) if to_the_end_of_its_unit else time


def totals_json(found: TotalsByCurrency) -> dict[str, Any]:
    """`count`, and sums per currency: incoming, outgoing (negative) and both together. `sats` and
    `fiat` are what the payments did to the balance, with tips and fees."""
    sums: dict[str, dict[str, list[Any]]] = {"incoming": {}, "outgoing": {}, "totals": {}}
    for (incoming, currency), totals in found.items():
        numbers = [
            totals.tips_sat,
            totals.fiat_tips,
            totals.change_sat(incoming=incoming),
            totals.change_fiat(incoming=incoming),
        ]
        for direction in ("incoming" if incoming else "outgoing", "totals"):
            before = sums[direction].get(currency, [0, 0, 0, 0])
            sums[direction][currency] = list(map(add, before, numbers))
    return {
        "count": sum(totals.count for totals in found.values()),
        **{
            direction: {currency: _sum_json(*numbers) for currency, numbers in by_currency.items()}
            for direction, by_currency in sums.items()
        },
    }


def _sum_json(tips_sat: int, fiat_tips: Decimal, sats: int, fiat: Decimal) -> dict[str, Any]:
    return {
        "tips": tips_sat,
        "fiatTips": f"{fiat_tips:.2f}",
        "sats": sats,
        "fiat": f"{fiat:.2f}",
    }
