"""An invoice of ours paid by another user here: the ledger moves the money, no node is asked.

`payments` calls these two around the ledger's transfer, all in one transaction:
lock, move, record.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.utils.translation import gettext_noop as _

from accounts import statement
from accounts.models import Activity, User
from coinos.errors import InvalidAmount
from coinos.money import msat_to_sat_ceil
from invoices.errors import InvoiceAlreadyPaid, InvoiceExpired, InvoiceNotFound
from invoices.models import Invoice, LightningRequest
from invoices.selectors import Found, find
from invoices.services.receipts import (
    add,
    lock,
    tell_webhooks,
    tip_within,
    withdraw_requests,
)
from invoices.webhooks import News


@dataclass(frozen=True)
class Payable:
    """A locked invoice by the request that the payer was given.

    `amount_sat` is without the tip, 0 when the payer chooses. An earlier bolt11 of an invoice
    whose tip was changed has the amount and tip of its day: nobody pays more than he was shown.
    """

    invoice: Invoice
    hash: str
    amount_sat: int
    tip_sat: int
    payment_hash: str | None = None

    @property
    def id(self) -> UUID:
        return self.invoice.id

    @property
    def user(self) -> User:
        """Who gets the money."""
        return self.invoice.user

    @property
    def user_id(self) -> UUID:
        return self.invoice.user_id

    @property
    def memo(self) -> str:
        return self.invoice.memo

    @property
    def total_sat(self) -> int:
        """What the payer is debited: amount and tip; 0 when the payer chooses."""
        return self.amount_sat + self.tip_sat if self.amount_sat else 0


def lock_for_internal_payment(ref: str, *, reuse_address: bool = False) -> Payable:
    """Lock what `ref` (bolt11, payment hash, address or uuid) names, if it can still be paid.

    A Lightning invoice is paid internally at most once, with an amount or without (M35). So is an
    address, unless `reuse_address`: coins may be sent to an address again and again.
    Raises `InvoiceNotFound`, `InvoiceAlreadyPaid`, `InvoiceExpired`.
    """
    found = find(ref)
    if found is None:
        raise InvoiceNotFound()
    invoice = lock(found.invoice.id)
    if invoice.type == Invoice.Type.LIGHTNING and not found.address:
        return _lightning(invoice, found)
    if invoice.received_sat and not reuse_address:
        raise InvoiceAlreadyPaid()
    tip_sat = invoice.tip_sat or 0
    return Payable(invoice, found.address or invoice.hash, invoice.amount_sat, tip_sat)


def record_internal_receipt(
    payable: Payable,
    *,
    payer: User,
    amount_sat: int,
    tip_sat: int,
    memo: str = "",
) -> Activity:
    """Record on the recipient's side what the ledger has just moved: `amount_sat` + `tip_sat`.

    Closes the invoice, takes it off the node, writes the recipient's line and queues the webhook.
    Raises `InvalidAmount` when a Lightning invoice named another sum: the transfer rolls back.
    """
    invoice = payable.invoice
    is_by_bolt11 = payable.payment_hash is not None
    if is_by_bolt11 and payable.total_sat and amount_sat + tip_sat != payable.total_sat:
        raise InvalidAmount(
            _("The invoice is for %(sats)s sats"), values={"sats": payable.total_sat}
        )
    add(invoice, amount_sat + tip_sat)
    if invoice.is_paid:
        withdraw_requests([invoice])
    activity = statement.line(
        user_id=invoice.user_id,
        type=Activity.Type.INTERNAL,
        status=Activity.Status.SETTLED,
        amount_sat=amount_sat,
        tip_sat=tip_sat or None,
        hash=payable.hash,
        ref=str(payer.id),
        payment_hash=payable.payment_hash,
        invoice_id=invoice.id,
        counterparty=payer,
        memo=memo or invoice.memo,
        currency=invoice.currency,
        rate=invoice.rate,
    )
    event_ids = statement.record_all([activity])
    tell_webhooks([News(invoice, activity, event_ids[activity.id], invoice.received_sat, True)])
    return activity


def _lightning(invoice: Invoice, found: Found) -> Payable:
    request: LightningRequest
    if found.request:
        request = invoice.requests.get(id=found.request.id)
    else:
        request = invoice.requests.get(payment_hash=invoice.payment_hash)
    if invoice.received_sat or request.was_settled:
        raise InvoiceAlreadyPaid()
    if invoice.is_expired:
        raise InvoiceExpired()
    total_sat = msat_to_sat_ceil(request.amount_msat or 0)
    tip_sat = tip_within(invoice, total_sat) if total_sat else invoice.tip_sat or 0
    return Payable(
        invoice,
        hash=request.bolt11 or "",
        amount_sat=max(0, total_sat - tip_sat),
        tip_sat=tip_sat,
        payment_hash=request.payment_hash,
    )
