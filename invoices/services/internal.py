"""An invoice of ours paid by another user here: the ledger moves the money, no node is asked.

`payments` calls these around the ledger's transfer, all in one transaction: lock, write the receipt
with the transfer, tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.utils.translation import gettext_noop as _

from accounts import statement
from accounts.models import Activity, Event, User
from coinos.db import Query, ask_at_once
from coinos.errors import InvalidAmount
from coinos.joined import Joined
from coinos.money import msat_to_sat_ceil
from invoices.errors import InvoiceAlreadyPaid, InvoiceExpired
from invoices.models import Invoice, LightningRequest
from invoices.selectors import Found
from invoices.services.receipts import count, tell_webhooks, tip_within
from invoices.webhooks import News, is_told


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


def lock_for_internal_payment(found: Found, *, reuse_address: bool = False) -> Payable:
    """Lock the invoice that was found, if it can still be paid.

    A Lightning invoice is paid internally at most once, with an amount or without (M35). So is an
    address, unless `reuse_address`: coins may be sent to an address again and again.
    Raises `InvoiceAlreadyPaid`, `InvoiceExpired`.
    """
    invoice, request = _lock(found)
    if invoice.type == Invoice.Type.LIGHTNING and not found.address:
        assert request, "an invoice by Lightning has been asked for with a bolt11"
        return _lightning(invoice, request)
    if invoice.received_sat and not reuse_address:
        raise InvoiceAlreadyPaid()
    tip_sat = invoice.tip_sat or 0
    return Payable(invoice, found.address or invoice.hash, invoice.amount_sat, tip_sat)


@dataclass(frozen=True)
class InternalReceipt:
    """The recipient's side of a payment that is about to be booked."""

    invoice: Invoice
    line: Activity
    queries: list[Query]  # to be sent with the transfer, and `statement.writing` of the line

    def tell(self) -> None:
        """Queue the webhook, in the transaction that has just written the line."""
        if not is_told(self.invoice):
            return
        event = Event.objects.filter(activity=self.line).latest("id")
        tell_webhooks([News(self.invoice, self.line, event.id, self.invoice.received_sat, True)])


def internal_receipt(
    payable: Payable,
    *,
    payer: User,
    amount_sat: int,
    tip_sat: int,
    memo: str = "",
) -> InternalReceipt:
    """What the ledger's transfer of `amount_sat` + `tip_sat` does on the recipient's side: closes
    the invoice, takes it off the node, and adds a line.

    Raises `InvalidAmount` when a Lightning invoice named another sum.
    """
    invoice = payable.invoice
    is_by_bolt11 = payable.payment_hash is not None
    if is_by_bolt11 and payable.total_sat and amount_sat + tip_sat != payable.total_sat:
        raise InvalidAmount(
            _("The invoice is for %(sats)s sats"), values={"sats": payable.total_sat}
        )
    count(invoice, amount_sat + tip_sat)
    queries = [Query(_COUNT, [invoice.received_sat, invoice.settled_at, invoice.id])]
    if invoice.is_paid:
        queries.append(Query(_WITHDRAW, [invoice.id]))
    line = statement.line(
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
    return InternalReceipt(invoice, line, queries)


def _lightning(invoice: Invoice, request: LightningRequest) -> Payable:
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


# --- SQL -----------------------------------------------------------------------------------------


def _lock(found: Found) -> tuple[Invoice, LightningRequest | None]:
    """The invoice, locked, and the request that was found, or else the newest, as it is under that
    lock: it is read by a second statement, in the same round trip."""
    invoices, requests = ask_at_once(
        Query(_LOCK_INVOICE, [found.invoice.id]),
        Query(_READ_REQUEST, [found.request.id])
        if found.request
        else Query(_READ_NEWEST_REQUEST, [found.invoice.id]),
    )
    invoice, invoice.user = _INVOICE_AND_OWNER.read(invoices[0])
    request = _REQUEST.read(requests[0])[0] if requests else None
    return invoice, request


_INVOICE_AND_OWNER = Joined(invoice=Invoice, owner=User)
_REQUEST = Joined(request=LightningRequest)

_LOCK_INVOICE = f"""
    SELECT {_INVOICE_AND_OWNER.columns}
    FROM invoices_invoice AS invoice JOIN accounts_user AS owner ON owner.id = invoice.user_id
    WHERE invoice.id = %s FOR NO KEY UPDATE OF invoice
"""  # noqa: S608 – our own names

_READ_REQUEST = f"""
    SELECT {_REQUEST.columns} FROM invoices_lightningrequest AS request WHERE id = %s
"""  # noqa: S608

_READ_NEWEST_REQUEST = f"""
    SELECT {_REQUEST.columns} FROM invoices_lightningrequest AS request
    WHERE payment_hash = (SELECT payment_hash FROM invoices_invoice WHERE id = %s)
"""  # noqa: S608

_COUNT = "UPDATE invoices_invoice SET received_sat = %s, settled_at = %s WHERE id = %s"

_WITHDRAW = """
    UPDATE invoices_lightningrequest SET state = 'withdrawn'
    WHERE invoice_id = %s AND state = 'open'
"""
