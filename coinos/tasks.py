"""Tasks of the kit."""

from __future__ import annotations

from celery import shared_task

from coinos import rates
from coinos.heartbeat import periodic


@shared_task
@periodic("rates", silence_max_s=3600)
def refresh_rates() -> None:
    rates.refresh()
