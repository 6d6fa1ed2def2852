"""Notice Lightning receipts and record each exactly once.

The watcher follows the node's pay index; the sweep reads everything that changed, should the
watcher have missed something. Both end in `record_lightning_receipts`, and the ledger books a
payment hash once, so neither needs to be right about what the other did.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

from django.db import InterfaceError, OperationalError
from django.db.models import BigIntegerField
from django.db.models.functions import Cast
from django.utils import timezone

from accounts import ledger, statement
from accounts.models import Activity
from coinos.errors import NodeUnavailable
from coinos.failpoints import failpoint
from coinos.leases import only_one
from coinos.money import msat_to_sat_floor
from coinos.nodes import lightning
from coinos.nodes.base import LightningNode, NodeInvoice, Receipt
from coinos.rows import update_all
from invoices.models import Cursor, Invoice, LightningRequest
from invoices.services.node import CHANGES, RECEIPTS, SWEEPING, WATCHING, require_known
from invoices.services.receipts import (
    COUNTED,
    count,
    tell_webhooks,
    tip_within,
    withdraw_requests,
)
from invoices.webhooks import News

logger = logging.getLogger(__name__)

WATCH_S = 50  # the task is rung again every second
WAIT_S = 3  # how long the node keeps one question open
BATCH = 100  # receipts recorded at once, when so many wait
BATCH_S = 0.1  # how long those that wait are collected
SWEEP_ROWS = 500
UNFINISHED_AFTER = timedelta(hours=1)


# --- Watching ------------------------------------------------------------------------------------


def watch_lightning(
    *, seconds: float = WATCH_S, stopped: Callable[[], bool] = lambda: False
) -> int | None:
    """Record receipts as they come, for about `seconds`; returns how many, or None when another
    process does.

    One process at a time. 1. Make sure that the node is still the one we know. 2. Wait for the
    next pay index above the cursor, and take what else has been paid. 3. Record these receipts
    and the cursor in one transaction.
    """
    with only_one(WATCHING) as mine:
        if not mine:
            return None
        node = lightning()
        require_known(node)
        cursor = _position(RECEIPTS)
        count = 0
        ends = time.monotonic() + seconds
        for receipts in _batches(node, cursor, until=lambda: time.monotonic() >= ends or stopped()):
            failpoint("recv.after_wait")
            _record_each(receipts, moves_cursor=True)
            failpoint("recv.after_commit")
            count += len(receipts)
        return count


def _batches(
    node: LightningNode, cursor: int, *, until: Callable[[], bool]
) -> Iterator[list[Receipt]]:
    """Receipts above the cursor, as they come, together as many as wait. While the caller records
    some, a second thread asks the node what has come meanwhile; at the end that is left for next
    time."""
    with ThreadPoolExecutor(1, "receipts") as ahead:
        receipts: list[Receipt] = []
        while not until():
            receipts = receipts or _next_receipts(node, cursor, wait_s=WAIT_S)
            if receipts:
                cursor = receipts[-1].pay_index
                coming = ahead.submit(_next_receipts, node, cursor, wait_s=0)
                yield receipts
                receipts = coming.result()


def _next_receipts(node: LightningNode, cursor: int, *, wait_s: int) -> list[Receipt]:
    """Wait for one, then take those that wait already: a call for each, whatever is still open."""
    receipts: list[Receipt] = []
    collect_until = 0.0
    while len(receipts) < BATCH and (not receipts or time.monotonic() < collect_until):
        receipt = node.next_receipt(after_pay_index=cursor, timeout_s=0 if receipts else wait_s)
        if receipt is None:
            break
        if not receipts:
            collect_until = time.monotonic() + BATCH_S
        receipts.append(receipt)
        cursor = receipt.pay_index
    return receipts


def _record_each(receipts: list[Receipt], *, moves_cursor: bool) -> None:
    """Record all of them at once, or one by one when that fails: what cannot be recorded holds up
    nobody else. The cursor stays before the first of those, and its error is raised at the end."""
    if len(receipts) > 1:
        try:
            record_lightning_receipts(receipts, moves_cursor=moves_cursor)
            return
        except Exception:
            logger.exception("%d receipts are recorded one by one", len(receipts))
    failure: Exception | None = None
    for receipt in receipts:
        try:
            record_lightning_receipts([receipt], moves_cursor=moves_cursor and not failure)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            logger.critical("cannot record the receipt %s", receipt.payment_hash, exc_info=True)
            failure = failure or error
    if failure:
        raise failure


@ledger.atomic
def record_lightning_receipts(receipts: Sequence[Receipt], *, moves_cursor: bool = False) -> None:
    """Credit paid bolt11s, and move the watcher's cursor to the last one, all in one transaction
    (A04) and with as few statements for many as for one.

    Money for a label that is not ours goes to suspense (M21). Recording the same receipt again
    changes nothing. Once the node has the money nothing here refuses it: not an expired invoice,
    not one that was paid already, not another amount.
    """
    requests = _locked_requests(receipt.label for receipt in receipts)
    ours = [(requests[one.label], one) for one in receipts if one.label in requests]
    if ours:
        _credit(ours)
    for receipt in receipts:
        if receipt.label not in requests:
            _book_to_suspense(receipt)
    if moves_cursor:
        _move_cursor(max(receipts, key=lambda receipt: receipt.pay_index))
    failpoint("recv.before_commit")


def sweep_lightning() -> int | None:
    """Read what changed at the node since the last sweep and record what is paid; returns how
    many invoices were read, or None when another process sweeps. The second line behind the
    watcher (A03).

    A receipt that cannot be recorded is read again by every sweep until it can be.
    """
    with only_one(SWEEPING) as mine:
        if not mine:
            return None
        node = lightning()
        require_known(node)
        position, count, all_recorded = _position(CHANGES), 0, True
        while changed := node.invoices_updated_since(updated_index=position + 1, limit=SWEEP_ROWS):
            all_recorded = _record_paid(changed) and all_recorded
            for invoice in changed:
                position = max(position + 1, invoice.updated_index or 0)
            if all_recorded:
                _set_position(CHANGES, position, changed[-1].payment_hash)
            count += len(changed)
        return count


def _record_paid(invoices: list[NodeInvoice]) -> bool:
    """False when one was paid and could not be recorded."""
    paid = [invoice for invoice in invoices if invoice.status == "paid"]
    receipts = [receipt for receipt in map(_receipt_of, paid) if receipt]
    try:
        _record_each(receipts, moves_cursor=False)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        return False
    return len(receipts) == len(paid)


def _locked_requests(labels: Iterable[str]) -> dict[str, LightningRequest]:
    """Our requests with these labels, by label; labels of other programs on the node are not ours.
    Their invoices are locked, in the order of their ids, until the transaction ends, and two
    requests of one invoice share it. Who owns them is read with them, for the webhooks."""
    ids = []
    for label in labels:
        with contextlib.suppress(ValueError):
            ids.append(UUID(label))
    rows = LightningRequest.objects.filter(id__in=ids).select_related("invoice__user")
    locking = rows.select_for_update(no_key=True, of=("invoice",)).order_by("invoice_id")
    invoices: dict[UUID, Invoice] = {}
    requests = {}
    for request in locking:
        request.invoice = invoices.setdefault(request.invoice_id, request.invoice)
        requests[str(request.id)] = request
    return requests


def _credit(ours: list[tuple[LightningRequest, Receipt]]) -> None:
    """Book what arrived for these requests, in order; what was booked before is passed over."""
    credited = ledger.receive_lightning(
        [
            ledger.Arrived(
                user_id=request.invoice.user_id,
                ref=receipt.payment_hash,
                amount_msat=receipt.received_msat,
                cause=ledger.Cause("invoice", str(request.invoice_id)),
            )
            for request, receipt in ours
        ]
    )
    paid: dict[UUID, LightningRequest] = {}
    lines: list[tuple[Invoice, Activity, int]] = []
    for (request, receipt), credited_msat in zip(ours, credited, strict=True):
        if credited_msat is None:
            continue  # booked before
        request.state = LightningRequest.State.PAID
        request.payment_hash = receipt.payment_hash
        request.received_msat = receipt.received_msat
        paid[request.id] = request
        if whole_sat := msat_to_sat_floor(credited_msat):  # else all of it went to rounding
            line = _line(request, receipt, whole_sat)
            lines.append((request.invoice, line, request.invoice.received_sat))
    update_all(list(paid.values()), ["state", "payment_hash", "received_msat"])
    withdraw_requests({request.invoice_id: request.invoice for request in paid.values()}.values())
    invoices = {invoice.id: invoice for invoice, _, _ in lines}
    update_all(list(invoices.values()), ["preimage", *COUNTED])
    event_ids = statement.record_all([line for _, line, _ in lines])
    tell_webhooks(
        [
            News(invoice, line, event_ids[line.id], received_sat, confirmed=True)
            for invoice, line, received_sat in lines
        ]
    )


def _line(request: LightningRequest, receipt: Receipt, received_sat: int) -> Activity:
    """Count the money on the invoice, and make its line."""
    invoice = request.invoice
    invoice.preimage = receipt.preimage
    count(invoice, received_sat)
    tip_sat = tip_within(invoice, received_sat)
    return statement.line(
        user_id=invoice.user_id,
        type=Activity.Type.LIGHTNING,
        status=Activity.Status.SETTLED,
        amount_sat=received_sat - tip_sat,
        tip_sat=tip_sat or None,
        hash=request.bolt11 or receipt.payment_hash,
        ref=receipt.preimage,
        payment_hash=receipt.payment_hash,
        invoice_id=invoice.id,
        memo=request.comment or invoice.memo,
        currency=invoice.currency,
        rate=invoice.rate,
    )


def _book_to_suspense(receipt: Receipt) -> None:
    label = statement.clean_memo(receipt.label)[:100]
    logger.error("a receipt for the unknown label %r goes to suspense", label)
    ledger.receive_unmatched(
        source=ledger.House.LIGHTNING,
        external_id=f"lightning:{receipt.payment_hash}",
        amount_msat=receipt.received_msat,
        cause=ledger.Cause("receipt", label),
    )


def _receipt_of(invoice: NodeInvoice) -> Receipt | None:
    """None when the node's record of a paid invoice is incomplete."""
    if invoice.received_msat is None or invoice.preimage is None or invoice.pay_index is None:
        logger.critical("the node's record of the receipt %s is incomplete", invoice.payment_hash)
        return None
    return Receipt(
        label=invoice.label,
        payment_hash=invoice.payment_hash,
        received_msat=invoice.received_msat,
        preimage=invoice.preimage,
        paid_at_s=invoice.paid_at_s or 0,
        pay_index=invoice.pay_index,
        offer_id=invoice.offer_id,
    )


# --- Cursors -------------------------------------------------------------------------------------


def _move_cursor(last: Receipt) -> None:
    """Move the watcher's cursor, never back; inside the transaction of what was found. With it
    goes the payment hash: that is how this number will be known again."""
    position = Cast("value", BigIntegerField())
    behind = Cursor.objects.alias(position=position).filter(
        name=RECEIPTS, position__lt=last.pay_index
    )
    behind.update(value=str(last.pay_index), payment_hash=last.payment_hash, updated=timezone.now())


def _position(name: str) -> int:
    row, _ = Cursor.objects.get_or_create(name=name, defaults={"value": "0"})
    return int(row.value)


def _set_position(name: str, position: int, payment_hash: str) -> None:
    Cursor.objects.update_or_create(
        name=name, defaults={"value": str(position), "payment_hash": payment_hash}
    )


# --- Taking invoices off the node ----------------------------------------------------------------


def withdraw_node_invoices() -> int:
    """Delete at the node what was settled otherwise, so that it cannot be paid again from outside
    (M16); returns how many. Was it paid meanwhile, that is real money and is credited."""
    node = lightning()
    rows = list(
        LightningRequest.objects.filter(state=LightningRequest.State.WITHDRAWN)[:SWEEP_ROWS]
    )
    for request in rows:
        _take_off_or_leave(node, request)
    return len(rows)


def clear_unfinished() -> int:
    """Forget requests whose making was cut short: nobody saw their bolt11. Returns how many."""
    node = lightning()
    before = timezone.now() - UNFINISHED_AFTER
    rows = list(
        LightningRequest.objects.filter(
            state=LightningRequest.State.CREATED, created__lt=before
        ).select_related("invoice")[:SWEEP_ROWS]
    )
    for request in rows:
        _take_off_or_leave(node, request)
        invoice = request.invoice
        if (
            LightningRequest.objects.filter(
                id=request.id, state=LightningRequest.State.CLOSED
            ).delete()[0]
            and not invoice.hash
        ):
            Invoice.objects.filter(id=invoice.id, requests=None, hash="").delete()
    return len(rows)


def _take_off_or_leave(node: LightningNode, request: LightningRequest) -> None:
    """`_take_off`; one that the node cannot answer for holds up no others. Raises
    `NodeUnavailable` when the node itself is away."""
    try:
        _take_off(node, request)
    except NodeUnavailable as error:
        node.info()  # raises when the node itself is away: all have to wait
        logger.error("the request %s stays at the node: %s", request.id, error.message)
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # one odd invoice does not hold up the others
        logger.critical("the request %s stays at the node", request.id, exc_info=True)


def _take_off(node: LightningNode, request: LightningRequest) -> None:
    """Delete one unpaid invoice at the node and close its request; credit it if it was paid."""
    label = str(request.id)
    if not node.delete_unpaid_invoice(label):
        invoice = node.invoice_by_label(label)
        if invoice and invoice.status == "paid":
            _record_paid([invoice])
            return
        if invoice and invoice.status == "unpaid":
            return  # refused for another reason: next time
    LightningRequest.objects.filter(id=request.id, state=request.state).update(
        state=LightningRequest.State.CLOSED
    )
