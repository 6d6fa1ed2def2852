"""What every kind of receipt does to its invoice, in the transaction that books the money.

Order of locks, everywhere: the invoice, then the ledger, then the statement.
"""

from __future__ import annotations

import logging
from uuid import UUID

from django.db import OperationalError, transaction
from django.utils import timezone

from accounts.models import Activity
from coinos import bell
from invoices import webhooks
from invoices.models import Invoice, LightningRequest

logger = logging.getLogger(__name__)


def lock(invoice_id: UUID) -> Invoice:
    """The invoice, locked until the transaction ends."""
    rows = Invoice.objects.select_for_update(no_key=True, of=("self",)).select_related("user")
    return rows.get(id=invoice_id)


def tip_within(invoice: Invoice, received_sat: int) -> int:
    """The part of one payment that is tip: what exceeds the amount asked, up to the tip asked, and
    never the whole payment (M18)."""
    return max(0, min(invoice.tip_sat or 0, received_sat - max(invoice.amount_sat, 1)))


def add(invoice: Invoice, received_sat: int) -> None:
    """Count settled money on the locked invoice; negative when a reorg takes it back."""
    invoice.received_sat += received_sat
    if invoice.is_paid:
        invoice.settled_at = invoice.settled_at or timezone.now()
    else:
        invoice.settled_at = None
    invoice.save(update_fields=["received_sat", "settled_at"])


def withdraw_requests(invoice: Invoice) -> None:
    """The invoice has been paid: its open bolt11s are to be deleted at the node (M16)."""
    open_requests = invoice.requests.filter(state=LightningRequest.State.OPEN)
    if open_requests.update(state=LightningRequest.State.WITHDRAWN):
        bell.ring_after_commit("invoices.tasks.withdraw_node_invoices")


def tell_webhook(invoice: Invoice, activity: Activity, *, confirmed: bool) -> None:
    """Queue the call of the invoice's webhook. Never raises: money has arrived (rule 6)."""
    try:
        with transaction.atomic():
            webhooks.queue(invoice, activity, confirmed=confirmed)
    except OperationalError:
        raise  # the whole transaction is run again
    except Exception:
        logger.exception("no webhook for invoice %s", invoice.id)
