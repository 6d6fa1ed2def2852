"""Count failed guesses at passwords and PINs in the database, atomically (P18).

A counter covers one window of time and then starts again; parallel guesses are each counted, and
none beyond the limit is evaluated.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import connection
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts.models import Attempts
from coinos.errors import RateLimited
from coinos.limits import Rate

LONGEST_WINDOW = timedelta(days=1)


def count(rate: Rate, who: object) -> int:
    """Count one; how many there were in this window, with it."""
    return _count(rate, who)[0]


def count_or_refuse(rate: Rate, who: object) -> None:
    """Count one try before it is evaluated; `RateLimited` when the window's tries are used up.
    `who` is what the rate is counted by: the id of a user, a name, a network, a mailbox.

    Call `forgive` or `take_back` after a success, so that only failures add up. Never call this
    inside a transaction that the failure rolls back: it would not have been counted.
    """
    counted, wait_s = _count(rate, who)
    if counted > rate.at_most:
        raise RateLimited(
            _("Too many tries; wait %(seconds)s seconds and try again"),
            retry_after_s=wait_s,
            values={"seconds": wait_s},
        )


def _count(rate: Rate, who: object) -> tuple[int, int]:
    """The count with this one, and the seconds until the window ends."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO accounts_attempts AS tries (key, window_start, count) VALUES (%s, %s, 1)
            ON CONFLICT (key) DO UPDATE SET
                count = CASE WHEN tries.window_start < %s THEN 1 ELSE tries.count + 1 END,
                window_start = CASE WHEN tries.window_start < %s
                               THEN excluded.window_start ELSE tries.window_start END
            RETURNING count, window_start
            """,
            [_key(rate, who), now, *[now - timedelta(seconds=rate.window_s)] * 2],
        )
        counted, window_start = cursor.fetchone()
    ends = window_start + timedelta(seconds=rate.window_s)
    return counted, int((ends - now).total_seconds()) + 1


def forgive(rate: Rate, who: object) -> None:
    """The try that was counted last was right: forget the failures before it."""
    Attempts.objects.filter(key=_key(rate, who)).delete()


def take_back(rate: Rate, who: object) -> None:
    """The try that was counted last was right, and says nothing about the failures before it:
    signing in to one account forgives no guesses at others."""
    Attempts.objects.filter(key=_key(rate, who), count__gt=0).update(count=F("count") - 1)


def _key(rate: Rate, who: object) -> str:
    return f"{rate.name}:{who}"[:120]


def forget_old() -> None:
    """Drop the counters whose window is long over: strangers can make any number of them."""
    Attempts.objects.filter(window_start__lt=timezone.now() - LONGEST_WINDOW).delete()
