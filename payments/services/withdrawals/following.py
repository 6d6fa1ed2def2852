"""From `broadcast` to `confirmed`: follow whatever the wallet made of a withdrawal.

| the version that counts         | and besides                      | then                    |
|---------------------------------|----------------------------------|-------------------------|
| is in a block or in the mempool |                                  | count its confirmations |
| is off the network              | another that pays is on it       | that one counts now     |
| is unknown, or dropped          | none                             | the same hex again      |
| lost to a rival, not deep yet   | none                             | wait                    |
| lost for good                   | an earlier one may still confirm | that one counts now     |
| lost for good                   | the rival pays another amount    | an operator has to look |
| lost for good                   | nothing else                     | failed and given back   |

A rival of our own wallet is an operator's: a fee bumped by hand, or coins moved elsewhere. Of a
rival that the wallet does not know nobody knows the cause, so external sends stop.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator

from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import ledger, statement
from accounts.models import Activity
from coinos import killswitch, nodes
from coinos.money import MSAT_PER_SAT
from coinos.nodes.base import SentTransaction, WalletTransaction
from payments.models import Payment, WithdrawalTransaction
from payments.services.withdrawals.adopting import adopt, correct_fee
from payments.services.withdrawals.search import pays
from payments.services.withdrawals.versions import DEEP, count_version, end_versions, live_version

logger = logging.getLogger(__name__)


def follow(payment: Payment) -> None:
    """Look at what became of a withdrawal that the network had, by the table above."""
    assert payment.txid
    node = nodes.bitcoin()
    transaction = node.transaction(payment.txid)
    if transaction and (transaction.confirmations > 0 or transaction.in_mempool):
        _note_confirmations(payment.id, transaction.confirmations)
        return
    rivals = list(_rivals(payment, transaction))
    instead = next((rival for rival in rivals if _counts_instead(rival, payment)), None)
    if instead:
        adopt(payment.id, instead)
    elif transaction is None or transaction.confirmations == 0:
        node.broadcast(live_version(payment).hex)
    elif transaction.confirmations > -DEEP:
        _note_confirmations(payment.id, transaction.confirmations)
    else:
        _lost(payment, rivals)


def _rivals(payment: Payment, transaction: WalletTransaction | None) -> Iterator[SentTransaction]:
    """Its other versions and whatever else of our wallet spends one of its coins."""
    txids = dict.fromkeys(payment.versions.values_list("txid", flat=True))
    txids |= dict.fromkeys(transaction.conflicts if transaction else ())
    for txid in txids:
        if txid != payment.txid and (rival := nodes.bitcoin().sent(txid)):
            yield rival


def _counts_instead(rival: SentTransaction, payment: Payment) -> bool:
    """One in a block does. One in the mempool does when it was made by hand: of our own the newest
    counts until the chain has decided, and is given to the network again."""
    if not pays(rival, payment):
        return False
    is_ours = payment.versions.filter(txid=rival.signed.txid).exists()
    return rival.confirmations > 0 or (rival.in_mempool and not is_ours)


@ledger.atomic
def _note_confirmations(payment_id: uuid.UUID, confirmations: int) -> None:
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != Payment.State.BROADCAST or payment.confirmations == confirmations:
        return
    was_settled = payment.confirmations > 0
    payment.confirmations = confirmations
    activity = Activity.objects.get(id=payment.id)
    if confirmations > 0 and not was_settled:
        payment.resolved_at = timezone.now()
        statement.change(activity, status=Activity.Status.SETTLED)
    elif confirmations <= 0 and was_settled:
        statement.change(activity, status=Activity.Status.PENDING)
    if confirmations >= DEEP:
        payment.state = Payment.State.CONFIRMED
        payment.inputs.update(live=False)
        end_versions(payment.versions.exclude(txid=payment.txid))
    payment.save(update_fields=["state", "confirmations", "resolved_at"])


def _lost(payment: Payment, rivals: list[SentTransaction]) -> None:
    """A rival of the version that counts is buried deep."""
    if survivor := _survivor(payment):
        _count(payment.id, survivor)
        return
    buried = [rival for rival in rivals if rival.confirmations >= DEEP]
    if any(payment.destination in dict(rival.paid) for rival in buried):
        killswitch.stop_sends(
            f"withdrawal {payment.id} was replaced by a transaction that pays its recipient another"
            " amount",
            cause=f"withdrawal {payment.id} was replaced",
            is_single=True,
        )
        return
    if not buried:
        killswitch.stop_sends(
            f"withdrawal {payment.id} was replaced by a foreign transaction",
            cause=f"withdrawal {payment.id} was replaced",
            is_single=True,
        )
    _give_back(payment.id)


def _survivor(payment: Payment) -> WithdrawalTransaction | None:
    """A version without the coin that is gone: it may still confirm."""
    for version in payment.versions.exclude(txid=payment.txid):
        transaction = nodes.bitcoin().transaction(version.txid)
        if transaction is None or transaction.confirmations > -DEEP:
            return version
    return None


@ledger.atomic
def _count(payment_id: uuid.UUID, version: WithdrawalTransaction) -> None:
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state == Payment.State.BROADCAST and payment.txid != version.txid:
        count_version(payment, version)
        correct_fee(payment, version.fee_sat)


@ledger.atomic
def _give_back(payment_id: uuid.UUID) -> None:
    """Another transaction has its coins for good: the user gets amount and fees back, and the house
    what it bore of them."""
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != Payment.State.BROADCAST:
        return
    logger.critical("withdrawal %s: its coins were spent by another transaction", payment.id)
    assert payment.fee_sat is not None
    spent_msat = (payment.amount_sat + payment.fee_sat) * MSAT_PER_SAT
    ledger.correct_payment(hold_id=payment.hold_id, spent_msat=spent_msat)
    payment.state = Payment.State.FAILED
    payment.confirmations = -DEEP
    payment.failure = _("Another transaction spent the same coins; your sats are back")
    payment.resolved_at = timezone.now()
    payment.save(update_fields=["state", "confirmations", "failure", "resolved_at"])
    payment.inputs.update(live=False)
    end_versions(payment.versions.all())
    ledger.return_withdrawal(
        user_id=payment.user_id,
        spent_msat=spent_msat,
        platform_fee_msat=payment.platform_fee_sat * MSAT_PER_SAT,
        payment_id=payment.id,
    )
    statement.change(
        Activity.objects.get(id=payment.id),
        status=Activity.Status.FAILED,
        fee_sat=0,
        platform_fee_sat=0,
        reason=payment.failure,
    )
