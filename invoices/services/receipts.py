"""What every kind of receipt does to its invoice, in the transaction that books the money.

Order of locks, everywhere: the invoice, then the ledger, then the statement.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import OperationalError, transaction
from django.utils import timezone

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
    count(invoice, received_sat)
    invoice.save(update_fields=COUNTED)


COUNTED = ["received_sat", "settled_at"]


def count(invoice: Invoice, received_sat: int) -> None:
    """`add` for many: the caller saves the fields `COUNTED`."""
    invoice.received_sat += received_sat
    if invoice.is_paid:
        invoice.settled_at = invoice.settled_at or timezone.now()
    else:
        invoice.settled_at = None


def withdraw_requests(invoices: Iterable[Invoice]) -> None:
    """These have been paid: their open bolt11s are to be deleted at the node (M16). The next round
    does that, within seconds; a bell for each payment would be a task of a worker for each."""
    LightningRequest.objects.filter(
        invoice__in=[invoice.id for invoice in invoices], state=LightningRequest.State.OPEN
    ).update(state=LightningRequest.State.WITHDRAWN)


def tell_webhooks(news: Sequence[webhooks.News]) -> None:
    """Queue the calls of the invoices' webhooks, or of their owners' accounts, which the caller has
    read with the invoices. Never raises: the money has arrived."""
    news = [one for one in news if webhooks.is_told(one.invoice)]
    if not news:
        return
    try:
        with transaction.atomic():
            webhooks.queue(news)
    except OperationalError:
        raise  # the whole transaction is run again
    except Exception:
        if len(news) == 1:
            logger.exception("no webhook for invoice %s", news[0].invoice.id)
        else:  # one that cannot be queued costs no other
            for one in news:
                tell_webhooks([one])
