"""What the payment endpoints read, and the list of payments as they show it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers

from accounts.selectors import StatementFilter, Totals, TotalsByCurrency
from coinos.api import FlagField, SatField, TextField, WholeField
from coinos.errors import InvalidRequest

MILLISECONDS_FROM = 100_000_000_000
LIMIT_MAX = 1000


class LightningPayment(serializers.Serializer[Any]):
    payreq = TextField(required=False, max_length=8192)
    hash = TextField(required=False, max_length=8192)
    amount = SatField(required=False)
    fee = SatField(required=False, minimum=0)
    maxfee = SatField(required=False, minimum=0)
    memo = TextField(required=False, max_length=5000)
    fund = TextField(required=False, max_length=200)


class InternalPayment(serializers.Serializer[Any]):
    username = TextField(max_length=200)
    amount = SatField()
    memo = TextField(required=False, max_length=5000)


class AddressPayment(serializers.Serializer[Any]):
    fee = SatField(required=False, minimum=0)
    memo = TextField(required=False, max_length=5000)


class OnchainPayment(serializers.Serializer[Any]):
    address = TextField(max_length=200)
    amount = SatField()
    feeRate = WholeField(required=False, minimum=1, maximum=100_000)
    subtract = FlagField(required=False)
    memo = TextField(required=False, max_length=5000)


class Bump(serializers.Serializer[Any]):
    feeRate = WholeField(minimum=1, maximum=100_000)


class PaymentRequestToParse(serializers.Serializer[Any]):
    payreq = TextField(max_length=8192)


def statement_filter(query: Any) -> tuple[StatementFilter, int, int]:
    """The filter, limit and offset of `GET /payments`. Raises `InvalidRequest`."""
    limit = _whole(query, "limit") or LIMIT_MAX
    status = query.get("status") or None
    if status not in (None, "all", "pending", "settled", "failed"):
        raise InvalidRequest("status must be all, pending, settled or failed", field="/status")
    incoming = True if query.get("received") in ("true", "1") else None
    wanted = StatementFilter(_time(query, "start"), _time(query, "end"), incoming, status)
    return wanted, min(limit, LIMIT_MAX), _whole(query, "offset") or 0


def _whole(query: Any, name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest(f"{name} must be a whole number, 0 or more", field=f"/{name}")
    return int(text)


def _time(query: Any, name: str) -> datetime | None:
    """Seconds below 1e11, else milliseconds."""
    value = _whole(query, name)
    if value is None:
        return None
    seconds = value / 1000 if value >= MILLISECONDS_FROM else value
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidRequest(f"{name} is not a time", field=f"/{name}") from error


def totals_json(found: TotalsByCurrency) -> dict[str, Any]:
    """`count`, and sums per currency: incoming, outgoing (negative) and both together."""
    sums: dict[str, dict[str, Totals]] = {"incoming": {}, "outgoing": {}, "totals": {}}
    for (incoming, currency), totals in found.items():
        for direction in ("incoming" if incoming else "outgoing", "totals"):
            sums[direction].setdefault(currency, Totals()).add(totals)
    return {
        "count": sum(totals.count for totals in found.values()),
        **{
            direction: {currency: _sum_json(totals) for currency, totals in by_currency.items()}
            for direction, by_currency in sums.items()
        },
    }


def _sum_json(totals: Totals) -> dict[str, Any]:
    return {
        "tips": totals.tips_sat,
        "fiatTips": f"{totals.fiat_tips:.2f}",
        "sats": totals.sats,
        "fiat": f"{totals.fiat:.2f}",
    }
