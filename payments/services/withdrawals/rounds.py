"""Take withdrawals as far as they go: one right after it was accepted, the due ones each round."""

from __future__ import annotations

import logging
import uuid

from django.db import InterfaceError, OperationalError
from django.utils import timezone

from coinos import nodes
from coinos.errors import NodeUnavailable
from payments.models import Payment
from payments.services.withdrawals.following import follow
from payments.services.withdrawals.sending import send
from payments.services.withdrawals.signing import PICK_UP_AFTER, claim, sign

logger = logging.getLogger(__name__)

PER_ROUND = 200


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
    """`advance` every withdrawal that is under way; first lock the inputs of the signed ones
    again, which a restart of the node forgets. Returns how many were looked at."""
    under_way = Payment.objects.filter(
        type=Payment.Type.BITCOIN,
        state__in=[Payment.State.CREATED, Payment.State.SIGNED, Payment.State.BROADCAST],
        created__lt=timezone.now() - PICK_UP_AFTER,
    ).order_by("created")
    looked_at = 0
    for payment in under_way[:PER_ROUND]:
        try:
            if payment.state == Payment.State.SIGNED:
                nodes.bitcoin().lock(tuple(payment.inputs.values_list("txid", "vout")))
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
