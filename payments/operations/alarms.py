"""Say that an alarm was looked into."""

from __future__ import annotations

from collections.abc import Callable

from coinos import alarms
from payments.models import OperatorAct
from payments.operations.verb import ActRefused, Arguments, Claim, Parameter, Verb


def _look(arguments: Arguments) -> Claim:
    alarm = alarms.standing().filter(id=arguments["alarm"]).first()
    if alarm is None:
        raise ActRefused("No alarm of this number stands; `alarms` lists them")
    return Claim(f"acknowledge alarm {alarm.id}: {alarm.sentence}", None)


def _begin(act: OperatorAct) -> Callable[[], str]:
    return lambda: _acknowledge(act)


def _acknowledge(act: OperatorAct) -> str:
    alarms.acknowledge(act.arguments["alarm"], by=act.asked_as, reason=act.reason)
    left = len(alarms.stopping())
    return f"{left} other alarms stop sends" if left else "no other alarm stops sends"


ACKNOWLEDGE = Verb(
    name="acknowledge",
    help="Say that an alarm was looked into: the same cause stops sends no more.",
    parameters=(Parameter("alarm", "the number of an alarm; `alarms` lists them", int),),
    look=_look,
    begin=_begin,
)
