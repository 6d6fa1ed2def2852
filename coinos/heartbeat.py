"""Periodic jobs say when they worked, so that a silent one is seen (O04)."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, QuerySet
from django.utils import timezone

from coinos.alarms import is_seen_to, standing
from coinos.db import Query, ask
from coinos.errors import CoinosError
from coinos.models import Heartbeat

logger = logging.getLogger(__name__)

STARTED_AT = timezone.now()
ASK_AGAIN_S = 5
AUDITOR = "reconcile"
_LATEST = """
    SELECT succeeded_at, silence_max_s, EXISTS (SELECT FROM coinos_alarm WHERE holds_sends)
    FROM (VALUES (1)) AS always LEFT JOIN coinos_heartbeat ON job = %s
"""


@dataclass(frozen=True)
class _Beat:
    """What a process remembers of a job; both times are empty before its first round."""

    succeeded_at: datetime | None
    silence_max_s: int | None
    sends_are_held: bool


_asked: dict[str, tuple[float, _Beat]] = {}


def periodic(job: str, *, silence_max_s: int) -> Callable[[Callable[[], Any]], Callable[[], None]]:
    """Decorate the body of a periodic task: success and failure are recorded, and a failure never
    stops the schedule. A job silent for longer than `silence_max_s` makes the server unhealthy.

    A body that returns False has left the work to another process: that is no success, and the
    job is silent unless the other one does it. One that returns a number has done so many things,
    none perhaps; any other has done its one."""

    def decorate(function: Callable[[], Any]) -> Callable[[], None]:
        @functools.wraps(function)
        def run() -> None:
            try:
                done = function()
            except Exception as error:
                # A node that is away is an ordinary condition: one line, no traceback.
                expected = isinstance(error, CoinosError)
                logger.error("%s failed: %s", job, error, exc_info=None if expected else error)
                _record_failure(job, silence_max_s, type(error).__name__)
            else:
                if done is not False:
                    _record_success(job, silence_max_s, had_work=done != 0)

        return run

    return decorate


def _record_success(job: str, silence_max_s: int, *, had_work: bool) -> None:
    now = timezone.now()
    found: dict[str, Any] = {"silence_max_s": silence_max_s, "succeeded_at": now}
    if had_work:
        found["worked_at"] = now
    _row(job, silence_max_s).update(**found, failures=0, reason="")


def _record_failure(job: str, silence_max_s: int, reason: str) -> None:
    _row(job, silence_max_s).update(failures=F("failures") + 1, reason=reason)


def _row(job: str, silence_max_s: int) -> QuerySet[Heartbeat]:
    Heartbeat.objects.get_or_create(
        job=job,
        defaults={"silence_max_s": silence_max_s, "succeeded_at": timezone.now()},
    )
    return Heartbeat.objects.filter(job=job)


def is_silent(job: str) -> bool:
    """Whether this job has not succeeded for longer than it may, counted from the start of this
    process at the earliest. False before its first round. A process asks the row every few seconds
    at the most."""
    return is_overdue(_latest(job))


def sends_are_held() -> bool:
    """Whether an alarm stands for the stop file that could not be written. Asked together with the
    auditor's row, which whoever sends asks for anyway."""
    return _latest(AUDITOR).sends_are_held


def ask_anew() -> None:
    """This process has just changed what is remembered here."""
    _asked.clear()


def _latest(job: str) -> _Beat:
    if job in _asked and time.monotonic() - _asked[job][0] <= ASK_AGAIN_S:
        return _asked[job][1]
    [row] = ask(Query(_LATEST, [job]))
    beat = _Beat(*row)
    _asked[job] = (time.monotonic(), beat)
    return beat


def is_overdue(beat: Heartbeat | _Beat) -> bool:
    """Whether this job has been silent for longer than it may."""
    if beat.succeeded_at is None or beat.silence_max_s is None:
        return False
    silence = timezone.now() - max(beat.succeeded_at, STARTED_AT)
    return silence.total_seconds() > beat.silence_max_s


@dataclass(frozen=True)
class Health:
    healthy: bool
    consecutive_failures: int
    last_success_ms: int
    reason: str
    stalled: bool
    alarms: int
    jobs: list[Heartbeat]


def health() -> Health:
    """Whether the database answers and no periodic job is overdue. A server that has just started
    is ready: neither jobs that have never run count, nor the silence before this process began.
    One with alarms is well itself."""
    unseen = sum(not is_seen_to(alarm) for alarm in standing())
    now = timezone.now()
    beats = list(Heartbeat.objects.order_by("job"))
    overdue = [beat for beat in beats if is_overdue(beat)]
    failing = [beat for beat in beats if beat.failures]
    last_success = min((b.succeeded_at for b in beats if b.succeeded_at), default=now)
    return Health(
        healthy=not overdue,
        consecutive_failures=max((beat.failures for beat in beats), default=0),
        last_success_ms=int(last_success.timestamp() * 1000),
        reason="; ".join(f"{beat.job}: {beat.reason or 'silent'}" for beat in overdue or failing),
        stalled=bool(overdue),
        alarms=unseen,
        jobs=beats,
    )
