"""Withdrawals whose transaction waits for a block, is gone, or is in doubt."""

from __future__ import annotations

from collections.abc import Callable

from payments.fees import FEE_RATE_MAX_SAT_VB
from payments.models import OperatorAct, Payment
from payments.operations.verb import (
    ActRefused,
    Arguments,
    Claim,
    Parameter,
    Verb,
    payment_id,
)
from payments.services.bump import bump
from payments.services.withdrawals import abandon, match


def _look_at_bump(arguments: Arguments) -> Claim:
    payment, rate_sat_vb = _withdrawal(arguments), arguments["fee_rate"]
    if not payment.can_be_bumped:
        raise ActRefused(f"Payment {payment.id} is no withdrawal that waits for a block")
    assert payment.fee_sat is not None
    assert payment.fee_rate_sat_vb
    more_sat = max(0, payment.fee_sat * rate_sat_vb // payment.fee_rate_sat_vb - payment.fee_sat)
    return Claim(
        f"speed up withdrawal {payment.id} of {payment.user.username} to {rate_sat_vb} sat/vB, for"
        f" about {more_sat:,} sats of the house",
        payment.user,
        amount_sat=more_sat,
    )


def _begin_bump(act: OperatorAct) -> Callable[[], str]:
    payment, rate_sat_vb = _withdrawal(act.arguments), act.arguments["fee_rate"]
    if payment.fee_rate_sat_vb != rate_sat_vb:  # a process that died may have done it already
        bump(payment.id, rate_sat_vb)
        payment.refresh_from_db()
    return lambda: f"it is {payment.txid} from now on"


def whole_rate(text: str) -> int:
    """A fee rate in sat/vB as it is kept in an act."""
    rate_sat_vb = int(text)
    if not 1 <= rate_sat_vb <= FEE_RATE_MAX_SAT_VB:
        raise ValueError(text)
    return rate_sat_vb


def _look_at_abandon(arguments: Arguments) -> Claim:
    payment = _withdrawal(arguments)
    if payment.state not in (Payment.State.SIGNED, Payment.State.BROADCAST):
        raise ActRefused(f"Withdrawal {payment.id} is {payment.state}: there is nothing to abandon")
    return Claim(f"abandon withdrawal {payment.id}, if it can never confirm", payment.user)


def _begin_abandon(act: OperatorAct) -> Callable[[], str]:
    """The chain decides; the rounds would have done the same in their time."""
    abandon(_withdrawal(act.arguments).id)
    return lambda: "it can never confirm, and its sats are back"


def _look_at_match(arguments: Arguments) -> Claim:
    payment = _withdrawal(arguments)
    if payment.state != Payment.State.CREATED:
        raise ActRefused(f"Withdrawal {payment.id} is {payment.state}: it is not in doubt")
    about = f"say that withdrawal {payment.id} is transaction {arguments['transaction']}"
    return Claim(about, payment.user)


def _begin_match(act: OperatorAct) -> Callable[[], str]:
    match(_withdrawal(act.arguments).id, act.arguments["transaction"])
    return lambda: "it is booked as sent, with the fee that it took"


def _withdrawal(arguments: Arguments) -> Payment:
    payment = Payment.objects.select_related("user").filter(id=arguments["payment"]).first()
    if payment is None or payment.type != Payment.Type.BITCOIN:
        raise ActRefused("There is no such withdrawal")
    return payment


def txid(text: str) -> str:
    """The id of a transaction, 32 bytes in hex."""
    if len(bytes.fromhex(text)) != 32:
        raise ValueError(text)
    return text.lower()


BUMP = Verb(
    name="bump",
    help="Give a withdrawal that waits for a block a higher fee, which the house pays.",
    parameters=(
        Parameter("payment", "the id of a payment", payment_id),
        Parameter("fee_rate", f"sat/vB, at most {FEE_RATE_MAX_SAT_VB}", whole_rate),
    ),
    look=_look_at_bump,
    begin=_begin_bump,
)

ABANDON = Verb(
    name="abandon",
    help="End a withdrawal that can never confirm, because a coin of it is gone for good.",
    parameters=(Parameter("payment", "the id of a withdrawal", payment_id),),
    look=_look_at_abandon,
    begin=_begin_abandon,
)

MATCH = Verb(
    name="match",
    help="Say which transaction of the wallet a withdrawal is, when more than one may be.",
    parameters=(
        Parameter("payment", "the id of a withdrawal", payment_id),
        Parameter("transaction", "the id of a transaction of the wallet", txid),
    ),
    look=_look_at_match,
    begin=_begin_match,
)
