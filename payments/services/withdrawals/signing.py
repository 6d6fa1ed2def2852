"""From `created` to `signed`: build the transaction, and store it before anybody sees it."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta

from django.db import IntegrityError
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import ledger, statement
from accounts.models import Activity
from coinos import killswitch, nodes
from coinos.constraints import violated_constraint
from coinos.errors import NodeUnavailable
from coinos.failpoints import failpoint
from coinos.nodes.base import NodeRefused, SignedTransaction
from payments.gate import PAYER_MAY_SPEND
from payments.models import Payment
from payments.services.release import release
from payments.services.withdrawals.adopting import adopt, take_fee
from payments.services.withdrawals.search import find_sent, report_doubt
from payments.services.withdrawals.versions import ParentReplaced, add_version, require_parents

logger = logging.getLogger(__name__)

PREPARING_MAX = timedelta(seconds=60)
PICK_UP_AFTER = timedelta(seconds=5)


def prepare(
    address: str, amount_sat: int, rate: int, *, subtract: bool, lock_inputs: bool
) -> SignedTransaction:
    """Ask our wallet for a signed transaction; without `lock_inputs` it leaves no trace.

    Raises `NodeRefused`, and `NodeUnavailable` too when the hot wallet has too few coins."""
    try:
        return nodes.bitcoin().prepare(
            address=address,
            amount_sat=amount_sat,
            fee_rate_sat_vb=rate,
            subtract_fee=subtract,
            lock_inputs=lock_inputs,
        )
    except NodeRefused as error:
        if error.code == "insufficient_funds":
            # The user's money is there, the hot wallet's coins are not: an operator's matter.
            logger.error("the on-chain wallet cannot cover a withdrawal of %s sats", amount_sat)
            raise NodeUnavailable(
                _("The on-chain wallet is being refilled; nothing was sent. Try again later"),
                retry_after_s=60,
            ) from error
        raise


def claim(payment: Payment) -> bool:
    """One process at a time prepares; a claim that is a minute old belonged to a dead one. False,
    too, while the payer is frozen or evicted."""
    now = timezone.now()
    created = Payment.objects.filter(id=payment.id, state=Payment.State.CREATED)
    free = created.filter(**PAYER_MAY_SPEND)
    unclaimed = free.filter(attempted_at=None) | free.filter(attempted_at__lt=now - PREPARING_MAX)
    return bool(unclaimed.update(attempted_at=now))


def sign(payment: Payment) -> None:
    """Build and sign, with the inputs locked at the node, and store it all before anybody sees it.

    Never a second time for what the wallet has sent already: that is adopted. When the fee has
    outgrown the reserve the withdrawal fails: nothing was broadcast."""
    if _may_have_been_sent(payment) and (found := find_sent(payment)):
        if len(found) == 1:
            adopt(payment.id, found[0])
        else:
            report_doubt(payment, found)
        return
    if killswitch.is_stopped():
        return
    sent_sat = payment.amount_sat + (payment.max_fee_sat if payment.subtract_fee else 0)
    assert payment.fee_rate_sat_vb
    try:
        signed = prepare(
            payment.destination,
            sent_sat,
            payment.fee_rate_sat_vb,
            subtract=payment.subtract_fee,
            lock_inputs=True,
        )
    except NodeRefused as error:
        _fail_unsigned(payment.id, error.message)
        return
    failpoint("btc.prepared")
    # Of a subtracted fee the recipient loses what it rose by, so there is a limit there, too.
    most_sat = payment.max_fee_sat * (2 if payment.subtract_fee else 1)
    if signed.fee_sat > most_sat:
        nodes.bitcoin().unlock(signed.inputs)
        _fail_unsigned(payment.id, _("The network fee rose above what was held; please try again"))
        return
    try:
        stored = _store_signed(payment.id, signed)
    except IntegrityError as error:
        if violated_constraint(error) != "one_withdrawal_per_input":
            raise
        # The node forgot its locks and chose coins that another withdrawal spends: they stay
        # locked from now on, and the next round chooses others (A06).
        logger.warning("withdrawal %s chose coins in use; preparing again", payment.id)
        Payment.objects.filter(id=payment.id).update(attempted_at=None)
        return
    except ParentReplaced:
        logger.warning("withdrawal %s chose change that will not be; preparing again", payment.id)
        nodes.bitcoin().unlock(signed.inputs)
        Payment.objects.filter(id=payment.id).update(attempted_at=None)
        return
    if not stored:
        nodes.bitcoin().unlock(signed.inputs)
    failpoint("btc.signed")


def _may_have_been_sent(payment: Payment) -> bool:
    """Not in the first moments after it was accepted: no round has picked it up before. Later this
    database may be one that has lost what came after."""
    age = timezone.now() - payment.created
    return payment.attempted_at is not None or age >= PICK_UP_AFTER


@ledger.atomic
def _store_signed(payment_id: uuid.UUID, signed: SignedTransaction) -> bool:
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != Payment.State.CREATED:
        return False
    require_parents(signed)
    assert payment.fee_rate_sat_vb
    add_version(payment, signed, fee_rate_sat_vb=payment.fee_rate_sat_vb)
    take_fee(payment, signed.fee_sat)
    payment.state = Payment.State.SIGNED
    payment.save(update_fields=["state", "fee_sat", "amount_sat", "amount_msat"])
    statement.change(
        Activity.objects.get(id=payment.id),
        status=Activity.Status.PENDING,
        hash=signed.txid,
        amount_sat=-payment.amount_sat,
        fee_sat=signed.fee_sat,
    )
    return True


@ledger.atomic
def _fail_unsigned(payment_id: uuid.UUID, reason: str) -> None:
    """Nothing was signed that anybody has seen: the hold goes back in full."""
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state == Payment.State.CREATED:
        release(payment, reason)
