"""Do the ledger and the nodes agree? Rung every minute; what it finds stops external sends."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.core.cache import cache
from django.db.models import F, Sum
from django.utils import timezone

from accounts import ledger
from coinos import alarms, killswitch, nodes
from coinos.db import now
from coinos.errors import NodeUnavailable
from coinos.money import MSAT_PER_SAT
from payments.models import Payment, Reading

logger = logging.getLogger(__name__)

SHORTFALL = "shortfall"
APART = timedelta(seconds=30)
ONCHAIN_GOOD_FOR = timedelta(hours=1)
BALANCE = "balance of account "
LOOK_BACK = timedelta(days=1)
LOOK_BACK_PAYMENTS = 200
LOOKED_BACK_TO = "released-payments-looked-at"
EVERY_S = 60
RESTING = "balances-checked-lately"
REST = 50


def solvency() -> Reading:
    """One reading, kept. What is owed is read first: money that arrives in between only helps.

    The node counts a payment out as ours until both sides have removed its HTLC, even after it has
    settled: such payments are taken off. It counts one that came in only when both have, which a
    peer may put off for hours: those whose receipt we have booked are added.

    Raises `NodeUnavailable`, also while the Lightning node catches up with the chain: it has taken
    the last blocks back, and the coins in them are unconfirmed until it has read them again."""
    began_at = now()
    owed_msat = ledger.owed_msat()
    node = nodes.lightning()
    if not node.info().synced:
        raise NodeUnavailable()
    lightning = node.balance()
    onchain = _onchain(began_at)
    reading = Reading(
        id=Reading.NEWEST,
        began_at=began_at,
        owed_msat=owed_msat,
        channels_msat=lightning.channels_msat,
        closing_msat=lightning.closing_msat,
        wallet_msat=lightning.wallet_msat,
        leaving_msat=_leaving_msat(lightning.outgoing_msat),
        arriving_msat=_arriving_msat(lightning.incoming_msat),
        **onchain,
    )
    reading.save()
    return reading


def _leaving_msat(outgoing_msat: dict[str, int]) -> int:
    """HTLCs of payments that have settled: no longer ours."""
    settled = Payment.objects.filter(
        payment_hash__in=list(outgoing_msat), state=Payment.State.SETTLED, fee_final=True
    ).values_list("payment_hash", flat=True)
    return sum(outgoing_msat[str(payment_hash)] for payment_hash in settled)


def _arriving_msat(incoming_msat: dict[str, int]) -> int:
    """HTLCs of receipts that are booked: ours already, and never more of one than was booked. The
    node also lists those that it refuses, such as a second payment of a paid invoice."""
    booked_msat = ledger.received_msat(incoming_msat)
    return sum(min(incoming_msat[hash], booked_msat[hash]) for hash in booked_msat)


def _onchain(began_at: datetime) -> dict[str, Any]:
    """What the bitcoin wallet holds. While its node is away, what it held when it last answered and
    what we have sent since, for `ONCHAIN_GOOD_FOR`: a bitcoin node that restarts stops no payment
    over Lightning. After that lightningd, which sees no blocks either, should send nothing."""
    try:
        onchain_msat = nodes.bitcoin().balance().trusted_sat * MSAT_PER_SAT
        return {"onchain_msat": onchain_msat, "onchain_at": began_at, "sent_since_msat": 0}
    except NodeUnavailable:
        last = Reading.objects.filter(onchain_at__gt=began_at - ONCHAIN_GOOD_FOR).first()
        if last is None:
            raise
    sent = Payment.objects.filter(
        type=Payment.Type.BITCOIN, broadcast_attempted_at__gte=last.onchain_at
    ).aggregate(sat=Sum(F("amount_sat") + F("fee_sat")))
    return {
        "onchain_msat": last.onchain_msat,
        "onchain_at": last.onchain_at,
        "sent_since_msat": (sent["sat"] or 0) * MSAT_PER_SAT,
    }


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
    sends at once, a shortfall on two readings in a row (O07).

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


def _judge(reading: Reading) -> None:
    """A shortfall stops sends when it is there again in a reading that began `APART` after the end
    of the first one, by the clock of the database: two that ran side by side are one."""
    if not reading.is_short:
        alarms.end(SHORTFALL)
        return
    sentence = f"the nodes hold {reading.missing_msat} msat less than is owed"
    logger.warning(sentence)
    alarm = alarms.note(SHORTFALL, sentence, amount_msat=reading.missing_msat)
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
