"""What the payment endpoints read, and the list of payments as they show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import add
from typing import Any

from django.http import QueryDict
from rest_framework import serializers

from accounts.selectors import StatementFilter, TotalsByCurrency
from accounts.statement import MEMO_MAX_CHARACTERS
from coinos.api import (
    AsSentField,
    FlagField,
    NotOfferedField,
    QueryFlagField,
    SatField,
    TextField,
    WholeField,
    WordField,
    read_query,
)
from coinos.errors import InvalidRequest
from payments.destinations import PASTED_MAX_CHARACTERS

MILLISECONDS_FROM = 100_000_000_000
LIMIT_MAX = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
BUILT_HERE = "this server chooses the coins, builds the transaction and signs it"


class OfAccount(serializers.Serializer[Any]):
    aid = TextField(required=False, max_length=100, help_text="The caller's own account")


class WithPin(serializers.Serializer[Any]):
    pin = AsSentField(required=False, help_text="Six digits, where the account has a PIN")


class Spend(OfAccount, WithPin):
    """What every payment may name."""

    memo = TextField(required=False, max_length=MEMO_MAX_CHARACTERS)


class LightningPayment(Spend):
    payreq = TextField(required=False, max_length=PASTED_MAX_CHARACTERS)
    hash = TextField(required=False, max_length=PASTED_MAX_CHARACTERS)
    amount = SatField(required=False)
    fee = SatField(required=False, minimum=0)
    maxfee = SatField(required=False, minimum=0)
    fund = NotOfferedField("what is in a fund is taken out on its page")


class InternalPayment(Spend):
    username = TextField(max_length=200)
    amount = SatField()


class AddressInPath(serializers.Serializer[Any]):
    lnaddress = TextField(max_length=PASTED_MAX_CHARACTERS)
    amount = SatField()


class AddressPayment(Spend):
    fee = SatField(required=False, minimum=0)
    maxfee = SatField(required=False, minimum=0)
    payerData = serializers.ListField(
        child=WordField(["name", "identifier", "email"]),
        required=False,
        max_length=3,
        source="tell",
        help_text="what the recipient may be told about you, if it asks (LUD-18)",
    )


class FeeLimit(serializers.Serializer[Any]):
    """The query of POST /send/:lnaddress/:amount."""

    maxfee = SatField(required=False, minimum=0)


class OnchainQuote(OfAccount):
    address = TextField(max_length=PASTED_MAX_CHARACTERS)
    amount = SatField()
    feeRate = WholeField(required=False, minimum=1, maximum=100_000)
    subtract = FlagField(required=False)


class OnchainPayment(OnchainQuote, Spend):
    hex = NotOfferedField(BUILT_HERE)
    signed = NotOfferedField(BUILT_HERE)
    inputs = NotOfferedField(BUILT_HERE)


class Bump(WithPin):
    feeRate = WholeField(minimum=1, maximum=100_000)


class PaymentRequestToParse(serializers.Serializer[Any]):
    payreq = TextField(max_length=PASTED_MAX_CHARACTERS)


class StatementQuery(OfAccount):
    """The query of GET /payments."""

    start = WholeField(
        required=False, minimum=0, maximum=10**18, help_text="From this unix time on"
    )
    end = WholeField(required=False, minimum=0, maximum=10**18, help_text="Until this unix time")
    limit = WholeField(
        required=False, minimum=0, maximum=10**18, help_text="At most this many, up to 1000"
    )
    offset = WholeField(required=False, minimum=0, maximum=10**18, help_text="Leave out this many")
    received = QueryFlagField(required=False, help_text="true: incoming only")
    status = WordField(["all", "pending", "settled", "failed"], required=False)


@dataclass(frozen=True)
class StatementPage:
    """What GET /payments asks for."""

    wanted: StatementFilter
    limit: int
    offset: int
    aid: str | None


def statement_page(query: QueryDict) -> StatementPage:
    """Raises `InvalidRequest` for a filter that cannot be read."""
    fields = read_query(StatementQuery, query)
    start = _time(fields, "start")
    end = _time(fields, "end", to_the_end_of_its_unit=True)
    incoming = True if fields.get("received") else None
    return StatementPage(
        wanted=StatementFilter(start, end, incoming, fields.get("status")),
        limit=min(fields.get("limit") or LIMIT_MAX, LIMIT_MAX),
        offset=fields.get("offset", 0),
        aid=fields.get("aid"),
    )


def _time(
    fields: dict[str, Any], name: str, *, to_the_end_of_its_unit: bool = False
) -> datetime | None:
    """Seconds below 1e11, else milliseconds; the first microsecond of it, or the last: a payment
    whose time is shown in milliseconds is within the range that names it."""
    value = fields.get(name)
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
