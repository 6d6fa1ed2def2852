"""Has a withdrawal been sent already? The wallet remembers what the database may have lost.

A standby that is promoted without its last commits, or a backup that is restored, has withdrawals
as accepted that were signed and sent long since. Prepared again, with other coins, they would pay
twice. Bitcoin Core keeps no note of ours with what it sends, but everything it has sent: so a
withdrawal is known by its address, its amount and its time.
"""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta

from coinos import alarms, nodes
from coinos.nodes.base import SentTransaction
from payments.models import Payment, WithdrawalTransaction
from payments.services.withdrawals.versions import DEEP

logger = logging.getLogger(__name__)

CLOCKS_APART = timedelta(hours=2)
"""As far as our clock, the node's and those of miners may be apart."""


def find_sent(payment: Payment) -> list[SentTransaction]:
    """What our wallet has sent that may be this withdrawal: its address, its amount, not older,
    and no other withdrawal's. Of versions that replace each other, the one that counts. More than
    one is for an operator to tell apart."""
    node = nodes.bitcoin()
    since_s = int((payment.created - CLOCKS_APART).timestamp())
    txids = node.sent_to(payment.destination, since_s=since_s)
    of_others = WithdrawalTransaction.objects.filter(txid__in=txids).exclude(payment=payment)
    unknown = set(txids) - set(of_others.values_list("txid", flat=True))
    found = [sent for txid in txids if txid in unknown and (sent := node.sent(txid))]
    return _newest_versions([sent for sent in found if pays(sent, payment) and may_confirm(sent)])


def pays(sent: SentTransaction, payment: Payment) -> bool:
    """Whether it gives the recipient what this withdrawal owes him: to the sat, or, where the fee
    comes out of the amount and is not known yet, with that fee."""
    amount_sat = payment.amount_sat
    if payment.subtract_fee and payment.state == Payment.State.CREATED:
        amount_sat += payment.max_fee_sat - sent.signed.fee_sat
    return (payment.destination, amount_sat) in sent.paid


def may_confirm(sent: SentTransaction) -> bool:
    return sent.confirmations > -DEEP


def _newest_versions(found: list[SentTransaction]) -> list[SentTransaction]:
    """One of each set that share a coin: in the chain, else in the mempool, else the newest."""
    kept: list[SentTransaction] = []
    for sent in sorted(found, key=lambda sent: (sent.confirmations <= 0, not sent.in_mempool)):
        if not any(set(sent.signed.inputs) & set(other.signed.inputs) for other in kept):
            kept.append(sent)
    return kept


def report_doubt(payment: Payment, found: list[SentTransaction]) -> None:
    """Page an operator until one has seen to it: the withdrawal stays held until one of these is
    said to be it, or another's."""
    txids = ", ".join(sent.signed.txid for sent in found)
    sentence = f"withdrawal {payment.id}: which of these is it? {txids}"
    if not alarms.is_seen_to(alarms.note(doubt_about(payment.id), sentence, is_single=True)):
        logger.critical("%s", sentence)


def doubt_about(payment_id: uuid.UUID) -> str:
    """The cause of that alarm."""
    return f"withdrawal {payment_id} is in doubt"
