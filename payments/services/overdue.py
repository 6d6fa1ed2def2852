"""Speed up by itself what has waited longer than promised, within what its user agreed to.

Whoever sends chooses a rate by how long it takes, and sees the most that the network may take: what
is held until the withdrawal is signed. Later the network may ask more. Then a withdrawal gets the
rate that a new one would get, or as much of it as that maximum allows, at its user's expense: the
rest of what was held went back and may be spent since, and then nothing is done.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import InterfaceError, OperationalError
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from coinos import killswitch, nodes
from coinos.errors import CoinosError, NodeUnavailable
from payments.fees import FEE_RATE_MAX_SAT_VB
from payments.gate import PAYER_MAY_SPEND
from payments.models import Payment, WithdrawalTransaction
from payments.services.bump import bump_as_agreed
from payments.services.withdrawals.versions import live_version

logger = logging.getLogger(__name__)

OVERDUE_AFTER = timedelta(minutes=30)
"""Beyond the promised time: blocks do not come by the clock."""
AGAIN_AFTER = timedelta(hours=1)
"""Each version has so long to be mined before there is another."""


def bump_overdue() -> int:
    """Give every withdrawal that waits for too long a higher rate, where one is due, agreed to and
    paid for. Returns how many were sped up. Raises `NodeUnavailable`."""
    overdue = list(_overdue())
    if not overdue or killswitch.is_stopped():
        return 0
    rate_sat_vb = min(nodes.bitcoin().fee_rates().half_hour, FEE_RATE_MAX_SAT_VB)
    return sum(_speed_up(payment, rate_sat_vb) for payment in overdue)


def _overdue() -> QuerySet[Payment]:
    """Those that could be sped up: by their time, their user and what was agreed."""
    now = timezone.now()
    young = WithdrawalTransaction.objects.filter(
        payment=OuterRef("id"), created__gt=now - AGAIN_AFTER
    )
    return Payment.objects.filter(
        ~Exists(young),
        type=Payment.Type.BITCOIN,
        state=Payment.State.BROADCAST,
        confirmations=0,
        expected_by__lt=now - OVERDUE_AFTER,
        subtract_fee=False,
        fee_sat__lt=F("max_fee_sat"),
        **PAYER_MAY_SPEND,
    ).order_by("expected_by")


def _speed_up(payment: Payment, rate_sat_vb: int) -> bool:
    live = live_version(payment)
    # Its size, rounded down: a replacement may be larger, and is looked at again when it is signed.
    agreed_sat_vb = payment.agreed_fee_sat * live.fee_rate_sat_vb // max(1, live.fee_sat)
    new_sat_vb = min(rate_sat_vb, agreed_sat_vb)
    if new_sat_vb <= live.fee_rate_sat_vb:
        return False
    try:
        bump_as_agreed(payment, new_sat_vb)
    except (NodeUnavailable, OperationalError, InterfaceError):
        raise
    except CoinosError as error:  # built upon, in a block meanwhile, spent, frozen: it waits on
        logger.info("withdrawal %s is overdue and stays: %s", payment.id, error.message)
        return False
    except Exception:  # one odd withdrawal does not hold up the others
        logger.critical("withdrawal %s cannot be sped up", payment.id, exc_info=True)
        return False
    logger.info("withdrawal %s was overdue: %s sat/vB from now on", payment.id, new_sat_vb)
    return True
