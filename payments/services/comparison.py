"""What the ledger and the Lightning node disagree about, for an operator to look at.

Reading only. Every invoice of the node and every payment that was ever given back is looked at, so
it takes as long as that takes: minutes for a node with many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.utils import timezone

from accounts.models import Transfer
from coinos import nodes
from coinos.nodes.base import LightningNode, NodeInvoice
from invoices.models import LightningRequest
from payments.models import Payment

AT_ONCE = 500


@dataclass(frozen=True)
class Comparison:
    """Four lists, all empty when ledger and node agree."""

    not_booked: list[NodeInvoice]
    """The node has received this, and the books do not know it."""
    given_back: list[Payment]
    """The node has paid this, or still may, and the payer has the money back."""
    not_known: list[Payment]
    """In flight here, and the node has no record of it."""
    not_payable: list[LightningRequest]
    """Open invoices here that the node does not know: whoever pays them is refused."""


def compare() -> Comparison:
    """Raises `NodeUnavailable`."""
    node = nodes.lightning()
    began = timezone.now()
    not_booked: list[NodeInvoice] = []
    labels: set[str] = set()
    for page in _pages(node):
        new = _not_booked([invoice for invoice in page if invoice.status == "paid"])
        unpaid = [invoice for invoice in page if invoice.status == "unpaid"]
        labels.update(invoice.label for invoice in (*unpaid, *new))
        not_booked += new
    open_requests = LightningRequest.objects.filter(
        state=LightningRequest.State.OPEN, created__lt=began
    ).select_related("invoice__user")
    return Comparison(
        not_booked=not_booked,
        given_back=list(_given_back(node)),
        not_known=list(_not_known(node)),
        not_payable=[
            request
            for request in open_requests.order_by("created").iterator(chunk_size=AT_ONCE)
            if str(request.id) not in labels and not request.invoice.is_expired
        ],
    )


def _pages(node: LightningNode) -> Iterator[list[NodeInvoice]]:
    created_index = 1
    while page := node.invoices_created_since(created_index=created_index, limit=AT_ONCE):
        yield page
        created_index = page[-1].created_index + 1


def _not_booked(paid: list[NodeInvoice]) -> list[NodeInvoice]:
    """Those that neither a user nor the account suspense has been credited for."""
    ids = {f"lightning:{invoice.payment_hash}": invoice for invoice in paid}
    booked = Transfer.objects.filter(external_id__in=list(ids)).values_list(
        "external_id", flat=True
    )
    return [invoice for external_id, invoice in ids.items() if external_id not in set(booked)]


def _given_back(node: LightningNode) -> Iterator[Payment]:
    failed = Payment.objects.filter(
        type=Payment.Type.LIGHTNING, state=Payment.State.FAILED, attempted_at__isnull=False
    ).select_related("user")
    for payment in failed.order_by("created").iterator(chunk_size=AT_ONCE):
        assert payment.payment_hash
        record = node.payment_record(payment.payment_hash)
        again = Payment.objects.filter(
            payment_hash=payment.payment_hash,
            state__in=[Payment.State.SENDING, Payment.State.SETTLED],
        )
        if (record.complete or record.pending) and not again.exists():
            yield payment


def _not_known(node: LightningNode) -> Iterator[Payment]:
    in_flight = Payment.objects.filter(
        type=Payment.Type.LIGHTNING, state=Payment.State.SENDING
    ).select_related("user")
    for payment in in_flight.order_by("created"):
        assert payment.payment_hash
        record = node.payment_record(payment.payment_hash)
        if not (record.complete or record.last_part > (payment.parts_before or 0)):
            yield payment
