"""The first page of the admin: is it well? Jobs, alarms, and the newest reading of the nodes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.timesince import timesince

from coinos import alarms, heartbeat, killswitch
from coinos.models import Alarm, Heartbeat
from coinos.money import MSAT_PER_SAT
from payments.models import Reading


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Called by the admin's index, whatever the operator may see elsewhere."""
    reading = Reading.objects.first()
    return context | {
        "sends_are_stopped": killswitch.is_stopped() or heartbeat.is_silent(heartbeat.AUDITOR),
        "alarms": [_alarm(alarm) for alarm in alarms.standing()],
        "jobs": [_job(beat) for beat in Heartbeat.objects.order_by("job")],
        "reading": reading,
        "figures": _figures(reading) if reading else [],
    }


def _alarm(alarm: Alarm) -> dict[str, object]:
    return {
        "sentence": alarm.sentence,
        "first_seen": _ago(alarm.first_seen),
        "last_seen": _ago(alarm.last_seen),
        "is_seen_to": alarms.is_seen_to(alarm),
        "by": alarm.acknowledged_by,
    }


def _job(beat: Heartbeat) -> dict[str, str]:
    trouble = []
    if heartbeat.is_overdue(beat):
        trouble.append("silent for too long")
    if beat.failures:
        trouble.append(f"{beat.failures} failures since the last success: {beat.reason}")
    return {
        "name": beat.job,
        "round": _ago(beat.succeeded_at),
        "work": _ago(beat.worked_at),
        "trouble": "; ".join(trouble),
    }


def _figures(reading: Reading) -> list[tuple[str, str]]:
    """What is ours, place by place, and what is owed."""
    return [
        ("In open channels", _sats(reading.channels_msat)),
        ("In closing channels", _sats(reading.closing_msat)),
        ("In lightningd's wallet", _sats(reading.wallet_msat)),
        ("Arriving: credited, not committed", _sats(reading.arriving_msat)),
        ("Leaving: paid, not committed", _sats(-reading.leaving_msat)),
        (f"On-chain, asked {_ago(reading.onchain_at)}", _sats(reading.onchain_msat)),
        ("Sent on-chain since then", _sats(-reading.sent_since_msat)),
        ("All that is ours", _sats(reading.assets_msat)),
        ("Owed to users", _sats(reading.owed_msat)),
        ("Missing" if reading.is_short else "The house's own", _sats(-reading.missing_msat)),
    ]


def _sats(msat: int) -> str:
    return f"{msat / MSAT_PER_SAT:,.3f}"


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "never"
    if (timezone.now() - moment).total_seconds() < 60:
        return "just now"
    return f"{timesince(moment, depth=1)} ago"
