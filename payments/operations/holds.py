"""Payments that have not ended: release what is held, or cancel what has not left."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.utils.translation import gettext_noop as _

from coinos import nodes
from coinos.errors import NodeUnavailable
from payments.models import OperatorAct, Payment
from payments.operations.verb import (
    ActRefused,
    Arguments,
    Claim,
    Parameter,
    Verb,
    payment_id,
)
from payments.services.cancel import cancel
from payments.services.release import release
from payments.services.resolution import resolve


def _look(arguments: Arguments) -> Claim:
    payment = _undecided(arguments)
    sats = f"{payment.held_sat:,} sats held for payment {payment.id} of {payment.user.username}"
    if not arguments["paid_nothing"]:
        return Claim(f"release {sats}, if the node proves that nothing was paid", payment.user)
    return Claim(
        f"release {sats}, on the operators' word that nothing was paid and nothing ever will be",
        payment.user,
        amount_sat=payment.held_sat,
        needs_two=True,
    )


def _begin(act: OperatorAct) -> Callable[[], str]:
    """Ask the node first. Its record ends the payment when it can; the operators' word stands in
    for a record that is not there, and never against one that is."""
    payment = _undecided(act.arguments)
    resolve(payment.id)
    payment.refresh_from_db()
    if payment.state != Payment.State.SENDING:
        return lambda: f"the node's record ended it: {payment.state}"
    if not act.arguments["paid_nothing"]:
        raise ActRefused(
            "The node does not prove that nothing was paid. Ask the node by hand (listpays,"
            " listsendpays); where it has lost its records, two operators can say so with"
            " --paid-nothing"
        )
    if _has_parts(payment):
        raise ActRefused("The node has a record of this payment, and will say how it ends. Wait")
    return lambda: _release(payment.id)


def _has_parts(payment: Payment) -> bool:
    assert payment.payment_hash
    try:
        record = nodes.lightning().payment_record(payment.payment_hash)
    except NodeUnavailable:
        return False  # two operators know what has become of it
    return record.parts > 0 or record.in_progress


def _release(payment_id: UUID) -> str:
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != Payment.State.SENDING:
        return f"it had ended meanwhile: {payment.state}"
    release(payment, _("The operator found that nothing was paid"))
    return f"{payment.held_sat:,} sats are back"


def _undecided(arguments: Arguments) -> Payment:
    payment = _payment(arguments)
    if payment.type != Payment.Type.LIGHTNING or payment.state != Payment.State.SENDING:
        raise ActRefused(
            f"Payment {payment.id} is {payment.get_type_display()} and {payment.state}; what is"
            " released here is held for a Lightning payment in state sending"
        )
    return payment


# --- What has not left yet ------------------------------------------------------------------------


def _look_at_cancel(arguments: Arguments) -> Claim:
    payment = _payment(arguments)
    if not payment.can_be_cancelled:
        raise ActRefused(f"Payment {payment.id} is {payment.state}: it may have left")
    about = f"cancel payment {payment.id} of {payment.user.username}: {payment.held_sat:,} sats"
    return Claim(about, payment.user)


def _begin_cancel(act: OperatorAct) -> Callable[[], str]:
    cancel(_payment(act.arguments).id)
    return lambda: "it never left, and its sats are back"


# --- Small things ---------------------------------------------------------------------------------


def _payment(arguments: Arguments) -> Payment:
    payment = Payment.objects.select_related("user").filter(id=arguments["payment"]).first()
    if payment is None:
        raise ActRefused("There is no such payment")
    return payment


RELEASE = Verb(
    name="release",
    help="Give back what is held for a Lightning payment that stays undecided.",
    parameters=(
        Parameter("payment", "the id of a payment", payment_id),
        Parameter(
            "paid_nothing",
            "two operators know that nothing was paid, though the node cannot prove it",
            is_flag=True,
        ),
    ),
    look=_look,
    begin=_begin,
)

CANCEL = Verb(
    name="cancel",
    help="Take back a payment that has not left yet.",
    parameters=(Parameter("payment", "the id of a payment", payment_id),),
    look=_look_at_cancel,
    begin=_begin_cancel,
)
