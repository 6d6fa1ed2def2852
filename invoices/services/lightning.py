"""Notice Lightning receipts and record each exactly once.

The watcher follows the node's pay index; the sweep reads everything that changed, should the
watcher have missed something. Both end in `record_lightning_receipt`, and the ledger books a
payment hash once, so neither needs to be right about what the other did.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from accounts import ledger, statement
from accounts.models import Activity
from coinos.errors import NodeUnavailable
from coinos.failpoints import failpoint
from coinos.killswitch import stop_sends
from coinos.locks import only_one
from coinos.money import msat_to_sat_floor
from coinos.nodes import lightning
from coinos.nodes.base import LightningNode, NodeInvoice, Receipt
from invoices.models import Cursor, Invoice, LightningRequest
from invoices.services.receipts import (
    add,
    lock,
    tell_webhook,
    tip_within,
    withdraw_requests,
)

logger = logging.getLogger(__name__)

RECEIPTS = "lightning"  # the watcher's cursor: a pay index
CHANGES = "lightning-sweep"  # the sweep's cursor: an updated index
WATCH_S = 50  # the task is rung again every second
WAIT_S = 3  # how long the node keeps one question open
SWEEP_ROWS = 500
UNFINISHED_AFTER = timedelta(hours=1)


class NodeChanged(Exception):
    """Raised when the node is not the one whose receipts we have read so far."""


# --- Watching ------------------------------------------------------------------------------------


def watch_lightning(
    *, seconds: float = WATCH_S, stopped: Callable[[], bool] = lambda: False
) -> int:
    """Record receipts as they come, for about `seconds`; returns how many.

    One process at a time. 1. Make sure that the node is still the one we know. 2. Wait for the
    next pay index above the cursor. 3. Record the receipt and the cursor in one transaction.
    """
    with only_one("watch_lightning") as mine:
        if not mine:
            return 0
        node = lightning()
        cursor = _checked_cursor(node)
        count = 0
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not stopped():
            receipt = node.next_receipt(after_pay_index=cursor, timeout_s=WAIT_S)
            failpoint("recv.after_wait")
            if receipt is None:
                continue
            record_lightning_receipt(receipt, moves_cursor=True)
            failpoint("recv.after_commit")
            cursor = receipt.pay_index
            count += 1
        return count


@ledger.atomic
def record_lightning_receipt(receipt: Receipt, *, moves_cursor: bool = False) -> None:
    """Credit a paid bolt11, and move the watcher's cursor to it in the same transaction (A04).

    Money for a label that is not ours goes to suspense (M21). Recording the same receipt again
    changes nothing. Once the node has the money nothing here refuses it: not an expired invoice,
    not one that was paid already, not another amount (rule 6).
    """
    request = _request_of(receipt.label)
    if request:
        _credit(request, receipt)
    else:
        logger.error("a receipt for the unknown label %r goes to suspense", receipt.label[:80])
        ledger.receive_unmatched(
            source=ledger.House.LIGHTNING,
            external_id=f"lightning:{receipt.payment_hash}",
            amount_msat=receipt.received_msat,
            cause=ledger.Cause("receipt", receipt.label[:100]),
        )
    if moves_cursor:
        _move_cursor(receipt.pay_index)
    failpoint("recv.before_commit")


def sweep_lightning() -> int:
    """Read what changed at the node since the last sweep and record what is paid; returns how
    many invoices were read. The second line behind the watcher (A03).

    A receipt that cannot be recorded holds up the watcher; here the ones behind it get through.
    It is read again by every sweep until it can be.
    """
    with only_one("sweep_lightning") as mine:
        if not mine:
            return 0
        node = lightning()
        _checked_cursor(node)
        position, count, all_recorded = _position(CHANGES), 0, True
        while changed := node.invoices_updated_since(updated_index=position + 1, limit=SWEEP_ROWS):
            for invoice in changed:
                all_recorded = _record_if_paid(invoice) and all_recorded
                position = max(position + 1, invoice.updated_index or 0)
            if all_recorded:
                _set_position(CHANGES, position)
            count += len(changed)
        return count


def _record_if_paid(invoice: NodeInvoice) -> bool:
    """False when it was paid and could not be recorded."""
    if invoice.status != "paid":
        return True
    try:
        record_lightning_receipt(_receipt_of(invoice))
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.critical("cannot record the receipt %s", invoice.payment_hash, exc_info=True)
        return False
    return True


def _credit(request: LightningRequest, receipt: Receipt) -> None:
    invoice = lock(request.invoice_id)
    credited_msat = ledger.receive_lightning(
        user_id=invoice.user_id,
        payment_hash=receipt.payment_hash,
        amount_msat=receipt.received_msat,
        cause=ledger.Cause("invoice", str(invoice.id)),
    )
    if credited_msat is None:
        return  # booked before
    LightningRequest.objects.filter(id=request.id).update(
        state=LightningRequest.State.PAID,
        payment_hash=receipt.payment_hash,
        received_msat=receipt.received_msat,
    )
    withdraw_requests(invoice)
    received_sat = msat_to_sat_floor(credited_msat)
    if not received_sat:
        return  # less than a sat: all of it went to rounding
    invoice.preimage = receipt.preimage
    invoice.save(update_fields=["preimage"])
    add(invoice, received_sat)
    tip_sat = tip_within(invoice, received_sat)
    activity = statement.record(
        user=invoice.user,
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
    tell_webhook(invoice, activity, confirmed=True)


def _request_of(label: str) -> LightningRequest | None:
    """Our request with this label; labels of other programs on the node are not ours."""
    try:
        return LightningRequest.objects.filter(id=UUID(label)).first()
    except ValueError:
        return None


def _receipt_of(invoice: NodeInvoice) -> Receipt:
    if invoice.received_msat is None or invoice.preimage is None or invoice.pay_index is None:
        raise NodeUnavailable("The node's record of a paid invoice is incomplete")
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


def _checked_cursor(node: LightningNode) -> int:
    """The pay index of the last receipt recorded, when the node is the one that it came from.

    A node restored from an old backup counts from a lower index again and would hand out indexes
    that we have passed: then we stop, and external sends with us, until an operator has looked.
    """
    info = node.info()
    row, _ = Cursor.objects.get_or_create(
        name=RECEIPTS, defaults={"value": "0", "node_id": info.id}
    )
    position = int(row.value)
    if row.node_id != info.id:
        _refuse_node(
            f"the Lightning node is {info.id}; the receipts so far came from {row.node_id}"
        )
    if position and node.next_receipt(after_pay_index=position - 1, timeout_s=1) is None:
        _refuse_node(
            f"the Lightning node knows no receipt number {position}, which we have recorded"
        )
    return position


def _refuse_node(reason: str) -> None:
    stop_sends(reason)
    raise NodeChanged(reason)


def _move_cursor(pay_index: int) -> None:
    """Move the watcher's cursor, never back; inside the transaction of what was found."""
    row = Cursor.objects.select_for_update().get(name=RECEIPTS)
    if int(row.value) < pay_index:
        row.value = str(pay_index)
        row.save(update_fields=["value", "updated"])


def _position(name: str) -> int:
    row = Cursor.objects.filter(name=name).first()
    return int(row.value) if row else 0


def _set_position(name: str, position: int) -> None:
    Cursor.objects.update_or_create(name=name, defaults={"value": str(position)})


# --- Taking invoices off the node ----------------------------------------------------------------


def withdraw_node_invoices() -> int:
    """Delete at the node what was settled otherwise, so that it cannot be paid again from outside
    (M16); returns how many. Was it paid meanwhile, that is real money and is credited."""
    node = lightning()
    rows = list(
        LightningRequest.objects.filter(state=LightningRequest.State.WITHDRAWN)[:SWEEP_ROWS]
    )
    for request in rows:
        _take_off(node, request)
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
        _take_off(node, request)
        invoice = request.invoice
        if (
            LightningRequest.objects.filter(
                id=request.id, state=LightningRequest.State.CLOSED
            ).delete()[0]
            and not invoice.hash
        ):
            Invoice.objects.filter(id=invoice.id, requests=None, hash="").delete()
    return len(rows)


def _take_off(node: LightningNode, request: LightningRequest) -> None:
    """Delete one unpaid invoice at the node and close its request; credit it if it was paid."""
    label = str(request.id)
    if not node.delete_unpaid_invoice(label):
        invoice = node.invoice_by_label(label)
        if invoice and invoice.status == "paid":
            record_lightning_receipt(_receipt_of(invoice))
            return
        if invoice and invoice.status == "unpaid":
            return  # refused for another reason: next time
    LightningRequest.objects.filter(id=request.id, state=request.state).update(
        state=LightningRequest.State.CLOSED
    )
