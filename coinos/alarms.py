"""Alarms: what was found once is reported once, until somebody has seen to it.

An alarm is a row: its cause, when it was first and last seen, and a sentence. Seen again, it is
the same row. It stops external sends (`coinos.killswitch`) until an operator acknowledges it with
a reason; the same cause then stops nothing again, unless what it is about has grown by more than
`GROWTH_MSAT`. An alarm ends when whoever raised it finds all well, or when it was acknowledged and
has not been seen for `OVER_AFTER`: what comes later is new. One that names a single event, such as
a payment, cannot come again and never ends.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from coinos.errors import NotFound
from coinos.models import Alarm

GROWTH_MSAT = 10_000_000
OVER_AFTER = timedelta(hours=1)


class NoSuchAlarm(NotFound):
    message = "No alarm of this number stands"


def note(
    cause: str, sentence: str, *, amount_msat: int | None = None, is_single: bool = False
) -> Alarm:
    """The alarm of this cause, seen just now. By itself it stops nothing.

    `is_single`: the cause names one event, and is acknowledged for good."""
    key = {"cause": cause[:200], "ended_at": None}
    seen = {"last_seen": Now(), "sentence": sentence[:300], "amount_msat": amount_msat}
    with transaction.atomic():
        if not is_single:
            _acknowledged().filter(**key, last_seen__lt=Now() - OVER_AFTER).update(ended_at=Now())
        alarm, is_new = Alarm.objects.get_or_create(**key, defaults={"first_seen": Now(), **seen})
        if not is_new:
            Alarm.objects.filter(id=alarm.id).update(**seen)
        alarm.refresh_from_db()
    return alarm


def end(cause: str) -> None:
    """All is well with this cause."""
    Alarm.objects.filter(cause=cause, ended_at=None).update(ended_at=Now(), holds_sends=False)


def is_seen_to(alarm: Alarm) -> bool:
    """Whether an operator has acknowledged it as it is now."""
    if alarm.acknowledged_at is None:
        return False
    grown_msat = (alarm.amount_msat or 0) - (alarm.acknowledged_msat or 0)
    return grown_msat <= GROWTH_MSAT


def standing() -> QuerySet[Alarm]:
    """All that stand, acknowledged or not, the oldest first."""
    return Alarm.objects.filter(ended_at=None).order_by("first_seen")


def stopping() -> list[Alarm]:
    """Those that stop sends, the oldest first."""
    stopped = standing().filter(stopped_at__isnull=False)
    return [alarm for alarm in stopped if not is_seen_to(alarm)]


def acknowledge(alarm_id: int, *, by: str, reason: str) -> Alarm:
    """An operator has looked into it: the same cause stops sends no more. The stop file stays, and
    is the operator's to remove. Doing it again renews it for the amount of now.

    Raises `NoSuchAlarm`."""
    with transaction.atomic():
        alarm = standing().select_for_update().filter(id=alarm_id).first()
        if alarm is None:
            raise NoSuchAlarm()
        Alarm.objects.filter(id=alarm.id).update(
            acknowledged_at=Now(),
            acknowledged_by=by[:100],
            acknowledged_msat=alarm.amount_msat,
            reason=reason[:200],
            holds_sends=False,
        )
        alarm.refresh_from_db()
    return alarm


def _acknowledged() -> QuerySet[Alarm]:
    return Alarm.objects.filter(acknowledged_at__isnull=False)
