"""Follow what the wallet really sent: a transaction becomes the version that counts, and is booked.

Found after the database forgot it, or made by hand in the node's wallet, or an earlier version that
confirmed after all: the network has taken that fee, whatever we had expected.
"""

from __future__ import annotations

import logging
import uuid

from django.db import IntegrityError
from django.utils import timezone

from accounts import ledger, statement
from accounts.models import Activity
from coinos import alarms
from coinos.constraints import violated_constraint
from coinos.money import MSAT_PER_SAT
from coinos.nodes.base import SentTransaction
from payments.errors import NotThisWithdrawal
from payments.models import Payment
from payments.services.withdrawals.search import doubt_about, find_sent
from payments.services.withdrawals.versions import add_version, count_version

logger = logging.getLogger(__name__)

State = Payment.State


def adopt(payment_id: uuid.UUID, sent: SentTransaction) -> bool:
    """Make a transaction of our wallet that pays this withdrawal the version that counts; it is
    `broadcast` then. False, and an operator is paged, when it spends a coin of another withdrawal.
    """
    try:
        _adopt(payment_id, sent)
    except IntegrityError as error:
        if violated_constraint(error) != "one_withdrawal_per_input":
            raise
        logger.critical(
            "withdrawal %s: %s spends a coin of another one", payment_id, sent.signed.txid
        )
        return False
    alarms.end(doubt_about(payment_id))
    return True


def match(payment_id: uuid.UUID, txid: str) -> None:
    """An operator says which transaction of the wallet a withdrawal is, when more than one may be.

    Raises `NotThisWithdrawal` unless it is one of those."""
    payment = Payment.objects.get(id=payment_id)
    if payment.txid == txid:
        return
    found = [sent for sent in find_sent(payment) if sent.signed.txid == txid]
    if payment.state != State.CREATED or not found or not adopt(payment_id, found[0]):
        raise NotThisWithdrawal()


@ledger.atomic
def _adopt(payment_id: uuid.UUID, sent: SentTransaction) -> None:
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state not in (State.CREATED, State.SIGNED, State.BROADCAST):
        return
    signed = sent.signed
    known = payment.versions.filter(txid=signed.txid).first()
    if known and payment.txid == known.txid and payment.state == State.BROADCAST:
        return
    if known:
        count_version(payment, known)
    else:
        rate_sat_vb = -(-signed.fee_sat // signed.vsize)
        add_version(payment, signed, fee_rate_sat_vb=rate_sat_vb, made_by_us=False)
    logger.warning("withdrawal %s is %s from now on", payment.id, signed.txid)
    if payment.state == State.BROADCAST:
        correct_fee(payment, signed.fee_sat)
    else:
        take_fee(payment, signed.fee_sat)
        payment.broadcast_attempted_at = payment.broadcast_attempted_at or timezone.now()
        payment.save(update_fields=["broadcast_attempted_at"])
        book(payment)


def take_fee(payment: Payment, fee_sat: int) -> None:
    """Note the exact fee; where it comes out of the amount, the recipient gets what it leaves."""
    if payment.subtract_fee and payment.state == State.CREATED:
        payment.amount_sat += payment.max_fee_sat - fee_sat
        payment.amount_msat = payment.amount_sat * MSAT_PER_SAT
    payment.fee_sat = fee_sat


def book(payment: Payment) -> None:
    """The network has the transaction: its exact fee is booked, the rest of the hold is free. In
    the caller's transaction, which has locked the payment and found its hold open."""
    assert payment.fee_sat is not None
    debit_msat = ledger.settle_payment(
        hold_id=payment.hold_id,
        spent_msat=(payment.amount_sat + payment.fee_sat) * MSAT_PER_SAT,
        platform_fee_msat=payment.platform_fee_sat * MSAT_PER_SAT,
        payment_id=payment.id,
    )
    assert debit_msat is not None, "a hold is resolved under its payment's lock"
    # Of a fee above what was held, which only a transaction made by hand can have, the house bears
    # what is above.
    payment.fee_sat = debit_msat // MSAT_PER_SAT - payment.amount_sat - payment.platform_fee_sat
    payment.state = State.BROADCAST
    payment.fee_final = True
    payment.save(update_fields=["state", "fee_final", "fee_sat", "amount_sat", "amount_msat"])
    statement.change(
        Activity.objects.get(id=payment.id),
        status=Activity.Status.PENDING,
        hash=payment.txid,
        ref=payment.txid,
        amount_sat=-payment.amount_sat,
        fee_sat=payment.fee_sat,
    )


def correct_fee(payment: Payment, network_fee_sat: int) -> None:
    """Another version counts than the one that was booked. The user pays at most what he has paid:
    what an operator added by hand is the house's, and what the network took less goes back."""
    assert payment.fee_sat is not None
    returned_msat = ledger.correct_payment(
        hold_id=payment.hold_id,
        spent_msat=(payment.amount_sat + network_fee_sat) * MSAT_PER_SAT,
    )
    payment.fee_sat -= returned_msat // MSAT_PER_SAT
    payment.save(update_fields=["fee_sat"])
    line = Activity.objects.get(id=payment.id)
    statement.change(
        line, status=line.status, hash=payment.txid, ref=payment.txid, fee_sat=payment.fee_sat
    )
