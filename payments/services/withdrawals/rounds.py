"""Take withdrawals as far as they go: one right after it was accepted, the due ones each round."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta

from django.db import InterfaceError, OperationalError
from django.db.models import F, Q
from django.utils import timezone

from coinos import nodes
from coinos.errors import NodeUnavailable
from payments.gate import PAYER_MAY_SPEND
from payments.models import Payment, WithdrawalInput
from payments.services.withdrawals.following import follow
from payments.services.withdrawals.sending import send
from payments.services.withdrawals.signing import PICK_UP_AFTER, claim, sign

logger = logging.getLogger(__name__)

PER_ROUND = 200
YOUNG = timedelta(minutes=10)
# The bell rings every 5 s: a little less, or a ring that comes early by a moment finds nothing due.
LOOK_AGAIN_YOUNG = timedelta(seconds=4)
LOOK_AGAIN_OLD = timedelta(minutes=1)


def advance(payment_id: uuid.UUID) -> None:
    """Take a withdrawal as far as it goes now. Safe to run twice and at once: every step is a
    conditional change under the payment's lock. Raises `NodeUnavailable`."""
    payment = Payment.objects.get(id=payment_id)
    if payment.state == Payment.State.CREATED and claim(payment):
        sign(payment)
        payment.refresh_from_db()
    if payment.state == Payment.State.SIGNED:
        send(payment)
    elif payment.state == Payment.State.BROADCAST:
        follow(payment)


def advance_withdrawals() -> int:
    """`advance` every withdrawal whose time has come, the longest overdue first, and say when each
    is looked at again: hundreds that do not move keep no other from its turn. Inputs of the signed
    ones are locked again, which a restart of the node forgets. Returns how many were looked at."""
    now = timezone.now()
    due = Q(next_look_at=None, created__lt=now - PICK_UP_AFTER) | Q(next_look_at__lte=now)
    # What a frozen or evicted payer has not sent yet waits outside.
    may_move = Q(**PAYER_MAY_SPEND) | Q(broadcast_attempted_at__isnull=False)
    under_way = Payment.objects.filter(
        due,
        may_move,
        type=Payment.Type.BITCOIN,
        state__in=[Payment.State.CREATED, Payment.State.SIGNED, Payment.State.BROADCAST],
    ).order_by(F("next_look_at").asc(nulls_first=True), "created")
    looked_at = 0
    for payment in under_way[:PER_ROUND]:
        again = LOOK_AGAIN_YOUNG if now - payment.created < YOUNG else LOOK_AGAIN_OLD
        Payment.objects.filter(id=payment.id).update(next_look_at=now + again)
        try:
            if payment.state == Payment.State.SIGNED:
                _lock_again(payment)
            advance(payment.id)
        except NodeUnavailable as error:
            nodes.bitcoin().info()  # raises when the node itself is away: all have to wait
            logger.error("withdrawal %s cannot be advanced: %s", payment.id, error.message)
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # one odd withdrawal does not hold up the others
            logger.critical("withdrawal %s cannot be advanced", payment.id, exc_info=True)
        looked_at += 1
    return looked_at


def _lock_again(payment: Payment) -> None:
    """Keep its coins from others. Was it cancelled meanwhile, nobody else would free them again:
    a node keeps such locks for ever."""
    coins = tuple(payment.inputs.filter(live=True).values_list("txid", "vout"))
    nodes.bitcoin().lock(coins)
    in_use = WithdrawalInput.objects.filter(live=True, txid__in={txid for txid, _vout in coins})
    over = set(coins) - set(in_use.values_list("txid", "vout"))
    nodes.bitcoin().unlock(tuple(over))
