"""Questions about invoices. Reads only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from accounts.models import User
from accounts.selectors import UserNotFound, user_by_name
from coinos.db import Query, ask
from coinos.joined import Joined
from invoices.errors import InvoiceNotFound
from invoices.models import Address, Deposit, Invoice, LightningRequest, WebhookDelivery

_PREFIX = re.compile(r"(lightning|bitcoin):(//)?", re.IGNORECASE)
_PAYMENT_HASH = re.compile(r"[0-9a-f]{64}")
_BECH32_ADDRESS = re.compile(r"(bc|tb|bcrt)1")


@dataclass(frozen=True)
class Found:
    """An invoice and which of its requests the key named: a bolt11, an address, or neither."""

    invoice: Invoice
    request: LightningRequest | None = None
    address: str | None = None


def find(key: str) -> Found | None:
    """The invoice named by a bolt11 or payment hash, an address, or our uuid.

    Any letter case where the encoding allows it, `lightning:` and `bitcoin:` prefixes tolerated.
    Earlier requests of a changed invoice still find it. None when it is not one of ours.
    """
    text = _PREFIX.sub("", key.strip(), count=1).split("?")[0]
    if not text.isascii() or "\x00" in text:
        return None
    lower = text.lower()
    if lower.startswith("ln"):
        return _by_request("bolt11", lower)
    if _PAYMENT_HASH.fullmatch(lower):
        return _by_request("payment_hash", lower)
    try:
        invoice = invoice_by_id(UUID(text))
    except ValueError:
        address = lower if _BECH32_ADDRESS.match(lower) else text
        row = Address.objects.select_related("invoice__user").filter(address=address[:100]).first()
        return Found(row.invoice, address=row.address) if row else None
    return Found(invoice) if invoice else None


def find_invoice(key: str) -> Invoice | None:
    """`find`, when only the invoice matters."""
    found = find(key)
    return found.invoice if found else None


def get_invoice(key: str) -> Invoice:
    """`find_invoice`; raises `InvoiceNotFound`."""
    invoice = find_invoice(key)
    if invoice is None:
        raise InvoiceNotFound()
    return invoice


def invoice_by_id(id: UUID) -> Invoice | None:
    return _visible().filter(id=id).first()


def payee(username: str, *, viewer: User | None = None) -> User:
    """Whose public page this is. Raises `UserNotFound`, also to others when it is hidden."""
    owner = user_by_name(username)
    if owner.hidepay and owner != viewer:
        raise UserNotFound()
    return owner


def invoices_of(user: User, *, own: bool | None = None) -> QuerySet[Invoice]:
    """The user's invoices, newest first; those that were never finished are left out. With `own`
    only those that the user made, or only those that others did."""
    found = _visible().filter(user=user)
    if own is not None:
        found = found.filter(own=own)
    return found.order_by("-created", "-id")


def deposits_of(invoice: Invoice) -> list[Deposit]:
    """What was sent to the invoice's addresses and stands, oldest first."""
    if not (invoice.received_sat or invoice.pending_sat):
        return []  # an open page asks often
    deposits = Deposit.objects.filter(address__invoice=invoice)
    return list(deposits.exclude(state=Deposit.State.CONFLICTED).order_by("created"))


def deliveries_of(user: User) -> QuerySet[WebhookDelivery]:
    """What the user's webhooks were told and how they answered, newest first."""
    return (
        WebhookDelivery.objects.filter(invoice__user=user)
        .select_related("invoice")
        .prefetch_related("attempts")
        .order_by("-created")
    )


def deliveries_of_invoice(invoice: Invoice) -> QuerySet[WebhookDelivery]:
    """The calls about this invoice, newest first."""
    return invoice.deliveries.prefetch_related("attempts").order_by("-created")


def _visible() -> QuerySet[Invoice]:
    return Invoice.objects.exclude(hash="").select_related("user")


def _by_request(column: str, value: str) -> Found | None:
    rows = ask(Query(f"{_REQUESTS} WHERE request.{column} = %s", [value]))
    if not rows:
        return None
    request, invoice, owner = _REQUEST_INVOICE_OWNER.read(rows[0])
    request.invoice, invoice.user = invoice, owner
    return Found(invoice, request=request)


_REQUEST_INVOICE_OWNER = Joined(request=LightningRequest, invoice=Invoice, owner=User)
_REQUESTS = f"""
    SELECT {_REQUEST_INVOICE_OWNER.columns} FROM invoices_lightningrequest AS request
    JOIN invoices_invoice AS invoice ON invoice.id = request.invoice_id
    JOIN accounts_user AS owner ON owner.id = invoice.user_id
"""  # noqa: S608 – our own names
