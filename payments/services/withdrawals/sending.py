"""From `signed` to `broadcast`: give the same hex to the network until it has it, then book it."""

from __future__ import annotations

import logging
import uuid

from django.utils import timezone

from accounts import ledger
from coinos import killswitch, nodes
from coinos.failpoints import failpoint
from payments.gate import PAYER_MAY_SPEND
from payments.models import Payment
from payments.services.withdrawals.adopting import book
from payments.services.withdrawals.ending import end_if_dead
from payments.services.withdrawals.versions import live_version

logger = logging.getLogger(__name__)


def send(payment: Payment) -> None:
    """Give the stored hex to the network. Anything but a clear acceptance leaves it `signed`, and
    the same hex is given again."""
    if not _begin_broadcast(payment) and not (
        payment.broadcast_attempted_at and _is_known(payment)
    ):
        return
    failpoint("btc.attempted")
    answer = nodes.bitcoin().broadcast(live_version(payment).hex)
    failpoint("btc.broadcast")
    if answer.state == "accepted" or (answer.state == "ambiguous" and _is_known(payment)):
        _book(payment.id)
    else:
        logger.error("withdrawal %s: broadcast %s: %s", payment.id, answer.state, answer.reason)
        if answer.state == "ambiguous":
            end_if_dead(payment)


def _begin_broadcast(payment: Payment) -> bool:
    """Note that it leaves now. False while sends are stopped or the payer may not spend any more:
    then only what the network has already is booked."""
    if killswitch.is_stopped():
        return False
    signed = Payment.objects.filter(id=payment.id, state=Payment.State.SIGNED, **PAYER_MAY_SPEND)
    return bool(signed.update(broadcast_attempted_at=timezone.now()))


def _is_known(payment: Payment) -> bool:
    """Whether the network has the transaction, as far as our wallet knows."""
    assert payment.txid
    transaction = nodes.bitcoin().transaction(payment.txid)
    return transaction is not None and (transaction.in_mempool or transaction.confirmations > 0)


@ledger.atomic
def _book(payment_id: uuid.UUID) -> None:
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state == Payment.State.SIGNED:
        book(payment)
