"""From `broadcast` to `confirmed`: count confirmations until it is deep."""

from __future__ import annotations

import logging
import uuid

from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import ledger, statement
from accounts.models import Activity
from coinos import killswitch, nodes
from coinos.money import MSAT_PER_SAT
from coinos.nodes.base import WalletTransaction
from payments.models import Payment
from payments.services.withdrawals.versions import live_version

logger = logging.getLogger(__name__)

DEEP = 6


def follow(payment: Payment) -> None:
    """Count confirmations until it is deep. Dropped from the mempool: the same hex again.

    Only a foreign transaction that spent an input, buried deep, ends it as failed; after one of
    our own wallet's an operator has to look."""
    assert payment.txid
    transaction = nodes.bitcoin().transaction(payment.txid)
    if transaction is None or (transaction.confirmations == 0 and not transaction.in_mempool):
        nodes.bitcoin().broadcast(live_version(payment).hex)
        return
    _note_confirmations(payment.id, transaction)


@ledger.atomic
def _note_confirmations(payment_id: uuid.UUID, transaction: WalletTransaction) -> None:
    confirmations = transaction.confirmations
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != Payment.State.BROADCAST or payment.confirmations == confirmations:
        return
    before, payment.confirmations = payment.confirmations, confirmations
    was_settled = before > 0
    activity = Activity.objects.get(id=payment.id)
    if confirmations <= -DEEP and not transaction.conflicts:
        _return(payment, activity)
    elif confirmations > 0 and not was_settled:
        payment.resolved_at = timezone.now()
        statement.change(activity, status=Activity.Status.SETTLED)
    elif confirmations <= 0 and was_settled:
        statement.change(activity, status=Activity.Status.PENDING)
    if transaction.conflicts and confirmations <= -DEEP < before:
        # A rival of our own wallet may have paid the recipient: a fee bumped by hand.
        killswitch.stop_sends(f"withdrawal {payment.id} was replaced by another of our wallet's")
    if confirmations >= DEEP:
        payment.state = Payment.State.CONFIRMED
        payment.inputs.update(live=False)
    payment.save(update_fields=["state", "confirmations", "resolved_at", "failure"])


def _return(payment: Payment, activity: Activity) -> None:
    """A foreign transaction took our inputs for good: the user gets amount and fees back."""
    logger.critical("withdrawal %s: its inputs were spent by another transaction", payment.id)
    killswitch.stop_sends(f"withdrawal {payment.id} was replaced by a foreign transaction")
    assert payment.fee_sat is not None
    payment.state = Payment.State.FAILED
    payment.failure = _("Another transaction spent the same coins; your sats are back")
    payment.inputs.update(live=False)
    ledger.return_withdrawal(
        user_id=payment.user_id,
        spent_msat=(payment.amount_sat + payment.fee_sat) * MSAT_PER_SAT,
        platform_fee_msat=payment.platform_fee_sat * MSAT_PER_SAT,
        payment_id=payment.id,
    )
    statement.change(
        activity,
        status=Activity.Status.FAILED,
        fee_sat=0,
        platform_fee_sat=0,
        reason=payment.failure,
    )
