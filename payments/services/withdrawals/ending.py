"""The way out of `signed` for a withdrawal that can never confirm: one of its coins is gone.

It was signed, and before the network had it the coin was spent elsewhere, or the deposit that made
it was undone. Once that is buried deep no version of it is possible any more, and the hold goes
back. Until then, and whenever anything is unclear, it stays as it is.
"""

from __future__ import annotations

import logging
import uuid

from django.utils.translation import gettext_noop as _

from accounts import ledger
from coinos import nodes
from coinos.nodes.base import NodeRefused, SentTransaction
from payments.errors import MayStillConfirm
from payments.models import Payment, WithdrawalInput
from payments.services.release import release
from payments.services.withdrawals.adopting import adopt
from payments.services.withdrawals.following import follow
from payments.services.withdrawals.search import find_sent, report_doubt
from payments.services.withdrawals.versions import DEEP, Outpoint, end_all, unlock

logger = logging.getLogger(__name__)

State = Payment.State


def abandon(payment_id: uuid.UUID) -> None:
    """End a withdrawal that can never confirm and give its money back: what the rounds do by
    themselves, at once, for an operator who wants to know.

    Raises `MayStillConfirm` unless a coin of each of its versions is gone for good. What has not
    been given to the network yet is cancelled instead (`payments.services.cancel`)."""
    payment = Payment.objects.get(id=payment_id)
    if payment.state == State.SIGNED and payment.broadcast_attempted_at:
        end_if_dead(payment)
    elif payment.state == State.BROADCAST:
        follow(payment)
    payment.refresh_from_db()
    if payment.state != State.FAILED:
        raise MayStillConfirm()


def end_if_dead(payment: Payment) -> None:
    """End a `signed` withdrawal as failed when none of its versions can ever confirm, unless the
    wallet has paid its recipient in another way, which is adopted."""
    versions = [set(nodes.bitcoin().inputs_of(one.hex)) for one in payment.versions.all()]
    gone = _gone_for_good(payment)
    is_dead = all(inputs & gone for inputs in versions)
    found = find_sent(payment)
    if not is_dead:  # beside one that may still confirm, only a rival of it can be the one
        found = [sent for sent in found if _is_rival(sent, versions)]
    if len(found) == 1:
        adopt(payment.id, found[0])
    elif found:
        report_doubt(payment, found)
    elif is_dead:
        unlock(_fail_dead(payment.id))


def _is_rival(sent: SentTransaction, versions: list[set[Outpoint]]) -> bool:
    """Whether it spends a coin of each of them, so that none of them confirms beside it."""
    return all(inputs & set(sent.signed.inputs) for inputs in versions)


def _gone_for_good(payment: Payment) -> set[Outpoint]:
    """Its coins that no transaction can spend any more: their spender, or the undoing of what made
    them, is buried deep. Others that the chain lacks are noted with the tip that lacked them."""
    node = nodes.bitcoin()
    gone: set[Outpoint] = set()
    for coin in payment.inputs.filter(live=True):
        tip = node.info()
        made = node.transaction(coin.txid)
        if made and made.confirmations <= -DEEP:
            gone.add((coin.txid, coin.vout))
            continue
        is_spent = made and made.confirmations > 0 and not node.coin_is_there(coin.txid, coin.vout)
        if not is_spent:
            _note_missing(coin, "")
        elif not coin.missing_since or not _is_active(coin.missing_since):
            if node.info().tip_hash == tip.tip_hash:  # so that the spender is in it or below
                _note_missing(coin, tip.tip_hash)
        elif tip.blocks - node.block_height(coin.missing_since) + 1 >= DEEP:
            gone.add((coin.txid, coin.vout))
    return gone


def _is_active(block_hash: str) -> bool:
    try:
        return nodes.bitcoin().block_is_active(block_hash)
    except NodeRefused:  # another data directory: count anew
        return False


def _note_missing(coin: WithdrawalInput, block_hash: str) -> None:
    if coin.missing_since != block_hash:
        coin.missing_since = block_hash
        coin.save(update_fields=["missing_since"])


@ledger.atomic
def _fail_dead(payment_id: uuid.UUID) -> tuple[Outpoint, ...]:
    """Returns its other coins, which are free again."""
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != State.SIGNED:
        return ()
    logger.error("withdrawal %s: a coin of it was spent elsewhere; it is given back", payment.id)
    coins = end_all(payment)
    release(payment, _("The coins that it was to spend are gone; nothing was sent"))
    return coins
