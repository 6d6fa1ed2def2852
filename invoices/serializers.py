"""Invoices as the API reads and shows them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from accounts.serializers import public_profile
from coinos import limits
from coinos.api import (
    AsSentField,
    FlagField,
    NotOfferedField,
    TextField,
    WholeField,
    WordField,
    milliseconds,
    read,
)
from coinos.drf import to_json
from coinos.errors import InvalidAmount, InvalidRequest
from coinos.money import MAX_SAT, parse_decimal, parse_sat
from invoices.errors import InvalidTip
from invoices.models import Invoice
from invoices.services import InvoiceDraft
from invoices.services.creation import MAX_EXPIRY_S

MAX_ITEMS = 200
OWN_INVOICE = "This server makes its own invoices"

# --- Read ----------------------------------------------------------------------------------------


class TipField(serializers.Field[int, object, int, int]):
    def to_internal_value(self, data: object) -> int:
        try:
            return parse_sat(data, minimum=0)
        except ValueError as error:
            raise InvalidTip(f"must be a whole number of sats from 0 to {MAX_SAT}") from error

    def to_representation(self, value: int) -> int:
        return value


class ItemsField(serializers.ListField):
    """Any JSON that the shop wants to keep with its invoice."""

    child = AsSentField(allow_null=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_ITEMS, **kwargs)

    def to_internal_value(self, data: Any) -> list[Any]:
        items: list[Any] = _storable(super().to_internal_value(data))
        most = limits.ITEMS_BYTES.at_most
        if len(to_json(items)) > most:
            raise serializers.ValidationError(f"may have {most} bytes as JSON")
        return items


class InvoiceFields(serializers.Serializer[Any]):
    type = TextField(required=False, max_length=20)
    amount = AsSentField(required=False, help_text="Sats, or `currency` when `fiat` is true")
    fiat = AsSentField(required=False, help_text="true, or the amount in `currency`")
    currency = TextField(required=False, max_length=3)
    tip = TipField(required=False, source="tip_sat")
    memo = TextField(required=False)
    expiry = WholeField(required=False, minimum=1, maximum=MAX_EXPIRY_S, source="expiry_s")
    webhook = TextField(required=False, max_length=2000)
    secret = TextField(required=False, max_length=2000)
    items = ItemsField(required=False)
    prompt = FlagField(required=False)
    memoPrompt = FlagField(required=False, source="memo_prompt")
    request_id = TextField(required=False, max_length=200)
    address_type = WordField(
        ["bech32", "bech32m", "p2sh-segwit", "legacy"],
        required=False,
        help_text="Of an invoice of type bitcoin",
    )
    aid = TextField(required=False, max_length=100)
    bolt11 = NotOfferedField(OWN_INVOICE)
    bolt12 = NotOfferedField(OWN_INVOICE)
    usePreimage = NotOfferedField("This server does not sell preimages")


class PayeeFields(serializers.Serializer[Any]):
    username = TextField(max_length=200)


class InvoiceRequest(serializers.Serializer[Any]):
    """The body of POST /invoice."""

    invoice = InvoiceFields()
    user = PayeeFields(required=False)


class InvoiceChanges(serializers.Serializer[Any]):
    """What POST /invoice/:id can change; everything else is ignored."""

    tip = TipField(required=False)
    webhook = TextField(required=False, max_length=2000)
    secret = TextField(required=False, max_length=2000)


class InvoiceUpdate(serializers.Serializer[Any]):
    """The body of POST /invoice/:id."""

    invoice = InvoiceChanges()


def read_draft(body: Mapping[str, Any]) -> tuple[InvoiceDraft, str | None]:
    """The invoice that a body asks for, and the `aid` it names, if any."""
    given = body.get("invoice")
    if given is None:
        raise InvalidRequest("no invoice object provided", field="/invoice")
    fields = read(InvoiceFields, given, at="/invoice")
    is_bitcoin = fields.get("type") == Invoice.Type.BITCOIN
    if "address_type" in fields and not is_bitcoin:
        raise InvalidRequest(
            "address_type is for invoices of type bitcoin", field="/invoice/address_type"
        )
    aid = fields.pop("aid", None)
    amount, fiat = fields.pop("amount", None), fields.pop("fiat", False)
    if fields.get("currency") == "":
        del fields["currency"]
    return InvoiceDraft(**fields, **_amount(amount, fiat)), aid


def _amount(amount: Any, fiat: Any) -> dict[str, Any]:
    """Sats or fiat: false means sats, true that `amount` is in currency, a number wins over it."""
    if fiat is True:
        return {"fiat": _decimal(amount, "amount")}
    if fiat is False or (isinstance(fiat, int | Decimal) and fiat == 0):
        try:
            return {"amount_sat": 0 if amount is None else parse_sat(amount, minimum=0)}
        except ValueError as error:
            raise InvalidAmount(field="/invoice/amount") from error
    return {"fiat": _decimal(fiat, "fiat")}


def _decimal(value: Any, name: str) -> Decimal:
    try:
        return parse_decimal(value)
    except ValueError as error:
        raise InvalidAmount(
            f"{name} must be a positive number", field=f"/invoice/{name}"
        ) from error


def _storable(value: Any) -> Any:
    """JSON whose decimals are floats again, as PostgreSQL and the answer have them."""
    match value:
        case Decimal():
            number = float(value)
            if not abs(number) < 2**63:  # as an integer; PostgreSQL keeps 1e20 as one
                raise serializers.ValidationError("a number is too large")
            return number
        case dict():
            return {name: _storable(item) for name, item in value.items()}
        case list():
            return [_storable(item) for item in value]
        case int() if abs(value) >= 2**63:
            raise serializers.ValidationError("a number is too large")
    return value


# --- Shown ---------------------------------------------------------------------------------------


def invoice_json(
    invoice: Invoice, *, shown: Container[str] = (), with_user: bool = False
) -> dict[str, Any]:
    """An invoice as anybody may see it. `shown`: which of `webhook` and `secret` this caller may
    see, too (P15)."""
    is_lightning = invoice.type == Invoice.Type.LIGHTNING
    body: dict[str, Any] = {
        "id": str(invoice.id),
        "hash": invoice.hash,
        "text": invoice.text,
        "type": invoice.type,
        "amount": invoice.amount_sat,
        "tip": invoice.tip_sat,
        "received": invoice.received_sat,
        "pending": invoice.pending_sat,
        "rate": float(invoice.rate or 0),  # clients need a number; 0 says that there was none
        "currency": invoice.currency,
        "uid": str(invoice.user_id),
        "aid": str(invoice.user_id),
        "created": milliseconds(invoice.created),
        "expiry": invoice.expiry_s,
        "items": invoice.items,
        "prompt": invoice.prompt,
        "own": invoice.own,
        "status": invoice.status,
    }
    if is_lightning:
        body["paymentHash"] = invoice.payment_hash
    if invoice.memo:
        body["memo"] = invoice.memo
    if invoice.memo_prompt:
        body["memoPrompt"] = True
    if invoice.request_id:
        body["request_id"] = invoice.request_id
    if invoice.address_type:
        body["address_type"] = invoice.address_type
    if invoice.settled_at:
        body["settled"] = milliseconds(invoice.settled_at)
        if invoice.preimage:
            body["preimage"] = invoice.preimage
    if "webhook" in shown and invoice.webhook:
        body["webhook"] = invoice.webhook
    if "secret" in shown and invoice.secret:
        body["secret"] = invoice.webhook_secret
    if with_user:
        body["user"] = public_profile(invoice.user)
    return body
