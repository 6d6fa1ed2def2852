"""The versions of a withdrawal: every transaction that pays it, of which at most one confirms."""

from __future__ import annotations

from coinos.nodes.base import SignedTransaction
from payments.models import Payment, WithdrawalInput, WithdrawalTransaction


def add_version(
    payment: Payment, signed: SignedTransaction, *, fee_rate_sat_vb: int
) -> WithdrawalTransaction:
    """Make `signed` the version that counts from now on and is given to the network.

    In the caller's transaction, which has locked the payment. It must spend every coin of the
    versions before it: two that share none could both confirm, so `ValueError` otherwise. Raises
    `IntegrityError` (`one_withdrawal_per_input`) when another withdrawal spends one of its coins.
    """
    before = set(payment.inputs.values_list("txid", "vout"))
    if not before <= set(signed.inputs):
        raise ValueError(f"a version of withdrawal {payment.id} spares a coin of an earlier one")
    WithdrawalInput.objects.bulk_create(
        WithdrawalInput(payment=payment, txid=txid, vout=vout)
        for txid, vout in signed.inputs
        if (txid, vout) not in before
    )
    if payment.txid:
        payment.versions.filter(state=WithdrawalTransaction.State.LIVE).update(
            state=WithdrawalTransaction.State.REPLACED
        )
    version = WithdrawalTransaction.objects.create(
        txid=signed.txid,
        payment=payment,
        hex=signed.hex,
        fee_sat=signed.fee_sat,
        fee_rate_sat_vb=fee_rate_sat_vb,
    )
    payment.txid = signed.txid
    payment.save(update_fields=["txid"])
    return version


def live_version(payment: Payment) -> WithdrawalTransaction:
    """The version that counts now. Every withdrawal has one from `signed` on."""
    return payment.versions.get(state=WithdrawalTransaction.State.LIVE)
