"""The versions of a withdrawal: every transaction that pays it, of which at most one confirms."""

from __future__ import annotations

import logging

from django.db.models import QuerySet

from coinos import nodes
from coinos.errors import NodeUnavailable
from coinos.nodes.base import SignedTransaction
from payments.models import Payment, WithdrawalInput, WithdrawalTransaction

logger = logging.getLogger(__name__)

State = WithdrawalTransaction.State
Outpoint = tuple[str, int]

DEEP = 6
"""So many blocks above a transaction, and it is there for good."""


def add_version(
    payment: Payment, signed: SignedTransaction, *, fee_rate_sat_vb: int, made_by_us: bool = True
) -> WithdrawalTransaction:
    """Make `signed` the version that counts from now on and is given to the network.

    In the caller's transaction, which has locked the payment. It must spend every coin of the
    versions before it: two that share none could both confirm, so `ValueError` otherwise. What was
    made by hand in the wallet is on the network already, and is not refused for that. Raises
    `IntegrityError` (`one_withdrawal_per_input`) when another withdrawal spends one of its coins.
    """
    before = set(payment.inputs.values_list("txid", "vout")) if payment.txid else set()
    if made_by_us and not before <= set(signed.inputs):
        raise ValueError(f"a version of withdrawal {payment.id} spares a coin of an earlier one")
    WithdrawalInput.objects.bulk_create(
        WithdrawalInput(payment=payment, txid=txid, vout=vout)
        for txid, vout in signed.inputs
        if (txid, vout) not in before
    )
    _step_back(payment)
    version = WithdrawalTransaction.objects.create(
        txid=signed.txid,
        payment=payment,
        hex=signed.hex,
        fee_sat=signed.fee_sat,
        fee_rate_sat_vb=fee_rate_sat_vb,
    )
    payment.txid = version.txid
    payment.save(update_fields=["txid"])
    return version


def count_version(payment: Payment, version: WithdrawalTransaction) -> None:
    """Let a version that was replaced count again, in the caller's transaction."""
    _step_back(payment)
    version.state = State.LIVE
    version.save(update_fields=["state"])
    payment.txid = version.txid
    payment.save(update_fields=["txid"])


def _step_back(payment: Payment) -> None:
    if payment.txid:
        payment.versions.filter(state=State.LIVE).update(state=State.REPLACED)


class ParentReplaced(Exception):
    """Raised when a transaction spends the change of a version that was replaced."""


def require_parents(signed: SignedTransaction) -> None:
    """Raise `ParentReplaced` when a version whose change this spends does not count any more.

    In the caller's transaction. Locks them, as `is_built_upon` does: of a withdrawal that builds on
    another's change, and of a replacement of that one, the first to be stored wins."""
    parents = WithdrawalTransaction.objects.select_for_update(no_key=True).order_by("txid")
    for parent in parents.filter(txid__in={txid for txid, _vout in signed.inputs}):
        if parent.state != State.LIVE:
            raise ParentReplaced


def is_built_upon(payment: Payment) -> bool:
    """Whether another withdrawal spends the change of a version of this one, and would be lost with
    it. The node cannot say as long as it has not seen that one. In the caller's transaction."""
    versions = payment.versions.select_for_update(no_key=True).order_by("txid")
    txids = [version.txid for version in versions]
    return WithdrawalInput.objects.filter(live=True, txid__in=txids).exists()


def live_version(payment: Payment) -> WithdrawalTransaction:
    """The version that counts now. Every withdrawal has one from `signed` on."""
    return payment.versions.get(state=State.LIVE)


def end_versions(versions: QuerySet[WithdrawalTransaction]) -> None:
    """None of these can ever confirm."""
    versions.update(state=State.DEAD)


def end_all(payment: Payment) -> tuple[Outpoint, ...]:
    """No version of it is ever sent or mined, in the caller's transaction. Returns the coins that
    they were to spend, for `unlock` when that has committed."""
    coins = tuple(payment.inputs.filter(live=True).values_list("txid", "vout"))
    payment.inputs.update(live=False)
    end_versions(payment.versions.all())
    return coins


def unlock(coins: tuple[Outpoint, ...]) -> None:
    """Let the wallet spend the coins of a withdrawal that has ended."""
    try:
        nodes.bitcoin().unlock(coins)
    except NodeUnavailable:  # it has ended all the same
        logger.error("coins of an ended withdrawal are still locked at the node: %s", coins)
