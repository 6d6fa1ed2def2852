"""Tasks of the accounts."""

from __future__ import annotations

import threading

from celery import shared_task
from celery.signals import worker_shutting_down

from accounts import attempts, emails
from coinos.heartbeat import periodic

_stopping = threading.Event()


@worker_shutting_down.connect
def stop(**_: object) -> None:
    """Sending ends early when its worker is told to."""
    _stopping.set()


@shared_task
@periodic("forget attempts", silence_max_s=24 * 3600)
def forget_attempts() -> None:
    attempts.forget_old()


@shared_task
@periodic("send e-mail", silence_max_s=600)
def send_emails() -> int:
    return emails.deliver_due(stopped=_stopping.is_set)


@shared_task
@periodic("forget e-mail", silence_max_s=24 * 3600)
def forget_emails() -> None:
    emails.forget_old()
