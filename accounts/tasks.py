"""Tasks of the accounts."""

from __future__ import annotations

from celery import shared_task

from accounts import attempts
from coinos.heartbeat import periodic


@shared_task
@periodic("forget attempts", silence_max_s=24 * 3600)
def forget_attempts() -> None:
    attempts.forget_old()
