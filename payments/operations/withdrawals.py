"""What becomes of a withdrawal whose transaction is gone, or in doubt."""

from __future__ import annotations

from collections.abc import Callable

from payments.models import OperatorAct, Payment
from payments.operations.holds import payment_id
from payments.operations.verb import ActRefused, Arguments, Claim, Parameter, Verb
from payments.services.withdrawals import abandon, match


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
