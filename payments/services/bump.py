"""Speed up a withdrawal that waits in the mempool: another version of it, with a higher fee.

It spends every coin of the version before, so only one of them confirms, and it is stored before
the network has it; whichever is mined in the end, `withdrawals` books its fee. A user who asks for
it pays the difference, and so does one whose withdrawal has waited longer than promised, up to the
maximum fee that was agreed when it was accepted; when an operator asks, the house bears it.

| step      | committed by it                       | the process dies here: what finishes it   |
|-----------|---------------------------------------|-------------------------------------------|
| replace   | nothing                               | nobody has seen what was signed           |
| store     | the version and its fee, together     | `advance_withdrawals` broadcasts it       |
| broadcast | nothing                               | `advance_withdrawals` follows it          |
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

from django.db import IntegrityError
from django.utils.translation import gettext_noop as _

from accounts import funds, ledger, statement
from accounts.credentials import Credential
from accounts.errors import AccountFrozen
from accounts.models import Activity
from coinos import nodes
from coinos.constraints import violated_constraint
from coinos.errors import InvalidAmount, NodeUnavailable
from coinos.failpoints import failpoint
from coinos.money import MSAT_PER_SAT
from coinos.nodes.base import NodeRefused, SignedTransaction
from payments.errors import CannotBump, FeeRateTooLow
from payments.fees import FEE_RATE_MAX_SAT_VB
from payments.gate import open_gate, require_left, require_sends_allowed, reserve
from payments.models import AutoWithdrawRun, Payment
from payments.services.withdrawals import add_version
from payments.services.withdrawals.adopting import correct_fee
from payments.services.withdrawals.versions import is_built_upon

logger = logging.getLogger(__name__)

_CANNOT = _("This payment cannot be sped up: %(reason)s")


def suggested_rate_sat_vb(payment: Payment) -> int:
    """A rate that should be in one of the next blocks, and is above what it pays now."""
    assert payment.fee_rate_sat_vb
    return max(nodes.bitcoin().fee_rates().fastest, payment.fee_rate_sat_vb + 1)


Charge = Callable[[Payment, SignedTransaction], None]
"""Books the fee of a version that has just become the one that counts, in its transaction."""


def bump(payment_id: UUID, fee_rate_sat_vb: int) -> Activity:
    """Give a withdrawal a higher fee at the house's expense; returns its line.

    Raises `CannotBump`, `FeeRateTooLow`, `InvalidAmount`, `WithdrawalsPaused`, `NodeUnavailable`;
    then nothing has changed."""
    require_sends_allowed()
    return _bump(Payment.objects.get(id=payment_id), fee_rate_sat_vb, charge=_charge_house)


def bump_own(
    *, credential: Credential, payment: Payment, fee_rate_sat_vb: int, pin: object = None
) -> Activity:
    """The same at the user's expense. Raises what the gate raises, too, and `InsufficientFunds`."""
    open_gate(credential, pin=pin, external=True)

    def charge(payment: Payment, signed: SignedTransaction) -> None:
        assert payment.fee_sat is not None
        reserve(credential, debit_sat=max(0, signed.fee_sat - payment.fee_sat), external=True)
        _charge_user(payment, signed)

    return _bump(payment, fee_rate_sat_vb, charge=charge)


def bump_as_agreed(payment: Payment, fee_rate_sat_vb: int) -> Activity:
    """The same at the user's expense without being asked: up to the maximum fee that was held, and
    counted against every limit, when the withdrawal was accepted.

    Raises `CannotBump`, too, for a fee above it, and what the gate raises for accounts."""
    require_sends_allowed()
    return _bump(payment, fee_rate_sat_vb, charge=_charge_as_agreed)


def _bump(payment: Payment, fee_rate_sat_vb: int, *, charge: Charge) -> Activity:
    if fee_rate_sat_vb > FEE_RATE_MAX_SAT_VB:
        raise InvalidAmount(
            "feeRate may be at most %(rate)s",
            page_message=_("The fee rate may be at most %(rate)s sat/vB"),
            field="/feeRate",
            values={"rate": FEE_RATE_MAX_SAT_VB},
        )
    if not payment.can_be_bumped:
        raise CannotBump()
    signed = _replacement(payment, fee_rate_sat_vb)
    failpoint("btc.replaced")
    try:
        _store(payment, signed, fee_rate_sat_vb, charge)
    except IntegrityError as error:
        if violated_constraint(error) != "one_withdrawal_per_input":
            raise
        # To pay the fee the wallet has added a coin that another withdrawal has just chosen.
        raise CannotBump(_("It cannot be sped up at this moment; try again")) from error
    failpoint("btc.bumped")
    try:
        answer = nodes.bitcoin().broadcast(signed.hex)
    except NodeUnavailable:
        logger.warning("withdrawal %s: its new version waits for the node", payment.id)
    else:
        if answer.state != "accepted":  # an earlier one may be in a block: the rounds find out
            logger.warning("withdrawal %s: new version %s", payment.id, answer.state)
    failpoint("btc.bump_broadcast")
    return Activity.objects.get(id=payment.id)


def _replacement(payment: Payment, fee_rate_sat_vb: int) -> SignedTransaction:
    assert payment.txid
    try:
        return nodes.bitcoin().bump(
            payment.txid,
            address=payment.destination,
            amount_sat=payment.amount_sat,
            fee_rate_sat_vb=fee_rate_sat_vb,
        )
    except NodeRefused as error:
        if error.code == "fee_rate_too_low":
            raise FeeRateTooLow(error.message, field="/feeRate") from error
        raise CannotBump(_CANNOT, values={"reason": error.message}) from error


@ledger.atomic
def _store(seen: Payment, signed: SignedTransaction, fee_rate_sat_vb: int, charge: Charge) -> None:
    """Book the fee and make the replacement the version that counts, before anybody sees it."""
    payment = Payment.objects.select_for_update().get(id=seen.id)
    if not payment.can_be_bumped or payment.txid != seen.txid:
        raise CannotBump()
    if is_built_upon(payment):
        raise CannotBump(
            _CANNOT, values={"reason": "Another payment of this server is built upon it"}
        )
    add_version(payment, signed, fee_rate_sat_vb=fee_rate_sat_vb)
    payment.fee_rate_sat_vb = fee_rate_sat_vb
    payment.save(update_fields=["fee_rate_sat_vb"])
    charge(payment, signed)


def _charge_house(payment: Payment, signed: SignedTransaction) -> None:
    correct_fee(payment, signed.fee_sat)


def _charge_user(payment: Payment, signed: SignedTransaction) -> None:
    assert payment.fee_sat is not None
    paid_msat = ledger.raise_fee(
        hold_id=payment.hold_id, spent_msat=(payment.amount_sat + signed.fee_sat) * MSAT_PER_SAT
    )
    payment.fee_sat += paid_msat // MSAT_PER_SAT
    payment.save(update_fields=["fee_sat"])
    statement.change(
        Activity.objects.get(id=payment.id),
        status=Activity.Status.PENDING,
        hash=payment.txid,
        ref=payment.txid,
        fee_sat=payment.fee_sat,
    )


def _charge_as_agreed(payment: Payment, signed: SignedTransaction) -> None:
    if signed.fee_sat > payment.agreed_fee_sat:
        raise CannotBump()
    if funds.is_stopped(payment.user_id, payment.user.owner_id):
        raise AccountFrozen()
    _charge_user(payment, signed)
    if AutoWithdrawRun.objects.filter(user=payment.user, activity_id=payment.id).exists():
        require_left(Credential(payment.user, keep_sat=payment.user.reserve_sat or 0))
