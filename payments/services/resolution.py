"""What became of a Lightning payment: one function, used by the request and by the resolver.

Only the node's own record ends a payment, by the release rule (`coinos.nodes.release`). The
resolver looks every few seconds for ten minutes, then every minute, for ever; it never pays.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.core.cache import cache
from django.db import InterfaceError, OperationalError
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import ledger, statement
from accounts.models import Activity
from coinos import killswitch, nodes
from coinos.db import Query, ask
from coinos.errors import NodeUnavailable
from coinos.failpoints import failpoint
from coinos.joined import Joined
from coinos.money import MSAT_PER_SAT
from coinos.nodes.base import Failed, LightningNode, Outcome, Settled, Unknown
from coinos.nodes.release import outcome
from coinos.rows import update_together
from invoices.models import KnownNode
from invoices.services.node import NodeChanged, require_known
from payments.models import Payment
from payments.services.release import release

logger = logging.getLogger(__name__)

YOUNG = timedelta(minutes=10)
# The bell rings every 5 s: a little less, or a ring that comes early by a moment finds nothing due.
LOOK_AGAIN_YOUNG = timedelta(seconds=4)
LOOK_AGAIN_OLD = timedelta(minutes=1)
STUCK_AFTER = timedelta(hours=1)
PER_ROUND = 200
PARTS_AT_ONCE = 500
ANSWERED_AT = "resolver-had-an-answer-at"
MARGIN = timedelta(seconds=settings.SEND_MARGIN_SECONDS)
# So late, a look shows that this machine stood still; two rings that got lost do not.
AWAY = MARGIN + timedelta(seconds=10)


def resolve(payment_id: UUID) -> bool:
    """Look at the node's record of a payment and end it if the record says so.

    Returns True when the payment is over: settled with its final fee, or failed."""
    return resolve_read(Payment.objects.get(id=payment_id))


def resolve_read(payment: Payment) -> bool:
    """`resolve` for a row that has just been read; what it changes is read again under lock."""
    try:
        return _resolve(payment)
    except NodeUnavailable:
        _wait_anew(Payment.objects.filter(id=payment.id))
        return False


def _resolve(payment: Payment, *, of_known_node: bool = True) -> bool:
    """`resolve_read` that raises `NodeUnavailable`."""
    match payment.state:
        case Payment.State.SENDING:
            return _apply(payment, _outcome(payment, of_known_node=of_known_node))
        case Payment.State.SETTLED:
            return payment.fee_final or _apply(
                payment, _outcome(payment, of_known_node=of_known_node)
            )
        case Payment.State.FAILED:
            return True
    return False


# --- The round of the resolver -------------------------------------------------------------------


def resolve_due() -> int:
    """Look at every undecided payment whose time has come. Returns how many ended.

    A node that has changed settles payments and releases none. One that is away ends the round,
    and one odd payment does not."""
    due = Payment.objects.filter(type=Payment.Type.LIGHTNING, next_look_at__lte=timezone.now())
    undecided = due.filter(state=Payment.State.SENDING) | due.filter(
        state=Payment.State.SETTLED, fee_final=False
    )
    ended = 0
    is_known: bool | None = None
    for payment in undecided.order_by("next_look_at")[:PER_ROUND]:
        try:
            if is_known is None:
                is_known = _is_known_node()
            ended += _look_again(payment, of_known_node=is_known)
        except NodeUnavailable as error:
            if _is_away():
                break
            _wait_anew(Payment.objects.filter(id=payment.id))
            logger.error("payment %s cannot be looked at: %s", payment.id, error.message)
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # one odd payment does not hold up the others
            logger.critical("payment %s cannot be resolved", payment.id, exc_info=True)
    return ended


def _is_known_node() -> bool:
    """Raises `NodeUnavailable`."""
    try:
        require_known(nodes.lightning())
    except NodeChanged as error:
        logger.critical("no payment is given back: %s", error)
        return False
    return True


def _is_away() -> bool:
    """Whether the node does not answer at all; then every call that has not returned may still be
    waiting there."""
    try:
        nodes.lightning().info()
    except NodeUnavailable:
        _wait_anew(Payment.objects.all())
        return True
    return False


def _look_again(payment: Payment, *, of_known_node: bool) -> bool:
    now = timezone.now()
    age = now - payment.created
    if age > STUCK_AFTER:
        logger.error("payment %s is undecided for %s", payment.id, age)
    if payment.next_look_at and now - payment.next_look_at > AWAY and not _answered_lately(now):
        _wait_anew(Payment.objects.all())
    again = LOOK_AGAIN_YOUNG if age < YOUNG else LOOK_AGAIN_OLD
    Payment.objects.filter(id=payment.id).update(next_look_at=now + again)
    is_over = _resolve(Payment.objects.get(id=payment.id), of_known_node=of_known_node)
    cache.set(ANSWERED_AT, timezone.now(), timeout=None)
    return is_over


def _answered_lately(now: datetime) -> bool:
    """A look that is late because the round is long is no pause: the node answered meanwhile."""
    answered_at = cache.get(ANSWERED_AT)
    return answered_at is not None and now - answered_at <= AWAY


def _wait_anew(payments: QuerySet[Payment]) -> None:
    """Start the deadline again for calls that have not returned: we were away, or the node was.

    A node that hangs has our request before it and carries it out when it wakes, long after the
    deadline; only a node that answers all the while can say that nothing was sent."""
    deadline = timezone.now() + timedelta(seconds=settings.SEND_RETRY_FOR_SECONDS)
    undecided = payments.filter(
        state=Payment.State.SENDING, call_returned=False, deadline__lt=deadline
    )
    undecided.update(deadline=deadline)


# --- One look ------------------------------------------------------------------------------------


def _outcome(payment: Payment, *, of_known_node: bool) -> Outcome:
    """Ask the node; whatever it does not answer clearly is unknown. Raises `NodeUnavailable`."""
    node = nodes.lightning()
    assert payment.payment_hash
    assert payment.deadline
    record = node.payment_record(payment.payment_hash)
    is_whole = True
    if not (record.complete or record.pending or record.last_part > (payment.parts_before or 0)):
        # That nothing was sent is believed only of the node that was asked to pay, and only when
        # nothing was taken out of its books since. So it is the record that was read after the
        # node said who it is that counts.
        is_whole = _has_kept_all(node, payment)
        record = node.payment_record(payment.payment_hash)
    if record.pending and record.last_part > (payment.last_part or 0):
        payment.last_part = record.last_part
        Payment.objects.filter(id=payment.id).update(last_part=record.last_part)
    return outcome(
        record,
        call_returned=payment.call_returned,
        deadline_passed=timezone.now() > payment.deadline + MARGIN,
        nothing_is_lost=of_known_node and is_whole and record.last_part >= (payment.last_part or 0),
        reason=payment.failure or _("The payment did not arrive; nothing was paid"),
    )


def _has_kept_all(node: LightningNode, payment: Payment) -> bool:
    """Whether the node would have a part of this payment in its books if it had ever sent one.

    It must be the node that was asked, synced, not one that was adopted since, and count at least
    the parts that it counted then. Each part that it has counted since must still be there:
    where one was deleted, it may have been ours."""
    info = node.info()
    if payment.parts_before is None or info.id != payment.node_id or not info.synced:
        return False
    known = KnownNode.objects.first()
    if known and (known.refusal or _was_adopted_since(known, payment)):
        return False
    created = node.parts_created()
    if created < payment.parts_before:
        return False
    expected = payment.parts_before + 1
    while expected <= created:
        parts = node.parts_since(number=expected, limit=PARTS_AT_ONCE)
        numbers = [part.number for part in parts]
        if not numbers or numbers != list(range(expected, expected + len(numbers))):
            return False
        expected += len(numbers)
    return True


def _was_adopted_since(known: KnownNode, payment: Payment) -> bool:
    assert payment.attempted_at
    return known.adopted_at is not None and payment.attempted_at <= known.adopted_at


def _apply(payment: Payment, found: Outcome) -> bool:
    match found:
        case Settled():
            failpoint("ln.before_settle")
            _settle(payment.id, found, call_returned=payment.call_returned)
            return found.fee_final
        case Failed():
            _fail(payment.id, found.reason)
            return True
        case Unknown():
            return False


@ledger.atomic
def _settle(payment_id: UUID, found: Settled, *, call_returned: bool = False) -> None:
    """The payee has the money. With the fee final the hold is resolved; until then it stays and
    the user already sees the payment as settled. Doing it twice changes nothing."""
    [row] = ask(Query(_LOCK_WITH_LINE, [payment_id]))
    payment, line = _PAYMENT_AND_LINE.read(row)
    first_time = payment.state == Payment.State.SENDING
    if payment.state != Payment.State.SETTLED and not first_time:
        logger.critical("payment %s is %s but settled at the node", payment.id, payment.state)
        killswitch.stop_sends(
            f"payment {payment.id} settled at the node after it was released", is_single=True
        )
        return
    payment.state = Payment.State.SETTLED
    payment.preimage = found.preimage
    payment.failure = ""
    payment.call_returned |= call_returned
    if first_time:
        payment.resolved_at = timezone.now()
    fields = ["state", "preimage", "failure", "call_returned", "resolved_at"]
    if found.fee_final and not payment.fee_final:
        failpoint("ln.before_late_fee")
        payment.fee_sat = _book(payment, found)
        payment.fee_final = True
        fields += ["fee_sat", "fee_final"]
    elif not first_time:
        return
    update_together((payment, fields))
    statement.change(
        line,
        status=Activity.Status.SETTLED,
        ref=found.preimage,
        **({"fee_sat": payment.fee_sat} if payment.fee_final else {}),
    )
    failpoint("ln.settled")


_PAYMENT_AND_LINE = Joined(payment=Payment, line=Activity)
_LOCK_WITH_LINE = f"""
    SELECT {_PAYMENT_AND_LINE.columns} FROM payments_payment AS payment
    JOIN accounts_activity AS line ON line.id = payment.id
    WHERE payment.id = %s FOR UPDATE OF payment
"""  # noqa: S608 – our own names


def _book(payment: Payment, found: Settled) -> int:
    """Resolve the hold; returns what the network's fee cost the user, in whole sats.

    A fee above the reserve must not happen: the house pays it, and sends stop (F01). A payee that
    claims only some parts has given the preimage for less than its invoice: the user has paid, and
    what never left our node goes to suspense, so that the books are the node's to the msat."""
    fee_msat = found.fee_msat
    if fee_msat > payment.max_fee_sat * MSAT_PER_SAT:
        logger.critical("payment %s cost %s msat, above its reserve", payment.id, fee_msat)
        killswitch.stop_sends(f"payment {payment.id} cost more than its reserve", is_single=True)
    debit_msat = ledger.settle_payment(
        hold_id=payment.hold_id,
        spent_msat=payment.amount_msat + fee_msat,
        platform_fee_msat=payment.platform_fee_sat * MSAT_PER_SAT,
        payment_id=payment.id,
    )
    assert debit_msat is not None, "a hold is resolved under its payment's lock"
    if found.delivered_msat is not None and found.delivered_msat < payment.amount_msat:
        logger.error("the payee of payment %s took %s msat", payment.id, found.delivered_msat)
        ledger.receive_unmatched(
            source=ledger.House.LIGHTNING,
            external_id=f"unclaimed:{payment.id}",
            amount_msat=payment.amount_msat - found.delivered_msat,
            cause=ledger.Cause("payment", str(payment.id)),
        )
    return debit_msat // MSAT_PER_SAT - payment.amount_sat - payment.platform_fee_sat


@ledger.atomic
def _fail(payment_id: UUID, reason: str) -> None:
    """Nothing was paid, for certain, unless somebody else has decided it meanwhile."""
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state == Payment.State.SENDING:
        release(payment, reason)
