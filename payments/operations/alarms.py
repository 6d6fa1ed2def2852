"""Say that an alarm was looked into."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings

from coinos import alarms
from coinos.models import Alarm
from coinos.money import MSAT_PER_SAT
from payments.models import OperatorAct
from payments.operations.verb import ActRefused, Arguments, Claim, Parameter, Verb


def _look(arguments: Arguments) -> Claim:
    alarm = alarms.standing().filter(id=arguments["alarm"]).first()
    if alarm is None:
        raise ActRefused("No alarm of this number stands; `alarms` lists them")
    about = f"acknowledge alarm {alarm.id}: {alarm.sentence}"
    return Claim(about, None, needs_two=_is_above_limit(alarm))


def _is_above_limit(alarm: Alarm) -> bool:
    """Whether sends would go on with more missing than one operator may answer for alone."""
    return (alarm.amount_msat or 0) > settings.OPERATOR_APPROVAL_SAT * MSAT_PER_SAT


def _begin(act: OperatorAct) -> Callable[[], str]:
    return lambda: _acknowledge(act)


def _acknowledge(act: OperatorAct) -> str:
    alarm = alarms.acknowledge(act.arguments["alarm"], by=act.asked_as, reason=act.reason)
    if _is_above_limit(alarm) and not act.needs_approval:
        raise ActRefused("It has grown beyond what one operator may acknowledge. Ask again")
    left = len(alarms.stopping())
    return f"{left} other alarms stop sends" if left else "no other alarm stops sends"


ACKNOWLEDGE = Verb(
    name="acknowledge",
    help="Say that an alarm was looked into: the same cause stops sends no more.",
    parameters=(Parameter("alarm", "the number of an alarm; `alarms` lists them", int),),
    look=_look,
    begin=_begin,
)
