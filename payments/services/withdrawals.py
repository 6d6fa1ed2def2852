"""What becomes of an accepted withdrawal: sign once, broadcast the same hex for ever, follow it.

| step      | committed by it                    | the process dies here: what finishes it        |
|-----------|------------------------------------|------------------------------------------------|
| hold      | payment `created` + hold, together | `advance_withdrawals` prepares again           |
| prepare   | nothing                            | the same; nobody has seen what was signed      |
| sign      | `signed` with hex and inputs       | `advance_withdrawals` broadcasts the hex       |
| broadcast | `broadcast_attempted_at`           | the same hex again, never another transaction  |
| book      | `broadcast` + ledger, together     | `advance_withdrawals` counts confirmations     |

The fee is exact in the signed transaction, so the hold is resolved when it is broadcast.
"""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta

from django.db import IntegrityError, InterfaceError, OperationalError
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import ledger, statement
from accounts.models import Activity
from coinos import killswitch, nodes
from coinos.constraints import violated_constraint
from coinos.errors import NodeUnavailable
from coinos.failpoints import failpoint
from coinos.money import MSAT_PER_SAT
from coinos.nodes.base import NodeRefused, SignedTransaction, WalletTransaction
from payments.gate import PAYER_MAY_SPEND
from payments.models import Payment, WithdrawalInput
from payments.services.release import release

logger = logging.getLogger(__name__)

PREPARING_MAX = timedelta(seconds=60)
PICK_UP_AFTER = timedelta(seconds=5)
DEEP = 6
PER_ROUND = 200


def advance(payment_id: uuid.UUID) -> None:
    """Take a withdrawal as far as it goes now. Safe to run twice and at once: every step is a
    conditional change under the payment's lock. Raises `NodeUnavailable`."""
    payment = Payment.objects.get(id=payment_id)
    if payment.state == Payment.State.CREATED and _claim(payment):
        _sign(payment)
        payment.refresh_from_db()
    if payment.state == Payment.State.SIGNED:
        _broadcast(payment)
        payment.refresh_from_db()
    if payment.state == Payment.State.BROADCAST:
        _follow(payment)


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


def _claim(payment: Payment) -> bool:
    """One process at a time prepares; a claim that is a minute old belonged to a dead one. False,
    too, while the payer is frozen or evicted."""
    now = timezone.now()
    created = Payment.objects.filter(id=payment.id, state=Payment.State.CREATED)
    free = created.filter(**PAYER_MAY_SPEND)
    unclaimed = free.filter(attempted_at=None) | free.filter(attempted_at__lt=now - PREPARING_MAX)
    return bool(unclaimed.update(attempted_at=now))


def _sign(payment: Payment) -> None:
    """Build and sign, with the inputs locked at the node, and store it all before anybody sees it.

    When the fee has outgrown the reserve the withdrawal fails: nothing was broadcast."""
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
    if not stored:
        nodes.bitcoin().unlock(signed.inputs)
    failpoint("btc.signed")


@ledger.atomic
def _store_signed(payment_id: uuid.UUID, signed: SignedTransaction) -> bool:
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != Payment.State.CREATED:
        return False
    WithdrawalInput.objects.bulk_create(
        WithdrawalInput(payment=payment, txid=txid, vout=vout) for txid, vout in signed.inputs
    )
    if payment.subtract_fee:  # the recipient gets what the exact fee leaves
        sent_sat = payment.amount_sat + payment.max_fee_sat
        payment.amount_sat = sent_sat - signed.fee_sat
        payment.amount_msat = payment.amount_sat * MSAT_PER_SAT
    payment.state = Payment.State.SIGNED
    payment.txid, payment.hex, payment.fee_sat = signed.txid, signed.hex, signed.fee_sat
    payment.save(update_fields=["state", "txid", "hex", "fee_sat", "amount_sat", "amount_msat"])
    statement.change(
        Activity.objects.get(id=payment.id),
        status=Activity.Status.PENDING,
        hash=signed.txid,
        amount_sat=-payment.amount_sat,
        fee_sat=signed.fee_sat,
    )
    return True


def _broadcast(payment: Payment) -> None:
    """Give the stored hex to the network. Anything but a clear acceptance leaves it `signed`, and
    the same hex is given again."""
    if not _begin_broadcast(payment) and not (
        payment.broadcast_attempted_at and _is_known(payment)
    ):
        return
    failpoint("btc.attempted")
    answer = nodes.bitcoin().broadcast(payment.hex)
    failpoint("btc.broadcast")
    if answer.state == "accepted" or (answer.state == "ambiguous" and _is_known(payment)):
        _book(payment.id)
    else:
        logger.error("withdrawal %s: broadcast %s: %s", payment.id, answer.state, answer.reason)


def _begin_broadcast(payment: Payment) -> bool:
    """Note that it leaves now. False while sends are stopped or the payer may not spend any more:
    then only what the network has already is booked."""
    if killswitch.is_stopped():
        return False
    signed = Payment.objects.filter(id=payment.id, state=Payment.State.SIGNED, **PAYER_MAY_SPEND)
    return bool(signed.update(broadcast_attempted_at=timezone.now()))


def _is_known(payment: Payment) -> bool:
    """Whether the network has the transaction, as far as our wallet knows."""
    transaction = _transaction(payment)
    return transaction is not None and (transaction.in_mempool or transaction.confirmations > 0)


def _transaction(payment: Payment) -> WalletTransaction | None:
    assert payment.txid
    return nodes.bitcoin().transaction(payment.txid)


@ledger.atomic
def _book(payment_id: uuid.UUID) -> None:
    """The network has the transaction: its exact fee is booked, the rest of the hold is free."""
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != Payment.State.SIGNED:
        return
    assert payment.fee_sat is not None
    payment.state = Payment.State.BROADCAST
    payment.fee_final = True
    payment.save(update_fields=["state", "fee_final"])
    ledger.settle_payment(
        hold_id=payment.hold_id,
        spent_msat=(payment.amount_sat + payment.fee_sat) * MSAT_PER_SAT,
        platform_fee_msat=payment.platform_fee_sat * MSAT_PER_SAT,
        payment_id=payment.id,
    )
    statement.change(
        Activity.objects.get(id=payment.id), status=Activity.Status.PENDING, ref=payment.txid
    )


def _follow(payment: Payment) -> None:
    """Count confirmations until it is deep. Dropped from the mempool: the same hex again.

    Only a foreign transaction that spent an input, buried deep, ends it as failed; after one of
    our own wallet's an operator has to look."""
    transaction = _transaction(payment)
    if transaction is None or (transaction.confirmations == 0 and not transaction.in_mempool):
        nodes.bitcoin().broadcast(payment.hex)
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


@ledger.atomic
def _fail_unsigned(payment_id: uuid.UUID, reason: str) -> None:
    """Nothing was signed that anybody has seen: the hold goes back in full."""
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state == Payment.State.CREATED:
        release(payment, reason)
