"""Do the ledger and the nodes agree? Rung every minute; what it finds stops external sends."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from django.core.cache import cache
from django.utils import timezone

from accounts import ledger
from coinos import alarms, killswitch, nodes
from coinos.db import now
from coinos.money import MSAT_PER_SAT
from payments.models import Payment

logger = logging.getLogger(__name__)

SHORTFALL = "shortfall"
APART = timedelta(seconds=30)
BALANCE = "balance of account "
LOOK_BACK = timedelta(days=1)
LOOK_BACK_PAYMENTS = 200
LOOKED_BACK_TO = "released-payments-looked-at"
EVERY_S = 60
RESTING = "balances-checked-lately"
REST = 50


@dataclass(frozen=True)
class Solvency:
    """What the nodes hold and what the house owes its users, in msat."""

    began_at: datetime  # by the clock of the database
    assets_msat: int
    owed_msat: int

    @property
    def is_short(self) -> bool:
        return self.assets_msat < self.owed_msat


def solvency() -> Solvency:
    """One reading. What is owed is read first: money that arrives in between only helps.

    The node counts a payment as ours until both sides have removed its HTLC, even after it has
    settled: such payments are taken off (nodes.md 6). Unconfirmed coins are not counted."""
    began_at = now()
    owed_msat = ledger.owed_msat()
    lightning = nodes.lightning().balance()
    settled = Payment.objects.filter(
        payment_hash__in=list(lightning.outgoing_msat), state=Payment.State.SETTLED, fee_final=True
    ).values_list("payment_hash", flat=True)
    leaving_msat = sum(lightning.outgoing_msat[str(payment_hash)] for payment_hash in settled)
    onchain_msat = nodes.bitcoin().balance().trusted_sat * MSAT_PER_SAT
    return Solvency(began_at, lightning.ours_msat - leaving_msat + onchain_msat, owed_msat)


def settled_after_release() -> list[Payment]:
    """Payments of the last day that were given back and that the node now says were paid: must
    not happen, and would be a loss of the house.

    Each round looks at some, from where the last one ended, and begins again with the newest."""
    since = timezone.now() - LOOK_BACK
    released = Payment.objects.filter(
        type=Payment.Type.LIGHTNING,
        state=Payment.State.FAILED,
        attempted_at__isnull=False,
        resolved_at__gt=since,
    ).order_by("-resolved_at")
    if before := cache.get(LOOKED_BACK_TO):
        released = released.filter(resolved_at__lt=before)
    some = list(released[:LOOK_BACK_PAYMENTS])
    is_last = len(some) < LOOK_BACK_PAYMENTS
    cache.set(LOOKED_BACK_TO, None if is_last else some[-1].resolved_at, 3600)
    return [payment for payment in some if _was_paid(payment)]


def _was_paid(payment: Payment) -> bool:
    """Whether the node has paid what this payment gave back. Its user may have tried again: what
    the node paid is that attempt's then, also while we do not yet know that it has settled."""
    assert payment.payment_hash
    if not nodes.lightning().payment_record(payment.payment_hash).complete:
        return False
    again = Payment.objects.filter(
        payment_hash=payment.payment_hash,
        state__in=[Payment.State.SENDING, Payment.State.SETTLED],
    )
    return not again.exists()


def reconcile() -> None:
    """Compare kept with computed balances, released payments with the node's record, and assets
    with liabilities. A balance that is wrong by 1 msat or a refund of what was paid stops external
    sends at once, a shortfall on two readings in a row (O07, rule 10).

    Each finding is an alarm (`coinos.alarms`). The stop file comes back while one stands that
    nobody has acknowledged, and never for another reason."""
    _check_balances()
    for payment in settled_after_release():
        killswitch.stop_sends(
            f"payment {payment.id} was given back and then paid by the node",
            cause=f"paid after release: {payment.id}",
            is_single=True,
        )
    _judge(solvency())
    for alarm in alarms.stopping():
        killswitch.stop_for(alarm)


def _judge(reading: Solvency) -> None:
    """A shortfall stops sends when it is there again in a reading that began `APART` after the end
    of the first one, by the clock of the database: two that ran side by side are one."""
    if not reading.is_short:
        alarms.end(SHORTFALL)
        return
    missing_msat = reading.owed_msat - reading.assets_msat
    sentence = f"the nodes hold {missing_msat} msat less than is owed"
    logger.warning(sentence)
    alarm = alarms.note(SHORTFALL, sentence, amount_msat=missing_msat)
    if reading.began_at - alarm.first_seen >= APART:
        killswitch.stop_for(alarm)


def _check_balances() -> None:
    """Sum all transfers. With many millions of them that takes long and is done less often: it
    rests `REST` times as long as it took, and so takes at most 2 % of the database's time."""
    if cache.get(RESTING):
        return
    began = monotonic()
    wrong = {_cause(difference): difference.account for difference in ledger.differences()}
    rest_s = REST * (monotonic() - began)
    if rest_s > EVERY_S:
        cache.set(RESTING, True, rest_s)
    for cause, account in wrong.items():
        killswitch.stop_sends(f"ledger account {account} does not add up", cause=cause)
    for alarm in alarms.standing().filter(cause__startswith=BALANCE):
        if alarm.cause not in wrong:
            alarms.end(alarm.cause)


def _cause(wrong: ledger.Difference) -> str:
    """Names the difference, which stays while the account lives on; another is another cause."""
    posted_msat = wrong.posted_msat - wrong.computed_posted_msat
    held_msat = wrong.held_msat - wrong.computed_held_msat
    return f"{BALANCE}{wrong.account}: posted {posted_msat:+}, held {held_msat:+} msat"
