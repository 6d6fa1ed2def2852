"""A payment's story in words: what happened, what is next. The words are those of the API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.models import Activity
from payments.models import Gift, Payment


@dataclass(frozen=True)
class Step:
    """One entry of the timeline; `state` is done, waiting or failed."""

    words: str
    at: datetime | None = None
    state: str = "done"


def timeline(activity: Activity, payment: Payment | None, gift: Gift | None = None) -> list[Step]:
    """What became of the money of this line, oldest first."""
    if activity.is_incoming:
        return _incoming(activity)
    if gift:
        return _gift(gift)
    if payment is None:
        return [Step(_("Settled: the recipient has it"), activity.settled_at or activity.created)]
    if payment.type == Payment.Type.LIGHTNING:
        return _lightning(activity, payment)
    return _onchain(activity, payment)


def _gift(gift: Gift) -> list[Step]:
    steps = [Step(_("Set aside as a gift"), gift.created)]
    if gift.state == Gift.State.OPEN:
        steps.append(Step(_("Waiting for somebody to take it"), None, "waiting"))
    elif gift.taker:
        steps.append(Step(_("Taken by %(name)s") % {"name": gift.taker.username}, gift.resolved_at))
    else:
        steps.append(Step(_("Returned: yours to spend again"), gift.resolved_at))
    return steps


def _incoming(activity: Activity) -> list[Step]:
    if activity.type != Activity.Type.BITCOIN:
        return [Step(_("Received and yours to spend"), activity.settled_at or activity.created)]
    steps = [Step(_("Seen on the network"), activity.created)]
    if activity.status == Activity.Status.SETTLED:
        steps.append(Step(_("Confirmed and yours to spend"), activity.settled_at))
    elif activity.status == Activity.Status.FAILED:
        steps.append(Step(_(activity.reason or gettext_noop("It never confirmed")), None, "failed"))
    else:
        steps.append(Step(_("Waiting for a block to confirm it"), None, "waiting"))
    return steps


def _lightning(activity: Activity, payment: Payment) -> list[Step]:
    steps = [Step(_("Held: taken out of what you can spend"), payment.created)]
    if payment.attempted_at:
        steps.append(Step(_("Sent: on its way through the network"), payment.attempted_at))
    if activity.status == Activity.Status.SETTLED:
        steps.append(Step(_("Settled: proven by the preimage"), activity.settled_at))
        steps += _fee_returned(payment, payment.resolved_at)
    elif activity.status == Activity.Status.FAILED:
        steps += _returned(activity, payment)
    else:
        steps.append(Step(_("Not known yet whether it arrived"), None, "waiting"))
    return steps


def _onchain(activity: Activity, payment: Payment) -> list[Step]:
    steps = [Step(_("Held: taken out of what you can spend"), payment.created)]
    # Until the node has said that it took it, it is only being tried.
    if payment.broadcast_attempted_at and payment.state != Payment.State.SIGNED:
        steps.append(Step(_("Sent: given to the network"), payment.broadcast_attempted_at))
        steps += _fee_returned(payment, payment.broadcast_attempted_at)
    if activity.status == Activity.Status.SETTLED:
        steps.append(Step(_("Confirmed in a block"), activity.settled_at))
    elif activity.status == Activity.Status.FAILED:
        steps += _returned(activity, payment)
    elif payment.state == Payment.State.BROADCAST:
        steps.append(Step(_("Waiting for a block to confirm it"), None, "waiting"))
    else:
        steps.append(Step(_("Being prepared"), None, "waiting"))
    return steps


def _fee_returned(payment: Payment, at: datetime | None) -> list[Step]:
    back_sat = fee_returned_sat(payment)
    if not back_sat:
        return []
    words = _("Returned: %(sats)s sats of the fee were not needed") % {"sats": back_sat}
    return [Step(words, at)]


def fee_returned_sat(payment: Payment) -> int:
    """What came back of the fee that was held, once the fee is final. Of a payment that took the
    fee out of its amount, the recipient got the difference."""
    if not payment.fee_final or payment.fee_sat is None or payment.subtract_fee:
        return 0
    if payment.state == Payment.State.FAILED:
        return 0  # all of it is back
    return max(0, payment.max_fee_sat - payment.fee_sat)


def progress(activity: Activity, payment: Payment | None) -> str:
    """Where a payment stands, in the words of its headline."""
    if activity.status == Activity.Status.SETTLED:
        return _("Received") if activity.is_incoming else _("Sent")
    if activity.status == Activity.Status.FAILED:
        return _("Cancelled") if payment and payment.was_cancelled else _("Failed")
    if activity.is_incoming:
        return _("Arriving")
    if payment is None or payment.state in (Payment.State.CREATED, Payment.State.SIGNED):
        return _("Being prepared")
    if payment.state == Payment.State.BROADCAST:
        return _("Sent, not yet confirmed")
    return _("On its way")


def _returned(activity: Activity, payment: Payment) -> list[Step]:
    reason = _(activity.reason or payment.failure or gettext_noop("it could not be delivered"))
    words = reason if payment.was_cancelled else _("Failed: %(reason)s") % {"reason": reason}
    return [
        Step(words, payment.resolved_at, "failed"),
        Step(_("Returned: all of it is yours to spend again"), payment.resolved_at),
    ]


def decided_by(payment: Payment | None) -> datetime | None:
    """When a Lightning payment of unknown outcome is normally decided; None when there is none."""
    if payment is None or payment.deadline is None:
        return None
    return payment.deadline + timedelta(seconds=settings.SEND_MARGIN_SECONDS)
