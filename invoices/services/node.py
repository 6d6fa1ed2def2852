"""Who the Lightning node is: the one whose books we have read, or another?

Its key alone says little: a node that was restored from an old copy of its database, or from its
seed alone, has the same key and has forgotten what happened since. But what lightningd counts only
rises, and a number keeps its content for ever, unless that is deleted. So a node that counts less
than it did, or has another payment hash under a number that we have read, has lost records. Such a
node releases no payment and nothing is received from it, and external sends stop, until an operator
has looked and adopts it. A hole where we have read something is no alarm: paid invoices and old
payments may be deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest
from django.utils import timezone

from coinos import alarms
from coinos.errors import Busy
from coinos.killswitch import stop_sends
from coinos.leases import only_one
from coinos.nodes import lightning
from coinos.nodes.base import LightningInfo, LightningNode, NodeCounters
from invoices.errors import NotThatNode
from invoices.models import Cursor, KnownNode

LIGHTNING = "lightning"
RECEIPTS = "lightning"  # the watcher's cursor: a pay index
CHANGES = "lightning-sweep"  # the sweep's cursor: an updated index
WATCHING = "watch_lightning"
SWEEPING = "sweep_lightning"
INVOICES_AT_ONCE = 500


class NodeChanged(Exception):
    """Raised when the node is not the one whose books we have read so far."""


@dataclass(frozen=True)
class _Books:
    info: LightningInfo
    counters: NodeCounters
    last_part_hash: str


def require_known(node: LightningNode) -> None:
    """Raise `NodeChanged`, and stop external sends, when the node has another id or network than
    the one we know, or has lost records. Else remember how far its books have come.

    What is known is read before the node is asked: it may count further in between, never back.
    """
    known = _known()
    cursors = {
        cursor.name: cursor for cursor in Cursor.objects.filter(name__in=[RECEIPTS, CHANGES])
    }
    if known and known.refusal:
        _refuse(known.refusal)
    books = _read(node)
    if known is None:
        known, _created = KnownNode.objects.get_or_create(name=LIGHTNING, defaults=_row_of(books))
    if other := _other_node(known, books.info):
        _refuse(other)
    loss = _loss(known, books.counters, node) or _loss_of_receipts(cursors, node)
    if loss:
        reason = f"the Lightning node has lost records: {loss}"
        KnownNode.objects.filter(name=LIGHTNING, adopted_at=known.adopted_at).update(refusal=reason)
        _refuse(reason)
    _remember(known, books)


def refusal() -> str:
    """What the node has lost, as long as nobody has adopted it; or nothing."""
    known = _known()
    return known.refusal if known else ""


def _known() -> KnownNode | None:
    return KnownNode.objects.filter(name=LIGHTNING).first()


def _other_node(known: KnownNode, info: LightningInfo) -> str:
    if info.id != known.node_id:
        return f"the Lightning node is {info.id}; the one that we know is {known.node_id}"
    if info.network != known.network:
        return (
            f"the Lightning node is on {info.network}; the one that we know is on {known.network}"
        )
    return ""


def _refuse(reason: str) -> None:
    stop_sends(reason)
    raise NodeChanged(reason)


def _read(node: LightningNode) -> _Books:
    info, counters = node.info(), node.counters()
    last = node.parts_since(number=counters.parts_created, limit=1)
    is_there = bool(last) and last[0].number == counters.parts_created
    return _Books(info, counters, last[0].payment_hash if is_there else "")


def _loss(known: KnownNode, counters: NodeCounters, node: LightningNode) -> str:
    """What the node's counters, or the last part of a payment that we saw, say is missing."""
    for counted, before, what in (
        (counters.invoices_created, known.invoices_created, "invoices"),
        (counters.invoices_updated, known.invoices_updated, "changes of invoices"),
        (counters.parts_created, known.parts_created, "parts of payments"),
    ):
        if counted < before:
            return f"it counts {counted} {what}, and has counted {before}"
    if known.parts_created and known.last_part_hash:
        parts = node.parts_since(number=known.parts_created, limit=1)
        is_there = bool(parts) and parts[0].number == known.parts_created
        if is_there and parts[0].payment_hash != known.last_part_hash:
            return f"its part of a payment number {known.parts_created} is another one"
    return ""


def _loss_of_receipts(cursors: dict[str, Cursor], node: LightningNode) -> str:
    """What the last receipt and the last change that were read say is missing."""
    last = cursors.get(RECEIPTS)
    if last and last.payment_hash:
        number = int(last.value)
        receipt = node.next_receipt(after_pay_index=number - 1, timeout_s=0)
        is_there = receipt is not None and receipt.pay_index == number
        if receipt and is_there and receipt.payment_hash != last.payment_hash:
            return f"its receipt number {number} is another one"
    last = cursors.get(CHANGES)
    if last and last.payment_hash:
        number = int(last.value)
        changed = node.invoices_updated_since(updated_index=number, limit=1)
        is_there = bool(changed) and changed[0].updated_index == number
        if is_there and changed[0].payment_hash != last.payment_hash:
            return f"its change of an invoice number {number} is another one"
    return ""


def _row_of(books: _Books) -> dict[str, object]:
    return {
        "node_id": books.info.id,
        "network": books.info.network,
        "invoices_created": books.counters.invoices_created,
        "invoices_updated": books.counters.invoices_updated,
        "parts_created": books.counters.parts_created,
        "last_part_hash": books.last_part_hash,
    }


def _remember(known: KnownNode, books: _Books) -> None:
    """Raise what is known of the node; others may have raised it further meanwhile."""
    counters = books.counters
    rows = KnownNode.objects.filter(name=LIGHTNING, adopted_at=known.adopted_at)
    if counters.parts_created > known.parts_created:
        rows.filter(parts_created__lt=counters.parts_created).update(
            parts_created=counters.parts_created, last_part_hash=books.last_part_hash
        )
    if (counters.invoices_created, counters.invoices_updated) != (
        known.invoices_created,
        known.invoices_updated,
    ):
        rows.update(
            invoices_created=Greatest(F("invoices_created"), counters.invoices_created),
            invoices_updated=Greatest(F("invoices_updated"), counters.invoices_updated),
        )


def adopt(node_id: str) -> None:
    """Take the Lightning node as it is now for the one whose books we read: an operator has looked.

    `node_id` is the id that the operator means; raises `NotThatNode` when another one answers.
    What it has received is read again from the beginning: what is booked is passed over, the rest
    is credited or goes to suspense. Payments that were in flight stay undecided until the node
    knows them: that it has no record of them proves nothing. Its alarm ends; the stop file stays.
    Raises `Busy` while receipts are being recorded, and `NodeUnavailable`.
    """
    node = lightning()
    with only_one(WATCHING) as watching, only_one(SWEEPING) as sweeping:
        if not (watching and sweeping):
            raise Busy(retry_after_s=60)
        require_that_node(node, node_id)
        books, before = _read(node), _known()
        pay_index, payment_hash = _last_receipt(node)
        row = _row_of(books) | {"refusal": "", "adopted_at": timezone.now()}
        with transaction.atomic():
            KnownNode.objects.update_or_create(name=LIGHTNING, defaults=row)
            Cursor.objects.update_or_create(
                name=RECEIPTS, defaults={"value": str(pay_index), "payment_hash": payment_hash}
            )
            # The sweep reads everything from the beginning, the watcher goes on from here.
            Cursor.objects.update_or_create(
                name=CHANGES, defaults={"value": "0", "payment_hash": ""}
            )
            if before:
                for reason in (before.refusal, _other_node(before, books.info)):
                    alarms.end(reason)


def require_that_node(node: LightningNode, node_id: str) -> None:
    """Raise `NotThatNode` when another node answers than the operator means."""
    answers = node.info().id
    if answers != node_id:
        raise NotThatNode(values={"id": answers})


def _last_receipt(node: LightningNode) -> tuple[int, str]:
    """The highest pay index at the node, and its payment hash."""
    last, updated_index = (0, ""), 1
    while page := node.invoices_updated_since(updated_index=updated_index, limit=INVOICES_AT_ONCE):
        for invoice in page:
            updated_index = max(updated_index, invoice.updated_index or 0) + 1
            if invoice.pay_index is not None and invoice.pay_index > last[0]:
                last = invoice.pay_index, invoice.payment_hash
    return last
